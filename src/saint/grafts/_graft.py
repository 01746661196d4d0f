from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple, final

import safetensors
import torch
from safetensors import torch as safetensors_torch
from torch import Tensor, nn

from saint import config, discovery
from saint.errors import GraftFileError, SiteError
from saint.grafts._kind import Kind
from saint.records import Candidate, Site


class Birth(NamedTuple):
    """What a newborn graft may look at."""

    weight_of: Callable[[Site], Tensor | None]
    """The frozen weight (d_out, d_in) of a linear site; None at a block."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """How a graft came by its weights."""

    train_tokens: int
    """Tokens that it learnt from until it stopped."""
    select_bpb: tuple[tuple[int, float], ...]
    """(tokens learnt from, bits per byte on *select*) at each evaluation."""
    best_tokens: int
    """Tokens learnt from at the best evaluation, whose weights were kept."""
    time_s: float

    @property
    def best_bpb(self) -> float | None:
        """The best evaluation on *select*; None when there was none."""
        return min((bpb for _, bpb in self.select_bpb), default=None)


@final
class Graft(nn.Module):
    """A candidate with weights: one part per site, one file, one decision."""

    history: History | None = None
    """How it was trained; None for a newborn and for one that was read back."""

    def __init__(self, candidate: Candidate, parts: Mapping[str, Kind]) -> None:
        super().__init__()
        self.candidate = candidate
        self._parts = nn.ModuleList(parts.values())

    @property
    def parts(self) -> dict[str, Kind]:
        """Site key -> what is attached there."""
        return {site.key: part for site, part in zip(self.candidate.sites, self._parts, strict=True)}  # type: ignore[misc]

    @property
    def num_params(self) -> int:
        """Trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def foldable(self) -> bool:
        """Whether every part can be folded into its site's weight."""
        return all(part.can_fold for part in self.parts.values())

    @property
    def strength(self) -> float:
        """What the whole change is multiplied by."""
        return float(next(iter(self.parts.values())).strength)

    def set_strength(self, strength: float) -> None:
        """Multiply the whole change by `strength` instead of what it was multiplied by."""
        for part in self.parts.values():
            part.strength.fill_(strength)

    def to_bytes(self) -> bytes:
        """The weights as safetensors; equal weights give equal bytes."""
        tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in self.state_dict().items()}
        return safetensors_torch.save(tensors)

    @property
    def digest(self) -> str:
        """SHA-256 of `to_bytes`: what the registry knows the graft by."""
        return sha256(self.to_bytes()).hexdigest()


def grow_from(candidate: Candidate, *, birth: Birth | None = None, weights: bytes | None = None) -> Graft:
    """The graft that `candidate` describes: newborn, or as it was when it gave `weights`.

    Args:
        birth: What a newborn may look at; not needed with `weights`, since the file holds all of a graft.

    Raises:
        UnknownNameError: No kind has that name.
        ConfigError: The kind has no such option.
        SiteError: The kind cannot be at one of the sites.
        GraftFileError: The weights are not a graft of this candidate, or not finite.
    """
    kind, options = kind_and_options(candidate.kind, candidate.options)
    parts = {}
    for index, site in enumerate(candidate.sites):
        if site.sort != kind.attaches_to:
            raise SiteError(f"{candidate.kind} attaches to {kind.attaches_to} sites; {site.key} is a {site.sort} site")
        parts[site.key] = part = kind(site, options)
        if weights is None:
            generator = torch.Generator().manual_seed(_part_seed(candidate.seed, index))
            part.bear(birth.weight_of(site) if birth else None, generator)
    if not parts or len(parts) != len(candidate.sites):
        raise SiteError(f"a candidate names each of its sites once, and at least one; got {len(candidate.sites)} names")
    graft = Graft(candidate, parts)
    if weights is not None:
        _load(graft, weights)
    return graft


def kind_and_options(name: str, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """The class of a kind and its options, checked.

    Raises:
        UnknownNameError: No kind has that name.
        ConfigError: The kind has no such option, or not with such a value.
    """
    kind: Any = discovery.find("grafts", name, Kind)
    return kind, config.build(options, kind.Options, where=f"options of {name}")


def _part_seed(seed: int, index: int) -> int:
    """Parts of one graft start apart from each other."""
    return int.from_bytes(sha256(f"{seed}:{index}".encode()).digest()[:7])


def _load(graft: Graft, weights: bytes) -> None:
    wanted = graft.state_dict()
    try:
        found = safetensors_torch.load(weights)
    except (safetensors.SafetensorError, ValueError) as error:
        raise GraftFileError(f"the graft's file is not safetensors ({error}); fetch it again") from error
    if differing := sorted(wanted.keys() ^ found.keys()):
        raise GraftFileError(f"the graft's file and its record disagree about {differing[0]!r}; fetch it again")
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
            raise GraftFileError(
                f"{name} is {tensor.dtype} {tuple(tensor.shape)}, expected "
                f"{wanted[name].dtype} {tuple(wanted[name].shape)}; this file belongs to another candidate"
            )
        if not torch.isfinite(tensor).all():
            raise GraftFileError(f"{name} holds values that are not finite; such a graft is never composed")
    graft.load_state_dict(found)
