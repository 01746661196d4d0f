"""Eight processes that append to one registry at once.

    python -m benchmarks.registry.writers FOLDER NUM_WRITERS NUM_APPENDS

prints a JSON object: how many entries there are, how many rows are there once, and what is wrong.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path

from saint.registry import Registry, verify
from saint.report import Figure


def main() -> None:
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))


def figures(folder: Path) -> list[Figure]:
    """Of 8 processes that append 250 times each."""
    found = measure(folder / "registry", 8, 250)
    wrong = sum(found[name] for name in ("out_of_order", "failed", "problems"))
    return [
        Figure(name="writers_entries", value=found["entries"], target=2000, sense="at_least"),
        Figure(name="writers_entries_there_once", value=found["once"], target=2000, sense="at_least"),
        Figure(name="writers_wrong", value=wrong, target=0, sense="at_most"),
    ]


def measure(folder: Path, num_writers: int, num_appends: int) -> dict[str, int]:
    """Let them append, and count; numbers are consecutive, or reading would say so."""
    Registry.open(folder)
    begin, start = os.pipe()
    writers = [_writer(folder, who, num_appends, begin, start) for who in range(num_writers)]
    os.close(start)  # they all begin now
    failed = sum(os.waitpid(writer, 0)[1] != 0 for writer in writers)
    registry = Registry.open(folder)
    events = registry.ledger.events()
    rows = Counter((event.body["who"], event.body["row"]) for event in events)
    orders = [[event.body["row"] for event in events if event.body["who"] == who] for who in range(num_writers)]
    return {
        "entries": len(events),
        "once": sum(times == 1 for times in rows.values()),
        "out_of_order": sum(order != sorted(order) for order in orders),
        "failed": failed,
        "problems": len(verify(registry).problems),
    }


def _writer(folder: Path, who: int, num_appends: int, begin: int, start: int) -> int:
    if process := os.fork():
        return process
    status = 1
    try:
        registry = Registry.open(folder)
        os.close(start)
        os.read(begin, 1)
        for row in range(num_appends):
            registry.write("noted", {"who": who, "row": row})
        status = 0
    finally:
        os._exit(status)
    raise AssertionError("unreachable")


if __name__ == "__main__":
    main()
