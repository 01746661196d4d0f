"""What residual blocks may have between their way up and their way down."""

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

Activation = Literal["silu", "gelu", "relu"]

ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {"silu": F.silu, "gelu": F.gelu, "relu": F.relu}
