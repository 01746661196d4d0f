"""Experts that were trained apart, composed into one model."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from saint import records
from saint.backbones import MixtureConfig, MixtureForCausalLM
from saint.composition._sharing import Sharing
from saint.errors import ConfigError, MixtureError
from saint.models import FrozenBase, config_and_tokenizer, freeze

Expert = FrozenBase | PreTrainedModel | str | Path


class _Said(NamedTuple):
    """What is known of an expert before its weights are there."""

    name: str
    config: Any
    tokenizer: str | None
    interface: str | None


def mix(
    experts: Sequence[Expert],
    combination: str = "posterior",
    *,
    names: Sequence[str] | None = None,
    prior: Sequence[float] | None = None,
    name: str = "",
) -> MixtureForCausalLM:
    """One model that lets every expert read the text and combines what they say of the next token.

    Experts are folders, hub names or models in memory, in any mixture, mixtures among them; all have one tokenizer.
    They are read one after the other, and what the experts read before hold already is not kept twice. Models in
    memory become parts of the mixture, are frozen, and give up tensors that another expert has too.

    Args:
        combination: "posterior" weighs each expert by how well it predicted the text so far (arXiv:2208.03306);
            "logit_mean" is the mean of their logits (arXiv:2507.07129v1), "probability_mean" that of their
            probabilities; "gate" learns the weights (doi:10.1162/neco.1991.3.1.79), and is "probability_mean" until
            it has learnt.
        names: What the experts are called; by default their folders, or "expert 1" and so on.
        prior: What each weighs before any text, above 0 and in sum 1; equal by default.
        name: What the mixture is called.

    Raises:
        MixtureError: The experts differ in vocabulary, tokenizer, frozen interface or number format; said before any
            weights are read, the last aside.
        ConfigError: The combination is unknown, or names or priors do not fit the experts.
        BaseModelError: A folder or name holds no model.
    """
    said = _agreeing(experts, names)
    config = MixtureConfig.of(
        [one.config for one in said],
        combination=combination,
        names=[one.name for one in said],
        prior=None if prior is None else list(prior),
        name=name,
        tokenizer_digest=said[0].tokenizer,
        interface_digest=_common(one.interface for one in said),
    )
    with torch.device("meta"):
        mixture = MixtureForCausalLM(config)
    if mixture.gate is not None:
        mixture.gate = type(mixture.gate)(config.hidden_size, config.num_experts)
    sharing = Sharing(mixture)
    for place, expert in enumerate(experts):
        mixture.experts[place] = model = _opened(expert)
        _must_have_format(said[place].name, model, mixture.experts[0])
        sharing.share()
    mixture.config.dtype = next(mixture.experts[0].parameters()).dtype
    mixture.experts.requires_grad_(requires_grad=False)
    return mixture.train(mode=False)


def average(experts: Sequence[Expert], *, prior: Sequence[float] | None = None) -> PreTrainedModel:
    """One model, of the experts' own architecture, whose weights are the mean of theirs.

    Experts that began as one model may gain by it; those trained from starts of their own are ruined.

    Args:
        prior: What each weighs, above 0 and in sum 1; equal by default.

    Raises:
        MixtureError: The experts differ in tokenizer, interface or architecture, so that their weights do not match.
        ConfigError: The weights do not fit the experts.

    Source:
        Wortsman et al. 2022, arXiv:2203.05482.
    """
    said = _agreeing(experts, None)
    weights = MixtureConfig.of([one.config for one in said], prior=None if prior is None else list(prior)).prior or []
    for one in said[1:]:
        _must_match(said[0], one)
    model: Any = _opened(experts[0])
    total = {key: _weighted(value, weights[0]) for key, value in model.state_dict().items()}
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    for place, expert in enumerate(experts[1:], start=1):
        other = _opened(expert).state_dict()
        if shapes != {key: value.shape for key, value in other.items()}:
            raise MixtureError(f"{said[place].name} has other tensors than {said[0].name}; mix them instead")
        for key, value in other.items():
            total[key] = _added(key, total[key], value, weights[place])
    found: PreTrainedModel = copy.deepcopy(model)
    formats = {key: value.dtype for key, value in model.state_dict().items()}
    found.load_state_dict({key: value.to(formats[key]) for key, value in total.items()})
    found.requires_grad_(requires_grad=False).train(mode=False)
    return found


def _weighted(tensor: torch.Tensor, weight: float) -> torch.Tensor:
    return tensor.double() * weight if tensor.is_floating_point() else tensor


def _added(key: str, total: torch.Tensor, tensor: torch.Tensor, weight: float) -> torch.Tensor:
    if tensor.is_floating_point():
        return total + tensor.double() * weight
    if not torch.equal(total, tensor):
        raise MixtureError(
            f"{key} holds whole numbers that differ between the experts, and has no mean; mix them instead"
        )
    return total


def _agreeing(experts: Sequence[Expert], names: Sequence[str] | None) -> list[_Said]:
    """What is known of each expert, once it is sure that they fit each other.

    Raises:
        MixtureError: They do not.
    """
    if len(experts) < 1 or (names is not None and len(names) != len(experts)):
        raise ConfigError(f"got {len(experts)} experts and {len(names or ())} names; give experts, and each one name")
    said = [_said(expert, number, names) for number, expert in enumerate(experts)]
    first = said[0]
    for one in said[1:]:
        if one.config.vocab_size != first.config.vocab_size:
            raise MixtureError(
                f"{one.name} has a vocabulary of {one.config.vocab_size:,} tokens, expected the "
                f"{first.config.vocab_size:,} of {first.name}; give experts of one tokenizer"
            )
    for what, digests in (
        ("tokenizer", [one.tokenizer for one in said]),
        ("frozen interface", [one.interface for one in said]),
    ):
        known = [(one.name, digest) for one, digest in zip(said, digests, strict=True) if digest is not None]
        for other, digest in known[1:]:
            if digest != known[0][1]:
                raise MixtureError(
                    f"{other} has the {what} {digest[:12]}, expected {known[0][1][:12]}, which {known[0][0]} has; give "
                    f"experts of one {what}"
                )
    return said


def _said(expert: Expert, number: int, names: Sequence[str] | None) -> _Said:
    if isinstance(expert, str | Path):
        config, tokenizer = config_and_tokenizer(str(expert))
        name = Path(expert).resolve().name if Path(expert).is_dir() else str(expert)
    else:
        config = (expert.model if isinstance(expert, FrozenBase) else expert).config
        tokenizer = expert.tokenizer if isinstance(expert, FrozenBase) else None
        name = f"expert {number + 1}"
    digest = records.tokenizer_digest(tokenizer) or getattr(config, "tokenizer_digest", None)
    return _Said(names[number] if names else name, config, digest, getattr(config, "interface_digest", None))


def _common(digests: Any) -> str | None:
    """What all say; None where one says nothing."""
    found = set(digests)
    return found.pop() if len(found) == 1 else None


def _opened(expert: Expert) -> PreTrainedModel:
    if isinstance(expert, str | Path):
        return freeze(str(expert)).model
    return expert.model if isinstance(expert, FrozenBase) else expert


def _must_have_format(name: str, model: nn.Module, first: nn.Module) -> None:
    """Refuse an expert in another number format: one file has one, so it would not come back as it was."""
    formats = [{one.dtype for one in part.parameters()} for part in (model, first)]
    if formats[0] != formats[1] or len(formats[0]) > 1:
        listed = ["/".join(sorted(str(one).removeprefix("torch.") for one in found)) for found in formats]
        raise MixtureError(
            f"{name} is in {listed[0]}, the first expert in {listed[1]}; convert the experts to one format"
        )


_MAY_DIFFER = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "name", "names")


def _must_match(first: _Said, other: _Said) -> None:
    """Refuse architectures whose weights mean different things."""
    plain = [one.config.to_dict() for one in (first, other)]
    for key in sorted({*plain[0], *plain[1]} - set(_MAY_DIFFER)):
        if key != "architectures" and plain[0].get(key) != plain[1].get(key):
            raise MixtureError(
                f"{other.name} has {key} {plain[1].get(key)}, expected {plain[0].get(key)}, which {first.name} has: "
                "weights of unequal architectures have no mean; take another combination"
            )
