from dataclasses import dataclass, field
from typing import final

from saint import discovery
from saint.candidates import Proposal
from saint.data import DataPlan
from saint.errors import ConfigError
from saint.studies._checks import must_name_text
from saint.studies._sets import SetPlan
from saint.training import Schedule


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StudyTargets:
    """What the study is asked to find; a figure without a target is not printed."""

    best_map_spearman_within_role: float | None = None
    """At least this rank correlation with the gain, within roles, of the map that has the highest."""
    short_run_third_spearman: float | None = None
    """At least this rank correlation with the gain, of what a third of the training shows on *select*."""
    best_map_top6_regret: float | None = None
    """At most this regret among the first 6, of the map that has the lowest."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StudyPlan:
    """Every candidate trained to the end, to see which guesses about the best ones were right."""

    name: str
    seed: int = 0
    """Chooses the text that the maps are measured on, and the resamples of the intervals."""
    base: str
    """A model's folder or hub name, or a base plan (a TOML file) that is trained first; relative to this file."""
    data: DataPlan | None = None
    data_plan: str = ""
    """Instead of `data`: a data plan in a TOML file of its own."""
    proposals: tuple[Proposal, ...]
    """All their candidates are trained, whatever they cost."""
    seeds: tuple[int, ...] = (0, 1)
    """Each chooses a random start and the order of the text; how well two of them agree is what a guess can reach."""
    schedule: Schedule = field(default_factory=Schedule)
    maps: tuple[str, ...] = ()
    """Sensitivity maps; empty for all that there are."""
    num_batches: int = 4
    """Batches that the maps see, of the schedule's size."""
    short: tuple[int, ...] = ()
    """Steps after which the training so far is taken as a guess about its end; multiples of schedule.evaluate_every."""
    top: tuple[int, ...] = (1, 3, 6)
    """How many candidates a guess may choose."""
    num_resamples: int = 1000
    """For the intervals."""
    evaluation_seq_len: int = 256
    sets: SetPlan | None = None
    """Whether ways to come to several sites at once are tried as well; by default they are not."""
    targets: StudyTargets | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, before anything is trained."""
        must_name_text(self)
        if not self.proposals:
            raise ConfigError("proposals is empty; give at least one, whose candidates are trained")
        if len(set(self.seeds)) < 2 or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(
                f"seeds is {list(self.seeds)}; give at least two, each once, for one says nothing about chance"
            )
        self._check_maps()
        self._check_short()
        for name in ("num_batches", "num_resamples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.top or min(self.top) < 1 or len(set(self.top)) < len(self.top):
            raise ConfigError(f"top is {list(self.top)}; give numbers of candidates from 1 on, each once")

    @property
    def methods(self) -> tuple[str, ...]:
        """The maps that are measured."""
        return self.maps or tuple(discovery.names("sensitivity"))

    def _check_maps(self) -> None:
        known = discovery.names("sensitivity")
        if unknown := sorted(set(self.maps) - set(known)):
            raise ConfigError(f"maps names {unknown[0]!r}, which there is not; there are {', '.join(known)}")
        if len(set(self.maps)) < len(self.maps):
            raise ConfigError(f"maps is {list(self.maps)}; name each once")

    def _check_short(self) -> None:
        every, steps = self.schedule.evaluate_every, self.schedule.num_steps
        for short in self.short:
            if short < 1 or short >= steps or short % every:
                raise ConfigError(
                    f"short has {short}; expected multiples of schedule.evaluate_every ({every}) below "
                    f"schedule.num_steps ({steps}), for only there a training is looked at"
                )
        if len(set(self.short)) < len(self.short):
            raise ConfigError(f"short is {list(self.short)}; give each number of steps once")
