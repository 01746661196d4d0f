"""Can the graft be taken back?"""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from saint.gates import Gate
from saint.records import Evidence, Outcome, Verdict


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Rollback(Gate):
    """Removing the graft must have given back the earlier logits to the bit; measured, not assumed."""

    @override
    def judge(self, evidence: Evidence) -> Verdict:
        removal = evidence.removal
        if removal is None:
            return self.says(Outcome.DEFER, "removal was not tried; evaluate the graft again")
        if removal.restored:
            return self.says(Outcome.ACCEPT, f"removal restored {removal.num_tokens} tokens' logits to the bit")
        moved = f"removal left the logits {removal.max_abs_difference:.3g} away from where they were"
        return self.says(Outcome.REJECT, f"{moved}: something wrote to the base or to another graft")
