"""A change of some entries of a weight, chosen at birth."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from saint.errors import ConfigError, GraftFileError, SiteError
from saint.grafts import Kind, Moment, Place
from saint.grafts._indices import is_blank, must_lie_inside, must_rise, smallest_dtype
from saint.records import Site, SiteSort


@final
class Sparse(Kind):
    """dW[rows_k, columns_k] = s values_k, with values: (entries,) zero at birth; all other entries of dW are 0.

    Known as SHiRA (Bhardwaj et al. 2024). `by` chooses the entries once, at birth: those where the loss's gradient is
    largest on training text ("gradient"), where its typical size sqrt(E[g_i^2] E[x_j^2]) is ("activation_gradient", a
    factored Fisher diagonal that does not cancel over tokens), where the weight itself is ("magnitude"), or chance
    ("random"). The file holds one index for each entry's column, and one for its row or the number of entries of
    each row, whichever is shorter, in integers of one, two or four bytes.
    """

    reference: ClassVar[str] = "arXiv:2406.13175"
    formula: ClassVar[str] = "entries"
    attaches_to: ClassVar[SiteSort] = "linear"
    can_fold: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"entries": 24},
        {"entries": 5, "by": "activation_gradient"},
        {"entries": 100, "by": "magnitude"},
        {"entries": 1, "by": "random"},
    )

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """How many entries, and which."""

        entries: int
        """At each site."""
        by: Literal["gradient", "activation_gradient", "magnitude", "random"] = "gradient"
        """What has to be large for an entry to be chosen."""

        def __post_init__(self) -> None:
            """Refuse an empty change."""
            if self.entries < 1:
                raise ConfigError(f"entries is {self.entries}; it must be at least 1")

    columns: Tensor
    lines: Tensor
    """Each entry's row; of many entries, in their place the number of entries of each row."""
    _row_of: Tensor
    _column_of: Tensor

    def __init__(self, site: Site, options: Options) -> None:
        super().__init__()
        if options.entries > site.d_in * site.d_out:
            raise SiteError(
                f"entries is {options.entries}, and {site.key} has {site.d_out} x {site.d_in} of them; choose fewer"
            )
        self._by, self._shape = options.by, (site.d_out, site.d_in)
        counted = site.d_out < options.entries
        columns = torch.zeros(options.entries, dtype=smallest_dtype(site.d_in - 1))
        if counted:
            lines = torch.zeros(site.d_out, dtype=smallest_dtype(site.d_in))
        else:
            lines = torch.zeros(options.entries, dtype=smallest_dtype(site.d_out - 1))
        self.register_buffer("columns", columns)
        self.register_buffer("lines", lines)
        self.values = nn.Parameter(torch.zeros(options.entries))
        self._counted = counted
        for name in ("_row_of", "_column_of"):
            self.register_buffer(name, torch.zeros(options.entries, dtype=torch.int64), persistent=False)
        nn.Module.register_load_state_dict_post_hook(self, _take_up_stored)

    @override
    @classmethod
    def num_params(cls, site: Site, options: Options) -> int:
        return options.entries

    @override
    @classmethod
    def default_lr(cls, site: Site, options: Options) -> float:
        return 0.2 * sqrt(site.d_out / options.entries)  # one entry moves one of d_out outputs

    @override
    @classmethod
    def wants(cls, options: Options) -> frozenset[Moment]:
        return {"gradient": frozenset[Moment](("gx",)), "activation_gradient": frozenset[Moment](("gg", "xx"))}.get(
            options.by, frozenset()
        )

    @override
    @torch.no_grad()
    def bear(self, place: Place, generator: torch.Generator) -> None:
        num_rows, num_columns = self._shape
        if self._by == "random":
            chosen = torch.randperm(num_rows * num_columns, generator=generator)[: len(self.values)]
        else:
            chosen = self._importance(place).flatten().topk(len(self.values)).indices
        rows, columns = self._split(chosen.sort().values)
        self.columns.copy_(columns)
        self.lines.copy_(torch.bincount(rows, minlength=num_rows) if self._counted else rows)
        self._row_of, self._column_of = rows, columns

    @property
    @override
    def uncounted_flops(self) -> int:
        return 2 * len(self.values) if self._scattered else 0

    @override
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        if self._scattered:
            terms = x.index_select(-1, self._column_of) * (self.strength * self.values)
            return y.index_add(-1, self._row_of, terms)
        return y + F.linear(x, self._delta())

    @override
    def fold(
        self, weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None
    ) -> tuple[Tensor, Tensor | None]:
        return weight + self._delta(), bias

    @property
    def _scattered(self) -> bool:
        """Whether entries are applied one by one: faster than a matrix of zeros while they are rare.

        Measured at sides of 128 and 512: the ways meet where one in about 128 entries is chosen. One by one costs
        memory for each token and entry, so at large sides that limits it sooner.
        """
        num_rows, num_columns = self._shape
        return len(self.values) <= min(num_rows * num_columns // 128, 4 * num_columns)

    def _delta(self) -> Float[Tensor, "d_out d_in"]:
        """The change as a whole matrix, strength included."""
        zeros = self.values.new_zeros(self._shape)
        return zeros.index_put((self._row_of, self._column_of), self.strength * self.values)

    def _importance(self, place: Place) -> Float[Tensor, "d_out d_in"]:
        """How much each entry matters."""
        if self._by == "magnitude":
            weight = place.weight
            assert weight is not None  # the site is linear
            return weight.float().cpu().abs()
        signals = place.signals
        assert signals is not None  # a newborn gets what its kind wants
        if self._by == "gradient":
            assert signals.gx is not None
            return signals.gx.abs()
        assert signals.gg is not None
        assert signals.xx is not None
        return torch.outer(signals.gg.diagonal(), signals.xx.diagonal()).sqrt()

    @torch.no_grad()
    def _take_up(self) -> None:
        """Spread out what the file holds, which is to be in row-major order.

        Raises:
            GraftFileError: No newborn could have had these indices.
        """
        lines, columns, (num_rows, num_columns) = self.lines.long(), self.columns.long(), self._shape
        if self._counted:
            if int(lines.min()) < 0 or int(lines.sum()) != len(columns):
                raise GraftFileError(
                    f"the graft's file counts {int(lines.sum()):,} entries over the rows of a weight and has "
                    f"{len(columns):,}; fetch it again"
                )
            lines = torch.arange(num_rows, device=lines.device).repeat_interleave(lines)
        must_lie_inside(lines, num_rows, "rows of a weight")
        must_lie_inside(columns, num_columns, "columns of a weight")
        must_rise(lines * num_columns + columns, num_rows * num_columns, "entries of a weight")
        self._row_of, self._column_of = lines, columns

    def _split(self, flat: Int[Tensor, " entries"]) -> tuple[Int[Tensor, " entries"], Int[Tensor, " entries"]]:
        """Rows and columns of row-major positions."""
        num_columns = self._shape[1]
        return flat // num_columns, flat % num_columns


def _take_up_stored(part: Sparse, _missing: Any) -> None:
    """Blank, it stays so."""
    if not is_blank(part):
        part._take_up()
