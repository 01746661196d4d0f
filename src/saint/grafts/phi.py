"""A small trained matrix between two fixed bases of a weight."""

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from saint.errors import ConfigError, GraftFileError, SiteError
from saint.grafts import FirstStep, Kind, LowRankFactors, Moment, Place
from saint.grafts._bases import MOMENTS_OF, busiest_coordinates, find_bases, moment, unit_vectors
from saint.grafts._forms import LinearForm
from saint.grafts._indices import is_blank, must_rise, smallest_dtype
from saint.grafts._least_squares import ETA, follow_gradient, output_rms
from saint.grafts._phi_options import REGROWN, Options as PhiOptions, form_of
from saint.grafts._thin import widen
from saint.grafts._walsh import draw_walsh_seed, walsh_bases
from saint.records import Site, SiteSort


@final
class Phi(Kind):
    """dW = s A Phi B, with A: (d_out, rank) and B: (rank, d_in) fixed and orthonormal, Phi: (rank, rank) zero at birth.

    **Bases.** What A and B are taken from:

    - `weight`: the principal singular vectors of the site's weight. LoRA-XS (arXiv:2405.17604) trains a dense Phi
      between U S and V: the same span, another parametrisation, for it leaves the singular values S in A. Training in
      this subspace is the idea of PiSSA (arXiv:2404.02948).
    - `weight_minor`: the last singular vectors, as in MiLoRA (arXiv:2406.09044): directions that the base uses least.
      Needs a full decomposition of the weight.
    - `random`: drawn at birth and stored.
    - `walsh`: rows of a Walsh-Hadamard matrix, with rows, columns and signs drawn from a seed. Only the seed is stored,
      so that a graft's file is about as small as its parameters (VeRA, arXiv:2310.11454, does so with Gaussian ones).
      Orthonormal where a side is a power of two; elsewhere the matrix is cut to the side, and its rows, of length 1,
      are only nearly orthogonal.
    - `coordinate`: columns of the identity, at the rows and columns whose crossings hold most of the weight's gradient:
      a small block of dW is trained, spread over the weight. Only the places are stored.
    - `activation`: the leading eigenvectors of the second moments of outputs and inputs on training text. Related: EVA
      (arXiv:2410.07170) takes those of inputs only, and CorDA (arXiv:2406.05223) decomposes W C, the weight times the
      inputs' second moment.
    - `gradient`: the leading singular vectors of the weight's gradient, as in LoRA-GA (arXiv:2407.05000).
    - `activation_gradient`: B from the inputs' second moment, A from that of the outputs' gradients.

    **Forms.** What Phi may be, and how many numbers it then takes:

    - `dense`: rank^2.
    - `diagonal`: rank.
    - `upper`: the entries on and above the diagonal, rank (rank + 1) / 2.
    - `block_diagonal`: blocks of `block_size`, rank block_size.
    - `low_rank`: U V of rank `inner`, 2 rank inner; U is zero at birth.
    - `kronecker`: P (x) Q with P of `factor` x `factor`, factor^2 + (rank / factor)^2; Q is zero at birth. KronA
      (arXiv:2212.10650) has such factors for the whole dW.
    - `walsh`: H diag(phi) H^T / rank with H Walsh-Hadamard, rank numbers; rank is a power of two.
    - `hadamard`: rank^2 for a dense Phi whose A Phi B multiplies the frozen weight entry by entry,
      dW = s (A Phi B) * W, as HiRA (OpenReview TwJrTz9cRS) does with LoRA's product. Such a change is of high rank: it
      can be folded, but no LoRA says the same. Unfolded, it costs one matrix of the weight's size per forward pass.

    **More.** `terms` sums that many A_i Phi_i B_i over bases that follow each other in the order of importance, so that
    all are orthogonal (with dense ones that is one term of form `block_diagonal`). `residual` adds that many single
    entries of dW, where the weight's gradient is largest (with `coordinate`, outside the block that is trained).
    `start = "least_squares"` begins with the Phi whose change of the outputs is nearest to their negative gradient,
    scaled to `eta`. `train_bases` trains A and B too. `scale_rows` also trains a factor for each output, as (IA)^3 does
    (arXiv:2205.05638). `complement` keeps A and B orthogonal to what the stack changes at the same weight, whatever the
    kinds of its grafts; a change of full rank leaves no complement, and is refused.

    A configuration in which more than a tenth of the numbers is redundant is refused.
    """

    reference: ClassVar[str] = "arXiv:2405.17604"
    formula: ClassVar[str] = (
        "terms rank^2 (form dense, fewer in others) + residual (+ d_out if scale_rows) "
        "(+ terms rank (d_in + d_out) if train_bases)"
    )
    effective_formula: ClassVar[str] = "as many, but for the products: low_rank, kronecker, train_bases"
    attaches_to: ClassVar[SiteSort] = "linear"
    can_fold: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"rank": 3},
        {"rank": 2, "basis": "random"},
        {"rank": 3, "basis": "weight_minor", "form": "upper"},
        {"rank": 4, "basis": "walsh", "form": "diagonal"},
        {"rank": 3, "basis": "activation", "start": "least_squares"},
        {"rank": 3, "basis": "gradient", "form": "diagonal", "start": "least_squares", "eta": 0.1},
        {"rank": 3, "basis": "activation_gradient"},
        {"rank": 4, "form": "block_diagonal", "block_size": 2},
        {"rank": 6, "form": "low_rank"},
        {"rank": 8, "form": "kronecker", "factor": 2},
        {"rank": 4, "basis": "walsh", "form": "walsh", "start": "least_squares"},
        {"rank": 2, "form": "hadamard", "start": "least_squares"},
        {"rank": 2, "residual": 5},
        {"rank": 1, "basis": "walsh", "form": "hadamard", "residual": 3},
        {"rank": 2, "terms": 2},
        {"rank": 2, "terms": 3, "basis": "random", "form": "upper", "start": "least_squares"},
        {"rank": 2, "terms": 2, "form": "walsh", "basis": "gradient", "residual": 2},
        {"rank": 1, "train_bases": True, "max_params": 100},
        {"rank": 1, "form": "diagonal", "basis": "walsh", "train_bases": True, "max_params": 100},
        {"rank": 2, "complement": True},
        {"rank": 3, "basis": "coordinate"},
        {"rank": 2, "terms": 2, "basis": "coordinate", "form": "diagonal", "start": "least_squares"},
        {"rank": 3, "basis": "coordinate", "residual": 9},
        {"rank": 2, "basis": "gradient", "scale_rows": True},
        {"rank": 2, "form": "hadamard", "residual": 3, "scale_rows": True},
    )

    Options: ClassVar[type] = PhiOptions

    a: Tensor
    b: Tensor
    seed: Tensor
    rows: Tensor
    columns: Tensor
    index: Tensor

    def __init__(self, site: Site, options: PhiOptions) -> None:
        super().__init__()
        _check_site(site, options)
        self._options, self._form = options, form_of(options)
        self._read_weight: Callable[[], Tensor | None] | None = None
        num = options.rank * options.terms
        for name, shape in self._form.shapes().items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        self._regrows = options.basis in REGROWN and not options.train_bases
        for name, basis in (("a", torch.zeros(site.d_out, num)), ("b", torch.zeros(num, site.d_in))):
            if options.train_bases:
                self.register_parameter(name, nn.Parameter(basis))
            else:
                self.register_buffer(name, basis, persistent=not self._regrows)
        if self._regrows:
            self._store_origin(site)
        if options.scale_rows:
            self.factor = nn.Parameter(torch.zeros(site.d_out))
        if options.residual:
            num_entries = site.d_out * site.d_in
            self.register_buffer("index", torch.zeros(options.residual, dtype=smallest_dtype(num_entries - 1)))
            self.values = nn.Parameter(torch.zeros(options.residual))
        nn.Module.register_load_state_dict_post_hook(self, _take_up_stored)

    def _store_origin(self, site: Site) -> None:
        """What the bases are made of again, in their place in the file."""
        if self._options.basis == "walsh":
            self.register_buffer("seed", torch.zeros((), dtype=torch.int32))
            return
        for name, side in (("rows", site.d_out), ("columns", site.d_in)):
            self.register_buffer(name, torch.arange(self.a.shape[1]).to(smallest_dtype(side - 1)))

    @override
    @classmethod
    def num_params(cls, site: Site, options: PhiOptions) -> int:
        numbers = sum(torch.Size(shape).numel() for shape in form_of(options).shapes().values())
        bases = options.rank * options.terms * (site.d_in + site.d_out) if options.train_bases else 0
        return numbers + bases + options.residual + (site.d_out if options.scale_rows else 0)

    @override
    @classmethod
    def default_lr(cls, site: Site, options: PhiOptions) -> float:
        return 0.04 * sqrt(site.d_out / options.rank)  # a column of A has length 1 however long it is

    @override
    @classmethod
    def num_effective(cls, site: Site, options: PhiOptions) -> int:
        """The dimension at nearly every point.

        With fixed bases A Phi B is as many-sided as Phi, and so is its entrywise product with a weight that has no
        zeros. With free ones it reaches every matrix of its rank. Single entries lie outside the span of either unless
        there is no room left.
        """
        form = form_of(options)
        reached = form.num_effective
        if options.train_bases:
            reached = form.reached_rank * (site.d_in + site.d_out - form.reached_rank)
        factors = site.d_out if options.scale_rows else 0
        return min(reached + options.residual + factors, site.d_in * site.d_out)

    @override
    @classmethod
    def wants(cls, options: PhiOptions) -> frozenset[Moment]:
        wanted = MOMENTS_OF.get(options.basis, frozenset())
        if options.residual:
            wanted |= {"gx"}
        if options.start == "least_squares":
            wanted |= {"xx", "gx"}
        return wanted

    @override
    @torch.no_grad()
    def bear(self, place: Place, generator: torch.Generator) -> None:
        num, basis = self.a.shape[1], self._options.basis
        if basis == "walsh":
            seed = draw_walsh_seed(generator, d_out=len(self.a), d_in=self.b.shape[1], num=num)
            self._take_walsh(seed)
            if self._regrows:
                self.seed.fill_(seed)
        elif basis == "coordinate":
            rows, columns = busiest_coordinates(moment(place, "gx"), num)
            self._take_coordinates(rows, columns)
            if self._regrows:
                self.rows.copy_(rows)
                self.columns.copy_(columns)
        else:
            sides = (len(self.a), self.b.shape[1])
            a, b = find_bases(basis, place, sides, num, generator, complement=self._options.complement)
            self.a.copy_(a)
            self.b.copy_(b)
        self._form.start(self._numbers(), generator)
        if self._options.residual:
            size = moment(place, "gx").abs()
            if basis == "coordinate" and self._regrows:
                size[self.rows.long()[:, None], self.columns.long()] = -1.0  # the numbers between the bases reach these
            self.index.copy_(size.flatten().topk(self._options.residual).indices.sort().values)

    @override
    @torch.no_grad()
    def begin(self, place: Place) -> FirstStep | None:
        """Set Phi to the least-squares step, scaled to `eta`; nothing for a start from zero.

        The step's direction is that of `follow_gradient`. Its size is such that over the tokens that were seen
        rms(dW x) = eta rms(W x), with W the frozen weight: the same share of a site's output at every site, however
        large its gradient.

        Raises:
            ConfigError: There are fewer than four tokens to each of the ranks, or more numbers than can be solved for.
        """
        if self._options.start == "zero":
            return None
        assert isinstance(self._form, LinearForm)  # the options refuse others
        assert place.signals is not None
        if (num_tokens := place.signals.num_tokens) < (needed := _TOKENS_PER_RANK * self.a.shape[1]):
            raise ConfigError(
                f"start least_squares needs {_TOKENS_PER_RANK} tokens to each of {self.a.shape[1]} ranks, {needed} in "
                f"all, got {num_tokens}; measure the signals on more text or lower the rank"
            )
        self.attach(place)
        weight, xx = self._weight(), moment(place, "xx")
        times = weight if self._options.form == "hadamard" else None
        phi = self.get_parameter("phi")
        phi.copy_(follow_gradient(self._form, self.a, self.b, xx, moment(place, "gx"), times=times).view_as(phi))
        if (moved := output_rms(self._change(), xx)) > 0:
            eta = ETA if self._options.eta is None else self._options.eta
            phi.mul_(eta * output_rms(weight, xx) / moved)
        return FirstStep(written=phi, is_open=self._options.eta is None)

    @property
    @override
    def uncounted_flops(self) -> int:
        return 2 * self._options.residual

    @override
    def attach(self, place: Place) -> None:
        self._read_weight = place.read_weight

    @override
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        changed = y * (1 + self.strength * self.factor) if self._options.scale_rows else y
        if self._options.form == "hadamard":
            changed = changed + F.linear(x, self.strength * self._change())
        else:
            h = F.linear(x, self.b).unflatten(-1, (self._options.terms, self._options.rank))
            h = self._form.apply(self._numbers(), h).flatten(-2)
            changed = changed + widen(self.strength * h, self.a)
        if not self._options.residual:
            return changed
        rows, columns = self._coordinates()
        return changed.index_add(-1, rows, self.strength * self.values * x[..., columns])

    @override
    def factors(self) -> LowRankFactors | None:
        if self._options.form == "hadamard" or self._options.residual or self._options.scale_rows:
            return None
        return LowRankFactors(up=self.strength * self._up(), down=self.b)

    @override
    def fold(
        self, weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None
    ) -> tuple[Tensor, Tensor | None]:
        if self._options.scale_rows:
            factor = 1 + self.strength * self.factor
            weight, bias = factor.unsqueeze(1) * weight, None if bias is None else factor * bias
        folded = weight + self.strength * self._change()
        if self._options.residual:
            folded = folded.index_put(self._coordinates(), self.strength * self.values, accumulate=True)
        return folded, bias

    def _numbers(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self._form.shapes()}

    def _up(self) -> Float[Tensor, "d_out ranks"]:
        """A Phi, the terms side by side."""
        a = self.a.unflatten(1, (self._options.terms, self._options.rank))
        return torch.einsum("oti,tij->otj", a, self._form.matrices(self._numbers())).flatten(1)

    def _change(self) -> Float[Tensor, "d_out d_in"]:
        """The matrix dW without strength and residual."""
        product = self._up() @ self.b
        return product * self._weight() if self._options.form == "hadamard" else product

    def _weight(self) -> Float[Tensor, "d_out d_in"]:
        assert self._read_weight is not None, "a graft sees the base when it is composed or attached"
        weight = self._read_weight()
        assert weight is not None  # the site is linear
        return weight.to(self.a)

    def _coordinates(self) -> tuple[Tensor, Tensor]:
        """Row and column of each entry of the residual."""
        index, d_in = self.index.long(), self.b.shape[1]
        return index // d_in, index % d_in

    @torch.no_grad()
    def _take_walsh(self, seed: int) -> None:
        a, b = walsh_bases(seed, d_out=len(self.a), d_in=self.b.shape[1], num=self.a.shape[1])
        self.a.copy_(a)
        self.b.copy_(b)

    @torch.no_grad()
    def _take_coordinates(self, rows: Tensor, columns: Tensor) -> None:
        self.a.copy_(unit_vectors(rows, len(self.a)))
        self.b.copy_(unit_vectors(columns, self.b.shape[1]).T)


_TOKENS_PER_RANK = 4  # with fewer, the step fits the noise of the tokens


def _check_site(site: Site, options: PhiOptions) -> None:
    """Refuse options that are too large for the site, or redundant there."""
    num, narrow = options.rank * options.terms, min(site.d_in, site.d_out)
    terms = f"in {options.terms} terms " if options.terms > 1 else ""
    if num > narrow:
        raise SiteError(
            f"rank {options.rank} {terms}exceeds {site.key}, which is {site.d_out} x {site.d_in}; lower the rank"
        )
    num_entries, where = site.d_in * site.d_out, ""
    if options.basis == "coordinate" and not options.train_bases:
        num_entries, where = num_entries - num**2, " outside the crossings of its rows and columns"
    if options.residual > num_entries:
        raise SiteError(f"residual {options.residual} exceeds the {num_entries} entries of {site.key}{where}; lower it")
    nominal, effective = Phi.num_params(site, options), Phi.num_effective(site, options)
    if options.max_params is not None and nominal > options.max_params:
        raise ConfigError(
            f"training the bases takes {nominal:,} parameters at {site.key}, and max_params is "
            f"{options.max_params:,}; lower the rank or raise max_params"
        )
    if 10 * nominal > 11 * effective:
        raise ConfigError(
            f"these options train {nominal:,} numbers at {site.key}, which reach no more than {effective:,} "
            f"dimensions; {_remedy(options)}"
        )


def _remedy(options: PhiOptions) -> str:
    if options.train_bases:
        return "lower the rank or leave the bases as they are"
    if options.form in ("low_rank", "kronecker"):
        return f"raise the rank{' or lower inner' if options.inner else ''}, or take the form dense"
    return "lower residual"


def _take_up_stored(part: Phi, _missing: Any) -> None:
    """Make again what the file leaves out, and refuse what no newborn could have had."""
    if part._regrows and part._options.basis == "walsh":
        if (seed := int(part.seed)) < 0:
            raise GraftFileError(f"the seed of the graft's bases is {seed}, expected 0 or more; fetch the file again")
        part._take_walsh(seed)
    elif part._regrows:
        for name, side in (("rows", len(part.a)), ("columns", part.b.shape[1])):
            places = getattr(part, name).long()
            if int(places.min()) < 0 or int(places.max()) >= side or len(places.unique()) < len(places):
                raise GraftFileError(
                    f"the graft's file names {name} of a weight that has {side:,} twice or outside it; fetch it again"
                )
        part._take_coordinates(part.rows.long(), part.columns.long())
    if part._options.residual and not is_blank(part):
        must_rise(part.index, len(part.a) * part.b.shape[1], "entries")
