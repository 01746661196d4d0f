"""What was grown, what was decided and why: append-only, hash-chained, replayable."""

from saint.registry._ledger import Event as Event, Ledger as Ledger
from saint.registry._registry import Registry as Registry, Storable as Storable
from saint.registry._state import (
    Asked as Asked,
    Entry as Entry,
    State as State,
    holdout_digest as holdout_digest,
    num_passed as num_passed,
    replay as replay,
)
from saint.registry._store import Store as Store
from saint.registry._verify import Verification as Verification, verify as verify
