from pathlib import Path

import pytest

from workshop import Workshop, build_workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A tiny base, prepared text and a plan in a folder, as a user has them."""
    return build_workshop(tmp_path)
