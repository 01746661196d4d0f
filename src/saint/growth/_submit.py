"""An adapter that was trained elsewhere, judged like any candidate."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from saint.adapters import Adapter, check_origin, read_adapter, to_graft
from saint.data import Splits
from saint.grafts import Graft
from saint.growth._elsewhere import check_change, judge_from_elsewhere, must_not_be_in_quarantine
from saint.growth._journal import Journal
from saint.growth._plan import Plan
from saint.models import FrozenBase
from saint.progress import Progress, Silent
from saint.registry import Entry, Registry, State
from saint.weights import Caps


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A PEFT adapter that is to be judged, and what is said about it."""

    folder: Path
    name: str = ""
    """What people call it."""
    reason: str = ""
    """Why it is submitted."""
    same_base: bool = False
    """Somebody vouches that it was trained on the registry's base, though it names another."""
    choose_strength: bool = False
    """Choose on *select* how much of its change to keep, as for a graft that was grown; else all of it is judged."""
    at_most_change: float = 10.0
    """The Frobenius norm of its change of a weight over the weight's own, at each site; what is no change of a weight
    keeps any limit. Trained adapters are far below 1; one above 10 leaves nothing of what was frozen. It is refused
    before it is composed, where the gate `interpretability` (`at_most_energy`) judges all sites together."""
    caps: Caps = field(default_factory=Caps)
    """The most that its file may be or hold."""


def submit(
    base: FrozenBase,
    data: Splits,
    plan: Plan,
    registry: Registry,
    submission: Submission,
    *,
    progress: Progress | None = None,
) -> Entry:
    """Judge an adapter by the plan's gates on the present stack; it stands if they accept it.

    Where it came from is in the ledger before the gates' text is looked at. It was not trained here, so its cost has
    no tokens.

    Returns:
        The judgement.

    Raises:
        AdapterError: It cannot be read, says what no graft can, changes too much, is for another base, or was exported
            from a graft that is in quarantine; nothing was recorded.
        LedgerError: It stands already.
        HoldOutError: Sealed text may not be asked any more.
    """
    adapter = read_adapter(submission.folder, caps=submission.caps)
    ground = check_origin(base, adapter, same_base=submission.same_base)
    graft = to_graft(base, adapter)
    check_change(base, graft, at_most=submission.at_most_change, what=str(submission.folder))
    must_not_be_in_quarantine(registry.state, _inputs(registry.state, adapter, graft), what=str(adapter.folder))
    came = {
        "name": submission.name,
        "reason": submission.reason,
        "folder": str(submission.folder),
        "files": adapter.files,
        "config": adapter.config,
        "same_base": ground,
    }
    journal = Journal(registry, base, data, plan, progress or Silent())
    return judge_from_elsewhere(journal, graft, came, choose=submission.choose_strength)


def _inputs(state: State, adapter: Adapter, graft: Graft) -> list[str]:
    """The graft itself, and those that its file was exported from here."""
    exports = [one["grafts"] for one in state.exported if one["weights"] in adapter.files.values()]
    return [graft.digest, *(digest for grafts in exports for digest in grafts)]
