"""Who changed what, measured on a real model; what is measured is measured once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saint.composition import newborn, probe_logits
from saint.data import Splits
from saint.errors import ConfigError, DataError
from saint.evaluation import Losses, LossStore, attribute
from saint.grafts import Graft
from saint.models import FrozenBase
from saint.records import Attribution, Candidate
from saint.testing import GraftSuite

PLACES = [("up", 0), ("down", 1), ("o", 1), ("up", 1), ("down", 0), ("q", 0), ("gate", 1), ("o", 0), ("gate", 0)]


def at(base: FrozenBase, role: str, depth: int, *, seed: int = 0) -> Graft:
    sites = tuple(site for site in base.sites() if site.role == role and site.depth == depth)
    candidate = Candidate(sites=sites, kind="phi", options={"rank": 2}, seed=seed)
    return GraftSuite().moved(newborn(base, candidate))


def a_stack(base: FrozenBase, num: int) -> list[Graft]:
    return [at(base, role, depth, seed=number) for number, (role, depth) in enumerate(PLACES[:num])]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The corpora that a model was run on, once for each time."""
    seen: list[str] = []
    measure = Losses.measure
    monkeypatch.setattr(Losses, "measure", lambda self, *args: seen.append(args[1].name) or measure(self, *args))
    return seen


def test_shapley_values_sum_to_the_total_and_prefixes_to_it_too(base: FrozenBase, data: Splits) -> None:
    found = attribute(base, a_stack(base, 3), data.select, losses=Losses(seq_len=32))
    for suite in found.suites.values():
        assert sum(s.shapley.estimate for s in suite.shares) == pytest.approx(suite.total.estimate, abs=1e-9)
        assert sum(s.at_activation.estimate for s in suite.shares) == pytest.approx(suite.total.estimate, abs=1e-9)
        assert suite.total.estimate != 0.0


def test_every_number_is_what_the_stacks_say_measured_one_by_one(base: FrozenBase, data: Splits) -> None:
    stack, losses = a_stack(base, 3), Losses(seq_len=32)
    found = attribute(base, stack, data.select, losses=losses).suites["code"]

    def saved(before: Sequence[int], after: Sequence[int]) -> float:
        stacks = [[stack[place] for place in places] for places in (before, after)]
        return Losses(seq_len=32).saved(base, *stacks, data.select["code"]).estimate

    assert found.shares[1].at_activation.estimate == pytest.approx(saved([0], [0, 1]), abs=1e-9)
    assert found.shares[1].left_out.estimate == pytest.approx(saved([0, 2], [0, 1, 2]), abs=1e-9)
    orders = [([], [1]), ([], [1]), ([0], [0, 1]), ([2], [1, 2]), ([0, 2], [0, 1, 2]), ([0, 2], [0, 1, 2])]
    value = sum(saved(before, after) for before, after in orders) / 6
    assert found.shares[1].shapley.estimate == pytest.approx(value, abs=1e-9)
    together = saved([1], [0, 1, 2]) - saved([1], [0, 1]) - saved([1], [1, 2])
    [pair] = [pair for pair in found.pairs if (pair.one, pair.other) == (stack[0].digest, stack[2].digest)]
    assert pair.gain_bpb.estimate == pytest.approx(together, abs=1e-9)


def test_a_graft_that_does_nothing_is_due_nothing(base: FrozenBase, data: Splits) -> None:
    idle = newborn(base, at(base, "q", 1).candidate)
    found = attribute(base, [at(base, "up", 0), idle, at(base, "down", 1)], data.select, losses=Losses(seq_len=32))
    for suite in found.suites.values():
        share = suite.shares[1]
        values = (share.at_activation, share.left_out, share.shapley)
        assert [value.estimate for value in values] == pytest.approx([0.0] * 3, abs=1e-12)
        assert share.documents == ()
        with_it = [pair.gain_bpb.estimate for pair in suite.pairs if idle.digest in (pair.one, pair.other)]
        assert with_it == pytest.approx([0.0, 0.0], abs=1e-12)


def test_grafts_that_do_not_meet_do_not_interact_with_one_that_is_away(base: FrozenBase, data: Splits) -> None:
    stack = a_stack(base, 3)
    stack[0].set_strength(0.0)
    found = attribute(base, stack, data.select, losses=Losses(seq_len=32)).suites["prose"]
    zero = [pair.gain_bpb.estimate for pair in found.pairs if pair.one == stack[0].digest]
    assert zero == pytest.approx([0.0, 0.0], abs=1e-12)
    assert found.pairs[-1].gain_bpb.estimate != 0.0


def test_one_graft(base: FrozenBase, data: Splits) -> None:
    found = attribute(base, a_stack(base, 1), data.select, losses=Losses(seq_len=32)).suites["prose"]
    assert found.pairs == ()
    [share] = found.shares
    assert share.shapley.estimate == pytest.approx(found.total.estimate)
    assert share.at_activation == share.left_out == found.total


def test_no_graft(base: FrozenBase, data: Splits, measured: list[str]) -> None:
    found = attribute(base, [], data.select, losses=Losses(seq_len=32))
    assert {suite.total.estimate for suite in found.suites.values()} == {0.0}
    assert all(suite.shares == suite.pairs == () and suite.worst is None for suite in found.suites.values())
    assert sorted(measured) == ["code/select", "prose/select"]


def test_the_worst_is_the_one_with_the_lowest_value(base: FrozenBase, data: Splits) -> None:
    suite = attribute(base, a_stack(base, 3), data.select, losses=Losses(seq_len=32)).suites["prose"]
    assert suite.worst is not None
    assert suite.worst.shapley.estimate == min(share.shapley.estimate for share in suite.shares)


def test_documents_that_changed_most(base: FrozenBase, data: Splits) -> None:
    stack, text, losses = a_stack(base, 2), data.select["prose"], Losses(seq_len=32)
    split = {"prose": text}
    found = attribute(base, stack, split, losses=losses, num_shown=2, tokenizer=data.tokenizer).suites["prose"]
    nats = {num: losses.of(base, stack[:num], text) for num in (1, 2)}
    change = np.abs(nats[1] - nats[2]) / text.num_bytes_each
    shown = found.shares[1].documents
    assert [one.document for one in shown] == [text.documents[place] for place in np.argsort(-change)[:2]]
    place = int(np.argmax(change))
    assert shown[0].before_bpb == pytest.approx(nats[1][place] / np.log(2) / text.num_bytes_each[place])
    assert shown[0].after_bpb == pytest.approx(nats[2][place] / np.log(2) / text.num_bytes_each[place])
    assert len(shown[0].beginning) > 20
    assert shown[0].beginning.isprintable()

    hidden = attribute(base, stack, split, losses=losses).suites["prose"].shares[1].documents
    assert {one.beginning for one in hidden} == {""}


@pytest.mark.slow
def test_above_eight_grafts_orders_are_drawn_and_values_still_sum_to_the_total(
    base: FrozenBase, data: Splits, measured: list[str]
) -> None:
    stack, split = a_stack(base, 9), {"code": data.select["code"]}
    losses = Losses(seq_len=32)
    found = attribute(base, stack, split, losses=losses, num_pairs=4, seed=1)
    assert found.num_pairs == 4
    assert len(measured) <= 2 + 8 + 9 + 36 + 8 * 8 < 2**9
    suite = found.suites["code"]
    assert sum(share.shapley.estimate for share in suite.shares) == pytest.approx(suite.total.estimate, abs=1e-9)
    assert all(0 < share.standard_error_of_orders < share.shapley.standard_error for share in suite.shares)
    assert attribute(base, stack, split, losses=losses, num_pairs=4, seed=1) == found
    assert attribute(base, stack, split, losses=losses, num_pairs=4, seed=2) != found


def test_one_pair_of_orders_is_too_few(base: FrozenBase, data: Splits) -> None:
    with pytest.raises(ConfigError, match="num_pairs is 1"):
        attribute(base, [], data.select, losses=Losses(), num_pairs=1)


def test_every_sub_stack_is_measured_once(base: FrozenBase, data: Splits, measured: list[str]) -> None:
    stack, losses = a_stack(base, 3), Losses(seq_len=32)
    found = attribute(base, stack, data.select, losses=losses)
    assert sorted(measured) == ["code/select"] * 8 + ["prose/select"] * 8
    assert attribute(base, stack, data.select, losses=losses) == found
    assert len(measured) == 16


def test_blocks_below_are_read_once_for_all_that_is_put_on_them(base: FrozenBase, data: Splits) -> None:
    reads, probe = {0: 0, 1: 0}, probe_logits(base.model).shape[:2]
    for site in base.sites():
        if site.role == "o":

            def count(_module: object, args: tuple[torch.Tensor], _output: object, depth: int = site.depth) -> None:
                reads[depth] += args[0].shape[:2] != probe

            base.model.get_submodule(site.module).register_forward_hook(count)
    text = data.select["prose"]
    num = sum(1 for _ in Losses(seq_len=32).windows(base.model, text))
    stack = [at(base, role, 1, seed=number) for number, role in enumerate(("up", "down", "gate"))]
    attribute(base, stack, {"prose": text}, losses=Losses(seq_len=32))
    assert reads[1] == 8 * num, "every sub-stack has the last block to itself"
    assert reads[0] == (1 + 4) * num, "the base, and what is below once for each stack that others are put on"


def test_a_loss_that_is_not_a_number_is_one_sentence(base: FrozenBase, data: Splits) -> None:
    broken = at(base, "down", 1)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(DataError, match="loss that is not a number under the base with") as caught:
        attribute(base, [at(base, "up", 0), broken], data.select, losses=Losses(seq_len=32))
    assert broken.digest[:12] in str(caught.value)


def test_asking_twice_with_a_store_runs_no_model(
    base: FrozenBase, data: Splits, tmp_path: Path, forwards: list[int]
) -> None:
    stack = a_stack(base, 3)

    def asked() -> Attribution:
        return attribute(base, stack, data.select, losses=Losses(seq_len=32, store=LossStore(folder)))

    folder = tmp_path / "losses"
    found = asked()
    assert forwards
    assert len(list(folder.iterdir())) == 2 * 2**3
    forwards.clear()
    assert asked() == found
    assert forwards == []


def test_after_a_kill_it_goes_on_where_it_was(
    base: FrozenBase,
    data: Splits,
    measured: list[str],
    in_store: Callable[..., Losses],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack, measure = a_stack(base, 3), Losses.measure

    def killed(self: Losses, *args: Any) -> Any:
        if len(measured) == 5:
            raise KeyboardInterrupt
        return measure(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Losses, "measure", killed)
        with pytest.raises(KeyboardInterrupt):
            attribute(base, stack, data.select, losses=in_store())
    assert len(measured) == 5
    attribute(base, stack, data.select, losses=in_store())
    assert len(measured) == 2 * 2**3


@pytest.fixture
def forwards(base: FrozenBase) -> list[int]:
    """The rows of each batch that any composition of the base was run on: compositions keep the hook."""
    seen: list[int] = []
    base.model.model.embed_tokens.register_forward_hook(lambda _module, args, _output: seen.append(len(args[0])))
    return seen


@pytest.fixture
def in_store(tmp_path: Path) -> Callable[..., Losses]:
    return lambda **settings: Losses(**{"seq_len": 32, **settings}, store=LossStore(tmp_path / "losses"))


def test_what_decides_a_loss_names_its_file(
    base: FrozenBase, data: Splits, measured: list[str], in_store: Callable[..., Losses]
) -> None:
    graft, text = at(base, "up", 0), data.select["code"]
    in_store().of(base, [graft], text)
    in_store().of(base, [graft], text)
    assert len(measured) == 1
    in_store(seq_len=16).of(base, [graft], text)
    in_store().of(base, [graft], data.select["prose"])
    in_store().of(base, [], text)
    graft.set_strength(0.5)
    half = in_store().of(base, [graft], text)
    assert len(measured) == 5
    assert not np.array_equal(half, in_store().of(base, [at(base, "up", 0)], text))
    assert len(measured) == 5


def test_losses_from_a_store_are_the_same_to_the_bit(
    base: FrozenBase, data: Splits, in_store: Callable[..., Losses]
) -> None:
    stack = a_stack(base, 2)
    assert np.array_equal(
        in_store().of(base, stack, data.select["code"]), in_store().of(base, stack, data.select["code"])
    )
    assert np.array_equal(
        in_store().of(base, stack, data.select["code"]), Losses(seq_len=32).of(base, stack, data.select["code"])
    )


def test_an_interval_is_that_of_the_documents(base: FrozenBase, data: Splits) -> None:
    found = attribute(base, a_stack(base, 2), data.select, losses=Losses(seq_len=32))
    sizes = {name: corpus.num_documents for name, corpus in data.select.items()}
    assert {name: suite.total.num_documents for name, suite in found.suites.items()} == sizes
    values = [share.shapley for suite in found.suites.values() for share in suite.shares]
    assert all(one.low < one.estimate < one.high for one in values)
