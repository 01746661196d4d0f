"""Default learning rates: what each rule says of ranks, widths, scales and numbers of sites."""

from dataclasses import replace
from math import sqrt
from typing import Any

import pytest

from saint import discovery
from saint.errors import ConfigError, SiteError
from saint.grafts import Kind, default_lr
from saint.records import Site
from saint.testing import tiny_base

SITE = Site(sort="linear", module="a", role="up", depth=0, d_in=64, d_out=256)
OTHER = replace(SITE, module="b", role="down", d_in=256, d_out=64)


@pytest.mark.parametrize("kind", discovery.names("grafts"))
def test_every_kind_has_one_for_each_of_its_examples(kind: str) -> None:
    found = discovery.find("grafts", kind, Kind)
    sites = [site for site in tiny_base().sites() if site.sort == found.attaches_to][:2]
    for options in found.examples:
        assert 1e-4 < default_lr(kind, {name: chosen for name, chosen in options.items() if name != "at"}, sites) < 1


@pytest.mark.parametrize("kind", discovery.names("grafts"))
def test_many_sites_learn_slower_by_the_root_of_their_number(kind: str) -> None:
    found = discovery.find("grafts", kind, Kind)
    site = next(site for site in tiny_base().sites() if site.sort == found.attaches_to)
    alone, four = (default_lr(kind, found.examples[0], [site] * number) for number in (1, 4))
    assert four == pytest.approx(alone / 2)


@pytest.mark.parametrize(
    ("kind", "options", "other", "ratio"),
    [
        ("lora", {"rank": 1}, {"rank": 16}, 1 / 4),
        ("lora", {"rank": 4}, {"rank": 4, "alpha": 8.0}, 1 / 2),
        ("lora", {"rank": 4}, {"rank": 4, "scaling": "rank_stabilised"}, 1 / 2),
        ("lora", {"rank": 4}, {"rank": 4, "start": "gradient"}, 1.0),
        ("dora", {"rank": 4}, {"rank": 1, "alpha": 2.0}, 1.0),
        ("phi", {"rank": 1}, {"rank": 16}, 1 / 4),
        ("phi", {"rank": 4}, {"rank": 4, "basis": "gradient"}, 1.0),
    ],
)
def test_a_change_that_answers_more_learns_slower(
    kind: str, options: dict[str, Any], other: dict[str, Any], ratio: float
) -> None:
    assert default_lr(kind, other, [SITE]) / default_lr(kind, options, [SITE]) == pytest.approx(ratio)


def test_width_counts_where_the_bases_are_orthonormal_and_not_where_rows_have_length_one() -> None:
    wide, narrow = replace(SITE, d_out=1024), SITE
    assert default_lr("phi", {"rank": 4}, [wide]) == pytest.approx(2 * default_lr("phi", {"rank": 4}, [narrow]))
    assert default_lr("lora", {"rank": 4}, [wide]) == default_lr("lora", {"rank": 4}, [narrow])


def test_a_rank_pattern_counts_at_its_site() -> None:
    pattern = {"rank": 1, "at": {"down": {"rank": 16}}}
    expected = sqrt(default_lr("lora", {"rank": 1}, [SITE]) * default_lr("lora", {"rank": 16}, [OTHER])) / sqrt(2)
    assert default_lr("lora", pattern, [SITE, OTHER]) == pytest.approx(expected)


def test_what_has_no_rate_is_refused() -> None:
    with pytest.raises(SiteError, match="there are none; name at least one"):
        default_lr("lora", {"rank": 1}, [])
    with pytest.raises(ConfigError, match="it must be at least 1"):
        default_lr("lora", {"rank": 0}, [SITE])
