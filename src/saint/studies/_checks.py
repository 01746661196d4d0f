"""What every plan of a study, and every text for one, is held against before anything is trained."""

from collections.abc import Iterable
from typing import Protocol

from saint.data import DataPlan, Splits
from saint.errors import ConfigError, DataError


class NamesText(Protocol):
    """What a plan says about its text."""

    @property
    def data(self) -> DataPlan | None:
        """The text itself."""
        ...

    @property
    def data_plan(self) -> str:
        """A file that says it."""
        ...

    @property
    def evaluation_seq_len(self) -> int:
        """Tokens of a window that losses are measured in."""
        ...


def must_name_text(plan: NamesText) -> None:
    """Refuse a plan that names no text, or two, or windows that are none.

    Raises:
        ConfigError: It does.
    """
    if (plan.data is None) == (not plan.data_plan):
        raise ConfigError("a study needs either data or data_plan, and not both")
    if plan.evaluation_seq_len < 1:
        raise ConfigError(f"evaluation_seq_len is {plan.evaluation_seq_len}; it must be at least 1")


def each_once(what: str, names: Iterable[str | int]) -> None:
    """Refuse what is named twice.

    Raises:
        ConfigError: Something is.
    """
    names = list(names)
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{what} has {name!r} twice; give each once, under a name of its own")


def must_have_grown_text(data: Splits) -> None:
    """Refuse text without a domain to learn from and to measure on.

    Raises:
        DataError: A split is missing, or too small for an interval.
    """
    for split in ("train", "select", "held_out"):
        if f"{data.grown_domain}/{split}" not in data.corpora:
            raise DataError(f"the text has no {data.grown_domain}/{split}, which the study needs; give it that split")
    if (there := data.held_out.num_documents) < 2:
        raise DataError(f"an interval needs at least 2 held-out documents, got {there}; give more text")
