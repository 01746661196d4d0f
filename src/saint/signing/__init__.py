"""Who wrote an entry, and whether they may: keys, attestations, and whose signatures count; no PyTorch."""

from saint.home import home as home
from saint.signing._attest import sign_approval as sign_approval, sign_entries as sign_entries
from saint.signing._change import (
    change_trust as change_trust,
    log_key as log_key,
    pin as pin,
    sign_change as sign_change,
    trust_of as trust_of,
)
from saint.signing._check import Signatures as Signatures, check_signatures as check_signatures
from saint.signing._envelope import (
    Envelope as Envelope,
    pae as pae,
    read_envelope as read_envelope,
    sign as sign,
    verify as verify,
)
from saint.signing._key import (
    Key as Key,
    Keyring as Keyring,
    PublicKey as PublicKey,
    key_path as key_path,
    keys_folder as keys_folder,
    load_key as load_key,
    load_public as load_public,
    make_key as make_key,
)
from saint.signing._log_keys import log_keys as log_keys
from saint.signing._note import NoteSigner as NoteSigner, NoteVerifier as NoteVerifier
from saint.signing._statement import (
    DECISION as DECISION,
    EVALUATION as EVALUATION,
    PROVENANCE as PROVENANCE,
)
from saint.signing._trust import (
    ROLES as ROLES,
    Grant as Grant,
    Trust as Trust,
    embedded_trust as embedded_trust,
    read_trust as read_trust,
    sign_trust as sign_trust,
    spell as spell,
)
