"""The first stage of growth by layers: the lowest blocks and the head learn above a token interface that does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor
from transformers import PreTrainedModel

from saint.data import Corpus
from saint.errors import BaseChangedError
from saint.grafts import History
from saint.models import must_read, tensor_digest
from saint.progress import Progress, Silent
from saint.training._active import learns
from saint.training._learn import Development, Whole, learn
from saint.training._learner import Learner, Moments
from saint.training._train import BasePlan, known_by, untrained


class FirstStage(NamedTuple):
    """What came of it."""

    model: PreTrainedModel
    history: History
    head_moments: Moments
    """`weight`, `bias` -> what AdamW knows of the head, for it to go on with; empty for a head that did not learn."""


def train_first_stage(
    plan: BasePlan,
    tokenizer: Any,
    text: Corpus,
    *,
    with_head: bool = True,
    with_interface: bool = False,
    select: Corpus | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    root: Path = Path(),
) -> FirstStage:
    """Train the blocks and the head of a new decoder, and nothing else of it unless that is asked for.

    A last norm, and a token interface that does not learn, stay what they were to the bit, which is checked.

    Args:
        with_head: Whether the output head learns too.
        with_interface: Whether the table that tokens come in through learns too.
        text, select, checkpoint, progress, root: As for `pretrain`.

    Raises:
        ConfigError: The architecture or one of its settings is unknown, or its head cannot learn by itself, or
            its interface has nothing that could learn.
        DataError: Its token interface cannot be drawn.
        Interrupted: A stop was asked for through `progress`.
        DivergedError: The loss stopped being a number.
        BaseChangedError: Something wrote to what does not learn.
    """
    model: Any = untrained(plan, tokenizer, root=root)
    schedule = plan.schedule
    must_read(model.config, schedule.seq_len)
    active = learns(
        model, num_newest=model.config.num_hidden_layers, with_head=with_head, with_interface=with_interface
    )
    before = _frozen(model, active.together)
    learner = Learner(
        active.together,
        text.batches(batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=plan.seed, shift=schedule.shift),
        schedule,
        of=known_by(
            {"first stage": plan, "with_head": with_head, **({"with_interface": True} if with_interface else {})}, model
        ),
        lr=plan.lr,
        checkpoint=checkpoint,
    )
    with (progress or Silent()).task("first stage", total=schedule.num_tokens, unit="tokens") as task:
        task.advance(learner.step * schedule.tokens_per_step)
        development = None if select is None else Development(select, schedule, model.device)
        learn([learner], Whole(model, schedule), task, development=development)
    history = learner.finish(keep_best=select is not None)
    if _frozen(model, active.together) != before:
        raise BaseChangedError("what does not learn in the first stage was written to; nothing may do that")
    moments = {name.rpartition(".")[2]: learner.moments[name] for name in active.head}
    model.requires_grad_(requires_grad=False)
    return FirstStage(model, replace(history, time_s=learner.time_s), moments)


def _frozen(model: Any, moving: dict[str, Any]) -> dict[str, str]:
    """Name -> digest of every tensor that does not learn."""
    tensors: dict[str, Tensor] = model.state_dict()
    return {name: tensor_digest(tensor) for name, tensor in tensors.items() if name not in moving}
