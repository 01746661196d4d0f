import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from saint.data import Splits
from saint.models import FrozenBase
from saint.testing import tiny_base, tiny_splits
from workshop import Workshop, build_workshop


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keys and trust files of the tests, apart from those of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAINT_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("SAINT_KEY_PASSPHRASE", raising=False)
        yield Path(os.environ["SAINT_HOME"])


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
