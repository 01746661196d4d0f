"""Check a SAINT-G registry with nothing but Python: python3 -I verify.py [FOLDER] [--expect SIZE:ROOT].

It checks that every entry is canonical and carries the digest of the one before, that every content an entry names is
there and has that SHA-256, and that the log has the Merkle root of every checkpoint. FORMAT.md says what these are.
It cannot check signatures; it prints the openssl commands that do. Without --expect, which takes a checkpoint that you
have from elsewhere, it cannot know either whether the log was cut short or rewritten as a whole.

Exit status: 0 all was checked and is sound, 1 something is wrong, 3 the files fit together, but that is not all.
This file lies in the registry, so whoever can change the registry can change it: take it from a copy you trust.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, Union

_FORMAT = 1
_KEYS = {"format", "number", "previous", "event", "body", "blobs", "time"}


class _Number(str):
    """A number as it is spelled; how one is spelled is not checked here."""


def _spelled(value: Any) -> str:
    """The canonical spelling (RFC 8785) of what was read."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{_spelled(name)}:{_spelled(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_spelled, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _root(leaves: list[bytes]) -> bytes:
    """The Merkle root of RFC 6962, by merging complete subtrees from the left."""
    peaks: list[tuple[int, bytes]] = []
    for leaf in leaves:
        size, node = 1, leaf
        while peaks and peaks[-1][0] == size:
            node = _node(peaks.pop()[1], node)
            size *= 2
        peaks.append((size, node))
    if not peaks:
        return hashlib.sha256().digest()
    root = peaks.pop()[1]
    while peaks:
        root = _node(peaks.pop()[1], root)
    return root


def _read_log(folder: Path, problems: list[str]) -> tuple[list[bytes], set[str], str]:
    """The leaf hashes of all entries up to the first that is wrong, the contents they name, and the last's digest."""
    leaves: list[bytes] = []
    named: set[str] = set()
    previous = "0" * 64
    for number, place in enumerate(sorted((folder / "log").glob("*/*.json"))):
        if place != folder / "log" / f"{number // 1000:06d}" / f"{number:09d}.json":
            problems.append(f"entry {number} is missing, {place.name} is in its place")
            break
        content = place.read_bytes()
        try:
            named.update(_blobs_of(content, number, previous))
        except (ValueError, TypeError, RecursionError) as error:
            problems.append(f"{place}: {error}")
            break
        leaves.append(hashlib.sha256(b"\x00" + content).digest())
        previous = hashlib.sha256(content).hexdigest()
    return leaves, named, previous


def _blobs_of(content: bytes, number: int, previous: str) -> list[str]:
    """What an entry names, once it is known to be the one that belongs here."""
    entry = json.loads(content.decode("utf-8"), parse_int=_Number, parse_float=_Number)
    if _spelled(entry).encode("utf-8") != content or set(entry) != _KEYS:
        raise ValueError("it is not spelled as it was written")
    if (entry["format"], entry["number"], entry["previous"]) != (str(_FORMAT), str(number), previous):
        raise ValueError("the chain breaks: it was changed, or the entry before it was")
    blobs = entry["blobs"]
    if not isinstance(blobs, list) or not all(type(blob) is str for blob in blobs):
        raise ValueError("it does not list contents")
    return blobs


def _read_blobs(folder: Path, named: set[str], problems: list[str]) -> int:
    """How many bytes the named contents have."""
    num_bytes = 0
    for digest in sorted(named):
        place, total = folder / "blobs" / digest[:2] / digest, hashlib.sha256()
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            problems.append(f"an entry names {digest!r}, which is no SHA-256")
            continue
        try:
            with place.open("rb") as file:
                for piece in iter(lambda: file.read(1 << 20), b""):
                    total.update(piece)
                    num_bytes += len(piece)
        except OSError as error:
            problems.append(f"{place}: {error.strerror}")
            continue
        if total.hexdigest() != digest:
            problems.append(f"{place} was changed: its SHA-256 is {total.hexdigest()}")
    return num_bytes


def _read_notes(folder: Path, leaves: list[bytes], problems: list[str]) -> list[Path]:
    """All checkpoints, oldest first, each held against the log."""
    notes = sorted((folder / "checkpoints").glob("*.note"))
    origins = (folder / "origin").read_text("utf-8").split() if (folder / "origin").is_file() else []
    for place in notes:
        try:
            _read_note(place, origins, leaves)
        except ValueError as error:
            problems.append(f"{place}: {error}")
    return notes


def _read_note(place: Path, origins: list[str], leaves: list[bytes]) -> None:
    message, _, signatures = place.read_bytes().decode("utf-8").partition("\n\n")
    origin, size, root = message.split("\n")[:3]
    if origins and origin not in origins:
        raise ValueError(f"it is of another log, {origin}")
    if place.name != f"{int(size):09d}.note" or not signatures.endswith("\n"):
        raise ValueError("it is not what was written")
    _hold_against(leaves, int(size), root)


def _hold_against(leaves: list[bytes], size: int, root: str) -> None:
    if size > len(leaves):
        raise ValueError(f"it is about {size} entries, only {len(leaves)} are there and sound: the log was cut short")
    if base64.b64encode(_root(leaves[:size])).decode() != root:
        raise ValueError(f"the first {size} entries do not have its root: one was changed, or all were written anew")


def _how_to_check_the_signature(folder: Path, note: Path) -> list[str]:
    keys = sorted(place.name for place in (folder / "checkpoints").glob("*.pem")) or ["KEY.pem"]
    return [
        f"  cd {folder / 'checkpoints'}",
        f"  sed '/^$/,$d' {note.name} > /tmp/message",
        f"  sed '1,/^$/d' {note.name} | head -1 | cut -d' ' -f3 | base64 -d | tail -c +5 > /tmp/signature",
        f"  openssl pkeyutl -verify -pubin -inkey {keys[-1]} -rawin -in /tmp/message -sigfile /tmp/signature",
        "  and compare the key with the one that you were given: it lies beside what it signs",
    ]


def main(arguments: list[str]) -> int:
    """Check the folder, print what was found; returns the exit status."""
    expected: Union[str, None] = None
    if "--expect" in arguments[:-1]:
        index = arguments.index("--expect")
        expected = arguments[index + 1]
        arguments = arguments[:index] + arguments[index + 2 :]
    folder = Path(arguments[0]) if arguments else Path(__file__).resolve().parent
    try:
        marker = json.loads((folder / "registry.json").read_text("utf-8"))
        if marker["format"] != _FORMAT:
            print(f"could not check: format {marker['format']}, this file reads {_FORMAT}")
            return 3
    except (OSError, ValueError, KeyError, TypeError):
        print(f"usage: python3 -I verify.py FOLDER [--expect SIZE:ROOT]; {folder} is not a registry")
        return 2
    return _check(folder, expected)


def _check(folder: Path, expected: Union[str, None]) -> int:
    problems: list[str] = []
    leaves, named, head = _read_log(folder, problems)
    num_bytes = _read_blobs(folder, named, problems)
    notes = _read_notes(folder, leaves, problems)
    root = base64.b64encode(_root(leaves)).decode()
    print(f"{len(leaves)} entries, {len(named)} blobs, {num_bytes} bytes, {len(notes)} checkpoints read")
    print(f"head {head}\ncheckpoint {len(leaves)}:{root}")
    if expected is not None:
        try:
            size, _, its_root = expected.partition(":")
            _hold_against(leaves, int(size), its_root)
        except ValueError as error:
            problems.append(f"--expect {expected}: {error}")
    for problem in problems:
        print(f"problem: {problem}")
    if problems:
        return 1
    unchecked = [] if expected else ["whether the log was cut short or written anew: give --expect SIZE:ROOT"]
    if notes:
        print("the signature of the last checkpoint is checked by")
        print("\n".join(_how_to_check_the_signature(folder, notes[-1])))
    else:
        unchecked += [] if expected else ["signatures: there is no checkpoint"]
    for what in unchecked:
        print(f"could not check {what}")
    print("the files fit together" if unchecked else "the files fit together, and with what you expected")
    return 3 if unchecked else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
