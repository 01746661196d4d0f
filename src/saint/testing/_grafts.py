import torch
from torch.nn import functional as F

from saint import discovery
from saint.composition import compose, newborn, probe_logits
from saint.grafts import Graft, Kind, grow_from, kind_and_options
from saint.models import FrozenBase, token_nats
from saint.records import Candidate
from saint.testing._assertions import assert_base_untouched, assert_identity
from saint.testing._tiny import tiny_base


class GraftSuite:
    """What every kind of graft must keep: subclass it and set `kind`; the options are the kind's own `example`."""

    kind: str

    def base(self) -> FrozenBase:
        """The base that the kind is tried on."""
        return tiny_base()

    def candidate(self, base: FrozenBase) -> Candidate:
        """A bundle: the kind at the first two sites of the sort that it attaches to."""
        kind = discovery.find("grafts", self.kind, Kind)
        sites = [site for site in base.sites() if site.sort == kind.attaches_to]
        return Candidate(sites=tuple(sites[:2]), kind=self.kind, options=kind.example, seed=3)

    def moved(self, graft: Graft) -> Graft:
        """The graft as training could have left it."""
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in graft.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        return graft

    def test_a_newborn_changes_nothing(self) -> None:
        base = self.base()
        assert_identity(base, newborn(base, self.candidate(base)))

    def test_a_moved_graft_changes_something(self) -> None:
        base = self.base()
        graft = self.moved(newborn(base, self.candidate(base)))
        assert not torch.equal(probe_logits(compose(base, [graft])), probe_logits(base.model))

    def test_at_no_strength_it_changes_nothing(self) -> None:
        base = self.base()
        graft = self.moved(newborn(base, self.candidate(base)))
        graft.set_strength(0.0)
        assert_identity(base, graft)

    def test_removal_gives_the_earlier_logits_back(self) -> None:
        base = self.base()
        below = self.moved(newborn(base, self.candidate(base)))
        before = probe_logits(compose(base, [below]))
        probe_logits(compose(base, [below, self.moved(newborn(base, self.candidate(base)))]))
        assert torch.equal(probe_logits(compose(base, [below])), before)

    def test_composing_leaves_the_base_as_it_was(self) -> None:
        base = self.base()
        before = probe_logits(base.model)
        probe_logits(compose(base, [self.moved(newborn(base, self.candidate(base)))]))
        assert torch.equal(probe_logits(base.model), before)
        assert_base_untouched(base)

    def test_only_the_graft_learns(self) -> None:
        base = self.base()
        graft = newborn(base, self.candidate(base))
        tokens = torch.arange(34).view(2, 17)
        token_nats(compose(base, [graft]), tokens).mean().backward()
        assert any(p.grad is not None and bool(p.grad.any()) for p in graft.parameters())
        assert all(p.grad is None for p in base.model.parameters())

    def test_the_same_candidate_grows_the_same_graft(self) -> None:
        base = self.base()
        candidate = self.candidate(base)
        assert newborn(base, candidate).to_bytes() == newborn(base, candidate).to_bytes()

    def test_weights_survive_the_trip_through_bytes(self) -> None:
        base = self.base()
        candidate = self.candidate(base)
        graft = self.moved(newborn(base, candidate))
        graft.set_strength(0.7)
        again = grow_from(candidate, weights=graft.to_bytes())
        assert again.to_bytes() == graft.to_bytes()
        assert torch.equal(probe_logits(compose(base, [again])), probe_logits(compose(base, [graft])))

    def test_the_price_is_what_trains(self) -> None:
        base = self.base()
        candidate = self.candidate(base)
        kind, options = kind_and_options(candidate.kind, candidate.options)
        priced = sum(kind.num_params(site, options) for site in candidate.sites)
        assert priced == newborn(base, candidate).num_params

    def test_folding_says_what_forward_says(self) -> None:
        base = self.base()
        graft = self.moved(newborn(base, self.candidate(base)))
        graft.set_strength(0.7)
        generator = torch.Generator().manual_seed(1)
        for site, part in zip(graft.candidate.sites, graft.parts.values(), strict=True):
            x = torch.randn(5, site.d_in, generator=generator)
            weight = torch.randn(site.d_out, site.d_in, generator=generator)
            bias = torch.randn(site.d_out, generator=generator)
            folded = part.fold(weight, bias)
            assert (folded is not None) == part.can_fold
            if folded is not None:
                torch.testing.assert_close(F.linear(x, *folded), part(x, F.linear(x, weight, bias)))

    def test_it_says_where_the_idea_is_from(self) -> None:
        kind = discovery.find("grafts", self.kind, Kind)
        assert kind.reference
        assert kind.formula
        assert kind.__doc__
