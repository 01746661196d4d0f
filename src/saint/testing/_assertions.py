from collections.abc import Sequence

import torch
from torch import nn

from saint.composition import compose, probe_logits
from saint.grafts import Graft
from saint.models import FrozenBase


def assert_identity(base: FrozenBase, graft: Graft, *, stack: Sequence[Graft] = ()) -> None:
    """With the graft, base + stack answers as without it, to the bit."""
    without, with_graft = probe_logits(compose(base, stack)), probe_logits(compose(base, [*stack, graft]))
    assert torch.equal(without, with_graft), f"logits moved by up to {(without - with_graft).abs().max():.3g}"


def assert_base_untouched(base: FrozenBase) -> None:
    """Weights, configuration and tokenizer hash to what was frozen, and no hook was left on the model."""
    base.check()
    hooked = [name for name, module in base.model.named_modules() if module._forward_hooks or module._backward_hooks]
    assert not hooked, f"hooks were left at {hooked}"


def assert_same_function(one: nn.Module, other: nn.Module, *, max_abs_difference: float = 0.0) -> None:
    """Two models give the same logits on the probe, to the bit unless a tolerance is stated."""
    difference = float((probe_logits(one) - probe_logits(other)).abs().max())
    assert difference <= max_abs_difference, f"logits differ by {difference:.3g}, allowed {max_abs_difference:.3g}"
