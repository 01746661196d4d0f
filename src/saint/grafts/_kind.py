from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from saint.records import Site, SiteSort

Moment = Literal["xx", "yy", "gg", "gx"]
Call = tuple[tuple[Any, ...], Mapping[str, Any]]
"""Positional and named arguments."""


class LowRankFactors(NamedTuple):
    """A change of a linear map's weight as a product: dW = up @ down."""

    up: Float[Tensor, "d_out rank"]
    down: Float[Tensor, "rank d_in"]


class NewLayer(NamedTuple):
    """A graft as one or several layers of an ordinary model, of the architecture of the block that it comes after."""

    weights: Mapping[str, Tensor]
    """The block's parameter names -> values, strength included."""
    further: tuple[Mapping[str, Tensor], ...] = ()
    """The same of layers that come right after it."""


class NewChannels(NamedTuple):
    """A graft as more channels of an MLP, which have no biases."""

    up: Float[Tensor, "width d"]
    gate: Float[Tensor, "width d"] | None
    """None where the MLP's channels have no gate."""
    down: Float[Tensor, "d width"]
    """Strength included."""


class FirstStep(NamedTuple):
    """A step in closed form that a part has taken before its training."""

    written: Tensor
    """What it has written, to which its change of the site is proportional: multiplied, the step is as much longer."""
    is_open: bool
    """Whether its length is to be searched for; not if the options say it."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Signals:
    """Second moments of what flows through a site, over training text on the present stack; None if not asked for.

    x_t is the site's input at token t, y_t its output, g_t the gradient of the mean token loss of all the text with
    respect to y_t (so gradients of more text are not larger, only surer).
    """

    num_tokens: int
    xx: Float[Tensor, "d_in d_in"] | None = None
    """mean_t x_t x_t^T"""
    yy: Float[Tensor, "d_out d_out"] | None = None
    """mean_t y_t y_t^T"""
    gg: Float[Tensor, "d_out d_out"] | None = None
    """num_tokens * sum_t g_t g_t^T: as if each g_t were the gradient of its own token's loss"""
    gx: Float[Tensor, "d_out d_in"] | None = None
    """sum_t g_t x_t^T: at a linear site the gradient of its weight"""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What is at a site: the frozen module, and what flows through it."""

    module: nn.Module
    """Never written to."""
    read_weight: Callable[[], Tensor | None]
    """Gives the frozen weight (d_out, d_in), dequantised if need be; None where the site is no linear map."""
    outputs: tuple[str, ...] = ()
    """At an insertion point: the linear maps inside the block, by name, that write to the residual stream."""
    layer_index: int = 0
    """At an insertion point: the key-value cache's slot for a layer that is put there."""
    read_call: Callable[[], Call] | None = None
    """Gives what the base calls the module with when it reads some tokens."""
    signals: Signals | None = None
    """Only at birth, and only what the kind wants."""
    read_spanned: Callable[[], LowRankFactors | None] | None = None
    """Only at birth: gives what the grafts below change at this weight; read when asked for, as it may take a
    decomposition."""

    @property
    def weight(self) -> Float[Tensor, "d_out d_in"] | None:
        """The frozen weight, dequantised where it is quantised; None where the site is no linear map."""
        return self.read_weight()

    @property
    def spanned(self) -> LowRankFactors | None:
        """What the grafts below change at this weight, of whatever rank; None if nothing is."""
        return None if self.read_spanned is None else self.read_spanned()


class Kind(nn.Module, ABC):
    """What a graft of one kind adds at one site of a frozen base. A class is abstract or final.

    Newborn, it leaves the site's output as it is, to the bit; training moves it from there. `__init__` fixes the
    shapes (all zeros, so that stored weights can be loaded over them), `bear` gives it its start, and `attach` shows
    it the frozen module whenever it is composed.
    """

    Options: ClassVar[type]
    """A frozen dataclass: what a candidate of this kind may choose."""
    reference: ClassVar[str]
    """Where the idea is from: an arXiv number, a DOI, or "SAINT-G"."""
    formula: ClassVar[str]
    """How many parameters it trains at a site, in the options' names and d_in, d_out."""
    effective_formula: ClassVar[str] = ""
    """The same of `num_effective`; empty where that is the same."""
    attaches_to: ClassVar[SiteSort]
    """The sort of site it can be at."""
    can_fold: ClassVar[bool]
    """Whether its change can be folded into the site's weight, so that it costs nothing at inference."""
    can_grow: ClassVar[bool] = False
    """Whether merging makes it a layer, or channels of an MLP, of an ordinary model that is larger than the base.

    It still costs operations at inference then, so it is not foldable."""
    can_stack: ClassVar[bool] = True
    """Whether several of one site and the same options can be computed as one batched function of their stacked
    parameters and buffers (`torch.func.vmap` of `forward`): no data-dependent branches, and no `answer` of its own."""
    is_weight: ClassVar[bool] = False
    """Whether it is computed as part of the weight, by `fold`, where all that is at a site is: one product of the sum,
    however many grafts there are. Only in float32, where a newborn then still changes nothing to the bit."""
    changes_layers: ClassVar[bool] = False
    """At an insertion point: whether it changes the weights of the new layers that stand there below it, by
    `change_layers`, and not what they give. It is trained beside no other graft."""
    examples: ClassVar[tuple[Mapping[str, Any], ...]]
    """Small options that work, for the conformance suite; the first is the reference page's."""

    strength: Tensor
    """What its whole change is multiplied by: 1 as trained, less to keep more of the base. Shape (). A graft's parts
    share one strength, which the graft stores.

    A kind that writes to the residual stream more than once multiplies whatever it writes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("strength", torch.ones(()), persistent=False)

    @classmethod
    def at(cls, site: Site) -> "type[Kind]":  # noqa: ARG003 - nearly all are the same at every site
        """What a graft of this kind is at `site`: this class, or another one that takes its options too."""
        return cls

    @property
    def num_layers(self) -> int:
        """At an insertion point: how many new layers it is, each with its own slot in a key-value cache."""
        return 1

    @classmethod
    @abstractmethod
    def num_params(cls, site: Site, options: Any) -> int:
        """How many parameters a graft of this kind would train at `site`."""

    @classmethod
    def num_effective(cls, site: Site, options: Any) -> int:
        """The dimension of the set of changes that these parameters span: what they come to without redundancy."""
        return cls.num_params(site, options)

    @classmethod
    def has_exact_gradient(cls, options: Any) -> bool:  # noqa: ARG003 - nearly all have, whatever the options
        """Whether it learns along the loss's own gradient; False where its source takes something for a constant."""
        return True

    @classmethod
    def default_lr(cls, site: Site, options: Any) -> float:  # noqa: ARG003 - a rule of its own is for a kind that has one
        """The peak learning rate for a graft at `site` alone, from measurements (benchmarks/learning_rates.py)."""
        return 1e-2

    @property
    def uncounted_flops(self) -> int:
        """Operations per token that PyTorch's counter does not see, for kinds that are no matrix products."""
        return 0

    @classmethod
    def wants(cls, options: Any) -> frozenset[Moment]:  # noqa: ARG003 - most kinds want none whatever the options
        """The signals that a newborn, or its beginning, needs."""
        return frozenset()

    @abstractmethod
    def bear(self, place: Place, generator: torch.Generator) -> None:
        """Set the start of a newborn from what is at its site and from chance."""

    def begin(self, place: Place) -> FirstStep | None:  # noqa: ARG002
        """Take a first step in closed form from the signals, before training; most kinds take none."""
        return None

    def attach(self, place: Place) -> None:
        """See the frozen module that it is composed with or folded into; what is kept of it is no part of its state.

        Attributes and buffers that are set here, rather than written into, belong to that composition alone.
        """

    @override
    @abstractmethod
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        """The site's new output, from its input `x` and the output `y` that base and earlier grafts gave."""

    def answer(self, x: Tensor, y: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:  # noqa: ARG002
        """`forward`, for kinds that also need what else the site's module was called with."""
        changed: Tensor = self(x, y)
        return changed

    def fold(
        self, weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None
    ) -> tuple[Tensor, Tensor | None] | None:
        """The site's weight and bias with this change folded in, or None for a kind that cannot be folded."""
        factors = self.factors()
        return None if factors is None else (weight + factors.up @ factors.down, bias)

    def factors(self) -> LowRankFactors | None:
        """The change as low-rank factors, strength included, or None when it is not a change of a weight."""
        return None

    def change_layers(self, layers: Sequence[Mapping[str, Tensor]], *, first: int = 0) -> list[dict[str, Tensor]]:
        """New layers below it, by the names of their weights, with this change in them; for kinds that make one.

        Args:
            first: Which of all that stand below at the site the first of `layers` is.
        """
        raise NotImplementedError(f"{type(self).__name__} changes no layers: changes_layers is False")

    def must_change(self, num_layers: int) -> None:
        """See to it that so many new layers are those that it changes.

        Raises:
            SiteError: It was trained on more or fewer.
        """

    def be_changed(self, above: "Kind", *, first: int) -> None:
        """Compute with what a kind that changes layers makes of its own, the first of which is number `first` there."""

    def growth(self) -> NewLayer | NewChannels | None:
        """What it is in an ordinary model that is larger than the base, or None for a kind that cannot grow one."""
        return None
