from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from saint import discovery
from saint.composition import compose, measure_signals, newborn, place_of, probe_logits, wanted_signals
from saint.consolidation import merge
from saint.grafts import Graft, Kind, Signals, grow_from, kind_and_options, num_params
from saint.models import FrozenBase, freeze, token_nats
from saint.records import Candidate, Site
from saint.testing._assertions import assert_base_untouched, assert_identity, assert_same_function
from saint.testing._tiny import double_base, tiny_base


class GraftSuite:
    """What every kind of graft must keep: subclass it and set `kind`; the options are the kind's first example."""

    kind: str
    options: Mapping[str, Any] | None = None
    """Other options than those of the kind's first example."""

    def base(self) -> FrozenBase:
        """The base that the kind is tried on."""
        return tiny_base()

    def candidate(self, base: FrozenBase) -> Candidate:
        """A bundle: the kind at the first two sites of the sort that it attaches to."""
        kind = discovery.find("grafts", self.kind, Kind)
        sites = [site for site in base.sites() if site.sort == kind.attaches_to]
        options = kind.examples[0] if self.options is None else self.options
        if "at" in options:  # what an example chooses for roles that this base has not would be refused
            there = {name for site in sites for name in (site.role, site.key)}
            options = {**options, "at": {name: other for name, other in options["at"].items() if name in there}}
        return Candidate(sites=tuple(sites[:2]), kind=self.kind, options=options, seed=3)

    def born(self, base: FrozenBase, candidate: Candidate) -> Graft:
        """A newborn, with the signals that its kind wants."""
        return newborn(base, candidate, signals=self.signals(base, candidate))

    def signals(self, base: FrozenBase, candidate: Candidate) -> dict[str, Signals]:
        """What flows through the sites on some tokens."""
        vocab_size = int(base.model.config.vocab_size)
        tokens = torch.arange(4 * 33).view(4, 33) * 7919 % vocab_size
        return measure_signals(base, (), wanted_signals(candidate), [tokens])

    def moved(self, graft: Graft) -> Graft:
        """The graft as training could have left it."""
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in graft.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        return graft

    def test_a_newborn_changes_nothing(self) -> None:
        base = self.base()
        assert_identity(base, self.born(base, self.candidate(base)))

    def test_a_moved_graft_changes_something(self) -> None:
        base = self.base()
        graft = self.moved(self.born(base, self.candidate(base)))
        assert not torch.equal(probe_logits(compose(base, [graft])), probe_logits(base.model))

    def test_at_no_strength_it_changes_nothing(self) -> None:
        base = self.base()
        graft = self.moved(self.born(base, self.candidate(base)))
        graft.set_strength(0.0)
        assert_identity(base, graft)

    def test_removal_gives_the_earlier_logits_back(self) -> None:
        base = self.base()
        below = self.moved(self.born(base, self.candidate(base)))
        before = probe_logits(compose(base, [below]))
        probe_logits(compose(base, [below, self.moved(self.born(base, self.candidate(base)))]))
        assert torch.equal(probe_logits(compose(base, [below])), before)

    def test_composing_leaves_the_base_as_it_was(self) -> None:
        base = self.base()
        before = probe_logits(base.model)
        probe_logits(compose(base, [self.moved(self.born(base, self.candidate(base)))]))
        assert torch.equal(probe_logits(base.model), before)
        assert_base_untouched(base)

    def test_what_it_sees_in_one_composition_is_not_seen_in_another(self) -> None:
        base, other = self.base(), freeze(_shaken(self.base().model))
        graft = self.moved(self.born(base, self.candidate(base)))
        first = compose(base, [graft])
        before = probe_logits(first)
        second = compose(other, [graft])
        assert not torch.equal(probe_logits(second), before)
        assert torch.equal(probe_logits(first), before)

    def test_only_the_graft_learns(self) -> None:
        base = self.base()
        graft = self.born(base, self.candidate(base))
        tokens = torch.arange(34).view(2, 17)
        token_nats(compose(base, [graft]), tokens).mean().backward()
        assert any(p.grad is not None and bool(p.grad.any()) for p in graft.parameters())
        assert all(p.grad is None for p in base.model.parameters())

    def test_the_same_candidate_grows_the_same_graft(self) -> None:
        base = self.base()
        candidate = self.candidate(base)
        assert self.born(base, candidate).to_bytes() == self.born(base, candidate).to_bytes()

    def test_weights_survive_the_trip_through_bytes(self) -> None:
        base = self.base()
        candidate = self.candidate(base)
        graft = self.moved(self.born(base, candidate))
        graft.set_strength(0.7)
        again = grow_from(candidate, weights=graft.to_bytes())
        assert again.to_bytes() == graft.to_bytes()
        assert torch.equal(probe_logits(compose(base, [again])), probe_logits(compose(base, [graft])))

    def test_the_price_is_what_trains(self) -> None:
        base = self.base()
        candidate = self.candidate(base)
        priced = num_params(candidate.kind, candidate.options, candidate.sites)
        assert priced == self.born(base, candidate).num_params

    def test_folding_says_what_forward_says(self) -> None:
        base = self.base()
        graft = self.moved(self.born(base, self.candidate(base)))
        graft.set_strength(0.7)
        generator = torch.Generator().manual_seed(1)
        for site, part in graft_parts(base, graft):
            x = torch.randn(5, site.d_in, generator=generator)
            weight, bias = frozen_linear(base, site)
            folded = part.fold(weight, bias)
            assert (folded is not None) == part.can_fold
            if folded is not None:
                torch.testing.assert_close(F.linear(x, *folded), part(x, F.linear(x, weight, bias)))

    def test_merged_into_a_larger_model_it_says_what_it_says_composed(self) -> None:
        base = self.base()
        graft = self.moved(self.born(base, self.candidate(base)))
        graft.set_strength(0.7)
        grows = {part.growth() is not None for _, part in graft_parts(base, graft)}
        assert grows == {discovery.find("grafts", self.kind, Kind).can_grow}
        if grows == {True}:
            assert_same_function(merge(base, [graft]).model, compose(base, [graft]), max_abs_difference=1e-5)
            assert_base_untouched(base)

    def test_its_gradient_is_that_of_its_values(self) -> None:
        """Against central differences of the composed model's loss, in float64, along random directions."""
        base = double_base()
        candidate = self.candidate(base)
        kind, options = kind_and_options(candidate.kind, candidate.options, candidate.sites[0])
        graft = self.moved(self.born(base, candidate)).double()
        tokens, generator = torch.arange(34).view(2, 17), torch.Generator().manual_seed(2)

        def loss() -> Tensor:
            return token_nats(compose(base, [graft]), tokens).mean()

        parameters = list(graft.parameters())
        gradients = torch.autograd.grad(loss(), parameters)
        for _ in range(_NUM_DIRECTIONS):
            ways = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
            slope = sum(float((g * way).sum()) for g, way in zip(gradients, ways, strict=True))
            measured = central_difference(loss, parameters, ways)
            close = torch.isclose(torch.tensor(slope), torch.tensor(measured), rtol=1e-5, atol=1e-9)
            assert bool(close) == kind.has_exact_gradient(options), (slope, measured)

    def test_its_effective_parameters_are_what_it_says(self) -> None:
        """The rank of the Jacobian of the folded weight, at a point where training could have left it.

        Of a kind that does not fold, that of its answers to enough random inputs to tell parameters apart; a whole
        layer's parameters are redundant in ways of its architecture, so there the number is a bound and not counted.
        """
        folds = discovery.find("grafts", self.kind, Kind).can_fold
        base = double_base() if folds else self.base()
        candidate = self.candidate(base)
        site = candidate.sites[0]
        kind, options = kind_and_options(candidate.kind, candidate.options, site)
        graft = self.moved(self.born(base, replace(candidate, sites=(site,)))).double()
        assert kind.num_effective(site, options) <= kind.num_params(site, options)
        if site.sort == "insertion":
            return
        part = graft.parts[site.key]
        part.attach(place_of(base, site))
        if folds:
            change: nn.Module = _Folded(part, *(tensor.double() for tensor in frozen_linear(base, site)))
        else:
            change = _Answers(part, site, num_inputs=4 * site.d_in + 2 * kind.num_params(site, options) // site.d_out)
        assert _jacobian_rank(change) == kind.num_effective(site, options)

    def test_it_says_where_the_idea_is_from(self) -> None:
        kind = discovery.find("grafts", self.kind, Kind)
        assert kind.reference
        assert kind.formula
        assert kind.__doc__


def graft_parts(base: FrozenBase, graft: Graft) -> Iterator[tuple[Site, Kind]]:
    """Each site with what is attached there, which has seen the base."""
    for site in graft.candidate.sites:
        graft.parts[site.key].attach(place_of(base, site))
        yield site, graft.parts[site.key]


def frozen_linear(base: FrozenBase, site: Site) -> tuple[Tensor, Tensor]:
    """The weight of a site and a random bias; of a site that is no linear map, random ones of its sizes."""
    generator = torch.Generator().manual_seed(1)
    weight, bias = torch.randn(site.d_out, site.d_in, generator=generator), torch.randn(site.d_out, generator=generator)
    found = place_of(base, site).weight
    return (weight if found is None else found.float()), bias


@torch.no_grad()
def central_difference(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], ways: Sequence[Tensor], step: float = 1e-5
) -> float:
    """The slope of `loss` when the parameters move along `ways`; they are put back."""
    found = []
    for sign in (1, -2):
        for parameter, way in zip(parameters, ways, strict=True):
            parameter.add_(way, alpha=sign * step)
        found.append(float(loss()))
    for parameter, way in zip(parameters, ways, strict=True):
        parameter.add_(way, alpha=step)
    return (found[0] - found[1]) / (2 * step)


@final
class _Folded(nn.Module):
    """A part's folded weight and bias as a function of its parameters."""

    def __init__(self, part: Kind, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.part, self._weight, self._bias = part, weight, bias

    @override
    def forward(self) -> Tensor:
        change = self.part.fold(self._weight, self._bias)
        assert change is not None
        weight, bias = change
        return torch.cat([weight.flatten(), (self._bias if bias is None else bias).flatten()])


@final
class _Answers(nn.Module):
    """What a part answers to random inputs, as a function of its parameters."""

    def __init__(self, part: Kind, site: Site, *, num_inputs: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self._x = torch.randn(num_inputs, site.d_in, generator=generator, dtype=torch.float64)
        self._y = self._x if site.sort == "block" else torch.zeros(num_inputs, site.d_out, dtype=torch.float64)
        self.part = part

    @override
    def forward(self) -> Tensor:
        answers: Tensor = self.part(self._x, self._y)
        return answers.flatten()


def _jacobian_rank(change: nn.Module) -> int:
    """Of what a module answers to nothing, with respect to its parameters."""
    names, values = zip(*((name, p.detach()) for name, p in change.named_parameters()), strict=True)

    def answer(*parameters: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(change, dict(zip(names, parameters, strict=True)), ())
        return found

    columns = torch.autograd.functional.jacobian(answer, values)
    jacobian = torch.cat([column.flatten(1) for column in columns], dim=1)
    return int(torch.linalg.matrix_rank(jacobian, rtol=1e-9))


@torch.no_grad()
def _shaken(model: nn.Module) -> nn.Module:
    """The model with other weights."""
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return model


_NUM_DIRECTIONS = 3
