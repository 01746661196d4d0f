"""Newborn grafts with what they are born from, and their first step in closed form."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

from torch import Tensor

from saint import records
from saint.composition import compose, measure_signals, newborn, place_of, wanted_signals
from saint.data import Batches, Corpus
from saint.errors import ConfigError
from saint.grafts import Graft, Moment, Signals, grow_from
from saint.models import FrozenBase, tensor_digest
from saint.records import Candidate, Site
from saint.training._first_step import loss_on, take_first_step
from saint.training._learner import Moments
from saint.training._schedule import Schedule

Tried = tuple[tuple[float, float], ...]
_STEP_TOKENS = 1024
_TOKENS_PER_RANK = 4  # fewer tokens than directions would leave some of these without any evidence


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What a candidate goes on from, if that is more than a graft."""

    graft: Graft
    moments: Moments = field(default_factory=dict)
    """Site key and name in the part there, such as `lm_head.delta` -> what AdamW knows of it; it has no warm-up."""

    @property
    def name(self) -> Any:
        """Plain data that tells it from other starts."""
        if not self.moments:
            return self.graft.digest
        known = {
            name: {moment: tensor_digest(value) for moment, value in there.items()}
            for name, there in self.moments.items()
        }
        return {"graft": self.graft.digest, "moments": known}


Starts = Mapping[str, Graft | Start]
"""Digest of a candidate (`records.digest`) -> what it goes on from."""


class Born(NamedTuple):
    """A graft that has yet to learn, and how it came about."""

    graft: Graft
    tried: Tried
    """(scale, loss) of the lengths of its first step that were tried; none for a kind that takes no such step."""
    num_tokens: int
    """Tokens of text that this took."""


def begun(
    base: FrozenBase,
    stack: Sequence[Graft],
    candidates: Sequence[Candidate],
    text: Corpus,
    schedule: Schedule,
    starts: Starts,
) -> list[Born]:
    """A newborn for each candidate, once it has taken the first step that its kind takes in closed form.

    One that has a start is that instead, and takes no first step.

    The signals that kinds want are measured on the first of the text that a candidate will learn from, in one pass for
    all candidates that learn from the same; a first step is as long as is best on the text after that.
    """
    signals = _measure(base, stack, [one for one in candidates if start_of(one, starts) is None], text, schedule)
    grafts: list[Born] = []
    for candidate in candidates:
        if (start := start_of(candidate, starts)) is not None:
            grafts.append(Born(_going_on(candidate, start.graft), (), 0))
            continue
        shown = _text_of(candidate, schedule)
        graft = newborn(base, candidate, stack=stack, signals=signals[shown])
        places = {site.key: place_of(base, site, signals=signals[shown].get(site.key)) for site in candidate.sites}
        batches = _batches(text, schedule, candidate.seed)
        after = [batches[shown[1] + index] for index in range(-(-_STEP_TOKENS // schedule.tokens_per_step))]
        tried = take_first_step(graft, places, _Loss(base, [*stack, graft], after).read)
        num_batches = shown[1] + (len(after) if tried else 0)
        grafts.append(Born(graft, tried, num_batches * schedule.tokens_per_step))
    return grafts


def birth_tokens(candidate: Candidate, schedule: Schedule) -> int:
    """Tokens that a candidate is shown before it learns, at most: a kind may turn out to take no first step."""
    _, num_batches = _text_of(candidate, schedule)
    return (num_batches + -(-_STEP_TOKENS // schedule.tokens_per_step)) * schedule.tokens_per_step if num_batches else 0


def start_of(candidate: Candidate, starts: Starts) -> Start | None:
    """What a candidate goes on from; None for one that is newborn."""
    found = starts.get(records.digest(candidate)) if starts else None
    return Start(graft=found) if isinstance(found, Graft) else found


def _going_on(candidate: Candidate, start: Graft) -> Graft:
    """The graft of `candidate` with the weights and the strength of `start`, which stays as it is."""
    for what, wanted, given in (
        ("kind", candidate.kind, start.candidate.kind),
        ("sites", [site.key for site in candidate.sites], [site.key for site in start.candidate.sites]),
        ("options", records.to_plain(candidate.options), records.to_plain(start.candidate.options)),
    ):
        if wanted != given:
            raise ConfigError(
                f"a candidate with the {what} {wanted} cannot go on from a graft with the {what} {given}; start it "
                "from a graft of its own kind, sites and options"
            )
    if not start.strength:
        raise ConfigError("a graft of strength 0 learns nothing; set another strength before it goes on")
    return grow_from(candidate, weights=start.to_bytes())


@final
class _Loss:
    """The mean loss on some text, of a model that is made when it is first asked for: most kinds take no step."""

    def __init__(self, base: FrozenBase, stack: Sequence[Graft], batches: Sequence[Tensor]) -> None:
        self._base, self._stack, self._batches = base, stack, batches
        self._score: Callable[[], float] | None = None

    def read(self) -> float:
        """Nats per token as the stack stands."""
        self._score = self._score or loss_on(compose(self._base, self._stack).eval(), self._batches)
        return self._score()


def _batches(text: Corpus, schedule: Schedule, seed: int) -> Batches:
    return text.batches(batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=seed, shift=schedule.shift)


def _measure(
    base: FrozenBase, stack: Sequence[Graft], candidates: Sequence[Candidate], text: Corpus, schedule: Schedule
) -> dict[tuple[int, int], dict[str, Signals]]:
    """(seed, number of batches) -> site key -> signals."""
    wanted: dict[tuple[int, int], dict[Site, frozenset[Moment]]] = defaultdict(dict)
    for candidate in candidates:
        there = wanted[_text_of(candidate, schedule)]
        for site, moments in wanted_signals(candidate).items():
            there[site] = there.get(site, frozenset()) | moments
    found = {}
    for (seed, num_batches), wants in wanted.items():
        batches = _batches(text, schedule, seed)
        found[seed, num_batches] = measure_signals(base, stack, wants, [batches[step] for step in range(num_batches)])
    return found


def _text_of(candidate: Candidate, schedule: Schedule) -> tuple[int, int]:
    """The seed and the number of batches that its signals are measured on."""
    wants = wanted_signals(candidate)
    num_tokens = max([schedule.signal_tokens, *(_TOKENS_PER_RANK * min(site.d_in, site.d_out) for site in wants)])
    return candidate.seed, -(-num_tokens // schedule.tokens_per_step) if wants else 0
