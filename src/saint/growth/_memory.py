"""What a worker has in memory at most, on paper and by one look at the base."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from saint.candidates import num_params
from saint.composition import blocks_of
from saint.errors import SiteError
from saint.grafts import kind_and_options
from saint.growth._plan import Plan
from saint.models import FrozenBase, rows_together, token_nats
from saint.records import Candidate
from saint.registry import Registry
from saint.search import free_memory, own_memory
from saint.training import Schedule

_FLOAT = 4
_COPIES = 9
"""Of what learns: weights, gradients, AdamW's two moments and the best state, and all but the gradients once more in a
checkpoint while that is written."""
_LOGITS = 2  # logits and their gradient, beside the log-probabilities that a pass keeps
_KEPT_TWICE = 2  # by a newborn that is measured by what flows through its sites, and what grafts compute besides
_HELD_BACK = 1.4  # what the allocator does not give back between passes of different sizes
_SHARE_OF_FREE = 0.25
_MIB = 1 << 20


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TrialMemory:
    """Bytes of main memory that a worker has at most, by what they are for."""

    process: int
    """Python, its packages and text, and a quantised base: what this process has for itself now."""
    base: int
    """The base's weights, which all workers of a machine map; 0 for a quantised one."""
    learning: int
    """The largest graft that is proposed or a control of the stack, its optimiser, best state and checkpoint, and the
    stack."""
    passes: int
    """What passes over a step's text and over development text keep on their way."""
    cache: int
    """What the blocks below give, as far as the text of the plan fills it."""
    whole: int
    """To train the whole base further, as a control, which one worker at a time does; 0 where none does."""

    @property
    def own(self) -> int:
        """Of a worker for itself, whatever it trains but the whole base."""
        return self.process + self.learning + self.passes + self.cache

    @property
    def shared(self) -> int:
        """That is there once on a machine, however many work there."""
        return self.base + self.whole

    def of_one(self, num_sharing: int) -> int:
        """Of a worker that may be given anything, with an equal part of a base that so many map."""
        return self.own + self.whole + self.base // num_sharing


def trial_memory(registry: Registry, base: FrozenBase, plan: Plan, *, num_sharing: int) -> TrialMemory | None:
    """Of the largest trial of a plan; None where the system does not say what a process has.

    What passes keep is looked at in one forward pass over a window, in which all weights of the base learn: that keeps
    the inputs of all linear maps, as grafts at all sites do, and is too much for grafts high up. The fixed bases that
    some kinds keep are not counted.

    Args:
        num_sharing: Workers on one machine, of whose free memory each has an equal part for its cache.
    """
    process, free = own_memory(), free_memory()
    if process is None or free is None:
        return None
    schedules = [plan.schedule_of(stage) for stage in plan.in_full]
    mapped = set() if base.is_quantised else {*base.model.parameters(), *base.model.buffers()}
    size = sum(tensor.nbytes for tensor in mapped)
    return TrialMemory(
        process=process,
        base=size,
        learning=_learning_bytes(base, plan),
        passes=max(_pass_bytes(base, schedule, plan.evaluation_seq_len) for schedule in schedules),
        cache=_cache_bytes(registry, base, plan, schedules, int(_SHARE_OF_FREE * free / num_sharing)),
        whole=_COPIES * size if plan.controls.after != "never" else 0,
    )


def _learning_bytes(base: FrozenBase, plan: Plan) -> int:
    """Of the largest graft that the plan proposes, at all sites where it can be, and of the stack or its control.

    Budgets are often no limit at all, so that they count where they are smaller only.
    """
    proposed = [*plan.proposals, *(proposal for stage in plan.in_full for proposal in stage.proposals)]
    kinds = [(proposal.kind, proposal.options) for proposal in proposed]
    kinds += [] if plan.overgrow is None else [(plan.overgrow.kind, plan.overgrow.options)]
    most = plan.budget.num_params
    largest = max((_num_params(base, kind, options) for kind, options in kinds), default=most)
    if plan.overgrow is None:  # it need not fit the budget
        largest = min(largest, most)
    stack = min(most, largest * sum(stage.rounds * stage.accept for stage in plan.in_full))
    learning = largest if plan.controls.after == "never" else max(largest, stack)
    return _FLOAT * (_COPIES * learning + stack)


def _num_params(base: FrozenBase, kind: str, options: Mapping[str, Any]) -> int:
    """Of grafts of one kind at all sites that take it."""
    attaches_to = kind_and_options(kind, options)[0].attaches_to
    total = 0
    for site in base.sites():
        if site.sort == attaches_to:
            with suppress(SiteError):
                total += num_params(Candidate(sites=(site,), kind=kind, options=options))
    return total


def _pass_bytes(base: FrozenBase, schedule: Schedule, seq_len: int) -> int:
    """Of training on a step's text, and of reading development text in windows of the schedule's or of `seq_len`."""
    config: Any = base.model.config
    logits = _FLOAT * schedule.seq_len * int(config.vocab_size)
    kept = _kept_bytes(base, schedule.seq_len)
    trained = schedule.batch_size // schedule.accumulate * (_KEPT_TWICE * kept + _LOGITS * logits)
    num_blocks = max(1, len(blocks_of(base)))
    tokens = max(rows_together(length, base.model.device) * length for length in (schedule.seq_len, seq_len))
    read = tokens / schedule.seq_len * ((_LOGITS + 1) * logits + kept / num_blocks)
    return round(_HELD_BACK * (trained + read))


def _kept_bytes(base: FrozenBase, seq_len: int) -> int:
    """That a pass over one window keeps for its way back, besides the weights."""
    model: Any = base.model
    weights = {
        one.untyped_storage().data_ptr() for one in (*model.parameters(), *model.buffers()) if _is_plain(one.data)
    }
    kept: dict[int, int] = {}

    def look(tensor: Tensor) -> Tensor:
        if _is_plain(tensor.data) and (storage := tensor.untyped_storage()).data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens = (torch.arange(seq_len + 1) % int(model.config.vocab_size))[None].to(model.device)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(look, lambda tensor: tensor):
        nats = token_nats(_Learning(model), tokens)  # what it keeps is there as long as this is
    del nats
    return sum(kept.values())


def _is_plain(tensor: Tensor) -> bool:
    """Whether it is no quantised weight, which has no storage of its own."""
    return type(tensor) is Tensor


@final
class _Learning(nn.Module):
    """A model with weights that learn, whose own do not."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.config = model.config
        self._read = [model]  # in a list, so that it is no part of this
        self._weights: Mapping[str, Tensor] = {
            name: weight.detach().requires_grad_()
            for name, weight in model.named_parameters()
            if weight.is_floating_point() and _is_plain(weight.data)
        }

    @override
    def forward(self, **inputs: Any) -> Any:
        """What the model answers."""
        return functional_call(self._read[0], dict(self._weights), args=(), kwargs=inputs)


def _cache_bytes(registry: Registry, base: FrozenBase, plan: Plan, schedules: list[Schedule], by_default: int) -> int:
    """Of the residual stream after each block, for all text that is read more than once, within its limit."""
    num_blocks = len(blocks_of(base))
    if not plan.search.cache_prefix or not num_blocks:
        return 0
    data = registry.state.created["data"]
    read_again = sum(int(one["num_tokens"]) for name, one in data.items() if name.endswith("/select"))
    if {plan.evaluation_seq_len} != {schedule.seq_len for schedule in schedules}:
        read_again *= 2  # in windows of both lengths
    read_again += max(0 if schedule.shift else schedule.num_tokens for schedule in schedules)
    stream = (
        max(site.d_out for site in base.sites() if site.sort == "block") * next(base.model.parameters()).element_size()
    )
    limit = by_default if plan.search.memory_mib is None else plan.search.memory_mib * _MIB
    return min(limit, read_again * stream * num_blocks)
