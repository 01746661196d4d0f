"""The DRM decoder as a Hugging Face model."""

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel, initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from typing_extensions import override

from saint.backbones._config import DrmConfig, warn_of_parity
from saint.backbones._decoder import DimensionalGate, DrmAttention, DrmBlock, Shared
from saint.backbones._entrance import embedded
from saint.backbones._geometry import GravityField, MetricNet, ToManifold, anchors_at_birth, homes, rotation
from saint.errors import ConfigError

_OPEN = 3.0  # whose sigmoid is 0.95: a gate that halves all embeddings at birth delays what is learnt first


@dataclass
class DrmOutput(CausalLMOutputWithPast):
    """What the model answers; with labels, `loss` is the cross-entropy and the weighted penalties together.

    The penalties are means over tokens, heads and layers, of the metric's factor U (D, R) before gravity; in mode
    "parity" they are those of the first layer's first head.
    """

    cross_entropy: Tensor | None = None
    """Nats per token."""
    metric_size: Tensor | None = None
    """|U|^2, the sum of squares."""
    orthogonality: Tensor | None = None
    """The mean square of U^T U - I."""
    spread: Tensor | None = None
    """The squared distance of the variance of U over tokens from `spread_target`."""


@final
class DrmForCausalLM(PreTrainedModel, GenerationMixin):
    """A decoder whose attention scores are squared distances on a learned manifold, with a tied head.

    Tensors have their published names, so that a published state dict loads in mode "parity".

    Raises:
        DataError: A token id is not in the vocabulary.
        ConfigError: In mode "parity", there is padding or a cache.
    """

    config_class = DrmConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["DrmBlock"]  # noqa: RUF012 - so is the base class's
    _supports_sdpa = True
    _tied_weights_keys = {"lm_head.weight": "token_emb.weight"}  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [r"rope\.inv_freq$"]  # noqa: RUF012
    _input_embed_layer = "token_emb"

    def __init__(self, config: DrmConfig) -> None:
        super().__init__(config)
        warn_of_parity(config)
        self.token_emb = nn.Embedding(config.vocab_size, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.dim_gate = DimensionalGate(config) if config.variable_dim else None
        self.metric_net = MetricNet(config)
        self.gravity_field = GravityField(config) if config.gravity_enabled else None
        self.anchors = nn.Parameter(anchors_at_birth(config.n_anchors, config.d_manifold))
        self.blocks = nn.ModuleList(DrmBlock(config, index) for index in range(config.n_layers))
        self.final_norm = nn.RMSNorm(config.d_model, eps=config.rms_norm_eps)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

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
    ) -> DrmOutput:
        hidden = self._embed(input_ids, inputs_embeds)
        use_cache = self.config.use_cache if use_cache is None else use_cache
        past = self._cache(past_key_values, use_cache=bool(use_cache))
        shared = self._shared(hidden, attention_mask, position_ids, past, penalised=labels is not None)
        seen, penalties = [hidden], hidden.new_zeros(3, dtype=torch.float32)
        for block in self.blocks:
            hidden, *penalty = block(hidden, shared=shared, past_key_values=past)
            penalties = sum(penalty, penalties)  # none where something else stands in for a block
            seen.append(hidden)
        hidden = self.final_norm(hidden)
        logits = self.lm_head(slice_logits_to_keep(hidden, logits_to_keep))
        losses: dict[str, Any] = {} if labels is None else self._losses(logits, labels, penalties, kwargs)
        states = (*seen[:-1], hidden) if output_hidden_states else None
        return DrmOutput(logits=logits, past_key_values=past, hidden_states=states, **losses)

    def _embed(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        found = embedded(self.token_emb, input_ids, inputs_embeds, vocab_size=self.config.vocab_size)
        hidden: Tensor = self.dropout(found)
        return hidden if self.dim_gate is None else self.dim_gate(hidden)

    def _cache(self, past: Cache | None, *, use_cache: bool) -> Cache | None:
        if self.config.is_parity:
            if past is not None or use_cache:
                raise ConfigError(
                    "mode 'parity' cannot keep keys and values, for a new token changes what earlier ones gave; "
                    "leave use_cache out, or take mode 'causal'"
                )
            return None
        return DynamicCache(config=self.config) if use_cache and past is None else past

    def _shared(
        self, hidden: Tensor, mask: Tensor | None, positions: Tensor | None, past: Cache | None, *, penalised: bool
    ) -> Shared:
        num_seen, length = (past.get_seq_length() if past is not None else 0), hidden.shape[1]
        if positions is None:
            positions = torch.arange(num_seen, num_seen + length, device=hidden.device)[None]
        counts = None if mask is None or mask.ndim != 2 or bool(mask.all()) else mask[:, None, -length:, None].bool()
        if counts is not None and self.config.is_parity:
            raise ConfigError("mode 'parity' takes means over whole rows, but some are padded; give rows of one length")
        allowed: Any = create_causal_mask(self.config, hidden, mask, past, positions)
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        return Shared(
            metric_net=self.metric_net,
            gravity_field=self.gravity_field,
            anchors=self.anchors,
            rotation=rotation(positions.to(wide), self.config.rotated_dim, self.config.rotary_base or 1.0),
            mask=allowed,
            counts=counts,
            penalised=penalised,
        )

    def _losses(self, logits: Tensor, labels: Tensor, penalties: Tensor, kwargs: dict[str, Any]) -> dict[str, Tensor]:
        cross_entropy = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        if not self.config.is_parity:
            penalties = penalties / self.config.n_layers
        size, orthogonality, spread = penalties.unbind()
        weighted = self.config.metric_size_weight * size + self.config.orthogonality_weight * orthogonality
        return {
            "loss": cross_entropy + weighted + self.config.spread_weight * spread,
            "cross_entropy": cross_entropy,
            "metric_size": size,
            "orthogonality": orthogonality,
            "spread": spread,
        }

    @override
    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, nn.RMSNorm):
            init.ones_(module.weight)
        elif isinstance(module, ToManifold):
            init.normal_(module.weight, std=std)
        elif isinstance(module, GravityField):
            init.normal_(module.W, std=2.0)
            init.uniform_(module.b, 0.0, 2 * math.pi)
        elif isinstance(module, DrmForCausalLM):
            init.copy_(module.anchors, anchors_at_birth(self.config.n_anchors, self.config.d_manifold))
        else:
            super()._init_weights(module)  # type: ignore[no-untyped-call]
        self._init_for_mode(module)

    def _init_for_mode(self, module: nn.Module) -> None:
        config = self.config
        if isinstance(module, DrmAttention) and config.is_parity:
            init.constant_(module.temperature, config.temperature_init)
        elif isinstance(module, DrmAttention):
            init.constant_(module.log_temperature, math.log(config.temperature_init or 1.0))
            born = homes(config.n_heads, config.d_manifold, config.d_flat or 0, config.rotary_base or 1.0)
            for to_manifold, home in zip((module.q_proj, module.k_proj), born, strict=True):
                init.copy_(to_manifold.bias, home)
        elif isinstance(module, DrmForCausalLM) and module.dim_gate is not None and not config.is_parity:
            first = module.dim_gate.gate_net[0]  # a module without tensors of its own, as the gate is, is not asked
            assert isinstance(first, nn.Linear)
            init.constant_(first.bias, _OPEN)


AutoConfig.register("drm", DrmConfig)
AutoModelForCausalLM.register(DrmConfig, DrmForCausalLM)
