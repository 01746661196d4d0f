"""What a kind says about its parameters in words is what it counts."""

import dataclasses
import re
from typing import Any

import pytest

from saint import discovery
from saint.grafts import Kind, kind_and_options
from saint.records import Site
from saint.testing import tiny_base

KINDS = ("bias", "bitfit", "block", "dense", "dictionary", "dora", "lora", "phi", "rescale", "sparse", "width")
EXAMPLES = [(name, options) for name in KINDS for options in discovery.find("grafts", name, Kind).examples]


def value(formula: str, site: Site, chosen: Any) -> int:
    """A formula with its products written out: `rank (d_in + d_out)` is rank * (d_in + d_out)."""
    trained, _, fixed = formula.partition("; ")
    if fixed and chosen.codebook_seed is not None:
        trained = fixed.removesuffix(" with codebook_seed")
    gated, _, ungated = trained.partition(" with a gate, ")
    if ungated:
        trained = gated if site.gated else ungated.removesuffix(" without")
    trained = trained.replace(" (form dense, fewer in others)", "")
    trained = re.sub(r"\(\+ (.+?) if (\w+)\)", r"+ (\1) \2", trained)
    spelt = re.sub(r"(?<=[\w)']) (?=[\w(])", " * ", trained.replace("^", "**"))
    names = {field.name: getattr(chosen, field.name) for field in dataclasses.fields(chosen)}
    return int(eval(spelt, {"min": min}, {**names, "d_in": site.d_in, "d_out": site.d_out, "d": site.d_out}))


@pytest.mark.parametrize(("name", "options"), EXAMPLES, ids=str)
def test_the_formulas_say_what_is_counted(name: str, options: dict[str, Any]) -> None:
    sites = [site for site in tiny_base().sites() if site.sort == discovery.find("grafts", name, Kind).attaches_to][:2]
    for site in sites:
        kind, chosen = kind_and_options(name, options, site)
        if name == "phi" and chosen.form not in ("dense", "hadamard"):
            assert kind.num_params(site, chosen) <= value(kind.formula, site, chosen)
            continue
        assert value(kind.formula, site, chosen) == kind.num_params(site, chosen)
        if name == "phi":
            num_redundant = kind.num_params(site, chosen) - kind.num_effective(site, chosen)
            assert (num_redundant > 0) == chosen.train_bases  # with the products low_rank and kronecker the formula's
            continue
        assert value(kind.effective_formula or kind.formula, site, chosen) == kind.num_effective(site, chosen)


@pytest.mark.parametrize("options", discovery.find("grafts", "tensor_train", Kind).examples, ids=str)
def test_the_formulas_of_tensor_trains_are_sums_over_their_cores(options: dict[str, Any]) -> None:
    [site, *_] = [site for site in tiny_base().sites() if site.sort == "block"]
    kind, chosen = kind_and_options("tensor_train", options, site)
    assert kind.formula == "2 sum_k r_(k-1) i_k o_k r_k"
    total = 2 * sum(before * inputs * outputs * after for before, inputs, outputs, after in shapes(kind(site, chosen)))
    assert total == kind.num_params(site, chosen)
    effective, _, less = kind.effective_formula.partition(", less ")
    assert less == "the free scales of a relu"
    spelt = effective.replace("sum_k r_(k-1) i_k o_k r_k", str(total // 2))
    channels = sum(outputs for _, _, outputs, _ in shapes(kind(site, chosen)))
    scales = channels - (chosen.num_cores - 1) if chosen.activation == "relu" else 0
    assert value(spelt, site, chosen) - scales == kind.num_effective(site, chosen)


def shapes(part: Any) -> list[tuple[int, ...]]:
    """Of the cores on the way up; those on the way down have inputs and outputs swapped."""
    return [tuple(core.shape) for core in part.up]


def test_the_formula_of_a_layer_is_the_block_before_it() -> None:
    base = tiny_base()
    for site in (site for site in base.sites() if site.sort == "insertion"):
        kind, chosen = kind_and_options("layer", {}, site)
        block = base.model.get_submodule(site.module)
        assert kind.formula == "blocks times those of the block before it"
        assert kind.num_params(site, chosen) == sum(parameter.numel() for parameter in block.parameters())
