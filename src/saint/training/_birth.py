"""Newborn grafts with what they are born from, and their first step in closed form."""

from collections import defaultdict
from collections.abc import Sequence

from saint.composition import measure_signals, newborn, place_of, wanted_signals
from saint.data import Corpus
from saint.grafts import Graft, Moment, Signals
from saint.models import FrozenBase
from saint.records import Candidate, Site
from saint.training._schedule import Schedule

_MIN_SIGNAL_TOKENS = 4096
_TOKENS_PER_RANK = 4  # fewer tokens than directions would leave some of these without any evidence


def begun(
    base: FrozenBase, stack: Sequence[Graft], candidates: Sequence[Candidate], text: Corpus, schedule: Schedule
) -> list[Graft]:
    """A newborn for each candidate, once it has taken the first step that its kind takes in closed form.

    The signals that kinds want are measured on the first of the text that a candidate will learn from, in one pass for
    all candidates that learn from the same.
    """
    signals = _measure(base, stack, candidates, text, schedule)
    return [_begin(base, stack, candidate, signals.get(_text_of(candidate, schedule), {})) for candidate in candidates]


def _begin(base: FrozenBase, stack: Sequence[Graft], candidate: Candidate, signals: dict[str, Signals]) -> Graft:
    graft = newborn(base, candidate, stack=stack, signals=signals)
    for site in candidate.sites:
        graft.parts[site.key].begin(place_of(base, site, signals=signals.get(site.key)))
    return graft


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
        batches = text.batches(
            batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=seed, shift=schedule.shift
        )
        found[seed, num_batches] = measure_signals(base, stack, wants, [batches[step] for step in range(num_batches)])
    return found


def _text_of(candidate: Candidate, schedule: Schedule) -> tuple[int, int]:
    """The seed and the number of batches that its signals are measured on."""
    wants = wanted_signals(candidate)
    num_tokens = max([_MIN_SIGNAL_TOKENS, *(_TOKENS_PER_RANK * min(site.d_in, site.d_out) for site in wants)])
    return candidate.seed, -(-num_tokens // schedule.tokens_per_step) if wants else 0
