"""What was grown, what was decided and why: append-only, hash-chained, replayable."""

from saint.registry._changes import replay as replay
from saint.registry._checkpoint import (
    Checkpoint as Checkpoint,
    Note as Note,
    Signature as Signature,
    Signer as Signer,
    key_hash as key_hash,
    parse_note as parse_note,
)
from saint.registry._doctor import Finding as Finding, examine as examine
from saint.registry._format_page import add_pages as add_pages, names_in as names_in, origin_after as origin_after
from saint.registry._gc import Collection as Collection, collect as collect
from saint.registry._index import find as find
from saint.registry._ledger import Event as Event, Ledger as Ledger, Watch as Watch
from saint.registry._merkle import (
    MerkleTree as MerkleTree,
    leaf_hash as leaf_hash,
    merkle_root as merkle_root,
    verify_consistency as verify_consistency,
    verify_inclusion as verify_inclusion,
)
from saint.registry._registry import Registry as Registry, Storable as Storable
from saint.registry._remembered import Memory as Memory, Remembered as Remembered, Standing as Standing
from saint.registry._repair import Copy as Copy, Repair as Repair, repair as repair
from saint.registry._sealing import Seal as Seal, public_of as public_of, public_pem as public_pem
from saint.registry._state import (
    Asked as Asked,
    Entry as Entry,
    State as State,
    holdout_digest as holdout_digest,
)
from saint.registry._store import Store as Store
from saint.registry._verify import (
    Verification as Verification,
    held_note as held_note,
    remember as remember,
    verify as verify,
)
