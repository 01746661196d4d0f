"""What the frozen blocks below a graft give, computed once for each window of text."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saint.composition._suffix import Below
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.progress import Progress, Silent

_SHARE_OF_MEMORY = 0.25
_SHARE_OF_DISK = 0.5


class _Place(NamedTuple):
    """Where one row of hidden states lies."""

    piece: Any
    """Rows that were stored together: a tensor, in memory or mapped."""
    row: int


@final
class PrefixCache:
    """Hidden states by what they were computed from, in memory as far as there is room, then in a file, then not.

    A row is known by its tokens, by the blocks below it and by the grafts that reach into these, so what one round has
    computed serves the next wherever the stack did not change below.
    """

    def __init__(
        self,
        *,
        memory_bytes: int | None = None,
        disk_bytes: int | None = None,
        folder: Path | None = None,
        dtype: torch.dtype | None = None,
        progress: Progress | None = None,
        num_sharing: int = 1,
    ) -> None:
        """Set limits.

        Args:
            memory_bytes: Most that is kept in memory; by default a quarter of what is free now.
            disk_bytes: Most that is kept in a file; by default half of what is free now.
            folder: Where the file is to be; without one nothing is kept on disk. It has no name, so that a process that
                is killed leaves nothing behind.
            dtype: What is kept is rounded to this; by default it is kept as it is.
            progress: Told once if not everything can be kept.
            num_sharing: Processes that share the free memory, of which each takes its part.
        """
        self._limits = (_free_memory() // num_sharing if memory_bytes is None else memory_bytes, disk_bytes)
        self._memory_left, self._disk_left = self._limits
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._dtype, self._progress = dtype, progress or Silent()
        self._places: dict[tuple[Any, ...], _Place] = {}
        self._is_full = False
        self.num_computed = 0
        """Rows that were computed because they were not known."""

    def find(self, keys: Sequence[tuple[Any, ...]]) -> Float[Tensor, "rows seq d"] | None:
        """The rows with these keys, or None if one is not known."""
        places = [self._places.get(key) for key in keys]
        if None in places:
            return None
        found = [place for place in places if place is not None]
        first = found[0]
        if all(place.piece is first.piece and place.row == first.row + index for index, place in enumerate(found)):
            rows: Tensor = first.piece[first.row : first.row + len(found)]
        else:
            rows = torch.stack([place.piece[place.row] for place in found])
        return rows

    def keep(self, keys: Sequence[tuple[Any, ...]], hidden: Float[Tensor, "rows seq d"]) -> Tensor:
        """Keep rows under their keys, as far as there is room; what a later `find` would give is returned."""
        kept = hidden.to("cpu", self._dtype or hidden.dtype)  # the memory that is counted is the machine's
        new = [row for row, key in enumerate(keys) if key not in self._places]
        piece = self._store(kept if len(new) == len(keys) else kept[new]) if new else None
        if piece is not None:
            for place, row in enumerate(new):
                self._places[keys[row]] = _Place(piece, place)
        return kept

    def close(self) -> None:
        """Forget everything; there is as much room as at first."""
        self._places.clear()
        self._memory_left, self._disk_left = self._limits
        self._is_full = False
        if self._file is not None:
            self._file.close()
            self._file = None

    def _store(self, kept: Tensor) -> Any:
        size = kept.numel() * kept.element_size()
        if size <= self._memory_left:
            self._memory_left -= size
            return kept
        if self._folder is not None and (on_disk := self._write(self._folder, kept, size)) is not None:
            return on_disk
        if not self._is_full:
            self._is_full = True
            self._progress.note(
                "the hidden states below the grafts fit neither in the memory nor on the disk that they may take; the "
                "rest is computed each time it is needed"
            )
        return None

    def _write(self, folder: Path, kept: Tensor, size: int) -> Tensor | None:
        """Append to the file and map what was written; None if that may not be, or cannot."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self._disk_left is None:
                self._disk_left = int(_SHARE_OF_DISK * shutil.disk_usage(folder).free)
            if size > self._disk_left:
                return None
            self._file = self._file or tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it is open as long as this is
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(kept.contiguous().view(torch.uint8).numpy().data)
            self._file.flush()
        except OSError:
            self._disk_left = 0
            return None
        self._disk_left -= size
        mapped = np.memmap(self._file, dtype=np.uint8, mode="c", offset=start, shape=(size,))
        return torch.from_numpy(mapped).view(kept.dtype).view(kept.shape)


@final
class Prefix:
    """The residual stream of base and stack after some of their blocks, read through a cache."""

    def __init__(
        self,
        base: FrozenBase,
        stack: Sequence[Graft],
        boundaries: Iterable[int],
        cache: PrefixCache | None,
        *,
        is_any: Callable[[bool], bool] = bool,
    ) -> None:
        """Describe what will be asked for.

        Args:
            boundaries: After how many blocks; those of 0 need no prefix.
            cache: None to keep nothing.
            is_any: Whether something is so here or in another process; where a base is divided among processes, all
                compute what one of them does not know, as all have to lend their parts of the weights for it.
        """
        self._is_any = is_any
        self._boundaries = sorted({boundary for boundary in boundaries if boundary})
        self._cache = cache
        self._below = Below(base, stack, self._boundaries) if self._boundaries else None
        self._dtype = next(base.model.parameters()).dtype
        self._name = {
            boundary: (
                base.digest,
                boundary,
                *((graft.digest, graft.strength) for graft in stack if _reaches_below(graft, boundary)),
            )
            for boundary in self._boundaries
        }

    def read(self, boundary: int, tokens: Int[Tensor, "rows seq"], *, keep: bool = True) -> Float[Tensor, "rows seq d"]:
        """The residual stream after `boundary` blocks; rows of the same tokens are computed once.

        Args:
            keep: Whether what has to be computed is worth keeping, at all boundaries.
        """
        assert self._below is not None  # somebody has asked for a boundary
        device = tokens.device
        spelled = [row.tobytes() for row in tokens.cpu().numpy()]
        keys = [(self._name[boundary], row) for row in spelled]
        known = None if self._cache is None else self._cache.find(keys)
        if not self._is_any(known is None) and known is not None:
            return known.to(device, self._dtype)
        first = {row: index for index, row in reversed(list(enumerate(spelled)))}
        unique = sorted(first.values())
        found = self._below.read(tokens[unique], up_to=None if keep and self._cache else boundary)
        if self._cache is not None:
            self._cache.num_computed += len(unique)
        if self._cache is not None and keep:
            found = {
                there: self._cache.keep([(self._name[there], spelled[index]) for index in unique], hidden)
                for there, hidden in found.items()
            }
        hidden = found[boundary].to(device, self._dtype)
        order = {spelled[index]: place for place, index in enumerate(unique)}
        return hidden if len(unique) == len(spelled) else hidden[[order[row] for row in spelled]]


def _reaches_below(graft: Graft, boundary: int) -> bool:
    """Whether it has a part in the blocks below; what lies outside all blocks counts, but for the output head."""
    return any(site.depth < boundary and site.role != "head" for site in graft.candidate.sites)


def _free_memory() -> int:
    return int(_SHARE_OF_MEMORY * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
