"""What a kind says about its parameters in words is what it counts."""

import dataclasses
import re
from typing import Any

import pytest

from saint import discovery
from saint.grafts import Kind, kind_and_options
from saint.records import Site
from saint.testing import tiny_base

KINDS = ("bias", "bitfit", "block", "dense", "dictionary", "dora", "lora", "rescale", "sparse")
EXAMPLES = [(name, options) for name in KINDS for options in discovery.find("grafts", name, Kind).examples]


def value(formula: str, site: Site, chosen: Any) -> int:
    """A formula with its products written out: `rank (d_in + d_out)` is rank * (d_in + d_out)."""
    trained, _, fixed = formula.partition("; ")
    if fixed and chosen.codebook_seed is not None:
        trained = fixed.removesuffix(" with codebook_seed")
    spelt = re.sub(r"(?<=[\w)']) (?=[\w(])", " * ", trained.replace("^", "**"))
    names = {field.name: getattr(chosen, field.name) for field in dataclasses.fields(chosen)}
    return int(eval(spelt, {"min": min}, {**names, "d_in": site.d_in, "d_out": site.d_out, "d": site.d_out}))


@pytest.mark.parametrize(("name", "options"), EXAMPLES, ids=str)
def test_the_formulas_say_what_is_counted(name: str, options: dict[str, Any]) -> None:
    sites = [site for site in tiny_base().sites() if site.sort == discovery.find("grafts", name, Kind).attaches_to][:2]
    for site in sites:
        kind, chosen = kind_and_options(name, options, site)
        assert value(kind.formula, site, chosen) == kind.num_params(site, chosen)
        assert value(kind.effective_formula or kind.formula, site, chosen) == kind.num_effective(site, chosen)
