"""One training step, in the ways that there are of taking it: the rivals here, the engine's in `engine`.

A way of taking steps is called to take a few, always on the same batches, and goes on learning from call to call. All
take the step that `saint.training` defines: the mean token loss, gradients clipped to a norm, AdamW.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, final

from torch import Tensor, nn, optim

from benchmarks.search.setting import Setting
from saint.composition import Composed, compose, newborn
from saint.data import Splits
from saint.grafts import Graft
from saint.models import FrozenBase, counting_flops, token_nats
from saint.records import Candidate, Site
from saint.training import Schedule, Trained

LORA_RANK = 8
LR = 3e-3


def schedule_of(setting: Setting, **changes: int) -> Schedule:
    """What a candidate of the search learns by; evaluated on *select* three times, as the reference's rival was."""
    settings: dict[str, Any] = {
        "num_steps": setting.num_steps,
        "batch_size": setting.batch_size,
        "seq_len": setting.seq_len,
        "evaluate_every": max(1, setting.num_steps // 3),
        **changes,
    }
    return Schedule(**settings)


def batches_of(setting: Setting, data: Splits, *, batch_size: int = 0, seq_len: int = 0) -> list[Tensor]:
    """The batches of one timing: (batch, seq + 1) token ids each."""
    batches = data.train.batches(
        batch_size=batch_size or setting.batch_size, seq_len=seq_len or setting.seq_len, seed=0
    )
    return [batches[step] for step in range(setting.timed_steps)]


def linear_sites(base: FrozenBase, depths: Sequence[int]) -> tuple[Site, ...]:
    """Every linear map in some blocks."""
    return tuple(site for site in base.sites() if site.sort == "linear" and site.depth in depths)


def last_third(setting: Setting) -> range:
    """The depths of the blocks there."""
    return range(setting.num_layers - setting.suffix, setting.num_layers)


def lora_at(sites: tuple[Site, ...], *, rank: int = LORA_RANK, lr: float = LR, seed: int = 0) -> Candidate:
    """LoRA of one rank at some sites, as one candidate."""
    return Candidate(sites=sites, kind="lora", options={"rank": rank}, lr=lr, seed=seed)


def blocks_at(base: FrozenBase, depths: Sequence[int], *, width: int) -> Candidate:
    """A residual block of so many hidden units after each of some of the base's blocks, as one candidate."""
    sites = tuple(site for site in base.sites() if site.sort == "block" and site.depth in depths)
    return Candidate(sites=sites, kind="block", options={"width": width}, lr=LR)


@final
class Steps:
    """Steps down a loss, some for each call."""

    def __init__(
        self, losses: Sequence[Callable[[], Tensor]], learning: Sequence[nn.Parameter], *, lr: float = LR
    ) -> None:
        """Prepare to learn.

        Args:
            losses: One for each step of a call.
        """
        self._losses, self._learning = losses, list(learning)
        self._clip_norm = Schedule().clip_norm
        self._optimizer = optim.AdamW(
            self._learning, lr=lr, betas=(Schedule().beta1, Schedule().beta2), weight_decay=0.0, fused=True
        )

    def __call__(self) -> float:
        """The last loss before its step."""
        found = 0.0
        for loss_of in self._losses:
            loss = loss_of()
            self._optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self._learning, self._clip_norm)
            self._optimizer.step()
            found = float(loss.detach())
        return found

    @property
    def num_flops(self) -> int:
        """Operations of forward and backward passes in one call, counted; it learns on while they are."""
        with counting_flops() as counter:
            self()
        return int(counter.get_total_flops())


def hooks(base: FrozenBase, candidate: Candidate, batches: Sequence[Tensor]) -> Steps:
    """The naive way: hooks on the frozen base, every batch from the embeddings up, backward as far as autograd goes."""
    graft = newborn(base, candidate)
    return _steps_of(compose(base, [graft]), graft, batches)


def from_the_embeddings(base: FrozenBase, candidate: Candidate, batches: Sequence[Tensor]) -> Steps:
    """The mistake that is often made: gradients all the way down, though nothing there learns."""
    graft = newborn(base, candidate)
    model = compose(base, [graft])
    model.model.get_input_embeddings().register_forward_hook(lambda _module, _args, output: output.requires_grad_())
    return _steps_of(model, graft, batches)


def dense(base: FrozenBase, candidate: Candidate, batches: Sequence[Tensor]) -> Steps:
    """Training all of the grafted model: the base's weights, a copy of them, and the graft."""
    graft = newborn(base, candidate)
    model = compose(base, [graft])
    model.model = copy.deepcopy(model.model).requires_grad_(requires_grad=True)
    return _steps_of(model, model, batches)


def _steps_of(model: Composed, learning: nn.Module, batches: Sequence[Tensor]) -> Steps:
    def loss_on(tokens: Tensor) -> Callable[[], Tensor]:
        return lambda: token_nats(model, tokens).mean()

    return Steps([loss_on(tokens) for tokens in batches], list(learning.parameters()))


def best_on_select(trained: Iterable[Trained]) -> Graft:
    """Of what was trained to the end, the graft with the fewest bits per byte on *select*."""
    done = [one.graft for one in trained if one.graft is not None and not one.stopped]

    def select_bpb(graft: Graft) -> float:
        assert graft.history is not None  # it was just trained
        assert graft.history.best_bpb is not None  # on *select*
        return graft.history.best_bpb

    return min(done, key=select_bpb)
