"""What a DRM decoder is made of, and in which of its two modes it computes."""

import math
import warnings
from typing import Any, ClassVar, Literal, final

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from typing_extensions import override

from saint.errors import ConfigError

Mode = Literal["causal", "parity"]
WIDEST_FEATURES = 256
"""The widest head that fused attention takes on every device; wider features are evaluated in tiles."""

# fmt: off
_AT_LEAST_1 = (
    "vocab_size", "max_seq_len", "d_model", "n_layers", "n_heads", "d_ff",
    "d_manifold", "metric_hidden", "metric_rank", "n_anchors", "gravity_n_rff",
)
# fmt: on


@final
@strict
class DrmConfig(PreTrainedConfig):
    """The sizes of a DRM decoder, under their published names.

    In mode "causal" no token sees a later one: gravity is that of the tokens before, nothing is divided by a mean over
    a row, positions turn the manifold, and each head has its own map to it and its own temperature. Beside it points
    have `d_flat` further coordinates, whose metric is Euclidean and which no position turns. In mode "parity"
    everything is as published, to the number: the mean over a row and the sum of gravity run over all positions, so
    that a token sees later ones.

    `gamma_c` None is the square root of `d_manifold`; `rotary_base` None is, in mode "causal", the one at which the
    slowest plane turns once in `max_seq_len` tokens. The weights of the penalties are those of what `loss` adds to the
    cross-entropy: how large the metric's factors are, how far from orthonormal, how their variance differs from
    `spread_target`.

    Raises:
        ConfigError: A size is impossible, or sizes do not fit each other.
    """

    model_type = "drm"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "intermediate_size": "d_ff",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "max_position_embeddings": "max_seq_len",
    }

    mode: Mode = "causal"
    vocab_size: int = 50000
    max_seq_len: int = 1024
    d_model: int = 384
    n_layers: int = 6
    n_heads: int = 6
    d_ff: int = 1536
    dropout: float = 0.0
    d_manifold: int = 16
    d_flat: int | None = None
    rotary_base: float | None = None
    metric_hidden: int = 64
    metric_rank: int = 4
    n_anchors: int = 6
    gamma_enabled: bool = True
    gamma_c: float | None = None
    gamma_alpha: float | None = None
    temperature_init: float | None = None
    temperature_min: float = 0.5
    gravity_enabled: bool = True
    gravity_strength: float = 0.1
    gravity_n_rff: int | None = None
    variable_dim: bool = True
    metric_size_weight: float = 1e-3
    orthogonality_weight: float | None = None
    spread_weight: float = 0.0
    spread_target: float = 1e-3
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = True

    @override
    def __post_init__(self, **kwargs: Any) -> None:
        """Fill in what follows from the mode, and check."""
        parity = self.mode == "parity"
        by_mode = {
            "gamma_c": self.d_manifold**0.5,
            "d_flat": 0 if parity else _FLAT,
            "rotary_base": _PUBLISHED_BASE if parity else _base_for(self.max_seq_len, self.d_manifold),
            "gravity_n_rff": 64 if parity else 16,
            "gamma_alpha": 0.0 if parity else 1.0,
            "temperature_init": 1.0 if parity else _TEMPERATURE,
            "orthogonality_weight": 1e-2 if parity else 0.0,
            "use_cache": not parity,
        }
        for name, value in by_mode.items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        self._must_fit()
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]

    @property
    def is_parity(self) -> bool:
        """Whether it computes as published."""
        return self.mode == "parity"

    @property
    def head_dim(self) -> int:
        """Of queries, keys and values."""
        return self.d_model // self.n_heads

    @property
    def rotated_dim(self) -> int:
        """Of what positions turn: queries and keys as published, else the manifold."""
        return self.head_dim if self.is_parity else self.d_manifold

    @property
    def num_coordinates(self) -> int:
        """Of a point: D and the flat ones."""
        return self.d_manifold + (self.d_flat or 0)

    @property
    def num_features(self) -> int:
        """Of a token in a head, for its distances to be dot products: D (D + 3) / 2, and E + 1 of E flat ones."""
        return self.d_manifold * (self.d_manifold + 3) // 2 + (self.d_flat + 1 if self.d_flat else 0)

    @property
    def num_waves(self) -> int:
        """Random Fourier features of the gravity field."""
        return self.gravity_n_rff or 1

    def _must_fit(self) -> None:
        if self.mode not in ("causal", "parity"):
            raise ConfigError(f"mode is {self.mode!r}, expected 'causal' or 'parity'")
        for name in _AT_LEAST_1:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.d_model % self.n_heads:
            raise ConfigError(
                f"d_model is {self.d_model}, which {self.n_heads} heads do not divide; "
                f"take a multiple of n_heads, such as {self.n_heads * max(1, round(self.d_model / self.n_heads))}"
            )
        self._check_flat()
        if self.rotated_dim % 2:
            what = "d_model / n_heads" if self.is_parity else "d_manifold"
            raise ConfigError(f"{what} is {self.rotated_dim}, but positions turn pairs of dimensions; make it even")
        if self.use_cache and self.is_parity:
            raise ConfigError(
                "use_cache is true, but in mode 'parity' a new token changes what earlier ones gave, "
                "so nothing can be kept; leave it out, or take mode 'causal'"
            )

    def _check_flat(self) -> None:
        if (self.d_flat or 0) < 0:
            raise ConfigError(f"d_flat is {self.d_flat}; it must not be negative")
        if self.d_flat and self.is_parity:
            raise ConfigError(
                f"d_flat is {self.d_flat}, but what is published has none; leave it out, or take mode 'causal'"
            )


def _base_for(num_tokens: int, dim: int) -> float:
    """Of rotary positions in `dim` dimensions, for the slowest plane to turn once in so many tokens."""
    turns = max(1.0, num_tokens / (2 * math.pi))
    return float(turns ** (dim / (dim - 2))) if dim > 2 else _PUBLISHED_BASE


_FLAT = 4  # with six curved dimensions and the square, as many features as a head of 32 has channels
_PUBLISHED_BASE = 10000.0
_TEMPERATURE = 0.3  # of a head in mode causal at birth: at it the scores of a row differ by about a nat


def warn_of_parity(config: DrmConfig) -> None:
    """Say that this model's losses are not those of a model that reads from left to right."""
    if config.is_parity:
        warnings.warn(
            "in mode 'parity' a DRM sees the future: each token's scores depend on tokens after it, so its losses are "
            "not those of prediction; take mode 'causal' for anything but reproducing published numbers",
            stacklevel=3,
        )
