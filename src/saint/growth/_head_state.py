"""What AdamW knows of the output head, handed from one stage of growth by layers to the next."""

from collections import defaultdict
from collections.abc import Mapping

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from saint.errors import GraftFileError
from saint.training import Moments, Trained

HEAD_PARTS: Mapping[str, str] = {"delta": "weight", "bias": "bias"}
"""Name in a graft's part at the head -> name in the head itself."""


def head_state(trained: Trained) -> bytes:
    """The moments of what a stage learnt at the head, as safetensors; empty if the head did not learn."""
    sites = trained.candidate.sites
    head = next((site.key for site in sites if site.role == "head"), None)
    known = {HEAD_PARTS[name]: trained.moments.get(f"{head}.{name}") for name in HEAD_PARTS} if head else {}
    return spell({name: moments for name, moments in known.items() if moments is not None})


def spell(moments: Moments) -> bytes:
    """Moments as a file; equal ones give equal bytes, and none an empty file."""
    flat = {f"{name}.{moment}": value.cpu() for name, there in moments.items() for moment, value in there.items()}
    return save({name: value.contiguous() for name, value in flat.items()}) if flat else b""


def read(content: bytes) -> Moments:
    """The moments that a file holds; none of an empty one.

    Raises:
        GraftFileError: It is no such file.
    """
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    try:
        flat = load(content) if content else {}
    except SafetensorError as error:
        raise GraftFileError(
            f"the state of the head's optimiser cannot be read ({error}); restore it from a copy"
        ) from error
    for name, value in flat.items():
        part, _, moment = name.rpartition(".")
        found[part][moment] = value
    return dict(found)
