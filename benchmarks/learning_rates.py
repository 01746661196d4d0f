"""How well each kind's default learning rate holds over ranks and widths: the table of docs/howto/grow-your-model.md.

python benchmarks/learning_rates.py [--work FOLDER] [--seed SEED] [--only NAME ...]

Small Llamas learn a little of the Python library's code; then each kind learns from its help topics, at rates around
the default by factors of 3, up and down until the gain on *select* falls. Takes about seven minutes of one thread.
"""

import argparse
import logging
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import log
from pathlib import Path
from pydoc_data.topics import topics
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from saint import discovery
from saint.data import Document, Domain, Splits, read_documents, split_documents
from saint.errors import DivergedError
from saint.grafts import Kind, default_lr
from saint.models import FrozenBase, document_nats, freeze
from saint.records import Candidate, Site
from saint.training import BasePlan, Schedule, pretrain, train

WIDTHS = (64, 128, 256)
RANKS = (1, 4, 16)
FACTOR = 3.0
SHARES = {"train": 0.6, "select": 0.2, "held_out": 0.1, "vault": 0.1}
SCHEDULE = Schedule(num_steps=48, batch_size=4, seq_len=48, evaluate_every=24)
PRETRAINING = Schedule(num_steps=240, batch_size=8, seq_len=64, evaluate_every=240)
KINDS: Mapping[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "lora": ("lora", lambda rank: {"rank": rank}),
    "lora, start gradient": ("lora", lambda rank: {"rank": rank, "start": "gradient"}),
    "phi, basis weight": ("phi", lambda rank: {"rank": rank}),
    "phi, basis gradient": ("phi", lambda rank: {"rank": rank, "basis": "gradient"}),
    "block": ("block", lambda rank: {"width": rank}),
}
"""Name -> a kind, and its options at a rank."""
ALSO: Mapping[str, tuple[str, dict[str, Any]]] = {
    "bias": ("bias", {}),
    "dense": ("dense", {}),
    "dictionary": ("dictionary", {"side": 4, "blocks": 5, "codes": 2}),
    "dictionary, larger": ("dictionary", {"side": 4, "blocks": 80, "codes": 20}),
    "dora": ("dora", {"rank": 4}),
    "layer": ("layer", {}),
    "rescale": ("rescale", {}),
    "sparse": ("sparse", {"entries": 24}),
    "sparse, larger": ("sparse", {"entries": 1536}),
    "tensor_train": ("tensor_train", {"rank": 3}),
    "tensor_train, larger": ("tensor_train", {"rank": 12}),
    "width": ("width", {"width": 4}),
    "width, larger": ("width", {"width": 32}),
}
"""Kinds that are measured on the smallest and the largest base only."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One kind at one rank on one base."""

    name: str
    width: int
    rank: int
    bundle: str
    candidate: Candidate
    """With the default rate."""


def text() -> Splits:
    """Code to begin with, prose to learn."""
    library = Path(sysconfig.get_path("stdlib"))
    code = [Document(found.text[:6000], found.source) for found in read_documents("*.py", root=library)]
    prose = [Document(found, name) for name, found in sorted(topics.items())]
    return split_documents(
        {"code": {"": code}, "prose": {"": prose}},
        {
            "code": Domain(role="retain", sources=("*.py",)),
            "prose": Domain(role="grow", sources=("topics",), shares=SHARES, max_document_bytes=900),
        },
        seed=0,
        vocab_size=800,
    )


def base_of(width: int, data: Splits, work: Path) -> FrozenBase:
    """A Llama of three blocks that has read some code; made once for a folder."""
    folder = work / f"base-{width}"
    if not folder.exists():
        sizes = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": 3}
        heads = {"num_attention_heads": width // 32, "num_key_value_heads": width // 32}
        plan = BasePlan(domain="code", model={**sizes, **heads, "tie_word_embeddings": True}, schedule=PRETRAINING)
        model, _ = pretrain(plan, data.tokenizer, data.of("code", "train"))
        model.save_pretrained(folder)
    return freeze(AutoModelForCausalLM.from_pretrained(folder).eval(), tokenizer=data.tokenizer)


def cells(base: FrozenBase, width: int, seed: int) -> Iterator[Cell]:
    """Kinds of all ranks on all down projections or blocks, some on one site, on all, and scaled; the other kinds."""

    def cell(name: str, kind: str, options: dict[str, Any], at: str = "one role", rank: int = 0) -> Cell:
        sites = _sites(base, kind, at)
        lr = default_lr(kind, options, sites)
        candidate = Candidate(sites=sites, kind=kind, options=options, lr=lr, seed=seed)
        return Cell(name=name, width=width, rank=rank, bundle=at, candidate=candidate)

    for name, (kind, options_at) in KINDS.items():
        for rank in RANKS:
            yield cell(name, kind, options_at(rank), rank=rank)
    if width == WIDTHS[1]:
        for name in ("lora", "phi, basis gradient"):
            for at in ("one site", "all linear"):
                yield cell(name, KINDS[name][0], KINDS[name][1](4), at, rank=4)
        yield cell("lora", "lora", {"rank": 4, "alpha": 16.0}, "one role, scaled by 4", rank=4)
    else:
        for name, (kind, options) in ALSO.items():
            yield cell(name, kind, options)


def _sites(base: FrozenBase, kind: str, at: str) -> tuple[Site, ...]:
    sort = discovery.find("grafts", kind, Kind).attaches_to
    fitting = [site for site in base.sites() if site.sort == sort and site.role != "head"]
    if sort != "linear" or at == "all linear":
        return tuple(fitting)
    down = [site for site in fitting if site.role == "down"]
    return tuple(down[1:2] if at == "one site" else down)


def gain_of(base: FrozenBase, data: Splits, candidate: Candidate, before: float) -> float:
    """Bits per byte saved on *select*; training that diverges saves none."""
    try:
        graft = train(base, (), candidate, data.train, select=data.select["prose"], schedule=SCHEDULE)
    except DivergedError:
        return 0.0
    assert graft.history is not None
    assert graft.history.best_bpb is not None
    return max(0.0, before - graft.history.best_bpb)


def climb(gain: Callable[[float], float]) -> dict[float, float]:
    """Factor on the default rate -> gain, outwards from 1 until there is a peak with a lower gain on either side."""
    found = {power: gain(FACTOR**power) for power in (0, 1, -1)}
    while (best := max(found, key=lambda power: found[power])) in (min(found), max(found)):
        further = best + (1 if best == max(found) else -1)
        if abs(further) > _FURTHEST:
            break
        found[further] = gain(FACTOR**further)
    return {FACTOR**power: found[power] for power in sorted(found)}


def peak(gains: Mapping[float, float]) -> float:
    """The factor at the top of the parabola through the best gain and its two neighbours."""
    factors, values = list(gains), list(gains.values())
    at = values.index(max(values))
    if not 0 < at < len(factors) - 1:
        return factors[at]
    left, top, right = values[at - 1 : at + 2]
    curve = left - 2 * top + right
    return float(factors[at] * FACTOR ** (0.5 * (left - right) / curve)) if curve < 0 else factors[at]


def _shown(gains: Mapping[float, float]) -> str:
    """Shares of the best gain, from the lowest rate to the highest, the default's in brackets."""
    best = max(gains.values()) or 1.0
    return " ".join(f"[{gain / best:.2f}]" if factor == 1.0 else f"{gain / best:.2f}" for factor, gain in gains.items())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "saint-learning-rates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[*KINDS, *ALSO], help="names in the first column of the table")
    chosen = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    data = text()
    shares: list[tuple[Cell, float]] = []
    print("| kind | d | rank | at | default | best measured | gain there | share with the default (all factors of 3) |")
    print("|---|---:|---:|---|---:|---:|---:|---:|")
    for width in WIDTHS:
        base = base_of(width, data, chosen.work)
        windows, select = list(data.select["prose"].windows(seq_len=48, batch_size=16)), data.select["prose"]
        nats = document_nats(base.model, windows, select.num_documents)
        before = float(nats.sum()) / log(2) / select.num_bytes
        for cell in (cell for cell in cells(base, width, chosen.seed) if cell.name in chosen.only):
            lr = cell.candidate.lr
            gains = climb(
                lambda factor, base=base, cell=cell, before=before: gain_of(
                    base, data, replace(cell.candidate, lr=factor * cell.candidate.lr), before
                )
            )
            best = max(gains.values())
            shares.append((cell, gains[1.0] / best if best else 0.0))
            print(
                f"| {cell.name} | {width} | {cell.rank} | {cell.bundle} | {lr:.2g} | {lr * peak(gains):.2g} | "
                f"{best:.4f} | {shares[-1][1]:.2f} ({_shown(gains)}) |",
                flush=True,
            )
    for name in chosen.only:
        own = [share for cell, share in shares if cell.name == name]
        print(f"FIGURE default_rate_keeps_share_of_best_gain {name}: median {median(own):.3f}, worst {min(own):.3f}")
    print(
        f"FIGURE default_rate_keeps_share_of_best_gain all: median {median(share for _, share in shares):.3f}, worst "
        f"{min(share for _, share in shares):.3f} (target: median 0.9)"
    )


_FURTHEST = 4
"""Factors of 3 away from the default at which the climb ends without a peak."""

if __name__ == "__main__":
    main()
