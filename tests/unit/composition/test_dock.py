"""A graft on another base: the same weights where the token interface is the same, and a refusal where it is not."""

from typing import Any

import pytest
import torch

from saint.backbones import LayeredConfig, LayeredForCausalLM
from saint.composition import compose, dock, interface_of, newborn, probe_logits
from saint.errors import SiteError
from saint.grafts import Graft
from saint.models import FrozenBase, freeze
from saint.records import Candidate
from saint.testing import GraftSuite
from small_experts import VOCAB, WIDTH, a_llama


def a_base(seed: int, **changes: Any) -> FrozenBase:
    sizes: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "max_position_embeddings": 64}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return freeze(LayeredForCausalLM(LayeredConfig(**{**sizes, **changes})))


def a_graft(base: FrozenBase) -> Graft:
    top = [site for site in base.sites() if site.sort == "insertion"][-1]
    return GraftSuite().moved(newborn(base, Candidate(sites=(top,), kind="layer")))


def test_a_graft_is_moved_to_the_bit_and_changes_what_the_other_base_computes() -> None:
    home, other = a_base(1), a_base(2)
    graft = a_graft(home)
    graft.set_strength(0.5)
    moved = dock(graft, home, other)
    assert moved is not graft
    assert moved.to_bytes() == graft.to_bytes()
    assert moved.strength == 0.5
    assert not torch.equal(probe_logits(compose(other, [moved])), probe_logits(other.model))
    other.check()


def test_another_interface_is_refused() -> None:
    home, other = a_base(1), a_base(1, interface_options={"permutation_seed": 3})
    with pytest.raises(SiteError) as refused:
        dock(a_graft(home), home, other)
    for base in (home, other):
        assert str(interface_of(base))[:12] in str(refused.value)


@pytest.mark.parametrize("learned", ["home", "other"])
def test_a_table_that_learns_has_no_interface_to_go_by(learned: str) -> None:
    bases = {"home": a_base(1), "other": a_base(2)}
    bases[learned] = freeze(a_llama(1)) if learned == "other" else a_base(1, interface="learned")
    whose = "that the graft stands on" if learned == "home" else "that it is moved to"
    with pytest.raises(SiteError, match=f"the base {whose} has no frozen token interface"):
        dock(a_graft(bases["home"]), bases["home"], bases["other"])


def test_a_base_without_the_site_is_refused() -> None:
    home, shallow = a_base(1), a_base(2, num_hidden_layers=1)
    with pytest.raises(SiteError, match=r"layers\.1"):
        dock(a_graft(home), home, shallow)
