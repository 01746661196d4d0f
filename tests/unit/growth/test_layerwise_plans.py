"""Plans for growth by layers: what they take, and what cannot be meant."""

from pathlib import Path
from typing import Any

import pytest
import torch

import saint
from by_layers import plan_of
from saint import config, records
from saint.composition import compose, probe_logits
from saint.data import Splits
from saint.errors import BudgetError, ConfigError, DataError, GraftFileError
from saint.growth import Plan, must_be_drawn, start
from saint.growth._head_state import read, spell
from saint.growth._layers import candidate_of, first_plan, started
from saint.testing import write_font
from saint.training import untrained
from workshop import PLAN, Workshop


@pytest.mark.parametrize(
    ("overrides", "layerwise", "said"),
    [
        ((), {"active": {"params": 7000}}, "stage 1 .* the active budget allows 7,000"),
        ((), {"stages": [{}, {"sort": "lora", "rank": 99}]}, "stage 2 .* in adapters, and the blocks of a stage have"),
        (("budget.train_tokens=2000",), {}, "budget.train_tokens is 2,000, and the 2 stages after the first"),
    ],
)
def test_a_schedule_over_its_budget_is_refused_before_work_starts(
    data: Splits, workshop: Workshop, overrides: tuple[str, ...], layerwise: dict[str, Any], said: str
) -> None:
    plan = plan_of(*overrides, **layerwise)
    base = saint.freeze(untrained(first_plan(plan, data), data.tokenizer), tokenizer=data.tokenizer)
    with pytest.raises(BudgetError, match=said):
        start(workshop.registry, base, plan, root=workshop.root)
    assert not workshop.registry.exists()


@pytest.mark.parametrize(
    ("overrides", "layerwise", "said"),
    [
        ((), {"stages": [{}]}, "at least one on top of it"),
        ((), {"stages": [{}, {"tokens": 63}]}, "stage 2 has 63 tokens, and a step takes 64"),
        ((), {"blocks": 0}, "at least 1"),
        ((), {"model": {"num_hidden_layers": 3}}, "set blocks instead"),
        ((), {"stages": [{"sort": "lora"}, {}]}, "stage 1 is a LoRA phase"),
        ((), {"stages": [{}, {"rank": 4}]}, "rank of stage 2 has no effect on blocks"),
        ((), {"stages": [{}, {"lr": -1.0}]}, "stage 2 has lr -1"),
        (("rates=[1.0, 3.0]",), {}, "rates has no effect"),
        (("schedule.fade_in=0.1",), {}, "fade_in has no effect"),
    ],
)
def test_a_schedule_that_cannot_be_meant_is_refused(
    overrides: tuple[str, ...], layerwise: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        plan_of(*overrides, **layerwise)


@pytest.fixture(scope="module")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A font with what the tokens are spelled with, and one with some of it."""
    folder = tmp_path_factory.mktemp("fonts")
    write_font(folder / "all.hex", map(chr, range(0x180)))
    write_font(folder / "half.hex", map(chr, range(0x70)))
    return folder


def drawn_by(font: str, interface: str = "glyph") -> Plan:
    model = {"hidden_size": 16, "num_attention_heads": 2, "max_position_embeddings": 64, "interface": interface}
    return plan_of(model=model, font=font)


@pytest.mark.parametrize(
    ("font", "interface", "error", "said"),
    [
        ("none.hex", "glyph", DataError, "none.hex cannot be read as a bitmap font"),
        ("half.hex", "glyph", DataError, r"half.hex lacks a character of \d+ of 300 tokens, such as .* more than"),
        ("all.hex", "binary", ConfigError, "interface binary draws no tokens; leave it out"),
    ],
)
def test_an_interface_that_cannot_be_drawn_is_refused(
    data: Splits, fonts: Path, font: str, interface: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        must_be_drawn(drawn_by(font, interface), data, root=fonts)


def test_a_tokenizer_without_strings_is_refused(data: Splits, fonts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(data.tokenizer), "convert_ids_to_tokens", lambda _, ids: [None for _ in ids])
    with pytest.raises(DataError, match="has no string for any of 300 tokens, and tokens are drawn from theirs"):
        must_be_drawn(drawn_by("all.hex"), data, root=fonts)


@pytest.mark.parametrize("layerwise", [{}, {"init": "random", "head": "reset"}])
def test_stages_are_grown_above_an_interface_that_was_drawn(
    data: Splits, fonts: Path, layerwise: dict[str, Any]
) -> None:
    plan = drawn_by("all.hex")
    base = saint.freeze(untrained(first_plan(plan, data), data.tokenizer, root=fonts), tokenizer=data.tokenizer)
    assert base.model.config.interface_facts["font"] == "all.hex"
    layers = plan_of(**layerwise).layerwise
    assert layers is not None
    stage = started(base, [], candidate_of(base, layers, seed=1), layers)
    logits = [probe_logits(compose(base, stack)) for stack in ([], [stage])]
    assert torch.equal(*logits) == (not layerwise)
    again = saint.merge(base, [stage]).model
    assert again.config.interface_digest == base.model.config.interface_digest


def test_a_plan_without_a_font_is_known_by_what_it_was(data: Splits) -> None:
    plan = plan_of()
    assert "font" not in records.to_plain(plan)["layerwise"]
    assert "font" not in records.to_plain(first_plan(plan, data))


def test_other_plans_are_known_by_what_they_were() -> None:
    plain = records.to_plain(plan_of())
    assert "layerwise" in plain
    assert "layerwise" not in records.to_plain(config.build(config.parse(PLAN, where="plan"), Plan, where="plan"))


def test_the_state_of_a_head_is_checked_before_it_is_read() -> None:
    head = torch.nn.Linear(3, 5)
    moments = {
        name: {
            "step": torch.tensor(4.0),
            "exp_avg": torch.ones_like(parameter),
            "exp_avg_sq": torch.full_like(parameter, 2),
        }
        for name, parameter in head.named_parameters()
    }
    content = spell(moments)
    again = read(content, head)
    assert {name: sorted(there) for name, there in again.items()} == {n: sorted(t) for n, t in moments.items()}
    assert all(torch.equal(again[name][m], value) for name, there in moments.items() for m, value in there.items())
    assert spell({}) == b""
    assert read(b"", head) == {}
    with pytest.raises(GraftFileError):
        read(content[:-4], head)
    with pytest.raises(GraftFileError, match="expected F32"):
        read(content, torch.nn.Linear(4, 5))
