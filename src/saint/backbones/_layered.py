"""The layered decoder as a Hugging Face model: blocks above a token interface that may never have learned."""

from typing import Any, final

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel, initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from typing_extensions import override

from saint.backbones._entrance import embedded
from saint.backbones._geometry import rotation
from saint.backbones._layered_blocks import LayeredBlock, LowRankHead, TiedHead
from saint.backbones._layered_config import LayeredConfig
from saint.errors import BaseChangedError, ConfigError
from saint.interfaces import FrozenTable, Interface, Made, Sources, Table, floats_as_code


@final
class LayeredModel(nn.Module):
    """The token interface, the blocks, and a last norm where there is one."""

    def __init__(self, config: LayeredConfig, interface: Interface) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens: Table = (
            nn.Embedding(config.vocab_size, config.hidden_size) if interface.is_trainable else FrozenTable(interface)
        )
        self.layers = nn.ModuleList(LayeredBlock(config, index) for index in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if config.final_norm else None

    @override
    def forward(
        self,
        hidden: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        *,
        output_hidden_states: bool = False,
    ) -> BaseModelOutputWithPast:
        """From embedded tokens (B, T, D) to what the head reads."""
        num_seen = past_key_values.get_seq_length() if past_key_values is not None else 0
        if position_ids is None:
            position_ids = torch.arange(num_seen, num_seen + hidden.shape[1], device=hidden.device)[None]
        mask: Any = create_causal_mask(self.config, hidden, attention_mask, past_key_values, position_ids)
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        turned = rotation(position_ids.to(wide), self.config.head_dim, self.config.rope_theta)
        seen = [hidden]
        for layer in self.layers:
            hidden = layer(hidden, attention_mask=mask, position_embeddings=turned, past_key_values=past_key_values)
            seen.append(hidden)
        if self.norm is not None:
            hidden = self.norm(hidden)
        states = (*seen[:-1], hidden) if output_hidden_states else None
        return BaseModelOutputWithPast(last_hidden_state=hidden, past_key_values=past_key_values, hidden_states=states)


@final
class LayeredForCausalLM(PreTrainedModel, GenerationMixin):
    """A pre-LN decoder with rotary positions, bias-free attention and GELU MLPs (arXiv:2507.07129).

    Tokens come in through a table of `saint.interfaces`, frozen or learned, under `model.embed_tokens`. Names of
    modules are those of Llama.

    Raises:
        DataError: A token id is not in the vocabulary.
        BaseChangedError: The table is not the one whose digest the configuration has.
    """

    config_class = LayeredConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["LayeredBlock"]  # noqa: RUF012 - so is the base class's
    _supports_sdpa = True

    def __init__(self, config: LayeredConfig, made: Made | None = None) -> None:
        super().__init__(config)
        interface = config.plan_interface()
        self._made = made
        self.model = LayeredModel(config, interface)
        self.lm_head = _head(config, interface)
        self.post_init()  # type: ignore[no-untyped-call]

    @override
    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As any model is loaded; and its table is held against the digest in its configuration.

        Raises:
            BaseChangedError: They do not agree.
        """
        loaded: Any = super().from_pretrained(*args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded).check_interface()
        return loaded

    @property
    def _table(self) -> Table:
        table: Table = self.model.embed_tokens
        return table

    @override
    def get_input_embeddings(self) -> Table:
        """The table through which tokens come in."""
        return self._table

    @override
    def set_input_embeddings(self, value: nn.Module) -> None:
        """Put another table there; its digest has to be that of the configuration for the model to be loaded again."""
        if not isinstance(value, (FrozenTable, nn.Embedding)):
            raise ConfigError(f"expected a table of saint.interfaces or an embedding, got {type(value).__name__}")
        self.model.embed_tokens = value

    @override
    def get_output_embeddings(self) -> nn.Module | None:
        """The linear map that gives the logits; None where the head is tied."""
        head: Any = self.lm_head
        last = head.out_proj if isinstance(head, LowRankHead) else head
        return last if isinstance(last, nn.Linear) else None

    @override
    def resize_token_embeddings(self, *_args: Any, **_kwargs: Any) -> nn.Embedding:
        """No vocabulary is enlarged under blocks that have learned to read a table.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"interface {self.config.interface} has the rows of {self.config.vocab_size} tokens and no others; make a "
            "model with another vocab_size"
        )

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
    ) -> CausalLMOutputWithPast:
        """Logits, and with labels the cross-entropy in nats per token."""
        hidden = self._embed(input_ids, inputs_embeds)
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        found = self.model(
            hidden, attention_mask, position_ids, past_key_values, output_hidden_states=output_hidden_states
        )
        kept = slice_logits_to_keep(found.last_hidden_state, logits_to_keep)
        head = self.lm_head
        logits = head(kept, self._table) if isinstance(head, TiedHead) else head(kept)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=past_key_values, hidden_states=found.hidden_states
        )

    def anew(self, config: LayeredConfig) -> "LayeredForCausalLM":
        """A model of other sizes that has learnt nothing, above this one's table where that is frozen.

        What a table was drawn from is not in the configuration, so it is copied.

        Args:
            config: With the vocabulary, the width and the interface of this one.
        """
        table = self._table
        if not isinstance(table, FrozenTable):
            return LayeredForCausalLM(config)
        return LayeredForCausalLM(config, Made(code=table.code.cpu().numpy(), facts=dict(self.config.interface_facts)))

    def check_interface(self) -> None:
        """Hold the table against the digest in the configuration.

        Raises:
            BaseChangedError: It is another one.
        """
        table, expected = self._table, self.config.interface_digest
        found = table.digest() if isinstance(table, FrozenTable) else None
        if found != expected:
            raise BaseChangedError(
                f"the token interface has digest {_short(found)}, and the configuration says {_short(expected)}; load "
                "weights and configuration that were saved together"
            )

    @torch.no_grad()
    def freeze_interface(self) -> str:
        """Stop a learned table from learning, without changing it by a bit, and give its digest.

        A table that is frozen already stays as it is. An optimizer that holds the old table's weight must be made anew.

        Raises:
            ConfigError: Its numbers have more digits than are stored.
        """
        table = self._table
        if isinstance(table, nn.Embedding):
            if table.weight.dtype == torch.float64:
                raise ConfigError("a frozen table keeps float32, and this one is float64; convert the model first")
            self.config.interface_options = {**self.config.interface_options, "frozen": True}
            frozen = FrozenTable(self.config.plan_interface()).to(table.weight.device)
            frozen.code.copy_(floats_as_code(table.weight))
            self.model.embed_tokens = table = frozen
            self.config.interface_digest = frozen.digest()
        digest: str = self.config.interface_digest
        return digest

    def _embed(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        table = self._table

        def rows(ids: Tensor) -> Tensor:
            found: Tensor = table(ids, self.dtype) if isinstance(table, FrozenTable) else table(ids)
            return found

        return embedded(rows, input_ids, inputs_embeds, vocab_size=self.config.vocab_size)

    @override
    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, FrozenTable):
            self._fill(module)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.plan_interface().options.std)
        elif isinstance(module, TiedHead):
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)  # type: ignore[no-untyped-call]

    def _fill(self, table: FrozenTable) -> None:
        """Make a table that was not loaded, and write its digest into the configuration, or hold it against that."""
        if table.code.is_meta or getattr(table.code, "_is_hf_initialized", False):
            return
        made = self._made or self.config.plan_interface().make(Sources())
        table.fill(made)
        digest = table.digest()
        if self.config.interface_digest not in (None, digest):
            raise BaseChangedError(
                f"interface {self.config.interface} makes a table with digest {_short(digest)} here, and the "
                f"configuration says {_short(self.config.interface_digest)}; leave interface_digest out for a new "
                "model, or load the weights that belong to it"
            )
        self.config.interface_digest = digest
        self.config.interface_facts = dict(made.facts)


def layered_model(config: LayeredConfig, sources: Sources | None = None) -> LayeredForCausalLM:
    """A new model, with the table of its interface made from `sources`: what tokens look like, and a font.

    Raises:
        DataError: The interface needs sources that are not given, or cannot be used.
    """
    interface = config.plan_interface()
    return LayeredForCausalLM(config, None if interface.is_trainable else interface.make(sources or Sources()))


def _head(config: LayeredConfig, interface: Interface) -> nn.Module:
    if config.head == "tied":
        return TiedHead(config.vocab_size, interface)
    if config.head == "low_rank":
        return LowRankHead(config)
    return nn.Linear(config.hidden_size, config.vocab_size)


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "none"


AutoConfig.register("saint_layered", LayeredConfig)
AutoModelForCausalLM.register(LayeredConfig, LayeredForCausalLM)
