"""What a graft of kind phi may choose, and what is refused whatever the site."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

from saint.errors import ConfigError
from saint.grafts._bases import Basis
from saint.grafts._forms import (
    BlockDiagonal,
    Dense,
    Diagonal,
    Form,
    Kronecker,
    LinearForm,
    LowRank,
    Upper,
    Walsh,
    squarest_factor,
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Which bases, what is between them, and what more is trained."""

    rank: int
    """Vectors in each basis of a term."""
    basis: Basis = "weight"
    """What A and B are taken from."""
    form: Literal["dense", "diagonal", "upper", "block_diagonal", "low_rank", "kronecker", "walsh", "hadamard"] = (
        "dense"
    )
    """What Phi may be."""
    terms: int = 1
    """How many A_i Phi_i B_i are summed."""
    block_size: int | None = None
    """Of form block_diagonal: side of a block, a divisor of the rank."""
    inner: int | None = None
    """Of form low_rank: the rank of Phi; 1 unless given."""
    factor: int | None = None
    """Of form kronecker: side of P, a divisor of the rank; unless given, the one that makes P and Q most alike."""
    start: Literal["zero", "least_squares"] = "zero"
    """Where training begins; a newborn is the identity either way."""
    eta: float | None = None
    """Of start least_squares: how large the root mean square of the change is against that of the frozen weight's
    output, on training text; unless given, 0.01 times what a line search finds best."""
    residual: int = 0
    """Entries of dW that are trained one by one."""
    train_bases: bool = False
    """Train A and B too, from where they are put."""
    max_params: int | None = None
    """Of train_bases, and needed there: the most parameters that a site may take."""
    scale_rows: bool = False
    """Multiply each output by a trained factor of its own besides, 1 at birth: dW = A Phi B + diag(v) W."""
    complement: bool = False
    """Keep A and B orthogonal to what the grafts of the stack change at the same weight."""

    def __post_init__(self) -> None:
        """Refuse what cannot be, and what would have no effect."""
        for name, least in (("rank", 1), ("terms", 1), ("residual", 0), ("inner", 1), ("max_params", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} is {value}; it must be at least {least}")
        if self.eta is not None and self.eta <= 0:
            raise ConfigError(f"eta is {self.eta}; it must be positive")
        for name, (other, wanted) in _ONLY_WITH.items():
            if getattr(self, name) is not None and getattr(self, other) != wanted:
                raise ConfigError(f"{name} has no effect unless {other} is {wanted!r}; leave it out")
        _check_form(self)
        _check_combination(self)


def form_of(options: Options) -> Form:
    """The form that is chosen, with its sizes."""
    sizes = {"num_terms": options.terms, "rank": options.rank}
    if options.form == "block_diagonal":
        assert options.block_size is not None  # the options ask for it
        return BlockDiagonal(**sizes, block_size=options.block_size)
    if options.form == "low_rank":
        return LowRank(**sizes, inner=options.inner or 1)
    if options.form == "kronecker":
        return Kronecker(**sizes, factor=options.factor or squarest_factor(options.rank))
    return _FORMS[options.form](**sizes)


REGROWN = ("walsh", "coordinate")
"""Bases that are not stored but made again, from a seed or from places."""
_ONLY_WITH: Mapping[str, tuple[str, Any]] = {
    "block_size": ("form", "block_diagonal"),
    "inner": ("form", "low_rank"),
    "factor": ("form", "kronecker"),
    "eta": ("start", "least_squares"),
    "max_params": ("train_bases", True),
}
_FORMS: Mapping[str, type[LinearForm]] = {
    "dense": Dense,
    "diagonal": Diagonal,
    "upper": Upper,
    "walsh": Walsh,
    "hadamard": Dense,
}


def _divides(divisor: int, number: int) -> bool:
    return divisor >= 1 and number % divisor == 0


def _check_form(options: Options) -> None:
    """Refuse a form whose sizes do not fit its rank."""
    rank = options.rank
    if options.form == "block_diagonal" and options.block_size is None:
        raise ConfigError("form block_diagonal needs block_size; give a divisor of the rank")
    if options.block_size is not None and not _divides(options.block_size, rank):
        raise ConfigError(f"block_size {options.block_size} does not divide rank {rank}; give a divisor of the rank")
    if options.inner is not None and options.inner > rank:
        raise ConfigError(f"inner {options.inner} exceeds rank {rank}; lower it")
    if options.form == "walsh" and rank & (rank - 1):
        raise ConfigError(f"form walsh needs a rank that is a power of two, got {rank}; take 1, 2, 4, 8, ...")
    if options.form == "kronecker":
        factor = squarest_factor(rank) if options.factor is None else options.factor
        if not _divides(factor, rank) or factor in (1, rank):
            raise ConfigError(
                f"factor {factor} does not split rank {rank} into two sides above 1; give a divisor of the rank, "
                "or a rank that has one"
            )


def _check_combination(options: Options) -> None:
    """Refuse what does not go together."""
    if options.start == "least_squares" and options.form in ("low_rank", "kronecker"):
        raise ConfigError(
            f"start least_squares needs a Phi that is linear in its numbers, and form {options.form} is a product; "
            "choose start zero or another form"
        )
    if options.train_bases and options.max_params is None:
        raise ConfigError("train_bases trains A and B, which are large; give max_params, the most that a site may take")
    if options.complement and options.train_bases:
        raise ConfigError(
            "train_bases moves A and B, so they cannot keep to the complement of a stack; leave one of the two out"
        )
    if options.complement and options.basis in REGROWN:
        raise ConfigError(
            f"basis {options.basis} is made anew from what little is stored, so it cannot keep to the complement of a "
            "stack; choose random or gradient"
        )
