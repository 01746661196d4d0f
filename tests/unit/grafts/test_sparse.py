"""Chosen entries of a weight: which, how they are kept, and that both ways of applying them say the same."""

from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from saint.composition import measure_signals, newborn
from saint.errors import ConfigError, GraftFileError, SiteError
from saint.grafts import Place, Signals, grow_from, num_params
from saint.models import weight_of
from saint.records import Candidate, Site
from saint.testing import tiny_base

RULES = ("gradient", "activation_gradient", "magnitude", "random")


def born(shape: tuple[int, int], *, importance: Tensor | None = None, seed: int = 0, **options: Any) -> tuple[Any, Any]:
    """A graft at a made-up site where the gradient is `importance`, and its part."""
    rows, columns = shape
    site = Site(sort="linear", module="wide", role="up", depth=0, d_in=columns, d_out=rows)
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(5)) if importance is None else importance
    place = Place(module=torch.nn.Identity(), read_weight=lambda: None, signals=Signals(num_tokens=9, gx=gradient))
    graft = grow_from(Candidate(sites=(site,), kind="sparse", options=options, seed=seed), places={"wide": place})
    graft.parts["wide"].attach(place)
    return graft, graft.parts["wide"]


def positions(part: Any) -> Tensor:
    """Row-major positions, read off what the change does to unit vectors."""
    probe = part.values.detach().clone()
    with torch.no_grad():
        part.values.fill_(1.0)
        changed = part(torch.eye(part.fold(torch.zeros(part._shape), None)[0].shape[1]), torch.zeros(part._shape).T).T
        part.values.copy_(probe)
    return changed.flatten().nonzero().flatten()


@pytest.mark.parametrize("by", RULES)
@pytest.mark.parametrize("entries", [1, 30, 128])
def test_the_entries_are_those_of_most_importance(by: str, entries: int) -> None:
    base = tiny_base()
    site = next(site for site in base.sites() if site.role == "k")
    candidate = Candidate(sites=(site,), kind="sparse", options={"entries": entries, "by": by})
    tokens = torch.arange(4 * 33).view(4, 33) * 7919 % 300
    signals = measure_signals(base, (), {site: frozenset(("gx", "gg", "xx"))}, [tokens])
    graft = newborn(base, candidate, signals=signals)
    part: Any = graft.parts[site.key]
    part.attach(Place(module=torch.nn.Identity(), read_weight=lambda: None))
    found = positions(part)
    assert len(found) == entries == num_params("sparse", candidate.options, [site])
    here, weight = signals[site.key], weight_of(base.model.get_submodule(site.module))
    importance = {
        "gradient": here.gx.abs(),
        "activation_gradient": torch.stack([g * here.xx.diag() for g in here.gg.diag()]),
        "magnitude": weight.abs(),
    }
    if by in importance:
        flat = importance[by].flatten()
        others = flat[torch.isin(torch.arange(len(flat)), found, invert=True)]
        assert len(others) == 0 or float(flat[found].min()) >= float(others.max())


@pytest.mark.parametrize(
    ("shape", "entries"), [((16, 16), 2), ((16, 16), 200), ((300, 40), 90), ((40, 300), 50), ((7, 1), 7), ((1, 9), 3)]
)
def test_both_ways_of_applying_are_the_folded_matrix(shape: tuple[int, int], entries: int) -> None:
    _, part = born(shape, entries=entries)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        part.values.copy_(torch.randn(entries, generator=generator))
    part.strength.fill_(0.6)
    dense, _ = part.fold(torch.zeros(shape), None)
    assert int(dense.count_nonzero()) == entries
    x = torch.randn(2, 5, shape[1], generator=generator, requires_grad=True)
    y = torch.randn(2, 5, shape[0], generator=generator)
    pull = torch.randn(2, 5, shape[0], generator=generator)
    expected = torch.autograd.grad((y + x @ dense.T), (x, part.values), pull, retain_graph=True)
    torch.testing.assert_close(part(x, y), y + x @ dense.T)
    for found, wanted in zip(torch.autograd.grad(part(x, y), (x, part.values), pull), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_few_entries_are_applied_one_by_one_and_their_operations_are_counted() -> None:
    assert born((128, 128), entries=20)[1].uncounted_flops == 40
    assert born((128, 128), entries=2000)[1].uncounted_flops == 0  # a matrix product, which the counter sees


@pytest.mark.parametrize(
    ("shape", "entries", "column", "line"),
    [
        ((256, 256), 10, (torch.uint8, 10), (torch.uint8, 10)),
        ((256, 255), 1000, (torch.uint8, 1000), (torch.uint8, 256)),
        ((256, 256), 1000, (torch.uint8, 1000), (torch.int16, 256)),
        ((32768, 300), 10, (torch.int16, 10), (torch.int16, 10)),
        ((32769, 2), 10, (torch.uint8, 10), (torch.int32, 10)),
        ((300, 40000), 1000, (torch.int32, 1000), (torch.int32, 300)),
    ],
)
def test_indices_are_stored_as_small_as_fits(shape: Any, entries: int, column: Any, line: Any) -> None:
    graft, part = born(shape, entries=entries, by="random")
    assert (part.columns.dtype, len(part.columns)) == column
    assert (part.lines.dtype, len(part.lines)) == line
    again: Any = grow_from(graft.candidate, weights=graft.to_bytes()).parts["wide"]
    again.attach(Place(module=torch.nn.Identity(), read_weight=lambda: None))
    with torch.no_grad():
        for one in (part, again):
            one.values.fill_(1.0)
    x = torch.randn(1, shape[1], generator=torch.Generator().manual_seed(0))
    y = torch.zeros(1, shape[0])
    assert torch.equal(part(x, y), again(x, y))
    assert int((part(x, y) != 0).sum()) > 0


def test_a_gradient_of_one_row_is_found_entry_by_entry() -> None:
    gradient = torch.zeros(6, 5)
    gradient[4] = torch.tensor([5.0, -4.0, 3.0, -2.0, 1.0])
    _, part = born((6, 5), importance=gradient, entries=3)
    assert positions(part).tolist() == [20, 21, 22]


def test_chance_is_that_of_the_seed() -> None:
    one, same, other = (positions(born((30, 30), entries=20, by="random", seed=seed)[1]) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="entries is 0; it must be at least 1"):
        born((4, 4), entries=0)
    with pytest.raises(ConfigError, match="'magnitude'"):
        born((4, 4), entries=2, by="size")
    with pytest.raises(SiteError, match="entries is 17, and wide has 4 x 4 of them; choose fewer"):
        born((4, 4), entries=17)


@pytest.mark.parametrize(
    ("entries", "name", "values", "complaint"),
    [
        (3, "columns", [99, 1, 2], "names columns of a weight, of which there are 10, and some are outside"),
        (3, "lines", [1, 2, 99], "names rows of a weight, of which there are 10, and some are outside"),
        (12, "lines", [99] + [0] * 9, "counts 99 entries over the rows of a weight and has 12"),
    ],
)
def test_a_file_with_indices_outside_of_the_weight_is_refused(
    entries: int, name: str, values: list[int], complaint: str
) -> None:
    graft, _ = born((10, 10), entries=entries)
    spoilt = load(graft.to_bytes()) | {name: torch.tensor(values, dtype=torch.uint8)}
    with pytest.raises(GraftFileError, match=complaint):
        grow_from(graft.candidate, weights=save(spoilt))


@pytest.mark.parametrize(("lines", "columns"), [([2, 2, 3], [4, 4, 0]), ([2, 2, 3], [5, 4, 0]), ([3, 2, 4], [0, 0, 0])])
def test_a_file_with_entries_twice_or_out_of_order_is_refused(lines: list[int], columns: list[int]) -> None:
    """Twice, forward would add what fold puts in one another's place."""
    graft, _ = born((10, 10), entries=3)
    given = {"lines": torch.tensor(lines, dtype=torch.uint8), "columns": torch.tensor(columns, dtype=torch.uint8)}
    with pytest.raises(GraftFileError, match="entries of a weight, of which there are 100, and some are out of order"):
        grow_from(graft.candidate, weights=save(load(graft.to_bytes()) | given))
