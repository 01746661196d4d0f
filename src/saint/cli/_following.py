"""A page that is written anew while growth goes on."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from saint.registry import Registry

_EVERY_S, _REFRESH_S = 1.0, 5


def follow(
    registry: Registry, file: Path, *, told: Callable[[str], object], wait: Callable[[float], object] = time.sleep
) -> None:
    """Write the report's page whenever the ledger has grown, until growth is finished or Ctrl-C.

    Browsers read the page anew by themselves as long as it is followed.
    """
    from saint.report import summarise

    num_entries = -1
    try:
        while True:
            if (number := len(registry.ledger.past())) != num_entries:
                num_entries, summary = number, summarise(registry)
                _write(file, summary, is_last=summary["finished"])
                if summary["finished"]:
                    told(f"{file} written; growth is finished")
                    return
                told(f"{file} written; {number} entries")
            wait(_EVERY_S)
    except KeyboardInterrupt:
        _write(file, summarise(registry), is_last=True)
        told(f"{file} written; growth is not finished, and it is followed no more")


def _write(file: Path, summary: dict[str, Any], *, is_last: bool) -> None:
    from saint.report import to_html, write_whole

    write_whole(file, to_html(summary, refresh_s=None if is_last else _REFRESH_S))
