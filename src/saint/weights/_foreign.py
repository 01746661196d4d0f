"""Files that people give for safetensors, known by their first bytes. They are named, and never opened."""

_SAVE = "load it where you trust it, and write its tensors with safetensors.torch.save_file"
_UNPACK = "unpack it where you trust it, and give the .safetensors file inside"
_NUMPY = "load it with numpy.load(..., allow_pickle=False), and write its arrays with safetensors.numpy.save_file"
_AGAIN = "fetch the file again from where it was published"

_PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_KNOWN: tuple[tuple[int, bytes, str, str], ...] = (
    *((0, magic, "a pickle, which could run code", _SAVE) for magic in _PICKLES),
    (0, b"GGUF", "a GGUF file", "give the adapter that it was converted from, as PEFT's save_pretrained wrote it"),
    (0, b"GGML", "a GGML file", "give the adapter that it was converted from, as PEFT's save_pretrained wrote it"),
    (0, b"\x93NUMPY", "a NumPy array", _NUMPY),
    (
        0,
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file",
        "read it with h5py, and write its arrays with safetensors.numpy.save_file",
    ),
    (4, b"TFL3", "a TensorFlow Lite file", "give the weights that it was converted from, as safetensors"),
    (0, b"\x1f\x8b", "compressed by gzip", _UNPACK),
    (0, b"BZh", "compressed by bzip2", _UNPACK),
    (0, b"\xfd7zXZ\x00", "compressed by xz", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"version https://git-lfs", "a pointer of git-lfs, not the file itself", "run git lfs pull in its folder"),
    (0, b"<", "a web page", _AGAIN),
    (0, b"\x7fELF", "a program", _AGAIN),
    (0, b"MZ", "a program", _AGAIN),
    (0, b"#!", "a program", _AGAIN),
    (0, b"SQLite format 3\x00", "a database", "give the .safetensors file"),
    (0, b"PAR1", "a Parquet file", "give the .safetensors file"),
    (0, b"{", "JSON text", "give the .safetensors file that lies beside it"),
)
"""(where, first bytes, what it is, the way out)"""


_MOST_END_BYTES = 22 + (1 << 16)
_MOST_LAST_NAME_BYTES = 46 + 3 * (1 << 16) + 76
"""What a directory says of its last file, and the two records that follow it in an archive of over 4 GiB."""


def what_else(content: memoryview) -> tuple[str, str]:
    """What a file that is not safetensors is instead, and the way out."""
    head = bytes(content[:512])
    if head.startswith(b"PK"):
        return _zipped(head)
    for where, magic, what, way_out in _KNOWN:
        if head.startswith(magic, where):
            return what, way_out
    return ("empty" if not head else f"{len(content):,} bytes of something else"), _AGAIN


def _zipped(head: bytes) -> tuple[str, str]:
    """By the name of the first file inside, which stands right behind the first 30 bytes."""
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if first.endswith((b".pkl", b"/version", b"/byteorder")):
        return "a PyTorch file, a zip archive of pickles, which could run code", _SAVE
    return ("a NumPy archive", _NUMPY) if first.endswith(b".npy") else ("a zip archive", _UNPACK)


def is_also_a_zip(content: memoryview) -> bool:
    """Whether readers of zip archives, which look at the end of a file, would open it.

    The record at an archive's end is its mark, the number 0 twice, as there is one volume, and 14 bytes and a comment.
    In 64 KiB of noise that happens once in 10^14 files. Some readers, Python's among them, take any two numbers: then
    an archive that is not empty has a mark of its directory before, which happens beside the other once in 10^8 files.
    """
    end, directory = bytes(content[-_MOST_END_BYTES:]), bytes(content[-_MOST_END_BYTES - _MOST_LAST_NAME_BYTES :])
    return b"PK\x05\x06\x00\x00\x00\x00" in end or (b"PK\x05\x06" in end and b"PK\x01\x02" in directory)
