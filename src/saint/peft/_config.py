import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typing_extensions import override

from saint.adapters import GRAFT_SCHEMA, GRAFT_TYPE, check_adapter_file
from saint.errors import NewerFormatError, SiteError
from saint.grafts import kind_and_options
from saint.peft._internals import PeftConfig, PeftType

SORTS = ("linear", "block")
"""The sorts of site that are modules of the model, so that PEFT can name them."""


@dataclass
class GraftConfig(PeftConfig):
    """A graft of any kind at linear maps or blocks; PEFT fills in and changes its fields, so it is not frozen.

    Raises:
        ConfigError: No kind has that name, or it has no such options.
        SiteError: The kind attaches to something that PEFT cannot name.
        NewerFormatError: A newer version wrote it.
    """

    kind: str = field(default="phi", metadata={"help": "What is grafted, as `saint kinds` lists it."})
    options: dict[str, Any] = field(
        default_factory=dict,
        metadata={"help": "What the kind may choose; under 'at', full module name -> what is chosen otherwise there."},
    )
    target_modules: list[str] | set[str] | str | None = field(
        default=None, metadata={"help": "Names or a regular expression; every linear map or every block if left out."}
    )
    exclude_modules: list[str] | set[str] | str | None = field(
        default=None, metadata={"help": "Names or a regular expression of modules to leave alone."}
    )
    layers_to_transform: list[int] | int | None = field(
        default=None, metadata={"help": "Only the layers with these numbers."}
    )
    layers_pattern: list[str] | str | None = field(
        default=None, metadata={"help": "The name of the list of layers, where PEFT does not find it."}
    )
    modules_to_save: list[str] | None = field(
        default=None,
        metadata={"help": "Whole modules that are trained and saved as well; they are no part of a graft."},
    )
    seed: int = field(default=0, metadata={"help": "Chooses the random start."})
    strength: float = field(default=1.0, metadata={"help": "What the whole change is multiplied by."})
    init_weights: bool = field(
        default=True,
        metadata={"help": "Start as a newborn, which changes nothing; False where weights are loaded next."},
    )
    schema_version: int = field(
        default=GRAFT_SCHEMA, metadata={"help": "Leave it: it says how the file is to be read."}
    )

    @override
    def __post_init__(self) -> None:
        """Refuse what cannot be meant, and put names in the form that PEFT expects."""
        super().__post_init__()  # type: ignore[no-untyped-call]
        if self.schema_version > GRAFT_SCHEMA:
            raise NewerFormatError(
                f"the adapter has schema {self.schema_version}, this version reads {GRAFT_SCHEMA}; update saint-g"
            )
        self.peft_type = PeftType(GRAFT_TYPE)
        kind, _ = kind_and_options(self.kind, self.options)
        if kind.attaches_to not in SORTS:
            raise SiteError(
                f"kind {self.kind} attaches to {kind.attaches_to} sites, which are no modules that PEFT can name; "
                f"train it with saint.train, or choose a kind for {' or '.join(SORTS)} sites"
            )
        for name in ("target_modules", "exclude_modules"):
            if isinstance(names := getattr(self, name), (list, tuple)):
                setattr(self, name, set(names))

    @override
    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str, subfolder: str | None = None, **kwargs: Any) -> Any:
        """Read it, and check the file of weights beside it, which PEFT opens next.

        What PEFT fetches from a hub is checked once it is in memory alone: names, shapes, and that values are finite.

        Raises:
            AdapterError: The weights are no strict safetensors, or a pickle.
        """
        check_adapter_file(Path(pretrained_model_name_or_path, subfolder or ""))
        return super().from_pretrained(pretrained_model_name_or_path, subfolder=subfolder, **kwargs)

    @override
    def to_dict(self) -> dict[str, Any]:
        """Plain data; names in order, so that equal adapters give equal files."""
        plain: dict[str, Any] = super().to_dict()
        return {key: sorted(value) if isinstance(value, set) else value for key, value in plain.items()}

    @override
    def save_pretrained(self, save_directory: str, **kwargs: Any) -> None:
        """Write it for a file that holds all the weights, so that nothing is born in vain when it is loaded."""
        saved = copy.copy(self)
        saved.init_weights = False
        super(GraftConfig, saved).save_pretrained(save_directory, **kwargs)
