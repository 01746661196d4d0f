"""The cache of what frozen blocks give: what it counts is what it holds."""

import torch

from saint.composition import PrefixCache


def test_rows_that_are_known_take_no_room_again() -> None:
    """Three rows fit: two, and then a batch of one of them with a new one."""
    rows = torch.arange(3 * 4 * 2, dtype=torch.float32).view(3, 4, 2)
    cache = PrefixCache(memory_bytes=rows.numel() * 4)
    cache.keep([("a",), ("b",)], rows[:2])
    cache.keep([("b",), ("c",)], rows[1:])
    cache.keep([("c",), ("a",)], rows[[2, 0]])
    found = cache.find([("a",), ("b",), ("c",)])
    assert found is not None
    assert torch.equal(found, rows)


def test_a_closed_cache_has_all_its_room_again() -> None:
    rows = torch.ones(2, 4, 2)
    cache = PrefixCache(memory_bytes=rows.numel() * 4)
    for key in ("a", "b"):
        cache.keep([(key, 0), (key, 1)], rows)
        assert cache.find([(key, 0), (key, 1)]) is not None
        cache.close()
        assert cache.find([(key, 0)]) is None
