from collections.abc import Iterator
from pathlib import Path

import pytest

from saint.data import Splits
from saint.models import FrozenBase
from saint.testing import tiny_base, tiny_splits
from workshop import Workshop, build_workshop


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a machine remembers of registries, and its keys, without touching those of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAINT_HOME", str(folder))
        patch.delenv("SAINT_KEY_PASSPHRASE", raising=False)
        yield folder


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A tiny base, prepared text and a plan in a folder, as a user has them."""
    return build_workshop(tmp_path)


@pytest.fixture(scope="session")
def data() -> Splits:
    """Tiny splits: grow prose, retain code."""
    return tiny_splits()


@pytest.fixture
def base(data: Splits) -> FrozenBase:
    """A tiny base with the tokenizer of `data`."""
    return tiny_base(data.tokenizer)
