"""What documents cost a composition, on disk, so that asking again computes nothing."""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float64

from saint import records
from saint.progress import Progress, Silent

PerDocument = Float64[np.ndarray, " documents"]


@final
class LossStore:
    """A folder of measured losses, one file each, named by the digest of everything that decides them.

    Each file appears whole or not at all, so work that is killed loses no more than the composition it was at. Nothing
    is lost with the folder but time.
    """

    def __init__(self, folder: Path, *, progress: Progress | None = None) -> None:
        """Keep losses in `folder`, which is made with the first.

        Args:
            progress: Told of files that are damaged or cannot be written.
        """
        self._folder, self._progress = folder, progress or Silent()
        self._can_write = True

    def once(self, what: Mapping[str, Any], num_documents: int, measure: Callable[[], PerDocument]) -> PerDocument:
        """The nats of each document, measured unless they are there; losses that are not numbers are not kept.

        Args:
            what: Everything that decides them, as plain data.
            num_documents: How many numbers there have to be.
        """
        path = self._folder / f"{records.digest(what)}.json"
        found = self._read(path, num_documents)
        if found is None:
            found = measure()
            if np.isfinite(found).all():
                self._write(path, what, found)
        return found

    def _read(self, path: Path, num_documents: int) -> PerDocument | None:
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            nats = np.array(record["nats"], dtype=np.float64)
            if nats.shape == (num_documents,) and records.digest(_checked(record["of"], nats)) == record["digest"]:
                return nats
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError):
            pass  # whatever is wrong with the file, the next line says what becomes of it
        self._progress.note(f"{path} is damaged or cannot be read; what it held is measured again")
        return None

    def _write(self, path: Path, what: Mapping[str, Any], nats: PerDocument) -> None:
        if not self._can_write:
            return
        checked = _checked(what, nats)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            draft.write_text(records.to_canonical({**checked, "digest": records.digest(checked)}), encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            self._can_write = False
            with suppress(OSError):
                draft.unlink()
            self._progress.note(f"what is measured is not kept in {self._folder} ({error.strerror})")


def _checked(what: Mapping[str, Any], nats: PerDocument) -> dict[str, Any]:
    """What the digest in the file is of."""
    return {"of": what, "nats": nats.tolist()}
