from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import final

from saint import records
from saint.errors import GraftFileError
from saint.weights._caps import Caps, TensorSpec
from saint.weights._foreign import is_also_a_zip
from saint.weights._header import AGAIN, read_header
from saint.weights._layout import read_layout
from saint.weights._values import check_values


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """A file of weights that was checked."""

    tensors: Mapping[str, TensorSpec]
    """Name -> what it is, in the order in which they lie in the file."""
    _raw: Mapping[str, memoryview] = field(repr=False)

    def raw(self, name: str) -> memoryview:
        """The numbers of a tensor, row by row, the lowest byte of each first."""
        return self._raw[name]

    @property
    def digests(self) -> dict[str, str]:
        """Name -> SHA-256 of the tensor's numbers."""
        return {name: sha256(raw).hexdigest() for name, raw in self._raw.items()}

    @property
    def content_digest(self) -> str:
        """What the weights are known by wherever they lie: equal tensors have it equal, whatever file they are in.

        The SHA-256 of the canonical JSON (RFC 8785) of [[name, dtype, shape, SHA-256 of the numbers], ...] in the order
        of the names. The bytes of a file are no such thing: safetensors writes metadata in any order.
        """
        digests = self.digests
        rows = [[name, spec.dtype, list(spec.shape), digests[name]] for name, spec in sorted(self.tensors.items())]
        return records.digest(rows)


def check_weights(
    content: bytes | bytearray | memoryview,
    *,
    expected: Mapping[str, TensorSpec] | None = None,
    caps: Caps | None = None,
) -> Weights:
    """See to it that a file is safetensors without a second meaning, before anything else reads it.

    What passes is also read by safetensors, to the same tensors; the opposite does not hold, as safetensors takes names
    twice, names that are paths, shapes of 10,000 dimensions and much else.

    Args:
        expected: Name -> what the record says that the file holds; without it any tensors will do.
        caps: Those for files from elsewhere by default.

    Raises:
        GraftFileError: It is something else, damaged, not finite, above a cap, or not what was expected.
    """
    caps, whole = caps or Caps(), memoryview(content).cast("B")
    if caps.num_bytes is not None and len(whole) > caps.num_bytes:
        raise GraftFileError(f"the file takes {len(whole):,} bytes, expected at most {caps.num_bytes:,}; raise the cap")
    entries, data = read_header(whole, caps)
    specs, spans = read_layout(entries, len(data), caps)
    if expected is not None:
        _must_be(specs, expected)
    if is_also_a_zip(data):
        raise GraftFileError(f"the file can be opened as a zip archive as well; {AGAIN}")
    raw = {name: data[slice(*span)] for name, span in spans.items()}
    for name, spec in specs.items():
        check_values(name, raw[name], spec.dtype, caps)
    return Weights(tensors=specs, _raw=raw)


def _must_be(specs: Mapping[str, TensorSpec], expected: Mapping[str, TensorSpec]) -> None:
    if differing := sorted(specs.keys() ^ expected.keys()):
        raise GraftFileError(f"the file and its record disagree about {differing[0]!r}; fetch it again")
    for name, spec in specs.items():
        if spec != (wanted := expected[name]):
            raise GraftFileError(
                f"{name} is {spec.dtype} {spec.shape}, expected {wanted.dtype} {wanted.shape}; this file belongs to "
                "another candidate"
            )
