"""Check a SAINT-G registry with nothing but Python: python3 -I verify.py [FOLDER] [--expect SIZE:ROOT].

It checks that every entry is canonical and carries the digest of the one before, that every content an entry names is
there and has that SHA-256, that the log has the Merkle root of every checkpoint, and that each key beside these is the
one that its name says. FORMAT.md says what these are.
It cannot check signatures; it prints the openssl commands that do. Without --expect, which takes a checkpoint that you
have from elsewhere, it cannot know either whether the log was cut short or rewritten as a whole.

Exit status: 0 the files fit together and with what you expected, 1 something is wrong, 2 wrong usage, 3 something could
not be checked: a file could not be read, or there is nothing to hold the whole against.
This file lies in the registry, so whoever can change the registry can change it: take it from a copy you trust.
Python 3.8 or newer.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
import stat
import sys
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import Any

_FORMAT = 1
_KEYS = {"format", "number", "previous", "event", "body", "blobs", "time"}
_RECORD = {"registry.json", "origin", "log", "blobs", "checkpoints", "FORMAT.md", "verify.py"}
_NO_RECORD = ("tmp", "trash", "work", "index.sqlite", "index.sha256")


_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_MOST_ENTRY_BYTES = 1 << 26
_MOST_BYTES = 1 << 16
"""Of any other file that is read whole."""
_DER_OF_ED25519 = bytes.fromhex("302a300506032b6570032100")


class _OddFileError(OSError):
    """What is there is no ordinary file, or one that is far too large."""


def _open(place: Path) -> FileIO:
    """Open an ordinary file; a pipe would be waited for for ever, and a device has no end."""
    descriptor = os.open(str(place), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _OddFileError("is no ordinary file")
    return FileIO(descriptor, "rb")


def _read(place: Path, at_most: int = _MOST_BYTES) -> bytes:
    with _open(place) as file:
        if os.fstat(file.fileno()).st_size > at_most:
            raise _OddFileError(f"has over {at_most} bytes")
        return file.read()


class _NotReadError(Exception):
    """What is said is about entries that are there, it may be, and could not be read."""


class _Found:
    """What is wrong, what could not be read, and what else is told."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.unchecked: list[str] = []
        self.num_attestations = 0
        self.log = "whole"  # or "wrong" from some entry on, or "unread"

    def cannot_read(self, place: Path, error: OSError) -> None:
        """Tell what is missing from what is there and cannot be read."""
        if isinstance(error, _OddFileError):
            self.problems.append(f"{place} {error}")
        elif isinstance(error, _NOT_THERE):
            self.problems.append(f"{place} is missing")
        else:
            self.unchecked.append(f"{place}: it cannot be read ({error.strerror})")

    def is_wrong(self, said: str) -> None:
        """Of the log: what comes after it is not looked at."""
        self.problems.append(said)
        self.log = "wrong"

    def names(self, folder: Path) -> list[str]:
        """What lies in a folder, in order; nothing if it is not there."""
        try:
            return sorted(place.name for place in folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.cannot_read(folder, error)
            if "log" in (folder.name, folder.parent.name):
                self.log = "unread"
            return []


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


def _roots(leaves: list[bytes], sizes: Iterable[int]) -> dict[int, str]:
    """The Merkle roots of RFC 6962 over so many first leaves, by merging complete subtrees from the left."""
    wanted, roots = set(sizes), {}
    peaks: list[tuple[int, bytes]] = []
    for size in range(len(leaves) + 1):
        if size:
            width, node = 1, leaves[size - 1]
            while peaks and peaks[-1][0] == width:
                node = _node(peaks.pop()[1], node)
                width *= 2
            peaks.append((width, node))
        if size in wanted:
            roots[size] = base64.b64encode(_merged(peaks)).decode()
    return roots


def _merged(peaks: list[tuple[int, bytes]]) -> bytes:
    if not peaks:
        return hashlib.sha256().digest()
    root = peaks[-1][1]
    for _, peak in reversed(peaks[:-1]):
        root = _node(peak, root)
    return root


def _read_log(folder: Path, found: _Found) -> tuple[list[bytes], set[str], str]:
    """The leaf hashes of all entries up to the first that is wrong, the contents they name, and the last's digest."""
    leaves: list[bytes] = []
    named: set[str] = set()
    previous = "0" * 64
    log = folder / "log"
    places = [log / name / entry for name in found.names(log) for entry in found.names(log / name)]
    for number, place in enumerate(place for place in places if place.suffix == ".json"):
        if place != log / f"{number // 1000:06d}" / f"{number:09d}.json":
            found.is_wrong(f"entry {number} is missing, {place.name} is in its place")
            break
        try:
            content = _read(place, _MOST_ENTRY_BYTES)
            named.update(_blobs_of(content, number, previous, found))
        except OSError as error:
            found.cannot_read(place, error)
            found.log = "unread"
            break
        except (ValueError, TypeError, RecursionError) as error:
            found.is_wrong(f"{place}: {error}")
            break
        leaves.append(hashlib.sha256(b"\x00" + content).digest())
        previous = hashlib.sha256(content).hexdigest()
    return leaves, named, previous


def _blobs_of(content: bytes, number: int, previous: str, found: _Found) -> list[str]:
    """What an entry names, once it is known to be the one that belongs here."""
    entry = json.loads(content.decode("utf-8"), parse_int=_Number, parse_float=_Number)
    if _spelled(entry).encode("utf-8") != content or set(entry) != _KEYS:
        raise ValueError("it is not spelled as it was written")
    if (entry["format"], entry["number"], entry["previous"]) != (str(_FORMAT), str(number), previous):
        raise ValueError("the chain breaks: it was changed, or the entry before it was")
    blobs, body = entry["blobs"], entry["body"]
    if not isinstance(blobs, list) or not all(type(blob) is str for blob in blobs) or not isinstance(body, dict):
        raise ValueError("it does not list contents")
    attestations = body.get("attestations", [])
    if not set(attestations) <= set(blobs):
        raise ValueError("it names an attestation that is none of its contents")
    found.num_attestations += len(attestations)
    return blobs


def _read_blobs(folder: Path, named: set[str], found: _Found) -> int:
    """How many bytes the named contents have."""
    num_bytes = 0
    put_away = {name.partition(".")[0]: name for name in found.names(folder / "trash")}
    for digest in sorted(named):
        place, total = folder / "blobs" / digest[:2] / digest, hashlib.sha256()
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            found.problems.append(f"an entry names {digest!r}, which is no SHA-256")
            continue
        try:
            with _open(place) as file:
                for piece in iter(lambda: file.read(1 << 20), b""):
                    total.update(piece)
                    num_bytes += len(piece)
        except OSError as error:
            found.cannot_read(place, error)
            if digest in put_away:
                found.problems.append(f"{folder / 'trash' / put_away[digest]} has its name: `saint gc` brings it back")
            continue
        if total.hexdigest() != digest:
            found.problems.append(f"{place} was changed: its SHA-256 is {total.hexdigest()}")
    return num_bytes


def _read_notes(folder: Path, leaves: list[bytes], found: _Found) -> list[Path]:
    """All checkpoints, oldest first, each held against the log."""
    names = [name for name in found.names(folder / "checkpoints") if name.endswith(".note")]
    roots = _roots(leaves, (int(name[:-5]) for name in names if name[:-5].isdigit()))
    notes = [folder / "checkpoints" / name for name in names]
    origins = _origins(folder / "origin", found)
    for place in notes:
        try:
            _read_note(place, origins, len(leaves), roots, found)
        except OSError as error:
            found.cannot_read(place, error)
        except _NotReadError as error:
            found.unchecked.append(f"{place}: {error}")
        except ValueError as error:
            found.problems.append(f"{place}: {error}")
    return notes


def _origins(place: Path, found: _Found) -> list[str]:
    """The names that the log has had; none where it was begun before there were any."""
    try:
        return _read(place).decode("utf-8").split()
    except FileNotFoundError:
        return []
    except _OddFileError as error:
        found.cannot_read(place, error)
    except (OSError, UnicodeDecodeError) as error:
        found.unchecked.append(f"{place}: it cannot be read ({error}), so nor whose the checkpoints are")
    return []


def _read_keys(folder: Path, found: _Found) -> None:
    """Hold the keys beside the checkpoints against their names: whoever checks with openssl takes them by these."""
    for place in (folder / name for name in found.names(folder) if name.endswith(".pem")):
        try:
            public = _public(_read(place))
            if public is None or place.name != hashlib.sha256(public).hexdigest()[:16] + ".pem":
                found.problems.append(f"{place} does not hold the key that it is called by")
        except OSError as error:
            found.cannot_read(place, error)


def _public(pem: bytes) -> bytes | None:
    """The 32 bytes of an Ed25519 public key, spelled as openssl spells it; None for anything else."""
    lines = pem.split(b"\n")
    if len(lines) != 4 or [lines[0], *lines[2:]] != [b"-----BEGIN PUBLIC KEY-----", b"-----END PUBLIC KEY-----", b""]:
        return None
    try:
        der = base64.b64decode(lines[1], validate=True)
    except ValueError:
        return None
    is_key = len(der) == 44 and der[:12] == _DER_OF_ED25519 and base64.b64encode(der) == lines[1]
    return der[12:] if is_key else None


def _read_note(place: Path, origins: list[str], num_leaves: int, roots: dict[int, str], found: _Found) -> None:
    message, _, signatures = _read(place).decode("utf-8").partition("\n\n")
    origin, size, root = message.split("\n")[:3]
    if origins and origin not in origins:
        raise ValueError(f"it is of another log, {origin}")
    if size != str(int(size)) or place.name != f"{int(size):09d}.note" or not signatures.endswith("\n"):
        raise ValueError("it is not what was written")
    _hold_against(int(size), root, num_leaves, roots, found)


def _hold_against(size: int, root: str, num_leaves: int, roots: dict[int, str], found: _Found) -> None:
    if size > num_leaves and found.log == "unread":
        raise _NotReadError(f"it is about {size} entries, {num_leaves} could be read")
    if size > num_leaves:
        raise ValueError(f"it is about {size} entries, only {num_leaves} are there and sound: the log was cut short")
    if roots.get(size) != root:
        raise ValueError(f"the first {size} entries do not have its root: one was changed, or all were written anew")


def _how_to_check_the_signature(note: Path, found: _Found) -> list[str]:
    keys = [note.parent / name for name in found.names(note.parent) if name.endswith(".pem")]
    key = next((key.name for key in keys if _has_signed(key, note)), "KEY.pem")
    return [
        f"  cd {shlex.quote(str(note.parent))} && d=$(mktemp -d)",
        f"  sed '/^$/,$d' {note.name} > $d/message",
        f"  sed '1,/^$/d' {note.name} | head -1 | cut -d' ' -f3 | base64 -d | tail -c +5 > $d/signature",
        f"  openssl pkeyutl -verify -pubin -inkey {key} -rawin -in $d/message -sigfile $d/signature",
        "  and compare the key with the one that you were given: it lies beside what it signs",
    ]


def _has_signed(key: Path, note: Path) -> bool:
    """Whether the note's first signature says that it is by this key."""
    try:
        public = _public(_read(key)) or b""
        _, name, signature = _read(note).decode("utf-8").partition("\n\n")[2].split("\n")[0].split(" ")
        return base64.b64decode(signature)[:4] == hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    except (OSError, ValueError):
        return False


def _besides(folder: Path, named: set[str], found: _Found) -> list[str]:
    """What else lies there: no part of the record, and so nothing that could be wrong with it."""
    blobs = folder / "blobs"
    unnamed = sum(name not in named for head in found.names(blobs) for name in found.names(blobs / head))
    told = [f"{unnamed} blobs that no entry names"] if unnamed and found.log == "whole" else []
    for name in _NO_RECORD:
        if (folder / name).is_dir():
            num_files = sum(len(files) for _, _, files in os.walk(folder / name))
            told += [f"{num_files} files in {name}/"] if num_files else []
    strange = [name for name in found.names(folder) if name not in _RECORD and name not in _NO_RECORD]
    return told + [f"{name}, which is no registry's" for name in strange]


def main(arguments: list[str]) -> int:
    """Check the folder, print what was found; returns the exit status."""
    expected = ""
    if "--expect" in arguments[:-1]:
        index = arguments.index("--expect")
        expected = arguments[index + 1]
        arguments = arguments[:index] + arguments[index + 2 :]
    folder = Path(arguments[0]) if arguments else Path(__file__).resolve().parent
    found = _Found()
    try:
        marker = json.loads(_read(folder / "registry.json"))
        if marker["format"] != _FORMAT:
            print(f"could not check: format {marker['format']}, this file reads {_FORMAT}")
            return 3
    except (FileNotFoundError, NotADirectoryError):
        print(f"usage: python3 -I verify.py FOLDER [--expect SIZE:ROOT]; {folder} is not a registry")
        return 2
    except OSError as error:
        found.cannot_read(folder / "registry.json", error)
    except (ValueError, KeyError, TypeError, RecursionError):
        found.problems.append(f"{folder / 'registry.json'} is not what every registry has there")
    return _check(folder, expected, found)


def _check(folder: Path, expected: str, found: _Found) -> int:
    leaves, named, head = _read_log(folder, found)
    num_bytes = _read_blobs(folder, named, found)
    notes = _read_notes(folder, leaves, found)
    _read_keys(folder / "checkpoints", found)
    print(f"{len(leaves)} entries, {len(named)} blobs, {num_bytes} bytes, {len(notes)} checkpoints read")
    if found.log == "whole":
        print(f"head {head}\ncheckpoint {len(leaves)}:{_roots(leaves, [len(leaves)])[len(leaves)]}")
    if besides := _besides(folder, named, found):
        print(f"also there, and no part of the record: {'; '.join(besides)}")
    if expected:
        _expect(expected, leaves, found)
    else:
        found.unchecked.append("whether the log was cut short or written anew: give --expect SIZE:ROOT")
    if found.num_attestations:
        print(f"{found.num_attestations} attestations are whole; FORMAT.md says how to check who signed them")
    if notes:
        print(
            "\n".join(["who signed the last checkpoint is checked by", *_how_to_check_the_signature(notes[-1], found)])
        )
    return _conclude(found)


def _expect(expected: str, leaves: list[bytes], found: _Found) -> None:
    try:
        size, _, root = expected.partition(":")
        _hold_against(int(size), root, len(leaves), _roots(leaves, [int(size)]), found)
    except _NotReadError as error:
        found.unchecked.append(f"--expect {expected}: {error}")
    except ValueError as error:
        found.problems.append(f"--expect {expected}: {error}")


def _conclude(found: _Found) -> int:
    for problem in found.problems:
        print(f"problem: {problem}")
    for what in found.unchecked:
        print(f"could not check {what}")
    if found.problems:
        return 1
    print("what was read fits together" if found.unchecked else "the files fit together, and with what you expected")
    return 3 if found.unchecked else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
