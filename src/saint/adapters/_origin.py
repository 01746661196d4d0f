"""Is an adapter for this base? Its own record is asked, and the base that it names where that is at hand."""

from pathlib import Path
from typing import Literal

from saint.adapters._files import Adapter
from saint.errors import AdapterError, BaseChangedError
from saint.models import FrozenBase, freeze

Ground = Literal["identity", "name", "said"]
"""What the answer rests on: equal digests, an equal name on the hub, or the word of whoever submits it."""


def check_origin(base: FrozenBase, adapter: Adapter, *, same_base: bool = False) -> Ground:
    """On what ground the adapter counts as one for this base.

    Args:
        same_base: Somebody vouches for it where the names differ; a base that is at hand is compared all the same.

    Raises:
        AdapterError: It is for another base, or that cannot be told.
        BaseModelError: The folder that it names holds no model that can be frozen.
    """
    name, revision = adapter.config.get("base_model_name_or_path"), adapter.config.get("revision")
    if name and _is_folder(name):
        _compare(base, adapter, Path(name))
        return "identity"
    if name and name == base.source and revision in (None, base.revision):
        return "name"
    if same_base:
        return "said"
    at_revision = f" at revision {revision}" if revision else ""
    named = f"for {name!r}{at_revision}" if name else "for a base that it does not name"
    raise AdapterError(
        f"{adapter.folder} says it is {named}, and this registry's base is {base.source!r}; "
        "if they are the same model, say so with --same-base"
    )


def _is_folder(name: str) -> bool:
    """Whether the name is that of a folder here; one that no file system takes is none."""
    try:
        return Path(name).is_dir()
    except OSError:
        return False


def _compare(base: FrozenBase, adapter: Adapter, place: Path) -> None:
    if base.source and Path(base.source).is_dir() and place.samefile(base.source):
        return  # it was frozen from there just now
    other = freeze(place, quantize=base.identity.quantization)
    try:
        other.must_be(base.identity, what="this registry's base", remedy="give an adapter that was trained on it")
    except BaseChangedError as error:
        raise AdapterError(f"{adapter.folder} is for the base in {place}, which is another one: {error}") from error
