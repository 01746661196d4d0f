"""What a layered decoder is made of."""

from dataclasses import field
from typing import Any, ClassVar, Literal, final

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from typing_extensions import override

from saint.errors import ConfigError
from saint.interfaces import Interface, open_interface

Head = Literal["untied", "tied", "low_rank"]
_AT_LEAST_1 = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")


@final
@strict
class LayeredConfig(PreTrainedConfig):
    """The sizes of a layered decoder, how tokens come into it and how they leave it.

    `intermediate_size` None is four times `hidden_size`. `interface` is the name of one of `saint.interfaces`, with
    `interface_options` of that one; `interface_digest` is filled in once the table is there, and a table with another
    digest is refused. `interface_facts` say what the table was made from.

    Heads: "untied" is a linear map with a bias; "tied" takes dot products with the interface's own rows, divided by
    their norm, and a bias; "low_rank" is a linear map of `head_rank` with a bias. The published parameter counts are
    those of an untied head and `final_norm` false.

    Raises:
        ConfigError: A size is impossible, or sizes do not fit each other.
    """

    model_type = "saint_layered"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {"num_key_value_heads": "num_attention_heads"}

    vocab_size: int = 65536
    hidden_size: int = 1024
    num_hidden_layers: int = 9
    num_attention_heads: int = 32
    intermediate_size: int | None = None
    max_position_embeddings: int = 1024
    rope_theta: float = 10000.0
    layer_norm_eps: float = 1e-5
    final_norm: bool = True
    initializer_range: float = 0.02
    interface: str = "binary"
    interface_options: dict[str, Any] = field(default_factory=dict)
    interface_digest: str | None = None
    interface_facts: dict[str, Any] = field(default_factory=dict)
    head: Head = "untied"
    head_rank: int = 0
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False

    @override
    def __post_init__(self, **kwargs: Any) -> None:
        """Fill in what follows from the width, and check."""
        if self.intermediate_size is None:
            self.intermediate_size = 4 * self.hidden_size
        self._must_fit()
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]

    @property
    def head_dim(self) -> int:
        """Of queries, keys and values."""
        return self.hidden_size // self.num_attention_heads

    @property
    def inner_size(self) -> int:
        """Channels of each MLP."""
        return self.intermediate_size or 4 * self.hidden_size

    def plan_interface(self) -> Interface:
        """The interface that this configuration names; its table is not made yet."""
        return open_interface(
            self.interface, vocab_size=self.vocab_size, d_model=self.hidden_size, options=self.interface_options
        )

    def _must_fit(self) -> None:
        for name in _AT_LEAST_1:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.inner_size < 1:
            raise ConfigError(f"intermediate_size is {self.intermediate_size}; it must be at least 1")
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"hidden_size is {self.hidden_size}, which {self.num_attention_heads} heads do not divide; take a "
                "multiple of num_attention_heads, such as "
                f"{self.num_attention_heads * max(1, round(self.hidden_size / self.num_attention_heads))}"
            )
        if self.head_dim % 2:
            raise ConfigError(
                f"a head has {self.head_dim} dimensions, but positions turn pairs of dimensions; make hidden_size / "
                "num_attention_heads even"
            )
        self._check_head()
        self.plan_interface()

    def _check_head(self) -> None:
        if self.head not in ("untied", "tied", "low_rank"):
            raise ConfigError(f"head is {self.head!r}, expected 'untied', 'tied' or 'low_rank'")
        if self.head == "low_rank" and not 1 <= self.head_rank <= self.hidden_size:
            raise ConfigError(
                f"head_rank is {self.head_rank}; a head of low rank needs one from 1 to hidden_size, {self.hidden_size}"
            )
        if self.head != "low_rank" and self.head_rank:
            raise ConfigError(
                f"head_rank is {self.head_rank}, but a head that is {self.head} has no rank to choose; leave it out, "
                "or take head 'low_rank'"
            )
