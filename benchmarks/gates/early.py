"""Stopping early: how often it errs, how far sealed text is read, and what its test of a share takes more."""

from collections.abc import Callable
from math import log, sqrt

import numpy as np

from benchmarks.gates.findings import Findings
from benchmarks.gates.null import SHAPES
from benchmarks.gates.rules import ALPHA, AT_MOST_HEAVY, DEVIATIONS, SPREAD, Differences
from benchmarks.gates.setting import Setting
from saint.judging import all_shown_early, block_ends, is_shown, read_until_shown
from saint.records import Claim, Query, SuiteLosses
from saint.statistics import log_tail_p_value, log_threshold, running_log_tail_e_values

_SUITE = "simulated"
_GUARD = 0.02  # the product's own, for what is read; the nulls have that of the other simulations
_SIZE = 5000
_RATIOS = (1.0, 0.5, 0.2)
_QUERIES = ((1, 0), (10, 2))


def measure(setting: Setting) -> Findings:
    """Of one claim with its tail guard."""
    found = Findings(setting=setting, heads=("what", "stopping early", "reading all", "the fixed test at every stop"))
    _errors(found)
    _read(found)
    _price(found)
    return found


def _errors(found: Findings) -> None:
    num = found.setting.num(2000, 20)
    limit = ALPHA + 3 * sqrt(ALPHA * (1 - ALPHA) / num)
    for name, draw in SHAPES.items():
        random = found.setting.random("early", *name.encode())
        early, whole, often = np.mean([_accepts(draw(random)) for _ in range(num)], axis=0)
        found.rows.append((f"false acceptances: {name}", f"{early:.4f}", f"{whole:.4f}", f"{often:.4f}"))
        found.ask(f"early_null_{name.split(',')[0].replace(' ', '_')}", float(early), limit)
    random, paths = found.setting.random("share"), []
    for _ in range(num):
        is_heavy = random.random(_SIZE) < _GUARD
        running = running_log_tail_e_values(is_heavy, at_most=_GUARD) >= -log(ALPHA)
        fixed = [_passing(is_heavy[None, :end], -log(ALPHA)) > 0 for end in block_ends(_SIZE)]
        paths.append((running.any(), fixed[-1], any(fixed)))
    early, whole, often = np.mean(paths, axis=0)
    name = f"false acceptances: the tail guard alone, a share of exactly {_GUARD:.0%}, {_SIZE:,} documents"
    found.rows.append((name, f"{early:.4f}", f"{whole:.4f}", f"{often:.4f}"))
    found.ask("early_null_share", float(early), limit)
    found.notes.append(
        f"{num:,} simulations of the null, of 500 documents if nothing else is said; limit: alpha + 3 standard errors"
    )


def _accepts(saved: Differences) -> tuple[bool, bool, bool]:
    """Stopping early, reading all, and looking again and again with a test that holds once."""
    query = _query(-log(ALPHA), len(saved), AT_MOST_HEAVY)
    [claim] = query.claims
    ends = block_ends(len(saved))
    fixed = [is_shown(claim, _costs(saved[:end]), query.log_threshold) for end in ends]
    return _num_read(query, saved)[0], fixed[-1], any(fixed)


def _read(found: Findings) -> None:
    num = found.setting.num(200, 4)
    for ratio in _RATIOS:
        for query in _QUERIES:
            random = found.setting.random("read", *query, int(10 * ratio))
            asked = _query(log_threshold(*query, alpha=ALPHA), _SIZE, _GUARD)
            read = [_num_read(asked, random.normal(ratio * SPREAD, SPREAD, _SIZE)) for _ in range(num)]
            shown, mean = np.mean([one for one, _ in read]), np.mean([count for _, count in read])
            name = f"documents read: gain / spread {ratio}, query {query[0]}, {query[1]} passed"
            found.rows.append((name, f"{mean:,.0f}, shown {shown:.0%}", f"{_SIZE:,}", ""))
    found.notes.append(f"documents read are means over {num:,} hold-outs of {_SIZE:,}, tail guard at {_GUARD:.0%}")


def _price(found: Findings) -> None:
    num = found.setting.num(400, 10)
    for query in (*_QUERIES, (100, 10)):
        threshold = log_threshold(*query, alpha=ALPHA)
        for share in (0.0, 0.1, 0.25):
            random = found.setting.random("price", *query, int(100 * share))
            longest = int(8 * threshold / _GUARD)
            paths = random.random((num if share else 1, longest)) < share * _GUARD
            running = [running_log_tail_e_values(path, at_most=_GUARD) >= threshold for path in paths]
            early = _fewest(lambda end, shown=running: np.mean([one[:end].any() for one in shown]), longest)
            fixed = _fewest(lambda end, drawn=paths, level=threshold: _passing(drawn[:, :end], level), longest)
            name = f"documents that show a share below {_GUARD:.0%}: truly {share * _GUARD:.2%}, query {query[0]}"
            found.rows.append((f"{name}, {query[1]} passed", f"{early:,}", f"{fixed:,}", ""))


def _passing(is_heavy: np.ndarray, threshold: float) -> float:
    counts, num = is_heavy.sum(1), is_heavy.shape[1]
    enough = {count: -log_tail_p_value(count, num, at_most=_GUARD) >= threshold for count in set(counts.tolist())}
    return float(np.mean([enough[count] for count in counts.tolist()]))


def _fewest(power: Callable[[int], float], longest: int) -> int:
    """The fewest documents at which four of five are shown, on a grid of half per cents."""
    grid = np.unique(np.geomspace(20, longest, 1200).astype(int)).tolist()
    return next(end for end in grid if power(end) >= 0.8)


def _num_read(query: Query, saved: Differences) -> tuple[bool, int]:
    """Whether the claim is shown, and how many documents were read for it."""
    read = read_until_shown(query, lambda _, first, last: _costs(saved[first:last]))[_SUITE]
    return all_shown_early(query, {_SUITE: read}), len(read.after)


def _query(threshold: float, size: int, at_most_heavy: float) -> Query:
    claim = Claim(gate="gain", suite=_SUITE, above=0.0, clip=DEVIATIONS * SPREAD, at_most_heavy=at_most_heavy)
    return Query(
        number=1,
        num_passed=0,
        holdout="",
        policy="",
        graft="",
        base="",
        stack=(),
        log_threshold=threshold,
        claims=(claim,),
        num_documents={_SUITE: size},
        early_stopping=True,
    )


def _costs(saved: Differences) -> SuiteLosses:
    before = tuple(saved.tolist())
    return SuiteLosses(unit="nats", documents="", base=before, before=before, after=(0.0,) * len(before))
