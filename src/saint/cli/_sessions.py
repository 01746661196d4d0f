"""The wall clock of every session of a comparison or a study, kept beside its results."""

import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

from saint.errors import ConfigError, StorageError

_SAVE_EVERY_S = 5.0


@final
class Sessions:
    """Appends this session to the list in the folder; one that is killed loses its last seconds only."""

    def __init__(self, folder: Path, *, num_workers: int, save_every_s: float = _SAVE_EVERY_S) -> None:
        """Read what earlier sessions took.

        Raises:
            ConfigError: Something else wrote to the list.
        """
        self._path, self._num_workers, self._save_every_s = folder / "sessions.json", num_workers, save_every_s
        self._started, self._ended = time.monotonic(), threading.Event()
        self._saver = threading.Thread(target=self._save_now_and_then, daemon=True)
        self.earlier: list[dict[str, Any]] = _read(self._path)

    def __enter__(self) -> Self:
        self._save()
        self._saver.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._saver.join()
        self._save()

    def all(self) -> list[dict[str, Any]]:
        """Every session, this one as far as it has come."""
        now = {"wall_s": time.monotonic() - self._started, "num_workers": self._num_workers}
        return [*self.earlier, now]

    def _save_now_and_then(self) -> None:
        while not self._ended.wait(self._save_every_s):
            with suppress(StorageError):  # the last save is made by whoever can tell of it
                self._save()

    def _save(self) -> None:
        draft = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(self.all()), encoding="utf-8")
            draft.replace(self._path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StorageError(f"{self._path} was not written ({error.strerror}); make room") from error


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [{"wall_s": float(one["wall_s"]), "num_workers": int(one["num_workers"])} for one in found]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{path} cannot be read as the list of a comparison's sessions ({type(error).__name__}); give a new folder "
            "with --output-dir"
        ) from error
