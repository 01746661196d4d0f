"""What was grown, what was decided and why: append-only, hash-chained, replayable."""

from saint.registry._changes import replay as replay
from saint.registry._doctor import Finding as Finding, examine as examine
from saint.registry._gc import Collection as Collection, collect as collect
from saint.registry._index import find as find
from saint.registry._ledger import Event as Event, Ledger as Ledger
from saint.registry._registry import Registry as Registry, Storable as Storable
from saint.registry._repair import Repair as Repair, repair as repair
from saint.registry._state import (
    Asked as Asked,
    Entry as Entry,
    State as State,
    holdout_digest as holdout_digest,
)
from saint.registry._verify import Verification as Verification, verify as verify
