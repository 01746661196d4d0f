"""Several models over one vocabulary as one Hugging Face model."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel, initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from typing_extensions import override

from saint.backbones._combine import (
    Evidence,
    log_evidence,
    log_probabilities,
    pooled_logits,
    pooled_probabilities,
    posterior_log_weights,
    running_mean,
)
from saint.backbones._mixture_cache import MixtureCache, parts_of, places_of
from saint.backbones._mixture_config import MixtureConfig
from saint.errors import ConfigError


@dataclass
class MixtureOutput(CausalLMOutputWithPast):
    """What a mixture answers; `hidden_states` holds one tensor, all experts' last hidden states beside each other."""

    expert_weights: Tensor | None = None
    """(B, T, N): what each expert weighs at each place that logits are given for; in each place 1 in sum."""


@final
class Gate(nn.Module):
    """What experts weigh, from the mean of what all of them have read: softmax(W LayerNorm(mean) + ln prior).

    W is zero at birth, so that an untrained gate leaves each expert its prior.

    Source:
        Jacobs, Jordan, Nowlan and Hinton 1991, doi:10.1162/neco.1991.3.1.79.
    """

    def __init__(self, width: int, num_experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_experts, width))
        self.bias = nn.Parameter(torch.zeros(num_experts))

    @override
    def forward(
        self, mean: Float[Tensor, "batch seq width"], prior: Float[Tensor, " experts"]
    ) -> Float[Tensor, "batch seq experts"]:
        """The experts' weights, as natural logarithms."""
        scaled = F.layer_norm(mean, mean.shape[-1:]).to(self.weight.dtype)
        return F.log_softmax(F.linear(scaled, self.weight, self.bias).float() + prior.log(), dim=-1)


@final
class MixtureForCausalLM(PreTrainedModel, GenerationMixin):
    """Experts that each read all of the text, and one distribution of the next token from what they say.

    The logits are natural logarithms of probabilities, up to a constant of each place. Experts do not learn: their
    parameters ask for no gradients unless somebody says so, and those of a gate are all that does.

    Raises:
        ConfigError: There is no expert, embeddings are given instead of tokens, or a cache is another model's.
    """

    config_class = MixtureConfig
    base_model_prefix = ""
    _supports_sdpa = True

    def __init__(self, config: MixtureConfig) -> None:
        super().__init__(config)
        if not config.num_experts:
            raise ConfigError(
                "a mixture needs experts, and its configuration has none; make one with saint.composition.mix"
            )
        self.experts = nn.ModuleList(map(AutoModelForCausalLM.from_config, config.expert_configs()))
        width = config.hidden_size if config.combination == "gate" else 0
        self.gate = Gate(width, config.num_experts) if width else None
        self.know_twins()
        self.post_init()  # type: ignore[no-untyped-call]

    def know_twins(self) -> None:
        """Take up what the configuration says of tensors that several names have."""
        self._tied_weights_keys = dict(self.config.shared)
        self.all_tied_weights_keys = dict(self.config.shared)

    @override
    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        return dict(self.config.shared)  # those inside of experts included

    @override
    def mark_tied_weights_as_initialized(self, loading_info: Any) -> None:
        for name in self.config.shared:  # of which some may be buffers, that the base class does not look among
            self.get_parameter_or_buffer(name)._is_hf_initialized = True

    @override
    def tie_weights(self, missing_keys: set[str] | None = None, recompute_mapping: bool = True) -> None:
        super().tie_weights(missing_keys, recompute_mapping)
        self.experts.requires_grad_(requires_grad=False)

    @override
    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As any model is loaded; and what experts check of themselves when they are loaded alone, they check here.

        Raises:
            BaseChangedError: An expert's frozen interface is not the one that its configuration names.
        """
        loaded: Any = super().from_pretrained(*args, **kwargs)
        for module in (loaded[0] if isinstance(loaded, tuple) else loaded).modules():
            check = getattr(module, "check_interface", None)
            if check is not None:
                check()
        return loaded

    @classmethod
    @override
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # its cache is its experts' caches, which they make themselves

    @override
    def train(self, mode: bool = True) -> "MixtureForCausalLM":
        """Put the gate into training mode; an expert only where one of its parameters learns."""
        super().train(mode)
        for expert in self.experts:
            expert.train(mode and any(one.requires_grad for one in expert.parameters()))
        return self

    @override
    def get_input_embeddings(self) -> nn.Module:
        """The first expert's."""
        found: nn.Module = self.experts[0].get_input_embeddings()  # type: ignore[operator]
        return found

    @override
    def forward(
        self,
        input_ids: Int[Tensor, "batch seq"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool = False,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> MixtureOutput:
        if input_ids is None or inputs_embeds is not None:
            raise ConfigError("a mixture reads tokens, for each expert has embeddings of its own; give input_ids alone")
        use_cache = bool(self.config.use_cache if use_cache is None else use_cache)
        parts = parts_of(past_key_values, len(self.experts))
        here, paid = places_of(attention_mask, input_ids.shape[1])
        whole = self.config.combination == "posterior"  # what is paid for each token has to be known
        asked: dict[str, Any] = {
            "attention_mask": attention_mask,
            "use_cache": use_cache,
            "logits_to_keep": 0 if whole else logits_to_keep,
            "output_hidden_states": output_hidden_states or self.gate is not None,
        }
        answers = [
            expert(input_ids, past_key_values=part, **asked, **_places(expert, position_ids))
            for expert, part in zip(self.experts, parts, strict=True)
        ]
        logits = torch.stack([one.logits for one in answers])  # (N, B, T, V)
        states = (_last_states(answers),) if asked["output_hidden_states"] else None
        past = _cache_of(past_key_values, answers) if use_cache or past_key_values is not None else None
        combined, log_weights = self._combined(logits, input_ids, states, here, paid, past, logits_to_keep)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=combined, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return MixtureOutput(
            loss=loss,
            logits=combined,
            past_key_values=past,
            hidden_states=states if output_hidden_states else None,
            expert_weights=log_weights.exp().expand(*combined.shape[:-1], -1),
        )

    def _combined(
        self,
        logits: Float[Tensor, "experts batch seq vocab"],
        tokens: Int[Tensor, "batch seq"],
        states: tuple[Tensor, ...] | None,
        here: Tensor | None,
        paid: Tensor | None,
        past: MixtureCache | None,
        logits_to_keep: int | Tensor,
    ) -> tuple[Float[Tensor, "batch kept vocab"], Float[Tensor, "*kept experts"]]:
        """One distribution for each place that is kept, and the logarithms of what each expert weighs in it."""
        prior = torch.tensor(self.config.prior, dtype=torch.float64, device=logits.device)
        if self.config.combination == "logit_mean":
            return pooled_logits(logits, prior), prior.log()
        log_weights = prior.log()
        if self.config.combination == "posterior":
            nats = log_evidence(logits, tokens, paid, None if past is None else past.evidence)
            if past is not None:
                past.evidence = Evidence(nats=nats[:, -1], next_token=log_probabilities(logits[:, :, -1]))
            log_weights = slice_logits_to_keep(posterior_log_weights(nats, prior), logits_to_keep)
            logits = slice_logits_to_keep(logits.flatten(0, 1), logits_to_keep).unflatten(0, logits.shape[:2])
        elif self.gate is not None:
            assert states is not None  # it was asked for
            mean, reading = running_mean(states[0], here, None if past is None else past.reading)
            if past is not None:
                past.reading = reading
            log_weights = self.gate(slice_logits_to_keep(mean, logits_to_keep), prior.float())
        return pooled_probabilities(logits, log_weights), log_weights

    @override
    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Gate):
            init.zeros_(module.weight)
            init.zeros_(module.bias)


def _places(expert: nn.Module, position_ids: Tensor | None) -> dict[str, Tensor]:
    """Positions for an expert that takes them; others count for themselves."""
    if position_ids is None or "position_ids" not in inspect.signature(expert.forward).parameters:
        return {}
    return {"position_ids": position_ids}


def _last_states(answers: Sequence[Any]) -> Float[Tensor, "batch seq width"]:
    return torch.cat([one.hidden_states[-1] for one in answers], dim=-1)


def _cache_of(past: Cache | None, answers: Sequence[Any]) -> MixtureCache:
    """The cache that is there, which the experts have gone on with, or a new one."""
    return past if isinstance(past, MixtureCache) else MixtureCache([one.past_key_values for one in answers])


AutoConfig.register("mixture", MixtureConfig)
AutoModelForCausalLM.register(MixtureConfig, MixtureForCausalLM)
