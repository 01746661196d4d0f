"""What a mixture is made of: its experts' configurations, their names, and how what they say is combined."""

from math import isclose
from typing import Any, ClassVar, Literal, final, get_args

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from typing_extensions import override

from saint.errors import ConfigError, MixtureError

Combination = Literal["logit_mean", "probability_mean", "posterior", "gate"]
COMBINATIONS: tuple[Combination, ...] = get_args(Combination)
_NOT_KEPT = ("_name_or_path", "transformers_version", "dtype")  # the mixture has one dtype, and a version, of its own


@final
@strict
class MixtureConfig(PreTrainedConfig):
    """Experts over one vocabulary, composed into one model.

    Each expert's own configuration is in `experts`, so an expert may be a mixture too. `names` are theirs, in the same
    order, and `prior` is what each weighs before any text, in sum 1; equal where nothing is said. In `shared` is, for
    each tensor that is another one's twin, the name of that other one: both are one in memory and in the file.
    `tokenizer_digest` and `interface_digest` are what all experts have in common, where that is known.

    Raises:
        ConfigError: The combination is unknown, or names or priors do not fit the experts.
        MixtureError: The experts have vocabularies of different sizes.
    """

    model_type = "mixture"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    combination: str = "posterior"
    experts: list[dict[str, Any]] | None = None
    names: list[str] | None = None
    prior: list[float] | None = None
    shared: dict[str, str] | None = None
    name: str = ""
    tokenizer_digest: str | None = None
    interface_digest: str | None = None
    vocab_size: int | None = None
    use_cache: bool | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False

    @override
    def __post_init__(self, **kwargs: Any) -> None:
        """Fill in what follows from the experts, and check."""
        found = self.expert_configs()
        if self.names is None:
            self.names = [f"expert {number}" for number in range(1, len(found) + 1)]
        if self.prior is None:
            self.prior = [1 / len(found) for _ in found]
        self.shared = self.shared or {}
        self._must_fit(found)
        if found:
            self.vocab_size = found[0].vocab_size
            if self.use_cache is None:
                self.use_cache = all(getattr(one, "use_cache", True) is not False for one in found)
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]

    @classmethod
    def of(cls, experts: list[Any], **settings: Any) -> "MixtureConfig":
        """The configuration of a mixture of models with these configurations."""
        tokens = {name: getattr(experts[0], name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        return cls(**{**tokens, "experts": [_plain(one) for one in experts], **settings})

    def expert_configs(self) -> list[Any]:
        """A configuration for each expert, made anew."""
        return [AutoConfig.for_model(**one) for one in self.experts or ()]

    @property
    def num_experts(self) -> int:
        """How many there are, a mixture counting as one."""
        return len(self.experts or ())

    @property
    def hidden_size(self) -> int:
        """Of all experts' last hidden states beside each other."""
        return sum(one.hidden_size for one in self.expert_configs())

    @property
    def max_position_embeddings(self) -> int | None:
        """Most tokens that every expert can read; None where none has a limit."""
        limits = (getattr(one, "max_position_embeddings", None) for one in self.expert_configs())
        return min((limit for limit in limits if limit), default=None)

    def _must_fit(self, found: list[Any]) -> None:
        if self.combination not in COMBINATIONS:
            raise ConfigError(
                f"combination is {self.combination!r}, expected one of {', '.join(COMBINATIONS)}; an average of "
                "weights is no mixture but one model, which saint.composition.average makes"
            )
        names, prior = self.names or [], self.prior or []
        if len(names) != len(found) or len(set(names)) != len(names):
            raise ConfigError(f"expected {len(found)} different names, got {', '.join(names)}; give each expert one")
        if len(prior) != len(found) or min(prior, default=1.0) <= 0 or (prior and not isclose(sum(prior), 1.0)):
            raise ConfigError(
                f"expected {len(found)} weights above 0 that add up to 1, got {', '.join(map(str, prior))}; correct "
                "prior, or leave it out for equal ones"
            )
        sizes = {name: one.vocab_size for name, one in zip(names, found, strict=True)}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{size:,} ({name})" for name, size in sizes.items())
            raise MixtureError(
                f"the experts have vocabularies of different sizes: {listed}; give ones of one tokenizer"
            )


def _plain(config: Any) -> dict[str, Any]:
    """What has to be said to make such a configuration again."""
    plain = config.to_dict()
    return {name: value for name, value in plain.items() if name not in _NOT_KEPT}
