"""A graft from a library, judged like any candidate: what its certificate says decides nothing here."""

from saint.data import Splits
from saint.errors import GraftFileError, SaintError, SiteError
from saint.grafts import Graft, grow_from, num_bytes
from saint.growth._elsewhere import check_change, judge_from_elsewhere, must_not_be_in_quarantine
from saint.growth._journal import Journal
from saint.growth._plan import Plan
from saint.library import Listed
from saint.models import FrozenBase
from saint.progress import Progress, Silent
from saint.records import Candidate, to_plain
from saint.registry import Entry, Registry


def install(
    base: FrozenBase,
    data: Splits,
    plan: Plan,
    registry: Registry,
    listed: Listed,
    content: bytes,
    *,
    at_most_change: float = 10.0,
    progress: Progress | None = None,
) -> Entry:
    """Judge a graft of a library by the plan's gates on the present stack; it stands if they accept it.

    Which library it is from, by which certificate and whose key, is in the ledger before the gates' text is looked at.

    Args:
        listed: The graft's certificate.
        content: The graft's file, checked against it.
        at_most_change: As for a submission.

    Returns:
        The judgement.

    Raises:
        ConfigError, GraftFileError: The file is not a graft of the certificate's candidate; nothing was recorded.
        SiteError: This base has no such site, or the kind cannot be there.
        AdapterError: It changes too much, or is in quarantine.
        LedgerError: It stands already.
        HoldOutError: Sealed text may not be asked any more.
    """
    certificate = listed.certificate
    what = f"graft {certificate.graft[:12]}"
    graft = _read(base, certificate.evidence.candidate, content, what=what)
    check_change(base, graft, at_most=at_most_change, what=what)
    must_not_be_in_quarantine(registry.state, [graft.digest], what=what)
    came = {
        "name": ", ".join(certificate.competences),
        "reason": "",
        "folder": listed.address,
        "files": {"graft.safetensors": certificate.graft},
        "same_base": "identity",
        "library": {
            "address": listed.address,
            "certificate": listed.digest,
            "signers": to_plain(listed.signers),
            "origin": certificate.source.origin,
            "licence": certificate.licence,
        },
    }
    journal = Journal(registry, base, data, plan, progress or Silent())
    return judge_from_elsewhere(journal, graft, came, contents=[listed.content])


def _read(base: FrozenBase, candidate: Candidate, content: bytes, *, what: str) -> Graft:
    """The graft that a certificate describes; how large it is gets known before anything of that size is made."""
    there = set(base.sites())
    if strange := [site.key for site in candidate.sites if site not in there]:
        raise SiteError(f"{what} is at {strange[0]!r:.80}, which this base does not have; install one that is for it")
    try:
        _must_take(candidate, len(content))
        graft = grow_from(candidate, weights=content).eval().requires_grad_(requires_grad=False)
    except SaintError as error:
        raise type(error)(f"{what} is not what its certificate says: {error}") from error
    if graft.to_bytes() != content:
        raise GraftFileError(f"{what} is not spelled as grafts are; ask its publisher for another")
    return graft


def _must_take(candidate: Candidate, num: int) -> None:
    try:
        size = num_bytes(candidate.kind, candidate.options, candidate.sites)
    except SaintError:
        raise
    except RuntimeError as error:  # PyTorch's, of a number of bytes beyond 64 bits
        raise GraftFileError("it would be of a size that nothing can have; ask its publisher for another") from error
    if size != num:
        raise GraftFileError(
            f"it takes {num:,} bytes, and one of its kind, options and sites {size:,}; ask for another"
        )
