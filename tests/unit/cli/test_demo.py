"""The demo's own parts; the demo itself is run by `make demo`."""

import pytest
import torch

from saint.cli.demo import _born
from saint.composition import compose, probe_logits
from saint.data import Splits
from saint.models import FrozenBase
from saint.records import Candidate


@pytest.mark.parametrize(
    ("kind", "options"),
    [("phi", {"rank": 2}), ("lora", {"rank": 2, "start": "gradient"}), ("lora", {"rank": 2, "start": "natural"})],
)
def test_a_newborn_of_any_kind_in_the_ledger_changes_nothing(
    base: FrozenBase, data: Splits, kind: str, options: dict[str, object]
) -> None:
    sites = tuple(site for site in base.sites() if site.role in ("up", "head"))
    text = data.train.batches(batch_size=2, seq_len=16, seed=0)
    newborn = _born(base, Candidate(sites=sites, kind=kind, options=options), text[0])
    assert torch.equal(probe_logits(compose(base, [newborn])), probe_logits(base.model))
