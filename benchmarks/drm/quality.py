"""A DRM and a plain GPT of equal size, trained on the same bytes: which of the two predicts better?"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import LlamaForCausalLM

from saint.backbones import DrmForCausalLM, count_params, drm_config, rival_config
from saint.cli._terminal import quieten
from saint.data import Contamination, DataPlan, Domain, Splits, read_splits
from saint.evaluation import Losses
from saint.report import Figure
from saint.training import BasePlan, Schedule, pretrain

TEXTS: Mapping[str, str] = {"code": "embedded:code", "prose": "embedded:prose"}
"""Name -> file, folder, glob, or what comes with the package; documents are parted by empty lines."""
_BYTES = 257  # and what stands between documents
_MOST_NATS = 0.05
_RATES = (2e-3, 4e-3, 8e-3)
_SEEDS = (0, 1, 2)
_MOST_TOKENS = (40_000, 120_000)
_SHARES = {"train": 0.8, "select": 0.05, "held_out": 0.14, "vault": 0.01}
_SCHEDULE = Schedule(num_steps=600, batch_size=16, seq_len=128, weight_decay=0.1, evaluate_every=200, patience=9)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One training."""

    text: str
    source: str
    is_drm: bool
    lr: float
    seed: int
    num_steps: int
    most_tokens: tuple[int, int]
    """Of *select*, and of held-out text."""


@dataclass(frozen=True, kw_only=True)
class _Loss:
    """Nats per byte."""

    select: float
    held_out: float


def quality(texts: Mapping[str, str], prefix: str) -> Iterator[Figure]:
    """Held-out nats per byte more than the GPT's, the mean of the seeds, each at its best rate on *select*."""
    ours, rival = _pair()
    print(f"  {count_params(DrmForCausalLM, ours):,} parameters, GPT {count_params(LlamaForCausalLM, rival):,}")
    seeds, rates, num_steps, most_tokens = _SEEDS, _RATES, _SCHEDULE.num_steps, _MOST_TOKENS
    if prefix:
        seeds, rates, num_steps, most_tokens = seeds[:1], rates[:1], 2, (16_000, 30_000)
    first = [
        _Run(
            text=text,
            source=source,
            is_drm=is_drm,
            lr=lr,
            seed=seeds[0],
            num_steps=num_steps,
            most_tokens=most_tokens,
        )
        for text, source in texts.items()
        for is_drm in (True, False)
        for lr in rates
    ]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _one_thread) as processes:
        losses = dict(zip(first, processes.map(_trained, first), strict=True))
        best = {
            (text, is_drm): min(
                (run for run in first if (run.text, run.is_drm) == (text, is_drm)), key=lambda run: losses[run].select
            )
            for text in texts
            for is_drm in (True, False)
        }
        others = [replace(run, seed=seed) for run in best.values() for seed in seeds[1:]]
        losses |= dict(zip(others, processes.map(_trained, others), strict=True))
    for text in texts:
        worse = []
        for seed in seeds:
            drm, gpt = (losses[replace(best[text, is_drm], seed=seed)].held_out for is_drm in (True, False))
            worse.append(drm - gpt)
            print(f"  {text}, seed {seed}: DRM {drm:.3f}, GPT {gpt:.3f} nats per byte, {drm - gpt:+.3f}")
        print(f"  {text}: rates {best[text, True].lr:g} and {best[text, False].lr:g}")
        yield Figure(name=f"{prefix}drm_over_gpt_{text}_nats", value=fmean(worse), target=_MOST_NATS, sense="at_most")


def _pair() -> tuple[Any, Any]:
    config = drm_config("1m", vocab_size=_BYTES, max_seq_len=_SCHEDULE.seq_len)
    return config, rival_config(config)


def _one_thread() -> None:
    torch.set_num_threads(1)
    quieten()


def _trained(run: _Run) -> _Loss:
    splits = _splits(run.source, run.most_tokens)
    schedule = replace(_SCHEDULE, num_steps=run.num_steps)
    plan = BasePlan(
        architecture="drm" if run.is_drm else "llama",
        model=_settings(is_drm=run.is_drm),
        domain="text",
        lr=run.lr,
        seed=run.seed,
        schedule=schedule,
    )
    select = splits.select["text"]
    model, _ = pretrain(plan, splits.tokenizer, splits.train, select=select)
    losses = Losses(seq_len=schedule.seq_len)
    each = [float(losses.measure(model.eval(), text).sum()) / text.num_bytes for text in (select, splits.held_out)]
    return _Loss(select=each[0], held_out=each[1])


def _settings(*, is_drm: bool) -> dict[str, Any]:
    """What the two differ in from their library's defaults, without the vocabulary, which the tokenizer gives."""
    ours, rival = _pair()
    changed: dict[str, Any] = (ours if is_drm else rival).to_diff_dict()
    return {key: value for key, value in changed.items() if key not in _OF_THE_TEXT}


_OF_THE_TEXT = ("vocab_size", "model_type", "architectures", "transformers_version", "bos_token_id", "eos_token_id")


@cache
def _splits(source: str, most_tokens: tuple[int, int]) -> Splits:
    embedded = source.startswith("embedded:")
    path = Path(source).absolute()
    domain = Domain(
        role="grow",
        sources=(source if embedded else str(path.relative_to(path.anchor)),),
        shares=_SHARES,
        max_tokens=dict(zip(("select", "held_out"), most_tokens, strict=True)),
        max_document_bytes=2048,
        separator="" if embedded else "\n\n",
    )
    plan = DataPlan(domains={"text": domain}, vocab_size=_BYTES, contamination=Contamination(on_hit="ignore"))
    return read_splits(plan, root=Path(path.anchor))
