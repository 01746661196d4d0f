"""The blocks of a layered decoder, and its heads."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from typing_extensions import override

from saint.backbones._geometry import rotate
from saint.backbones._layered_config import LayeredConfig
from saint.interfaces import FrozenTable, Interface, Table


@final
class LayeredAttention(nn.Module):
    """Causal attention with rotary positions and no biases."""

    def __init__(self, config: LayeredConfig, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx, self.num_heads = layer_idx, config.num_attention_heads
        width = config.hidden_size
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    @override
    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None,
        past_key_values: Cache | None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """What is to be added to the stream."""
        query, key, value = (self._heads(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        query, key = rotate(query, position_embeddings), rotate(key, position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        causal = attention_mask is None and query.shape[2] > 1
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, is_causal=causal)
        written: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return written

    def _heads(self, x: Float[Tensor, "batch seq width"]) -> Float[Tensor, "batch heads seq d"]:
        return x.view(*x.shape[:-1], self.num_heads, -1).transpose(1, 2)


@final
class LayeredMlp(nn.Module):
    """down(gelu(up x + b)) + b."""

    def __init__(self, config: LayeredConfig) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.inner_size)
        self.act_fn = nn.GELU()
        self.down_proj = nn.Linear(config.inner_size, config.hidden_size)

    @override
    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        found: Tensor = self.down_proj(self.act_fn(self.up_proj(x)))
        return found


@final
class LayeredBlock(GradientCheckpointingLayer):
    """x + Attention(LayerNorm(x)), and then x + MLP(LayerNorm(x))."""

    def __init__(self, config: LayeredConfig, layer_idx: int) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = LayeredAttention(config, layer_idx)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = LayeredMlp(config)

    @override
    def forward(
        self,
        hidden_states: Float[Tensor, "batch seq d_model"],
        attention_mask: Tensor | None = None,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        past_key_values: Cache | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        assert position_embeddings is not None
        normed = self.input_layernorm(hidden_states)
        hidden_states = hidden_states + self.self_attn(normed, position_embeddings, attention_mask, past_key_values)
        changed: Tensor = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
        return changed


@final
class TiedHead(nn.Module):
    """Dot products with the rows through which tokens came in, divided by the rows' norm, and a bias for each token."""

    def __init__(self, vocab_size: int, interface: Interface) -> None:
        super().__init__()
        self.scale = 1 / interface.row_norm
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    @override
    def forward(self, hidden: Float[Tensor, "batch seq d_model"], table: Table) -> Float[Tensor, "batch seq vocab"]:
        products = table.project(hidden) if isinstance(table, FrozenTable) else F.linear(hidden, table.weight)
        return products * self.scale + self.bias


@final
class LowRankHead(nn.Module):
    """Through a few dimensions to the vocabulary."""

    def __init__(self, config: LayeredConfig) -> None:
        super().__init__()
        self.in_proj = nn.Linear(config.hidden_size, config.head_rank, bias=False)
        self.out_proj = nn.Linear(config.head_rank, config.vocab_size)

    @override
    def forward(self, hidden: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq vocab"]:
        logits: Tensor = self.out_proj(self.in_proj(hidden))
        return logits
