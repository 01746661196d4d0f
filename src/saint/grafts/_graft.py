import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import sqrt
from statistics import geometric_mean
from typing import Any, final

import torch
from safetensors import torch as safetensors_torch
from torch import Tensor, nn

from saint import config, discovery
from saint.errors import ConfigError, GraftFileError, SiteError
from saint.grafts._kind import Kind, Place
from saint.records import Candidate, Site
from saint.weights import AS_STORED, TensorSpec, check_weights


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
    first_step: tuple[tuple[float, float], ...] = ()
    """(scale, nats per token) of each length of a closed-form first step that was tried, with the loss on training text
    that it was not made from; the best was taken. Empty when there was no such step."""
    earlier_tokens: int = 0
    """Tokens that what it went on from had learnt from."""
    strength: float = 1.0
    """What its change was multiplied by as it learnt, and is multiplied by at full strength."""
    birth_tokens: int = 0
    """Tokens of training text that what it was born from was measured on, with those that a closed-form first step was
    tried on."""

    @property
    def all_tokens(self) -> int:
        """Tokens learnt from, those before and those that it was born from included."""
        return self.earlier_tokens + self.birth_tokens + self.train_tokens

    @property
    def first_scale(self) -> float | None:
        """What its closed-form first step was multiplied by; 0.0 for one that helped at no length, None for none."""
        return min(self.first_step, key=lambda tried: tried[1], default=(None, 0.0))[0]

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
        self._parts: Any = nn.ModuleList(parts.values())
        self._strength: Tensor
        self.register_buffer("_strength", torch.ones(()))

    @property
    def parts(self) -> dict[str, Kind]:
        """Site key -> what is attached there."""
        return {site.key: part for site, part in zip(self.candidate.sites, self._parts, strict=True)}

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
        return float(self._strength)

    def set_strength(self, strength: float) -> None:
        """Multiply the whole change by `strength` instead of what it was multiplied by."""
        for shared in (self._strength, *(part.strength for part in self._parts)):
            shared.fill_(strength)

    def to_bytes(self) -> bytes:
        """The weights as safetensors; equal weights give equal bytes.

        Tensors of the same name in several parts stand end to end in one flat tensor; their shapes follow from the
        candidate.
        """
        flat = {name: [tensor.flatten() for tensor in there.values()] for name, there in _packed(self).items()}
        return safetensors_torch.save({name: torch.cat(tensors).cpu() for name, tensors in flat.items()})

    @property
    def digest(self) -> str:
        """SHA-256 of `to_bytes`: what the registry knows the graft by."""
        return sha256(self.to_bytes()).hexdigest()


def grow_from(
    candidate: Candidate, *, places: Mapping[str, Place] | None = None, weights: bytes | None = None
) -> Graft:
    """The graft that `candidate` describes: newborn from its `places`, or as it was when it gave `weights`.

    Args:
        places: Site key -> what is there, for a newborn; not needed with `weights`, whose file holds all of a graft.

    Raises:
        UnknownNameError: No kind has that name.
        ConfigError: The kind has no such option.
        SiteError: The kind cannot be at one of the sites.
        GraftFileError: The weights are not a graft of this candidate, or not finite.
    """
    graft = _blank(candidate)
    if weights is not None:
        _load(graft, weights)
        return graft
    for index, (key, part) in enumerate(graft.parts.items()):
        if places is None or key not in places:
            raise SiteError(f"a newborn is born from what is at its sites, and nothing was given for {key}")
        part.bear(places[key], chance_of(candidate.seed, index))
    return graft


def _blank(candidate: Candidate) -> Graft:
    """All zeros."""
    parts: dict[str, Kind] = {}
    for site in candidate.sites:
        kind, options = kind_and_options(candidate.kind, candidate.options, site)
        if site.sort != kind.attaches_to:
            raise SiteError(f"{candidate.kind} attaches to {kind.attaches_to} sites; {site.key} is a {site.sort} site")
        parts[site.key] = kind(site, options)
    if not parts or len(parts) != len(candidate.sites):
        raise SiteError(f"a candidate names each of its sites once, and at least one; got {len(candidate.sites)} names")
    return Graft(candidate, parts)


def assemble(candidate: Candidate, state: Mapping[str, Mapping[str, Tensor]], *, strength: float = 1.0) -> Graft:
    """The graft that `candidate` describes, with the parts' state from somewhere else than a graft's file.

    Args:
        state: Site key -> name in the part's state -> tensor, in the dtype that the part has it in.

    Raises:
        GraftFileError: The state is not that of such a graft, or not finite.
    """
    graft = _blank(candidate)
    for key, part in graft.parts.items():
        wanted, given = part.state_dict(), state.get(key, {})
        if differing := sorted(wanted.keys() ^ given.keys()):
            raise GraftFileError(f"{key} has {', '.join(wanted)}, and {differing[0]!r} is missing or one too many")
        for name, tensor in given.items():
            if (tensor.shape, tensor.dtype) != (wanted[name].shape, wanted[name].dtype):
                raise GraftFileError(
                    f"{key}: {name} is {tensor.dtype} {tuple(tensor.shape)}, expected {wanted[name].dtype} "
                    f"{tuple(wanted[name].shape)}"
                )
            if not torch.isfinite(tensor).all():
                raise GraftFileError(f"{key}: {name} holds values that are not finite; such a graft is never composed")
        part.load_state_dict(given)
    graft.set_strength(strength)
    return graft


def kind_and_options(name: str, options: Mapping[str, Any], site: Site | None = None) -> tuple[Any, Any]:
    """The class of a kind, at `site` if there is one, and its options, checked.

    Args:
        options: What is chosen; under `at`, role or site key -> what is chosen otherwise there.
        site: Where the options are to hold; without it what holds where `at` says nothing.

    Raises:
        UnknownNameError: No kind has that name.
        ConfigError: The kind has no such option, or not with such a value.
    """
    kind: Any = discovery.find("grafts", name, Kind)
    chosen = {key: value for key, value in options.items() if key != "at"}
    elsewhere = options.get("at", {})
    if not isinstance(elsewhere, Mapping) or not all(isinstance(other, Mapping) for other in elsewhere.values()):
        raise ConfigError(f"options of {name}: expected a table of tables at 'at', got {elsewhere!r}")
    for key in (site.role, site.key) if site is not None else ():
        chosen |= elsewhere.get(key, {})
    if site is None:
        for key, other in elsewhere.items():
            config.build({**chosen, **other}, kind.Options, where=f"options of {name} at {key}")
    there = kind if site is None else kind.at(site)
    return there, config.build(chosen, kind.Options, where=f"options of {name}")


def check_at(kind: str, options: Mapping[str, Any], sites: Iterable[Site]) -> None:
    """See to it that what `options` choose otherwise under `at`, they choose for a role or a key of these sites.

    Args:
        sites: Of any sort; only those of the sort that the kind attaches to count.

    Raises:
        UnknownNameError: No kind has that name.
        ConfigError: The kind has no such option.
        SiteError: There is no such role or key; what is under it would be without effect.
    """
    sort = kind_and_options(kind, options)[0].attaches_to
    fitting = [site for site in sites if site.sort == sort]
    if unknown := set(options.get("at", {})) - {name for site in fitting for name in (site.role, site.key)}:
        raise SiteError(
            f"no {sort} site has the role or key {min(unknown)!r}, which the options of kind {kind} name under 'at'; "
            f"the roles are {', '.join(sorted({site.role for site in fitting}))}"
        )


def num_params(kind: str, options: Mapping[str, Any], sites: Sequence[Site]) -> int:
    """What a graft would train at `sites`, before anything is built."""
    priced = ((site, *kind_and_options(kind, options, site)) for site in sites)
    return sum(found.num_params(site, chosen) for site, found, chosen in priced)


def num_bytes(kind: str, options: Mapping[str, Any], sites: Sequence[Site]) -> int:
    """The length of the file of a graft at `sites`, before anything is built.

    A safetensors file is eight bytes, a header in JSON that is filled up to a multiple of eight, and the tensors.

    Raises:
        UnknownNameError: No kind has that name.
        ConfigError: The kind has no such option.
        SiteError: The kind cannot be at one of the sites.
    """
    with torch.device("meta"):  # which has shapes and no numbers
        graft = _blank(Candidate(sites=tuple(sites), kind=kind, options=options))
    packed = [
        (list(_DTYPES).index(dtype), name, sum(map(torch.numel, tensors.values())), dtype)
        for name, tensors in _packed(graft).items()
        for dtype in {tensor.dtype for tensor in tensors.values()}
    ]
    header, end = {}, 0
    for _, name, num, dtype in sorted(packed, key=lambda one: one[:2]):
        begin, end = end, end + num * dtype.itemsize
        header[name] = {"dtype": _DTYPES[dtype], "shape": [num], "data_offsets": [begin, end]}
    length = len(json.dumps(header, separators=(",", ":")).encode())
    return 8 + -(-length // 8) * 8 + end


def default_lr(kind: str, options: Mapping[str, Any], sites: Sequence[Site]) -> float:
    """The peak learning rate for a graft that is trained at `sites` together.

    The geometric mean of the sites' own, over the root of their number: each site changes the loss, and the changes add
    up. Rank and width are the kinds' business. What was measured, and where it fails, is in
    docs/howto/grow-your-model.md.

    Raises:
        UnknownNameError: No kind has that name.
        ConfigError: The kind has no such option.
        SiteError: There are no sites.
    """
    if not sites:
        raise SiteError("a learning rate is that of a graft at its sites, and there are none; name at least one")
    found = [(site, *kind_and_options(kind, options, site)) for site in sites]
    return geometric_mean([there.default_lr(site, chosen) for site, there, chosen in found]) / sqrt(len(sites))


def chance_of(seed: int, index: int) -> torch.Generator:
    """What a newborn's part number `index` is born from: parts of one graft start apart from each other."""
    return torch.Generator().manual_seed(int.from_bytes(sha256(f"{seed}:{index}".encode()).digest()[:7]))


_DTYPES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""As safetensors calls them, in the order in which it writes them."""


def _packed(graft: Graft) -> dict[str, dict[str, Tensor]]:
    """Name in the file -> the tensors that stand there end to end, in the order of the parts, by their own names.

    Each tensor of a safetensors file costs a line of its header; a graft of many small parts would be mostly header.
    """
    named: dict[tuple[str, torch.dtype], dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in graft.state_dict().items():
        named[name.removeprefix("_parts.").lstrip("0123456789._"), tensor.dtype][name] = tensor
    dtypes = Counter(name for name, _ in named)
    return {
        name if dtypes[name] == 1 else f"{name}.{dtype}".replace("torch.", ""): tensors
        for (name, dtype), tensors in named.items()
    }


def _spec(together: Mapping[str, Tensor]) -> TensorSpec:
    """Of tensors of one dtype that stand end to end."""
    dtype, *_ = {tensor.dtype for tensor in together.values()}
    return TensorSpec(dtype=_DTYPES[dtype], shape=(sum(map(torch.numel, together.values())),))


def _load(graft: Graft, weights: bytes) -> None:
    """Nothing of safetensors' own reads what was not checked."""
    wanted = _packed(graft)
    check_weights(weights, expected={name: _spec(there) for name, there in wanted.items()}, caps=AS_STORED)
    found = safetensors_torch.load(weights)
    state = {}
    for name, there in wanted.items():
        sizes = [tensor.numel() for tensor in there.values()]
        for (inner, tensor), values in zip(there.items(), found[name].split(sizes), strict=True):
            state[inner] = values.view(tensor.shape)
    graft.load_state_dict(state)
    graft.set_strength(graft.strength)
