"""Real grafts on a real base: some that learnt what they should, and as many of each of four sorts of sham.

The base is a small Llama that has read the running Python's library and a little of its prose, towards which it is to
be grown. Every sham has the sites of a graft that helps, and a change of the same norm or the same training.
"""

import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from benchmarks.gates.attribution import in_random_order, together
from benchmarks.gates.setting import Setting, Size
from saint.composition import weight_change
from saint.data import Corpus, Document, Domain, Splits, read_corpus, read_documents, split_documents
from saint.evaluation import Losses, choose_strength
from saint.grafts import Graft, assemble, default_lr, grow_from
from saint.models import FrozenBase, freeze
from saint.records import Candidate, Site
from saint.training import BasePlan, Schedule, pretrain, train

GROWN, KEPT = "prose", "code"
HELPFUL = "trained on prose"
SHAMS = ("random direction", "tokens in random order", "wrong domain", "weight noise")
NO_SHAM = "drawn, but helps"
SEQ_LEN = 128
AT_MOST_LOST_BPB = 0.1
"""How much code may get worse: what strengths are chosen by, and what the retention gate allows."""
_STRENGTHS = (1.0, 0.75, 0.5, 0.25)
_MOST_DRAWS = 8  # of one sham; with fewer than were asked for, the count in the table says so
_VOCAB_SIZE = 512
_PIECE_CHARS, _MOST_TO_LEARN, _MOST_TO_JUDGE = 200, 100, 6
_READ_BEFORE = 4  # one in so many documents of prose is the base's: what tokens it has, it knows
_SHARES: Mapping[str, Mapping[str, float]] = {
    KEPT: {"train": 0.25, "select": 0.15, "retain": 0.5, "vault": 0.1},
    GROWN: {"train": 0.2, "select": 0.12, "held_out": 0.45, "vault": 0.23},
}
_MODEL = {
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": SEQ_LEN,
    "tie_word_embeddings": True,
}
_KINDS: Sequence[tuple[str, Mapping[str, int], int]] = (
    ("lora", {"rank": 2}, 2),
    ("dense", {}, 1),
    ("phi", {"rank": 4}, 3),
    ("sparse", {"entries": 512}, 2),
    ("lora", {"rank": 4}, 1),
)
"""Kind, options, and at how many sites."""
_LR_SHARES = (0.3, 0.15)
"""Of the kind's usual learning rate, for one round of the kinds and the next. Small changes make shams that are hard to
tell; much smaller ones make no shams, for then one random direction in two helps a little in truth."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Scale:
    """How much of everything."""

    base_steps: int
    graft_steps: int
    one_text_in: int
    """One text in so many is read."""


_SCALES: Mapping[Size, _Scale] = {
    "full": _Scale(base_steps=900, graft_steps=60, one_text_in=1),
    "smoke": _Scale(base_steps=120, graft_steps=30, one_text_in=4),
}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A graft, and how it came by its weights."""

    sort: str
    graft: Graft


@final
class Workshop:
    """Makes grafts on one base."""

    def __init__(self, setting: Setting) -> None:
        """Read the text and train the base."""
        self._scale = scale = _SCALES[setting.size]
        self.data, self.text_of = _read_text(scale.one_text_in)
        schedule = self._schedule(scale.base_steps, weight_decay=0.1)
        plan = BasePlan(domain=KEPT, model=_MODEL, schedule=schedule)
        prose = self.data.train
        read = prose.num_documents // _READ_BEFORE
        self._text = prose.part(slice(read, None))
        known = together(self.data.of(KEPT, "train"), prose.part(slice(0, read)))
        model, _ = pretrain(plan, self.data.tokenizer, known)
        self.base: FrozenBase = freeze(model, tokenizer=self.data.tokenizer)
        self.losses = Losses(seq_len=SEQ_LEN)
        tables = Path(sysconfig.get_path("stdlib")) / "encodings"
        self._wrong = read_corpus("encodings/train", ["*.py"], tokenizer=self.data.tokenizer, root=tables)

    def make(self, num_each: int) -> list[Made]:
        """So many grafts of each sort, and what was drawn as a sham and is none: on the vault its mean is above 0."""
        made = []
        for number in range(num_each):
            helpful = self._helpful(number)
            made.append(Made(sort=HELPFUL, graft=helpful))
            for sort in SHAMS:
                for draw in range(_MOST_DRAWS):
                    graft = self._sham(sort, helpful, np.random.default_rng([SHAMS.index(sort), number, draw]))
                    is_sham = self.losses.saved(self.base, (), (graft,), self.data.vault[GROWN]).estimate <= 0
                    made.append(Made(sort=sort if is_sham else NO_SHAM, graft=graft))
                    if is_sham:
                        break
        return made

    def _sham(self, sort: str, helpful: Graft, random: np.random.Generator) -> Graft:
        again = replace(helpful.candidate, seed=int(random.integers(1 << 31)))
        if sort == "random direction":
            return self._random_direction(helpful, again.seed)
        if sort == "weight noise":
            return self._weight_noise(helpful, again.seed)
        return self._trained(again, self._wrong if sort == "wrong domain" else in_random_order(self._text, random))

    def _helpful(self, number: int) -> Graft:
        """Trained on what the model is grown towards, at the strength at which it forgets little enough."""
        random = np.random.default_rng([len(SHAMS), number])
        kind, options, num_sites = _KINDS[number % len(_KINDS)]
        fitting = [site for site in self.base.sites() if site.sort == "linear" and site.depth >= 0]
        sites = tuple(fitting[place] for place in sorted(random.choice(len(fitting), num_sites, replace=False)))
        lr = _LR_SHARES[number // len(_KINDS) % len(_LR_SHARES)] * default_lr(kind, options, sites)
        candidate = Candidate(sites=sites, kind=kind, options=options, lr=lr, seed=number)
        graft = self._trained(candidate, self._text)
        select = self.data.select
        choose_strength(
            self.base,
            (),
            graft,
            grown=select[GROWN],
            retained={KEPT: select[KEPT]},
            at_most_bpb={KEPT: AT_MOST_LOST_BPB},
            strengths=_STRENGTHS,
            losses=self.losses,
        )
        return graft

    def _trained(self, candidate: Candidate, text: Corpus) -> Graft:
        return train(self.base, (), candidate, text, schedule=self._schedule(self._scale.graft_steps))

    @torch.no_grad()
    def _random_direction(self, helpful: Graft, seed: int) -> Graft:
        """Random numbers for what was trained, as one change of the same norm."""
        graft = grow_from(helpful.candidate, weights=helpful.to_bytes())
        generator = torch.Generator().manual_seed(seed)
        for parameter in graft.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        graft.set_strength(1.0)
        graft.set_strength(self._norm(helpful) / self._norm(graft))
        return graft

    def _weight_noise(self, helpful: Graft, seed: int) -> Graft:
        """Gaussian noise on the same weights, of the norm that the helpful change has in each."""
        candidate = replace(helpful.candidate, kind="dense", options={})
        generator = torch.Generator().manual_seed(seed)
        state = {}
        for site in candidate.sites:
            noise = torch.randn(site.d_out, site.d_in, generator=generator)
            state[site.key] = {"delta": noise * self._norm_at(helpful, site) / noise.norm()}
        return assemble(candidate, state)

    def _norm(self, graft: Graft) -> float:
        return sum(self._norm_at(graft, site) ** 2 for site in graft.candidate.sites) ** 0.5

    def _norm_at(self, graft: Graft, site: Site) -> float:
        """Frobenius norm of the change of one weight."""
        change = weight_change(self.base, (), graft, site)
        assert change is not None  # every kind here changes weights
        return float(change.values.norm())

    @staticmethod
    def _schedule(num_steps: int, **settings: Any) -> Schedule:
        return Schedule(num_steps=num_steps, batch_size=8, seq_len=SEQ_LEN, **settings)


def _read_text(one_in: int) -> tuple[Splits, Mapping[str, str]]:
    """Splits, and which text each document is a piece of.

    Modules without their docstrings are code; docstrings and help topics are prose. A text is wholly in one split. One
    that judges gives a few pieces from anywhere in it.
    """
    domains = {
        KEPT: Domain(role="retain", sources=("embedded:code",)),
        GROWN: Domain(role="grow", sources=("embedded:prose",)),
    }
    random = np.random.default_rng(0)
    texts = {name: list(read_documents(domain.sources[0]))[::one_in] for name, domain in domains.items()}
    cut = {name: _cut(found, _SHARES[name], random) for name, found in texts.items()}
    text_of = {one.digest: one.source for splits in cut.values() for split in splits.values() for one in split}
    return split_documents(cut, domains, seed=0, vocab_size=_VOCAB_SIZE), text_of


def _cut(
    texts: Sequence[Document], shares: Mapping[str, float], random: np.random.Generator
) -> dict[str, list[Document]]:
    """Split -> pieces of the texts that fall into it."""
    cut: dict[str, list[Document]] = {split: [] for split in shares}
    for text, split in zip(texts, random.choice(list(shares), len(texts), p=list(shares.values())), strict=True):
        starts = np.arange(0, max(1, len(text.text) - _PIECE_CHARS + 1), _PIECE_CHARS)
        few = random.permutation(starts)[:_MOST_TO_JUDGE]
        chosen = (starts[:_MOST_TO_LEARN] if split == "train" else few).tolist()
        cut[str(split)] += [Document(text.text[start : start + _PIECE_CHARS], text.source) for start in chosen]
    return cut
