"""Files that are no graft, each for one reason, and mutations of ones that are."""

import io
import json
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import safetensors

from saint.errors import GraftFileError
from saint.weights import Weights, check_weights

TWO = struct.pack("<2f", 1, 2)


def header_and(data: bytes, header: Mapping[str, Any] | bytes, *, length: int | None = None, pad: bool = True) -> bytes:
    """A file, with a header as JSON or as bytes that may say anything."""
    written = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    written += b" " * (-len(written) % 8) if pad else b""
    return struct.pack("<Q", len(written) if length is None else length) + written + data


def tensor(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def of(entry: Any = None, data: bytes = TWO, *, name: str = "a") -> bytes:
    """A file of one tensor."""
    return header_and(data, {name: tensor() if entry is None else entry})


def said(text: bytes, data: bytes = TWO) -> bytes:
    """A file with a header that is spelled out."""
    return header_and(data, text)


VALID = of()
PLAIN = b'{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
LARGER = header_and(
    TWO * 12, {"__metadata__": {"format": "pt"}, **{f"l{i}.w": tensor(offsets=(8 * i, 8 * i + 8)) for i in range(12)}}
)
MIXED = header_and(
    bytes(range(64)),
    {
        "ids": tensor("I64", (2,), (0, 16)),
        "x": tensor("F32", (2, 3), (16, 40)),
        "y": tensor("BF16", (4, 2), (40, 56)),
        "z": tensor("U8", (8,), (56, 64)),
    },
)


def many_empty(num: int) -> bytes:
    one = b'"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return said(b"{" + b",".join(one % index for index in range(num)) + b"}", b"")


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name in names:
            zipped.writestr(name, b"content")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("adapter_model.safetensors"), io.BytesIO())
    return file.getvalue()


def array(*, zipped: bool) -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.ones(3)) if zipped else np.save(file, np.ones(3))
    return file.getvalue()


def padded_zip() -> bytes:
    """A tensor of bytes that is a zip archive."""
    inside = archive("__main__.py")
    return of(tensor("U8", (len(inside),), (0, len(inside))), inside)


def zip_of_two_volumes() -> bytes:
    """The same, which says that it is the second of two; Python's reader does not mind."""
    inside = archive("__main__.py")
    end = inside.rindex(b"PK\x05\x06") + 4
    inside = inside[:end] + b"\x01\x00\x01\x00" + inside[end + 4 :]
    assert zipfile.ZipFile(io.BytesIO(inside)).namelist() == ["__main__.py"]
    return of(tensor("U8", (len(inside),), (0, len(inside))), inside)


def a_name_twice_after_many(num: int) -> bytes:
    names = b",".join(b'"k%d":0' % index for index in range(num))
    return said(b"{" + names + b',"k%d":0}' % (num - 1))


CRAFTED: Mapping[str, tuple[bytes | Callable[[], bytes], str | None]] = {
    "valid": (VALID, None),
    "empty file": (b"", "but empty"),
    "7 bytes": (bytes(7), "not safetensors"),
    "header length 2^63": (header_and(TWO, {"a": tensor()}, length=2**63), "header takes .* at most 1,000,000"),
    "header length 2^64-1": (header_and(TWO, {"a": tensor()}, length=2**64 - 1), "header takes .* at most"),
    "header length 100 MB + 1": (header_and(TWO, {"a": tensor()}, length=100_000_001), "header takes 100,000,001"),
    "header longer than the file": (header_and(TWO, {"a": tensor()}, length=5000), "cut off"),
    "not JSON": (said(b"{"), "not the JSON"),
    "pickle": (b"\x80\x04\x95" + b"A" * 50, "a pickle, which could run code; load it where you trust it"),
    "zip": (b"PK\x03\x04" + b"A" * 50, "a zip archive; unpack it"),
    "truncated data": (VALID[:-1], "take 8 bytes, and 7 follow"),
    "trailing bytes": (VALID + b"PK\x03\x04", "take 8 bytes, and 12 follow"),
    "hole": (header_and(TWO + bytes(12), {"a": tensor(), "b": tensor(offsets=(12, 20))}), "b begins at byte 12"),
    "overlap": (header_and(TWO, {"a": tensor(), "b": tensor()}), "b begins at byte 0, expected 8"),
    "negative offset": (of(tensor(offsets=(-8, 0))), "whole numbers from 0"),
    "end before begin": (of(tensor(offsets=(8, 0))), "begins at byte 8"),
    "another shape": (of(tensor(shape=(3,))), "takes 8 bytes, expected 12"),
    "shape 2^33 x 2^33": (of(tensor(shape=(2**33, 2**33))), "more than any file"),
    "shape 2^62 x 4": (of(tensor(shape=(2**62, 4), offsets=(0, 0)), b""), "more than any file"),
    "shape 0 x 2^62": (of(tensor(shape=(0, 2**62), offsets=(0, 0)), b""), "which is nothing"),
    "rank 10,000": (of(tensor(shape=[1] * 10000 + [2])), "expected at most 4,096 for 1 tensor"),
    "unknown dtype": (of(tensor("F99")), "is of 'F99'"),
    "bool of 2": (of(tensor("BOOL", (1,), (0, 1)), b"\x02"), "holds a 2, expected 0 or 1"),
    "NaN": (of(data=struct.pack("<2f", float("nan"), 1)), "not finite"),
    "Inf": (of(data=struct.pack("<2f", float("inf"), 1)), "not finite"),
    "a name twice": (said(b'{"a":' + PLAIN + b',"a":' + PLAIN + b"}"), "'a' stands in it twice"),
    "a name twice, differing": (
        said(b'{"a":' + PLAIN + b',"a":' + PLAIN.replace(b"8", b"16").replace(b"2]", b"4]") + b"}", TWO * 2),
        "'a' stands in it twice",
    ),
    "a field twice": (said(b'{"a":' + PLAIN.replace(b'"dtype"', b'"dtype":"I32","dtype"') + b"}"), "'dtype' stands"),
    "metadata key twice": (said(b'{"__metadata__":{"k":"1","k":"2"},"a":' + PLAIN + b"}"), "'k' stands"),
    "metadata twice": (said(b'{"__metadata__":{},"__metadata__":{},"a":' + PLAIN + b"}"), "'__metadata__' stands"),
    "a field too many": (of(tensor(evil=1)), "expected data_offsets, dtype and shape alone"),
    "metadata that is no text": (header_and(TWO, {"__metadata__": {"k": 1}, "a": tensor()}), "not text by name"),
    "metadata of 20 MB": (lambda: header_and(TWO, {"__metadata__": {"k": "x" * 20_000_000}}), "header takes 20,000,"),
    "name ../../etc/passwd": (of(name="../../etc/passwd"), "called '../../etc/passwd'"),
    "name with NUL": (of(name="a\0b"), r"called 'a\\x00b'"),
    "name empty": (of(name=""), "called ''"),
    "name of 1 MB": (of(name="a" * 1_000_000), "header takes 1,000,"),
    "name with bidi": (of(name="a\u202eb"), r"called 'a\\u202eb'"),
    "names NFC and NFD": (
        header_and(TWO * 2, {"\u00e9": tensor(), "e\u0301": tensor(offsets=(8, 16))}),
        "expected 1 to 256 of A-Z",
    ),
    "name of dunders": (of(name="__class__.__init__"), "called '__class__.__init__'"),
    "leading space": (said(b' {"a":' + PLAIN + b"}"), "not safetensors"),
    "padded with a tab": (said(b'{"a":' + PLAIN + b"}\t"), "behind its last brace"),
    "padded with spaces": (said(b'{"a":' + PLAIN + b"}" + b" " * 14), None),
    "odd header length": (header_and(TWO, b'{"a":' + PLAIN + b"} ", pad=False), "expected a multiple of 8"),
    "no tensors": (said(b"{}", b""), "holds no tensor"),
    "only metadata": (header_and(b"", {"__metadata__": {}}), "holds no tensor"),
    "a million empty tensors": (lambda: many_empty(1_000_000), "header takes"),
    "float shape": (said(b'{"a":' + PLAIN.replace(b"[2]", b"[2.0]") + b"}"), "whole numbers from 0"),
    "shape 2e0": (said(b'{"a":' + PLAIN.replace(b"[2]", b"[2e0]") + b"}"), "whole numbers from 0"),
    "nesting of 100,000": (said(b'{"a":' + b"[" * 100_000), "behind its last brace"),
    "half a character in a name": (said(b'{"\\ud800":' + PLAIN + b"}"), r"called '\\ud800'"),
    "invalid UTF-8": (said(b'{"\xff":' + PLAIN + b"}"), "not the JSON"),
}
"""Those of the first survey: name -> (file, what is said of it; None for a file that is fine)."""

FURTHER: Mapping[str, tuple[bytes | Callable[[], bytes], str | None]] = {
    "nesting that is closed": (said(b'{"a":' + b"[" * 90_000 + b"]" * 90_000 + b"}"), "nested too deeply"),
    "nesting of objects": (said(b'{"a":' * 50_000 + b"0" + b"}" * 50_000), "nested too deeply"),
    "many tensors of nothing": (lambda: many_empty(17_000), "which is nothing"),
    "20,001 tensors": (
        lambda: said(b"{" + b",".join(b'"%x":0' % index for index in range(20_001)) + b"}", b""),
        "20,001 tensors, expected 1 to 20,000",
    ),
    "entry that is null": (of(entry=[]), "the header says list of a"),
    "entry without a dtype": (of({"shape": [2], "data_offsets": [0, 8]}), "alone"),
    "dtype that is a list": (of({**tensor(), "dtype": ["F32"]}), "is of"),
    "dtype in lower case": (of(tensor("f32")), "is of 'f32'"),
    "8-bit float": (of(tensor("F8_E4M3", (8,))), "is of 'F8_E4M3'"),
    "4-bit float": (of(tensor("F4", (16,))), "is of 'F4'"),
    "complex": (of(tensor("C64", (1,))), "is of 'C64'"),
    "64-bit unsigned": (of(tensor("U64", (1,))), "is of 'U64'"),
    "shape that is text": (of({**tensor(), "shape": "2"}), "not a list of at most 8"),
    "shape of truths": (of(tensor(shape=(True, 2))), "not a list of at most 8"),
    "shape of null": (of(tensor(shape=(None,))), "not a list of at most 8"),
    "shape -0": (said(b'{"a":' + PLAIN.replace(b"[0,", b"[-0,") + b"}"), "whole numbers from 0"),
    "shape of a googol": (said(b'{"a":' + PLAIN.replace(b"[2]", b"[1" + b"0" * 100 + b"]") + b"}"), "whole numbers"),
    "shape of 3,000 digits": (said(b'{"a":' + PLAIN.replace(b"[2]", b"[" + b"9" * 3000 + b"]") + b"}"), "whole"),
    "shape NaN": (said(b'{"a":' + PLAIN.replace(b"[2]", b"[NaN]") + b"}"), "whole numbers"),
    "rank 9": (of(tensor(shape=[1] * 8 + [2])), "at most 8"),
    "rank 8": (of(tensor(shape=[1] * 7 + [2])), None),
    "rank 0": (of(tensor(shape=(), offsets=(0, 4)), TWO[:4]), None),
    "three offsets": (of(tensor(offsets=(0, 4, 8))), "two whole numbers"),
    "offset of 2^63": (of(tensor(offsets=(0, 2**63))), "takes 9,223,372,036,854,775,808 bytes"),
    "offsets that are text": (of({**tensor(), "data_offsets": "08"}), "two whole numbers"),
    "misaligned tensor": (
        header_and(bytes(9), {"a": tensor("U8", (1,), (0, 1)), "b": tensor(offsets=(1, 9))}),
        "b begins at byte 1, expected a multiple of the 4 bytes",
    ),
    "first tensor not at 0": (of(tensor(offsets=(8, 16)), TWO * 2), "begins at byte 8, expected 0"),
    "NaN in 64 bits": (of(tensor("F64", (1,)), struct.pack("<d", float("nan"))), "not finite"),
    "-Inf in 64 bits": (of(tensor("F64", (1,)), struct.pack("<d", float("-inf"))), "not finite"),
    "NaN in 16 bits": (of(tensor("F16", (4,)), b"\x01\x7c" * 4), "not finite"),
    "-Inf in 16 bits": (of(tensor("F16", (4,)), b"\x00\xfc" * 4), "not finite"),
    "NaN in bfloat16": (of(tensor("BF16", (4,)), b"\xc0\x7f" * 4), "not finite"),
    "Inf in bfloat16": (of(tensor("BF16", (4,)), b"\x80\x7f" * 4), "not finite"),
    "signalling NaN": (of(data=struct.pack("<2I", 0x7F800001, 0)), "not finite"),
    "the last number of many": (
        lambda: of(tensor(shape=(200_001,), offsets=(0, 800_004)), bytes(800_000) + struct.pack("<f", float("nan"))),
        "not finite",
    ),
    "huge values": (of(data=struct.pack("<2f", 1, -1e30)), r"a value of size 1e\+30, expected at most 65504"),
    "huge values in bfloat16": (of(tensor("BF16", (4,)), b"\x00\x7f" * 4), "a value of size"),
    "a flood of subnormal values": (of(data=struct.pack("<2I", 1, 0x80000001)), "2 values that are too small"),
    "subnormal values in 16 bits": (of(tensor("F16", (4,)), b"\x01\x00" * 4), None),
    "name of points": (of(name=".."), r"called '\.\.'"),
    "name with two points": (of(name="a..b"), r"called 'a\.\.b'"),
    "name that begins with a point": (of(name=".a"), r"called '\.a'"),
    "name with a slash": (of(name="a/b"), "called 'a/b'"),
    "name with a backslash": (of(name="a\\b"), "called"),
    "name with a new line": (of(name="a\n"), r"called 'a\\n'"),
    "name of 257": (of(name="a" * 257), "expected 1 to 256"),
    "name of 256": (of(name="a" * 256), None),
    "name of full-width letters": (of(name="\uff41"), r"called '\\uff41'"),
    "metadata that is null": (header_and(TWO, {"__metadata__": None, "a": tensor()}), "not text by name"),
    "metadata that is a list": (header_and(TWO, {"__metadata__": [], "a": tensor()}), "not text by name"),
    "metadata of half a character": (said(b'{"__metadata__":{"k":"\\ud800"},"a":' + PLAIN + b"}"), "half a character"),
    "metadata above its cap": (
        header_and(
            TWO * 2,
            {"__metadata__": {"k": "x" * 5000}, "a": tensor(), "b": tensor(offsets=(8, 16))},
        ),
        "metadata__ takes 5,001 bytes, expected at most 4,096",
    ),
    "a header of spaces": (said(b'{"a":' + PLAIN + b"}" + b" " * 5000), "expected at most 4,096 for 1 tensor"),
    "two objects": (said(b'{"a":' + PLAIN + b"}{}"), "not the JSON"),
    "a comma too many": (said(b'{"a":' + PLAIN + b",}"), "not the JSON"),
    "a byte order mark": (said(b'\xef\xbb\xbf{"a":' + PLAIN + b"}"), "not safetensors"),
    "UTF-16": (said('{"a":0}'.encode("utf-16-le")), "not the JSON"),
    "a list": (said(b"[]"), "not safetensors"),
    "a control character in text": (said(b'{"__metadata__":{"k":"\x01"},"a":' + PLAIN + b"}"), "not the JSON"),
    "a header of no bytes": (bytes(8), "cut off"),
    "a header of one byte": (b"\x01" + bytes(7) + b"{", "cut off"),
    "8 bytes that announce nothing": (b"\x10" + bytes(7), "cut off"),
    "zip in the last tensor": (padded_zip, "as a zip archive as well"),
    "a zip of two volumes in the last tensor": (zip_of_two_volumes, "as a zip archive as well"),
    "a name twice after 60,000 others": (lambda: a_name_twice_after_many(60_000), "'k59999' stands in it twice"),
    "PyTorch's zip": (archive("archive/data.pkl", "archive/version"), "zip archive of pickles.*save_file"),
    "PyTorch's old file": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02", "a pickle, which could"),
    "npz": (array(zipped=True), "a NumPy archive; load it with numpy"),
    "npy": (array(zipped=False), "a NumPy array; load it with numpy"),
    "GGUF": (b"GGUF\x03" + bytes(100), "a GGUF file; give the adapter that it was converted from"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file; read it with h5py"),
    "tar": (tarred(), "a tar archive; unpack it"),
    "gzip": (b"\x1f\x8b\x08" + bytes(range(30)), "compressed by gzip"),
    "git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "run git lfs pull"),
    "a web page": (b"<!DOCTYPE html><title>Log in</title>", "a web page; fetch"),
    "an index": (b'{"metadata": {"total_size": 8}, "weight_map": {}}', "JSON text; give the .safetensors file"),
    "a program": (b"\x7fELF\x02\x01\x01" + bytes(60), "a program"),
    "a script": (b"#!/bin/sh\necho\n", "a program"),
    "a database": (b"SQLite format 3\x00" + bytes(90), "a database"),
}
"""More of them, likewise."""


def built(case: tuple[bytes | Callable[[], bytes], str | None]) -> bytes:
    content, _ = case
    return content if isinstance(content, bytes) else content()


def differences(content: bytes, checked: Weights) -> list[str]:
    """Where safetensors does not read what was accepted, or reads something else."""
    try:
        read = dict(safetensors.deserialize(content))
    except safetensors.SafetensorError as error:
        return [f"safetensors refuses it: {error}"]
    ours = {name: (spec.dtype, [*spec.shape], bytes(checked.raw(name))) for name, spec in checked.tensors.items()}
    theirs = {name: (there["dtype"], there["shape"], bytes(there["data"])) for name, there in read.items()}
    return [f"{name} differs" for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]


@final
@dataclass(kw_only=True, slots=True)
class Tally:
    """What became of mutations."""

    num: int = 0
    num_accepted: int = 0
    crashes: list[str] = field(default_factory=list)
    """Anything raised but a GraftFileError of one line."""
    disagreements: list[str] = field(default_factory=list)
    """Of what was accepted: where safetensors reads it otherwise."""


def try_mutations(num: int, *, seed: int = 0) -> Tally:
    """Check so many mutations of good files, and hold what is accepted against safetensors."""
    tally = Tally()
    for content in mutations(num, seed=seed):
        tally.num += 1
        try:
            checked = check_weights(content)
        except GraftFileError as error:
            if "\n" in str(error):
                tally.crashes.append(f"{content!r}: more than one line")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            tally.crashes.append(f"{content!r}: {type(error).__name__}: {error}")
        else:
            tally.num_accepted += 1
            tally.disagreements += [f"{content!r}: {what}" for what in differences(content, checked)]
    return tally


_WORDS = (b"F16", b"BF16", b"I32", b"BOOL", b"U8", b"[", b"]", b"{", b"}", b",", b'"', b":", b"0", b"-", b"1e3", b" ")
_WORDS += (
    b"null",
    b"true",
    b"NaN",
    b"\\u0061",
    b"\\ud800",
    b"__metadata__",
    b"shape",
    b"dtype",
    b"data_offsets",
    b"\t",
)


def mutations(num: int, *, seed: int) -> Iterator[bytes]:
    """Good files with some bytes changed; half of them with their header's length put right again."""
    chance, good = random.Random(seed), (VALID, LARGER, MIXED)
    for index in range(num):
        origin = good[index % len(good)]
        end = 8 + int.from_bytes(origin[:8], "little")
        if chance.random() < 0.5:
            header = _mutated(origin[8:end], chance)
            yield header_and(origin[end:], bytes(header), pad=chance.random() < 0.9)
        else:
            yield bytes(_mutated(origin, chance))


def _mutated(content: bytes, chance: random.Random) -> bytearray:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        place = chance.randrange(len(changed) or 1)
        match chance.randrange(5):
            case 0:
                changed[place : place + 1] = chance.randbytes(1)
            case 1:
                changed[place : place + 1] = bytes(byte ^ (1 << chance.randrange(8)) for byte in changed[place:][:1])
            case 2:
                del changed[place : place + chance.randrange(1, 9)]
            case 3:
                changed[place:place] = chance.choice(_WORDS)
            case _:
                word = chance.choice(_WORDS)
                changed[place : place + len(word)] = word
    return changed
