"""Which graft changed what, as tables and sentences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from saint.report._spelling import spell
from saint.report._text import add_row

_NUM_PAIRS = 10
SHARE_HEADS = ("at activation", "left out", "Shapley value")


def blame_parts(record: Mapping[str, Any]) -> list[RenderableType]:
    """For a terminal: each suite's table, pairs, documents, and what it comes to."""
    parts: list[RenderableType] = [_shares_table(record, suite) for suite in record["suites"]]
    if pairs := [*pair_rows(record)]:
        title = "Pairs that gain more together than the sum of their gains apart (+), or less (-), on all others"
        parts.append(_table(title, ("suite", "one", "other", "bits per byte"), pairs[:_NUM_PAIRS]))
        parts += [Text(f"{len(pairs) - _NUM_PAIRS} smaller ones are in --json")] * (len(pairs) > _NUM_PAIRS)
    elif len(record["grafts"]) > 1:
        parts.append(Text("no two grafts were seen to gain more or less together than apart"))
    if documents := [*document_rows(record)]:
        title = "Documents that each graft changes most per byte, all others standing"
        heads = ("suite", "graft", "document", "without it", "with it", "begins")
        parts.append(_table(title, heads, documents))
    return [*parts, *map(Text, [*blame_lines(record), *reading_lines(record)])]


def blame_lines(record: Mapping[str, Any]) -> list[str]:
    """One sentence for each suite: the graft that it owes least to."""
    return [_blamed(suite, found) for suite, found in record["suites"].items() if found["shares"]]


def _blamed(suite: str, found: Mapping[str, Any]) -> str:
    worst = min(found["shares"], key=lambda share: share["shapley"]["estimate"])
    value, graft = worst["shapley"], worst["graft"][:12]
    if value["high"] < 0:
        return f"{suite}: harmed most by {graft}, which saves {spell(value)} bits per byte"
    may = "may, as it saves" if value["estimate"] < 0 else "does least, as it saves"
    return f"{suite}: no graft was seen to harm it; {graft} {may} {spell(value)} bits per byte"


def reading_lines(record: Mapping[str, Any]) -> list[str]:
    """How the numbers are meant."""
    if not record["num_pairs"]:
        return [_READING]
    drawn = f"{2 * record['num_pairs']} random orders were tried, drawn with seed {record['seed']}"
    return [_READING, f"{drawn}; the intervals allow for others."]


_READING = (
    "Bits per byte saved, positive is better; brackets are 95 % intervals with the document as the unit. At "
    "activation: on the grafts below it. Left out: on all others. Shapley value: averaged over the orders in which the "
    "grafts could have been put in; these sum to what the stack saves."
)


def share_rows(record: Mapping[str, Any], suite: str) -> Iterator[tuple[str, ...]]:
    """A row for each graft: who it is, and its numbers."""
    for number, (graft, share) in enumerate(
        zip(record["grafts"], record["suites"][suite]["shares"], strict=True), start=1
    ):
        numbers = (spell(share[name]) for name in ("at_activation", "left_out", "shapley"))
        yield (f"{number}. {graft['digest'][:12]}", graft["kind"], graft["where"], *numbers)


def suite_title(record: Mapping[str, Any], suite: str) -> str:
    """What was measured, and what the whole stack does there."""
    total = record["suites"][suite]["total"]
    return (
        f"{suite} ({record['split']}, {total['num_documents']} documents): the stack saves {spell(total)} bits per byte"
    )


def pair_rows(record: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The pairs whose intervals are wholly on one side of nothing, the largest first."""
    every = [(suite, pair) for suite, found in record["suites"].items() for pair in found["pairs"]]
    seen = [(suite, pair) for suite, pair in every if pair["gain_bpb"]["low"] > 0 or pair["gain_bpb"]["high"] < 0]
    for suite, pair in sorted(seen, key=lambda one: -abs(one[1]["gain_bpb"]["estimate"])):
        yield suite, pair["one"][:12], pair["other"][:12], spell(pair["gain_bpb"])


def document_rows(record: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The documents that were changed most, graft by graft."""
    for suite, found in record["suites"].items():
        for share in found["shares"]:
            for one in share["documents"]:
                numbers = (f"{one['before_bpb']:.4f}", f"{one['after_bpb']:.4f}")
                yield suite, share["graft"][:12], one["document"][:12], *numbers, one["beginning"]


def _shares_table(record: Mapping[str, Any], suite: str) -> Table:
    heads = ("graft", "kind", "where", *SHARE_HEADS)
    return _table(suite_title(record, suite), heads, [*share_rows(record, suite)])


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for head in heads:
        table.add_column(Text(head))
    for row in rows:
        add_row(table, *row)
    return table
