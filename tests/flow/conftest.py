import shutil
from pathlib import Path

import pytest

from five_grafts import Garden
from workshop import Workshop, build_workshop


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Garden:
    garden = Garden(build_workshop(tmp_path_factory.mktemp("workshop")))
    assert garden.registry.state.standing == garden.digests
    return garden


@pytest.fixture
def garden(made: Garden, workshop: Workshop, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Garden:
    """Five grafts that stand: made once, and grown apart on a machine of its own."""
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.setenv("SAINT_HOME", str(tmp_path / "home"))
    return made.copied(workshop.root)
