"""What AdamW knows of the output head, handed from one stage of growth by layers to the next."""

from collections.abc import Mapping

from safetensors.torch import load, save
from torch import nn

from saint.training import Moments, Trained
from saint.weights import AS_STORED, TensorSpec, check_weights

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


def read(content: bytes, head: nn.Linear) -> Moments:
    """The moments of a head that a file holds; none of an empty one. It is checked before anything else opens it.

    Raises:
        GraftFileError: It is no such file, or of another head.
    """
    if not content:
        return {}
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        name: {"step": (), "exp_avg": tuple(own.shape), "exp_avg_sq": tuple(own.shape)}
        for name, own in head.named_parameters()
    }
    expected = {
        f"{name}.{moment}": TensorSpec(dtype="F32", shape=shape)
        for name, moments in shapes.items()
        for moment, shape in moments.items()
    }
    check_weights(content, expected=expected, caps=AS_STORED)
    flat = load(content)
    return {name: {moment: flat[f"{name}.{moment}"] for moment in moments} for name, moments in shapes.items()}
