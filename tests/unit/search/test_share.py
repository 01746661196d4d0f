"""What workers take of machines: sums that are done before anything is started."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from saint.errors import ConfigError
from saint.search import Share, free_memory, must_have_memory, own_memory
from saint.search._places import places_on

GIB = 1 << 30


def test_more_workers_than_there_is_memory_for_are_refused_with_how_many_fit() -> None:
    must_have_memory(3, 2 * GIB, GIB, 7 * GIB)
    must_have_memory(1000, GIB, GIB, None)
    with pytest.raises(ConfigError, match=r"4 workers with 2 GiB .* 1 GiB that they share .* 7 GiB .*--workers 3,"):
        must_have_memory(4, 2 * GIB, GIB, 7 * GIB)
    with pytest.raises(ConfigError, match="take a machine with more"):
        must_have_memory(1, 2 * GIB, GIB, 2 * GIB)
    with pytest.raises(ConfigError, match=r"2 workers and 4 checkers with .* --workers 2 --checkers 1,"):
        must_have_memory(2, 2 * GIB, GIB, 7 * GIB, checkers=4)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 8 kB\n"}, 8 * 1024),
        (
            {
                "proc/meminfo": "MemAvailable: 8 kB\n",
                "sys/fs/cgroup/memory.max": "5000\n",
                "sys/fs/cgroup/memory.current": "3000\n",
                "sys/fs/cgroup/memory.stat": "anon 1800\ninactive_file 500\nactive_file 700\n",
            },
            3200,
        ),
        (
            {
                "proc/meminfo": "MemAvailable: 8 kB\n",
                "sys/fs/cgroup/memory.max": "max\n",
                "sys/fs/cgroup/memory.current": "3000\n",
                "sys/fs/cgroup/memory.stat": "inactive_file 500\n",
            },
            8 * 1024,
        ),
    ],
)
def test_free_memory_is_what_the_kernel_says_within_the_limits_of_a_container(
    files: Mapping[str, str], expected: int | None, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert free_memory(root=tmp_path) == expected


def test_a_process_knows_what_it_has_for_itself() -> None:
    before = own_memory()
    assert before is not None
    block = bytearray(b"x" * (64 << 20))
    assert (own_memory() or 0) - before > 0.9 * len(block)


def test_places_are_counted_by_what_is_scarcest() -> None:
    machines = [{"CPU": 8.0, "GPU": 1.0, "memory": 9.0 * GIB}, {"CPU": 2.0, "memory": 100.0 * GIB}]
    assert places_on(machines, Share()) == 10
    assert places_on(machines, Share(gpus=0.25)) == 4
    assert places_on(machines, Share(gpus=0.1)) == 8
    assert places_on(machines, Share(memory_bytes=4 * GIB)) == 4
    assert str(Share(gpus=0.25, memory_bytes=4 * GIB)) == "1 CPU and 0.25 GPU and 4 GiB of memory"
