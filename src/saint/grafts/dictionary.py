"""A change of some blocks of a weight, each a multiple of a block from a small dictionary."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import shake_256
from math import sqrt
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import override

from saint.errors import ConfigError, SiteError
from saint.grafts import Kind, Moment, Place
from saint.grafts._indices import is_blank, must_lie_inside, must_rise, smallest_dtype
from saint.records import Site, SiteSort


@final
class Dictionary(Kind):
    """dW[block p] = s scales_p codebook[code_p] at `blocks` chosen side x side blocks of the weight, 0 elsewhere.

    codebook: (codes, side, side) is trained from zero, and so is scales: (blocks,) from what the loss's gradient says.
    The blocks are those where that has most energy on training text; their gradients, up to sign and size, are
    clustered into `codes` directions, and a block's scale is what its gradient has of its cluster's direction, the
    mean size being 1. So the first step of a code already goes down the gradient of all its blocks. (Scales of zero and
    codes of unit norm learn as much only at ten times the learning rate that other kinds take.) `side` must divide
    both sides of the weight. It is vector quantisation, of a change rather than of a weight.

    With `codebook_seed` the codebook is fixed instead: random signs / side, the same to the bit on every machine for
    the same seed, side and number of codes. It is not stored, and parts and grafts with the same seed share it; a
    codebook that is trained belongs to the part, one for each site. Each block takes the code that its gradient is most
    parallel to, and scales are zero at birth. The file then holds two small integers and a scale for each block.
    """

    reference: ClassVar[str] = "SAINT-G"
    formula: ClassVar[str] = "blocks + codes side^2; blocks with codebook_seed"
    effective_formula: ClassVar[str] = "blocks + codes (side^2 - 1); blocks with codebook_seed"
    attaches_to: ClassVar[SiteSort] = "linear"
    can_fold: ClassVar[bool] = True
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"side": 4, "blocks": 5, "codes": 2},
        {"side": 4, "blocks": 6, "codes": 16, "codebook_seed": 7},
        {"side": 2, "blocks": 32, "codes": 3},
        {"side": 8, "blocks": 2, "codes": 2},
    )

    @final
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Options:
        """How the weight is cut, and how much of it changes in how many ways."""

        side: int
        """Rows and columns of a block."""
        blocks: int
        """How many blocks change at each site."""
        codes: int
        """Blocks in the dictionary; no more than `blocks` when they are trained."""
        codebook_seed: int | None = None
        """Chooses a fixed dictionary that is not stored; none for one of its own that is trained."""

        def __post_init__(self) -> None:
            """Refuse an empty change, and codes that no block could use."""
            for name in ("side", "blocks", "codes"):
                if (value := getattr(self, name)) < 1:
                    raise ConfigError(f"{name} is {value}; it must be at least 1")
            if self.codebook_seed is None and self.codes > self.blocks:
                raise ConfigError(
                    f"codes is {self.codes} and blocks is {self.blocks}, so some codes would never be used; "
                    "choose fewer codes, or a codebook_seed"
                )

    places: Tensor
    """Of each block, its place in row-major order."""
    codes: Tensor
    """Of each block, its code."""
    codebook: Tensor

    def __init__(self, site: Site, options: Options) -> None:
        super().__init__()
        if site.d_in % options.side or site.d_out % options.side:
            raise SiteError(
                f"side {options.side} does not divide {site.key}, which is {site.d_out} x {site.d_in}; choose another"
            )
        self._grid = (site.d_out // options.side, site.d_in // options.side)
        num_places = self._grid[0] * self._grid[1]
        if options.blocks > num_places:
            raise SiteError(f"blocks is {options.blocks}, and {site.key} has {num_places} of that side; choose fewer")
        self._is_dense = options.blocks * options.side**2 > _LARGEST_SHARE_GATHERED * site.d_in * site.d_out
        self.register_buffer("places", torch.zeros(options.blocks, dtype=smallest_dtype(num_places - 1)))
        self.register_buffer("codes", torch.zeros(options.blocks, dtype=smallest_dtype(options.codes - 1)))
        self.scales = nn.Parameter(torch.zeros(options.blocks))
        if options.codebook_seed is None:
            self.codebook = nn.Parameter(torch.zeros(options.codes, options.side, options.side))
        else:
            self.register_buffer("codebook", _seeded_codebook(options), persistent=False)
        nn.Module.register_load_state_dict_post_hook(self, _check_stored)

    @override
    @classmethod
    def num_params(cls, site: Site, options: Options) -> int:
        return options.blocks + (options.codes * options.side**2 if options.codebook_seed is None else 0)

    @override
    @classmethod
    def default_lr(cls, site: Site, options: Options) -> float:
        return 0.03 * sqrt(site.d_out * 80 / (options.blocks * options.side**2))  # as single entries would

    @override
    @classmethod
    def num_effective(cls, site: Site, options: Options) -> int:
        # What a code is multiplied by, its blocks' scales can be divided by.
        return cls.num_params(site, options) - (options.codes if options.codebook_seed is None else 0)

    @override
    @classmethod
    def wants(cls, options: Options) -> frozenset[Moment]:
        return frozenset(("gx",))

    @override
    @torch.no_grad()
    def bear(self, place: Place, generator: torch.Generator) -> None:
        assert place.signals is not None  # a newborn gets what its kind wants
        assert place.signals.gx is not None
        side = self.codebook.shape[1]
        num_rows, num_columns = self._grid
        cut = place.signals.gx.view(num_rows, side, num_columns, side).transpose(1, 2).flatten(0, 1).flatten(1)
        chosen = cut.square().sum(dim=1).topk(len(self.scales)).indices.sort().values
        directions = nn.functional.normalize(cut[chosen], dim=1)
        if isinstance(self.codebook, nn.Parameter):
            centres, nearest = _clustered(directions, len(self.codebook))
            shares = (cut[chosen] * centres[nearest]).sum(dim=1)
            self.scales.copy_(torch.where(shares == 0, 1.0, shares / shares.abs().mean()))
        else:
            nearest = (directions @ self.codebook.flatten(1).T).abs().argmax(dim=1)
        self.places.copy_(chosen)
        self.codes.copy_(nearest)

    @override
    def forward(
        self, x: Float[Tensor, "*batch d_in"], y: Float[Tensor, "*batch d_out"]
    ) -> Float[Tensor, "*batch d_out"]:
        if self._is_dense:
            return y + nn.functional.linear(x, self._change())
        num_columns = self._grid[1]
        pieces = x.unflatten(-1, (num_columns, -1)).index_select(-2, self.places.long() % num_columns)
        terms = torch.einsum("...pi,poi->...po", pieces, self._blocks())
        changed: Tensor = y.unflatten(-1, (self._grid[0], -1)).index_add(-2, self.places.long() // num_columns, terms)
        return changed.flatten(-2)

    @override
    def fold(
        self, weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None
    ) -> tuple[Tensor, Tensor | None]:
        return weight + self._change(), bias

    def _change(self) -> Float[Tensor, "d_out d_in"]:
        """The whole change of the weight."""
        num_rows, num_columns = self._grid
        blocks = self._blocks()
        side = blocks.shape[1]
        cut = blocks.new_zeros(num_rows * num_columns, side, side).index_add(0, self.places.long(), blocks)
        return cut.view(num_rows, num_columns, side, side).transpose(1, 2).reshape(num_rows * side, num_columns * side)

    def _blocks(self) -> Float[Tensor, "blocks side side"]:
        """The change of each chosen block, strength included."""
        chosen: Tensor = self.codebook.index_select(0, self.codes.long())
        return chosen * (self.strength * self.scales).view(-1, 1, 1)


def _check_stored(part: Dictionary, _missing: Any) -> None:
    """Refuse blocks and codes that no newborn could have had."""
    if is_blank(part):
        return
    num_rows, num_columns = part._grid
    must_rise(part.places, num_rows * num_columns, "blocks of a weight")
    must_lie_inside(part.codes, len(part.codebook), "codes")


def _seeded_codebook(options: Dictionary.Options) -> Float[Tensor, "codes side side"]:
    """Random signs / side, from a hash of the seed, which is the same everywhere; every code has norm 1."""
    size = options.codes * options.side**2
    digest = shake_256(f"saint dictionary {options.codebook_seed}".encode()).digest(-(-size // 8))
    signs = np.unpackbits(np.frombuffer(digest, dtype=np.uint8))[:size].astype(np.float32) * 2 - 1
    return torch.from_numpy(signs / options.side).view(options.codes, options.side, options.side)


_NUM_ROUNDS = 10
_LARGEST_SHARE_GATHERED = 1 / 64  # of the weight: beyond, moving pieces of the stream costs more than a whole product


def _clustered(
    directions: Float[Tensor, "blocks entries"], count: int
) -> tuple[Float[Tensor, "count entries"], Int[Tensor, " blocks"]]:
    """`count` unit vectors near which, up to sign, the directions lie, and which of them is each direction's.

    Spherical k-means whose members count up to their sign. It starts from the directions that those before explain
    least; the centre of a cluster is its leading right singular vector. Nothing in it is left to chance.
    """
    centres = directions[:1]
    while len(centres) < count:
        explained = (directions @ centres.T).abs().amax(dim=1)
        centres = torch.cat([centres, directions[explained.argmin()].unsqueeze(0)])
    nearest = _nearest(directions, centres)
    for _ in range(_NUM_ROUNDS):
        members = (directions[nearest == code] for code in range(count))
        centres = torch.stack([torch.linalg.svd(there, full_matrices=False).Vh[0] for there in members])
        nearest = _nearest(directions, centres)
    return centres, nearest


def _nearest(
    directions: Float[Tensor, "blocks entries"], centres: Float[Tensor, "count entries"]
) -> Int[Tensor, " blocks"]:
    """Each direction's centre, up to sign; a centre that would be nobody's gets the worst explained that it can."""
    likeness, nearest = (directions @ centres.T).abs().max(dim=1)
    sizes = torch.bincount(nearest, minlength=len(centres))
    worst_first = iter(likeness.argsort().tolist())
    for code in (sizes == 0).nonzero().flatten().tolist():
        moved = next(index for index in worst_first if sizes[nearest[index]] > 1)
        sizes[nearest[moved]] -= 1
        sizes[code] += 1
        nearest[moved] = code
    return nearest
