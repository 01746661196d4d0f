"""Whether blame names the graft that does the harm: 20 stacks of six trained grafts, one of them harmful.

A small Llama learns the running Python's library. Five grafts then learn a mixture of help topics and library, one on
top of the other; the sixth, somewhere among them, is harmful to the library: it learnt the library's tokens in random
order, or it learnt the library and has the wrong sign at four times its strength. (With nothing but its sign wrong it
costs less than a hundredth of a bit per byte, no more than some that learnt the mixture do.) A stack counts when the
graft with the lowest Shapley value on the library is the planted one. It takes about a minute and a half on one core.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from benchmarks.gates.findings import Findings
from benchmarks.gates.setting import Setting
from saint.data import Corpus, Splits
from saint.evaluation import Losses, attribute
from saint.grafts import Graft
from saint.models import FrozenBase, freeze
from saint.records import Candidate, Share, Site, SuiteAttribution
from saint.testing import tiny_splits
from saint.training import BasePlan, Schedule, pretrain, train

NUM_STACKS, NUM_GRAFTS = 20, 6
SUITE = "code"
_SEQ_LEN = 64
_BASE = BasePlan(
    domain=SUITE,
    model={
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": _SEQ_LEN,
        "tie_word_embeddings": True,
    },
    schedule=Schedule(num_steps=400, batch_size=16, seq_len=_SEQ_LEN, evaluate_every=200),
)
_SCHEDULE = Schedule(num_steps=40, batch_size=8, seq_len=_SEQ_LEN)
_LR = 0.02
_WRONG = -4.0


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Planted:
    """One stack, and what was said of it."""

    harm: str
    """How the planted graft came to be harmful."""
    graft: str
    suite: SuiteAttribution

    @property
    def is_named(self) -> bool:
        """Whether the lowest Shapley value is the planted graft's."""
        return self.suite.worst is not None and self.suite.worst.graft == self.graft

    @property
    def share(self) -> Share:
        """What is due to the planted graft."""
        return next(share for share in self.suite.shares if share.graft == self.graft)

    @property
    def off_by_bpb(self) -> float:
        """How far the Shapley values are from summing to the total."""
        return abs(sum(share.shapley.estimate for share in self.suite.shares) - self.suite.total.estimate)


def measure(setting: Setting) -> Findings:
    """Who is named, over stacks that were each trained with a seed of its own."""
    num_stacks = setting.num(NUM_STACKS, 2)
    data = tiny_splits()
    model, _ = pretrain(_BASE, data.tokenizer, data.of(SUITE, "train"), select=data.select[SUITE])
    base = freeze(model, tokenizer=data.tokenizer)
    stacks = [_planted(base, data, seed) for seed in range(num_stacks)]
    found = Findings(setting=setting, heads=("named by", "stacks", "harmful graft named"))
    for name, by in (("the lowest Shapley value", "shapley"), ("the change at activation", "at_activation"),
                     ("the change left out", "left_out")):  # fmt: skip
        named = sum(_worst(one, by) == one.graft for one in stacks)
        found.rows.append((name, str(num_stacks), str(named)))
    found.ask("attribution_harmful_named", sum(one.is_named for one in stacks), num_stacks, "at_least")
    found.ask("attribution_sum_off_bpb", max(one.off_by_bpb for one in stacks), 1e-6)
    found.notes += _notes(stacks)
    return found


def _planted(base: FrozenBase, data: Splits, seed: int) -> Planted:
    """A stack with a harmful graft at a random place, taken apart."""
    random = np.random.default_rng(seed)
    sites = [site for site in base.sites() if site.sort == "linear" and site.depth >= 0]
    chosen = [sites[place] for place in random.choice(len(sites), NUM_GRAFTS, replace=False)]
    place, harm = int(random.integers(NUM_GRAFTS)), ("random order", "wrong sign")[seed % 2]
    library = data.of(SUITE, "train")
    mixture, shuffled = together(data.train, library), in_random_order(library, random)
    stack: list[Graft] = []
    for number, site in enumerate(chosen):
        harmful = shuffled if harm == "random order" else library
        graft = _trained(base, stack, site, mixture if number != place else harmful, seed=NUM_GRAFTS * seed + number)
        if number == place and harm == "wrong sign":
            graft.set_strength(_WRONG)
        stack.append(graft)
    found = attribute(base, stack, {SUITE: data.select[SUITE]}, losses=Losses(seq_len=_SEQ_LEN))
    return Planted(harm=harm, graft=stack[place].digest, suite=found.suites[SUITE])


def _trained(base: FrozenBase, stack: Sequence[Graft], site: Site, text: Corpus, *, seed: int) -> Graft:
    candidate = Candidate(sites=(site,), kind="lora", options={"rank": 2}, lr=_LR, seed=seed)
    return train(base, stack, candidate, text, schedule=_SCHEDULE)


def together(*corpora: Corpus) -> Corpus:
    """The documents of several corpora as one."""
    return replace(
        corpora[0],
        name="+".join(corpus.name for corpus in corpora),
        shards=[shard for corpus in corpora for shard in corpus.shards],
        num_tokens_each=np.concatenate([corpus.num_tokens_each for corpus in corpora]),
        num_bytes_each=np.concatenate([corpus.num_bytes_each for corpus in corpora]),
        documents=tuple(document for corpus in corpora for document in corpus.documents),
    )


def in_random_order(corpus: Corpus, random: np.random.Generator) -> Corpus:
    """The same tokens, in an order that says nothing."""
    return replace(corpus, shards=[random.permutation(shard) for shard in corpus.shards])


def _notes(found: Sequence[Planted]) -> list[str]:
    harms = [one.share.shapley for one in found]
    seconds = [min(s.shapley.estimate for s in one.suite.shares if s.graft != one.graft) for one in found]
    return [
        f"harm, in bits per byte lost: {-max(h.estimate for h in harms):.4f} to {-min(h.estimate for h in harms):.4f}",
        f"the next worst graft lost {-min(seconds):.4f} at most",
        f"{sum(h.high < 0 for h in harms)} of {len(harms)} intervals of the planted graft are wholly below nothing",
        f"kinds of harm: {', '.join(f'{n} {name}' for name, n in Counter(one.harm for one in found).items())}",
    ]


def _worst(one: Planted, name: str) -> str:
    return min(one.suite.shares, key=lambda share: float(getattr(share, name).estimate)).graft
