import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from saint.composition import probe_logits
from saint.errors import ConfigError
from saint.models import freeze
from saint.operators import Expansion, Operator, build_operator, expand
from saint.testing._tiny import tiny_base


class OperatorSuite:
    """What every operator must keep: subclass it, and set its name, its settings and what it adds to `small`."""

    operator: str
    settings: Mapping[str, Any]
    num_added: int
    """Parameters more than `small` has, worked out by hand."""
    draws: bool
    """Whether anything is drawn, so that another seed gives another model."""
    tolerance: float = 0.0
    """Of an operator that keeps the function to rounding: the largest difference, as a share of the largest logit."""

    def small(self) -> Any:
        """The model that grows; tied, with two query heads to one key."""
        return tiny_base().model

    def build(self) -> Operator:
        """The operator as a user names it."""
        return build_operator(self.operator, self.settings)

    def grown(self, *, seed: int = 0) -> Expansion:
        """The larger model."""
        return expand(self.small(), self.build(), seed=seed)

    def test_the_function_is_what_is_promised(self) -> None:
        found, before = self.grown(), probe_logits(self.small())
        difference = float((probe_logits(found.model) - before).abs().max())
        assert difference == found.difference
        assert found.largest_logit == float(before.abs().max())
        if found.preserves == "to the bit":
            assert torch.equal(probe_logits(found.model), before)
        elif found.preserves == "to rounding":
            assert difference <= self.tolerance * found.largest_logit
        else:
            assert difference > 1e-4 * found.largest_logit, "an operator that keeps the function should say so"

    def test_it_adds_what_is_worked_out_by_hand(self) -> None:
        found = self.grown()
        assert found.num_added == self.num_added > 0
        assert found.num_params == sum(weight.numel() for weight in found.model.parameters())

    def test_the_smaller_model_stays_and_shares_nothing(self) -> None:
        small = self.small()
        base = freeze(small)
        found = expand(small, self.build())
        with torch.no_grad():
            for weight in found.model.parameters():
                weight.add_(1.0)
        base.check()

    def test_the_same_seed_gives_the_same_model_and_another_seed_another(self) -> None:
        one, same, other = (self.grown(seed=seed).model.state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert all(torch.equal(one[name], other[name]) for name in one) == (not self.draws)

    def test_saved_and_loaded_it_is_an_ordinary_model(self) -> None:
        found = self.grown()
        if found.masks is not None:
            found.masks.fold()
        with tempfile.TemporaryDirectory() as folder:
            found.model.save_pretrained(Path(folder))
            loaded: Any = AutoModelForCausalLM.from_pretrained(folder)
        assert type(loaded) is type(self.small())
        assert torch.equal(probe_logits(loaded.eval()), probe_logits(found.model))

    def test_it_writes_the_same_with_a_cache_and_without(self) -> None:
        model = self.grown().model
        prompt = torch.tensor([[5, 17, 3, 90]])
        kept, anew = (
            model.generate(prompt, max_new_tokens=6, do_sample=False, use_cache=cache, pad_token_id=0)
            for cache in (True, False)
        )
        assert kept.tolist() == anew.tolist()

    def test_what_is_new_learns(self) -> None:
        found = self.grown()
        if found.masks is not None:
            found.masks.value = 0.5
        before = copy.deepcopy(found.model.state_dict())
        tokens = torch.arange(48).view(2, 24) * 7919 % found.model.config.vocab_size
        learn = torch.optim.Adam(found.model.parameters(), lr=0.01)
        for _ in range(2):  # behind a map of zeros nothing moves until that has
            learn.zero_grad()
            found.model(input_ids=tokens, labels=tokens).loss.backward()
            learn.step()
        after = found.model.state_dict()
        maps = [name for name in before if name.endswith("_proj.weight")]
        assert maps
        assert not [name for name in maps if torch.equal(before[name], after[name])]

    def test_a_setting_that_it_does_not_have_is_refused(self) -> None:
        try:
            build_operator(self.operator, {**self.settings, "no_such_setting": 1})
        except ConfigError as error:
            assert "no_such_setting" in str(error)  # noqa: PT017 - a suite that plug-ins run needs no pytest
        else:
            raise AssertionError("a setting that does nothing must be refused")

    def test_it_says_where_it_is_from(self) -> None:
        assert self.build().reference.startswith(("arXiv:", "doi:", "https://", "SAINT-G"))
