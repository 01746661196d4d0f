"""How often the base and the stack read the documents that several candidates are judged on: once, by counting."""

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.search import steps
from benchmarks.search.base import splits, trained_base
from benchmarks.search.findings import Findings
from benchmarks.search.setting import Setting
from benchmarks.search.timing import take_turns
from saint.composition import compose, newborn, probe_logits
from saint.data import Corpus, Splits
from saint.evaluation import Losses, evaluate
from saint.grafts import Graft
from saint.models import FrozenBase, block_stacks
from saint.records import Site
from saint.testing import naive_gain
from saint.training import train

_NUM = 3


def measure(setting: Setting) -> Findings:
    """Readings of the documents by models without a candidate, and time against measuring both sides each time."""
    found, data = Findings(setting=setting), splits(setting)
    base = trained_base(setting, data)
    sites = [site for site in base.sites() if site.role == "down"]
    stack = [train(base, (), steps.lora_at((sites[0],)), data.train, schedule=steps.schedule_of(setting, num_steps=2))]
    grafts = _different(base, sites[-1])
    what = f"readings by base and stack, {_NUM} candidates"
    found.ask("evaluation_readings", what, "", _readings(base, stack, grafts, data, setting), 1.0, "at_most")
    ways = {
        "remembered": lambda: _remembered(base, stack, grafts, data.held_out, setting.seq_len),
        "naive": lambda: [naive_gain(base, stack, g, data.held_out, seq_len=setting.seq_len) for g in grafts],
    }
    times = take_turns(ways, repeats=setting.repeats)
    found.add(f"gains of {_NUM} candidates", "both sides each time", times.ratio("remembered", "naive"))
    return found


def _different(base: FrozenBase, site: Site) -> list[Graft]:
    """Grafts that are told apart, so that nothing is remembered by mistake."""
    grafts = [newborn(base, steps.lora_at((site,))) for _ in range(_NUM)]
    with torch.no_grad():
        for index, graft in enumerate(grafts, 1):
            for parameter in graft.parameters():
                parameter.add_(1e-3 * index)
    return grafts


def _readings(
    base: FrozenBase, stack: Sequence[Graft], grafts: Sequence[Graft], data: Splits, setting: Setting
) -> float:
    """How often text went through the model without a candidate, over how often it must.

    The stack must read held-out and retained text, and the bare base the retained, for drift is against it. What the
    last block reads of text is counted; each candidate's own reading is taken off.
    """
    seen, losses, retained = _Seen(base), Losses(seq_len=setting.seq_len), list(data.retain.values())
    for corpus in (data.held_out, *retained):
        losses.measure(compose(base, ()), corpus)
    once = seen.take()
    for corpus in retained:
        losses.measure(compose(base, ()), corpus)
    must = once + seen.take()
    for graft in grafts:
        evaluate(base, stack, graft, data.sealed, grown=data.grown_domain, losses=losses)
    without = seen.take() - len(grafts) * once
    seen.stop()
    assert without >= must, "base and stack must be read at least once"
    return without / must


def _remembered(base: FrozenBase, stack: Sequence[Graft], grafts: Sequence[Graft], text: Corpus, seq_len: int) -> None:
    losses = Losses(seq_len=seq_len)
    for graft in grafts:
        losses.saved(base, stack, [*stack, graft], text)


class _Seen:
    """Counts the token ids of text that go through the last block, in whatever composition: copies keep the hook."""

    def __init__(self, base: FrozenBase) -> None:
        self._num = 0
        probe = probe_logits(base.model).shape[:2]  # which is shown for exactness and cost, and is no text

        def count(_module: Any, _args: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            if hidden.shape[:2] != probe:
                self._num += hidden.shape[:2].numel()

        [blocks] = block_stacks(base.model).values()
        self._handle = blocks[-1].register_forward_hook(count)

    def take(self) -> int:
        """The count since it was last taken."""
        num, self._num = self._num, 0
        return num

    def stop(self) -> None:
        """Leave the base as it was."""
        self._handle.remove()
