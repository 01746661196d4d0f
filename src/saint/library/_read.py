import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from saint.errors import (
    KeyFileError,
    NewerFormatError,
    RemoteContentError,
    RemoteError,
    SaintError,
    SignatureError,
    UnknownNameError,
)
from saint.library._layout import MOST_CERTIFICATE_BYTES, must_be_library
from saint.library._listed import Listed, read_certificate
from saint.progress import Progress, Silent
from saint.remotes import Remote, certificate_of

_SHORTEST_KEY_ID = 16


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """What a library has."""

    listed: tuple[Listed, ...]
    """Certificates whose signatures hold, the latest judgement first."""
    problems: tuple[str, ...]
    """What is wrong with others."""
    unchecked: tuple[str, ...]
    """Why others could not be checked: a newer version wrote them."""


def read_library(remote: Remote, *, competence: str = "", progress: Progress | None = None) -> Catalogue:
    """Read every certificate of a library; no graft is fetched.

    Args:
        competence: Only grafts of that; "" for all.

    Raises:
        LibraryError: There is no library.
        RemoteError: It cannot be read, so that nothing is known of it.
    """
    must_be_library(remote)
    names = sorted(remote.names("certificates"))
    listed, problems, unchecked = [], [], []
    with (progress or Silent()).task("certificates", total=len(names), unit="certificates") as task:
        for name in names:
            try:
                listed.append(read_listed(remote, name))
            except (RemoteError, KeyFileError):  # it says nothing about the certificate
                raise
            except NewerFormatError as error:
                unchecked.append(str(error))
            except SaintError as error:
                problems.append(str(error))
            task.advance(1)
    wanted = [one for one in listed if not competence or competence in one.certificate.competences]
    return Catalogue(
        listed=tuple(sorted(wanted, key=_age, reverse=True)), problems=tuple(problems), unchecked=tuple(unchecked)
    )


def find(remote: Remote, graft: str, *, signer: str = "") -> Listed:
    """The certificate of the graft whose digest starts with `graft`; of several, that of the latest judgement.

    Args:
        signer: Only one that this key signed: its id, or the first 16 letters or more of it; "" for any.

    Raises:
        LibraryError: There is no library.
        UnknownNameError: There is no such graft, or more than one.
        SignatureError: No certificate of it is signed by that key, or its signature does not hold.
        RemoteContentError: Its certificate is not one, or is about another graft.
    """
    must_be_library(remote)
    known = {name: found[0] for name in remote.names("certificates") if (found := certificate_of(name))}
    names = sorted(name for name, digest in known.items() if graft and digest.startswith(graft))
    if len({known[name] for name in names}) != 1:
        problem = "several grafts" if names else "no graft"
        raise UnknownNameError(
            f"{problem} of {remote.address} has the digest {graft!r:.80}; see `saint library list {remote.address}`"
        )
    listed = _all_that_hold(remote, names)
    if not signer:
        return max(listed, key=_age)
    signed = [one for one in listed if len(signer) >= _SHORTEST_KEY_ID and _signed(one, signer)]
    if not signed:
        by = ", ".join(sorted({key.key_id for one in listed for key in one.signers}))
        raise SignatureError(
            f"no certificate of graft {known[names[0]][:12]} is signed by key {signer!r:.80}; it is signed by {by}, "
            f"of which an id is given whole or by its first {_SHORTEST_KEY_ID} letters or more"
        )
    return max(signed, key=_age)


def read_listed(remote: Remote, name: str) -> Listed:
    """One certificate of a library.

    Raises:
        RemoteContentError: It is none, is another one than its name says, or is about another graft.
        SignatureError: Its signature does not hold.
    """
    content, where = remote.get(name, MOST_CERTIFICATE_BYTES), f"{remote.address}/{name}"
    said, found = certificate_of(name), hashlib.sha256(content).hexdigest()
    assert said is not None
    if found != said[1]:
        raise RemoteContentError(f"{where} was changed: it hashes to {found[:12]}; ask its publisher for another")
    certificate, signers = read_certificate(content, where=where)
    if certificate.graft != said[0]:
        raise RemoteContentError(
            f"{where} is the certificate of another graft, {certificate.graft[:12]}; ask for its own"
        )
    return Listed(address=remote.address, certificate=certificate, digest=said[1], content=content, signers=signers)


def _all_that_hold(remote: Remote, names: Sequence[str]) -> list[Listed]:
    """Anybody may put a file beside a good certificate, so one that does not hold matters where no other does."""
    listed: list[Listed] = []
    wrong: list[SaintError] = []
    for name in names:
        try:
            listed.append(read_listed(remote, name))
        except (NewerFormatError, RemoteContentError, SignatureError) as error:
            wrong.append(error)
    if not listed:
        raise wrong[0]
    return listed


def _signed(listed: Listed, signer: str) -> bool:
    return any(one.key_id.startswith(signer) for one in listed.signers)


def _age(listed: Listed) -> tuple[str, str, str]:
    source = listed.certificate.source
    return source.judged, source.as_of, listed.digest
