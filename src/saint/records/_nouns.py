from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from saint.errors import ConfigError

SiteSort = Literal["linear", "block", "insertion", "mlp"]
Stream = Literal["decoder", "encoder"]
Quantization = Literal["int8", "int4", "nf4"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A place in the base where a graft may attach (PEFT: target module)."""

    sort: SiteSort
    """A linear map, the residual stream after a block, the point after a block where a layer could be inserted, or the
    multi-layer perceptron of a block."""
    module: str
    """Fully qualified module name, as `named_modules` spells it."""
    role: str
    """What the module does: q, k, v, o, up, gate, down, head, fused ones such as qkv, cross_q ..., block; or other."""
    depth: int
    """Index of the block it belongs to, from 0; -1 outside the blocks."""
    stream: Stream = "decoder"
    d_in: int
    d_out: int
    num_params: int = 0
    """At an insertion point: parameters of the block before it, which a new layer has as well."""
    gated: bool = False
    """At an mlp: whether its channels have a gate."""

    @property
    def key(self) -> str:
        """A name that no other site of the same base has."""
        return self.module if self.sort == "linear" else f"{self.module}:{self.sort}"


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseIdentity:
    """What makes a base that base; each part is a digest."""

    weights: str
    """Over every tensor's name, dtype, shape and bytes, as they lie quantised."""
    config: str
    tokenizer: str | None
    quantization: Quantization | None = None
    """How the linear maps were quantised when the base was frozen; None for as they came. No digest, and not part of
    the base's: the bytes that came of it are in `weights`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a graft costs, in counts that do not depend on the machine."""

    num_params: int
    """Trained parameters."""
    num_bytes: int = 0
    """Size of the stored file, fixed bases included."""
    train_tokens: int = 0
    """Tokens the graft learnt from."""
    flops_per_token: int = 0
    """Forward floating-point operations that the unmerged graft adds per token, over a batch of 64 tokens: what it does
    once a call, whatever their number, is shared between these."""
    foldable: bool = False
    """Whether it can be folded into the weights, after which it adds none."""
    flops_ratio: float = 1.0
    """Forward floating-point operations of base, stack and graft over those of the bare base, over a batch of 64
    tokens, with all that can be folded into the weights folded: 1 for a model that computes as much as the base does.
    It stands for the latency that grafts add, since seconds are other ones on each machine and no decision may depend
    on them; where memory rather than arithmetic is what a model waits for, the seconds rise by less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What growth may spend. A limit that is None is none."""

    num_params: int
    """Trainable parameters of all grafts that stand together."""
    train_tokens: int
    """Tokens that all trials together may learn from, rejected ones included."""
    num_bytes: int | None = None
    """Stored bytes of all grafts that stand together, fixed bases included."""
    flops_per_token: int | None = None
    """Forward floating-point operations that all grafts that stand together add per token, unmerged."""
    train_flops: float | None = None
    """Floating-point operations of training all trials together."""
    gpu_seconds: float | None = None
    """Seconds that all trials together may train. Growth stops when they are spent; no score depends on them, as they
    are other ones on each machine."""
    per_layer: int | Mapping[str, int] | None = None
    """Trainable parameters in one block of all grafts that stand together: a number for each block; or by block, which
    is its index from 0, or `encoder.` and its index, with `*` for all blocks that are not named."""

    def __post_init__(self) -> None:
        """Refuse names of blocks that no base could have."""
        for block in self.per_layer if isinstance(self.per_layer, Mapping) else ():
            if block != "*" and not block.removeprefix("encoder.").isdecimal():
                raise ConfigError(
                    f"per_layer names the block {block!r}; expected an index such as '0', one such as 'encoder.0', or "
                    "'*' for all that are not named"
                )

    def of_block(self, block: str) -> int | None:
        """The limit of parameters in a block; None for no limit."""
        if isinstance(self.per_layer, Mapping):
            return self.per_layer.get(block, self.per_layer.get("*"))
        return self.per_layer


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A graft that could be grown: where, of which kind, with which options. Several sites are one decision."""

    sites: tuple[Site, ...]
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the kind may choose; under `at`, role or site key -> what is chosen otherwise there."""
    lr: float = 1e-2
    """Peak learning rate that it is to be trained with."""
    seed: int = 0
    """Chooses its random start and the order of its text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SensitivityMap:
    """How much the loss would answer to a change at each site."""

    method: str
    scores: Mapping[str, float]
    """Site key -> score; comparable within one map only."""
    num_tokens: int = 0
    """Tokens that it was measured on; 0 where nobody counted."""
    num_flops: int = 0
    """Floating-point operations of the passes that it is from, with all maps that are from the same passes; 0 where
    nobody counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A measured difference with its confidence interval, in bits per byte. The unit of sampling is the document."""

    estimate: float
    low: float
    high: float
    standard_error: float
    num_documents: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RepeatedInterval:
    """A difference measured with several seeds, in bits per byte, with an interval for other documents and seeds."""

    estimate: float
    low: float
    high: float
    standard_error: float
    num_documents: int
    num_seeds: int
    """With one, the interval says nothing about other seeds."""
    standard_error_of_documents: float
    standard_error_of_seeds: float
    """0.0 with one seed."""
    degrees: float
    """Degrees of freedom of Student's t."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """What taking the graft out again gave, compared with the logits from before it was put in."""

    restored: bool
    """Whether every logit came back to the bit."""
    max_abs_difference: float
    """The largest difference of a logit; 0.0 when restored."""
    num_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """How far a graft's change of weights repeats what the stack below it changes, as far as both are of low rank."""

    inputs: float
    """Largest cosine of a principal angle between what they read, over the sites; 1 for a direction that both read."""
    outputs: float
    """The same between what they write."""
    inside: float
    """Share of the change, by its squared size over all sites, that reads and writes within what the stack spans."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way of spending the same tokens, measured against the bare base: the stack, or a control."""

    name: str
    num_params: int
    """Trained parameters."""
    train_tokens: int
    gain_bpb: Interval
    """Bits per byte saved on the domain that was grown towards; positive is better."""
    regression_bpb: Mapping[str, Interval]
    """Retained domain -> bits per byte lost there; positive is worse."""
