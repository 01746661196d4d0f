"""How many items a rate needs, as the how-to says, from the definitions of what is asked of it."""

import re
from math import lgamma, log, pi

import numpy as np
from reference_pages import DOCS

from saint.statistics import paired_rate_interval

ALPHA = 0.05
BETS = np.geomspace(1e-3, 0.9, 30)


def log_threshold(number: int, num_passed: int) -> float:
    """ln(1 / alpha) of a question, by the tree of answers that it can follow on."""
    ways = lgamma(number) - lgamma(num_passed + 1) - lgamma(number - num_passed)
    return -log(ALPHA) + log(pi**2 * (num_passed + 1) ** 2 / 6) + log(pi**2 * number**2 / 6) + ways


def log_evidence(num_items: int, rise: float) -> float:
    """The log e-value against a rise of more than `rise` where none of so many items changed."""
    each = num_items * np.log1p(BETS / (1 - rise) * rise)
    return float(np.logaddexp.reduce(each) - log(len(BETS)))


def least(enough: list[bool]) -> int:
    return enough.index(True)


def test_the_table_of_the_how_to() -> None:
    page = (DOCS / "howto" / "safety-suites.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (0\.\d\d) \| (\d+) \| (\d+) \| (\d+) \|$", page, flags=re.MULTILINE)
    assert [float(row[0]) for row in rows] == [0.1, 0.05, 0.02]
    for rise, development, first, tenth in rows:
        shown = [n > 1 and paired_rate_interval(np.zeros(n), np.zeros(n)).high <= float(rise) for n in range(300)]
        assert int(development) == least(shown)
        for number, num_passed, items in ((1, 0, first), (10, 2, tenth)):
            asked = log_threshold(number, num_passed)
            assert int(items) == least([log_evidence(n, float(rise)) >= asked for n in range(1500)])


def test_what_a_few_heavy_items_need() -> None:
    page = (DOCS / "howto" / "safety-suites.md").read_text(encoding="utf-8")
    found = re.search(r"`at_most_heavy = 0\.1` needs (\d+) sealed items for the first question and (\d+)", page)
    assert found is not None
    needed = [least([n * -log(0.9) >= log_threshold(*asked) for n in range(500)]) for asked in ((1, 0), (10, 2))]
    assert [int(number) for number in found.groups()] == needed
