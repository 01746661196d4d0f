import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any, final

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from saint.composition import compose, measure_signals, newborn, place_of, wanted_signals
from saint.data import Corpus, start_token
from saint.errors import ConfigError, QuantizedBaseError
from saint.grafts import Graft, History
from saint.models import FrozenBase, document_nats, family_of
from saint.progress import Progress
from saint.records import Candidate
from saint.training._fit import Run, Schedule


def train(
    base: FrozenBase,
    stack: Sequence[Graft],
    candidate: Candidate,
    text: Corpus,
    *,
    select: Corpus | None = None,
    schedule: Schedule | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Graft:
    """Train `candidate` on top of `stack`; same arguments, same weights on the same machine.

    AdamW with warm-up and cosine on the mean token loss; base and stack are frozen.

    Args:
        text: Must be the train split.
        select: Development text; the state with the fewest bits per byte on it is kept, and training stops when it
            stops falling. Without it the last state is kept.
        checkpoint: Where to save when interrupted and at the end; a run that stopped there is taken up. Delete the file
            once the graft is stored.

    Raises:
        Interrupted: A stop was asked for through `progress`.
        DivergedError: The loss stopped being a number.
        SiteError, ConfigError, DataError: The candidate or the text does not fit.
        BaseChangedError: Something wrote to the base.
    """
    schedule = schedule or Schedule()
    for standing in stack:
        standing.requires_grad_(requires_grad=False)
    graft = _begun(base, stack, candidate, text, schedule)
    model = compose(base, [*stack, graft]).eval()
    run = Run(
        model,
        dict(graft.named_parameters()),
        text.batches(batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=candidate.seed),
        schedule,
        of={"candidate": candidate, "stack": [standing.digest for standing in stack], "base": base.digest},
        lr=candidate.lr,
        score=_bpb_on(model, select, schedule),
        checkpoint=checkpoint,
        progress=progress,
    )
    graft.history = run.finish(f"{candidate.kind} at {len(candidate.sites)} sites", strengthen=graft.set_strength)
    base.check()
    return graft.requires_grad_(requires_grad=False).eval()


def _begun(base: FrozenBase, stack: Sequence[Graft], candidate: Candidate, text: Corpus, schedule: Schedule) -> Graft:
    """A newborn, with the signals that its kind wants measured on the first of the text that it will learn from."""
    wants = wanted_signals(candidate)
    batches = text.batches(batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=candidate.seed)
    num_tokens = max([_MIN_SIGNAL_TOKENS, *(_TOKENS_PER_RANK * min(site.d_in, site.d_out) for site in wants)])
    shown = [batches[step] for step in range(-(-num_tokens // schedule.tokens_per_step) if wants else 0)]
    signals = measure_signals(base, stack, wants, shown)
    graft = newborn(base, candidate, stack=stack, signals=signals)
    for site in candidate.sites:
        graft.parts[site.key].begin(place_of(base, site, signals=signals.get(site.key)))
    return graft


_MIN_SIGNAL_TOKENS = 4096
_TOKENS_PER_RANK = 4  # fewer tokens than directions would leave some of these without any evidence


def continue_training(
    base: FrozenBase,
    text: Corpus,
    *,
    lr: float,
    select: Corpus | None = None,
    schedule: Schedule | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> tuple[nn.Module, History]:
    """Train a copy of the whole base on the same text: the control that grafts are held against.

    The arguments are those of `train`.

    Raises:
        QuantizedBaseError: Its weights are stored in few bits, and such weights do not learn.
    """
    if base.is_quantised:
        raise QuantizedBaseError(
            "the base is quantised, and weights of few bits do not learn; freeze it in full precision, or compare with "
            "LoRA on the quantised base"
        )
    model = copy.deepcopy(base.model).requires_grad_(requires_grad=True)
    run = _whole_run(base.digest, model, text, schedule or Schedule(), lr, seed, select, checkpoint, progress)
    history = run.finish("full training")
    base.check()
    return model.requires_grad_(requires_grad=False), history


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BasePlan:
    """A base to be trained from nothing."""

    architecture: str = "llama"
    """A model type of transformers."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Settings of that architecture's configuration; the vocabulary comes from the tokenizer."""
    domain: str
    """Which domain's train split it learns from."""
    lr: float = 3e-3
    seed: int = 0
    schedule: Schedule = field(default_factory=Schedule)


def pretrain(
    plan: BasePlan,
    tokenizer: Any,
    text: Corpus,
    *,
    select: Corpus | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> tuple[PreTrainedModel, History]:
    """Train a language model from random weights.

    Raises:
        ConfigError: The architecture or one of its settings is unknown.
        Interrupted: A stop was asked for through `progress`.
    """
    model = untrained(plan, tokenizer)
    run = _whole_run(plan, model, text, plan.schedule, plan.lr, plan.seed, select, checkpoint, progress)
    return model, run.finish("training the base")


def untrained(plan: BasePlan, tokenizer: Any) -> PreTrainedModel:
    """The base that `plan` describes before it has learnt anything: random weights, the same for a seed.

    Raises:
        ConfigError: The architecture or one of its settings is unknown.
    """
    config = _model_config(plan, tokenizer)
    with torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        model: PreTrainedModel = family_of(config).from_config(config).eval()
    return model


def _whole_run(
    of: Any,
    model: nn.Module,
    text: Corpus,
    schedule: Schedule,
    lr: float,
    seed: int,
    select: Corpus | None,
    checkpoint: Path | None,
    progress: Progress | None,
) -> Run:
    if schedule.fade_in:
        raise ConfigError(
            f"fade_in is {schedule.fade_in:g}, and a whole base has no strength that could rise; leave it out"
        )
    return Run(
        model,
        dict(model.named_parameters()),
        text.batches(batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=seed),
        schedule,
        of=of,
        lr=lr,
        score=_bpb_on(model, select, schedule),
        checkpoint=checkpoint,
        progress=progress,
    )


def _bpb_on(model: nn.Module, text: Corpus | None, schedule: Schedule) -> Callable[[], float] | None:
    """Bits per byte of the model as it stands; not interruptible, so that an evaluation is never half-made."""
    if text is None:
        return None
    windows = list(text.windows(seq_len=schedule.seq_len, batch_size=4 * schedule.batch_size))

    def score() -> float:
        return float(document_nats(model, windows, text.num_documents).sum()) / log(2) / text.num_bytes

    return score


def _model_config(plan: BasePlan, tokenizer: Any) -> Any:
    try:
        defaults = AutoConfig.for_model(plan.architecture)
    except ValueError as error:
        raise ConfigError(f"transformers knows no architecture {plan.architecture!r}; try 'llama' or 'gpt2'") from error
    known = [*defaults.to_dict(), *defaults.attribute_map]
    for key in plan.model:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"see the configuration of {plan.architecture}"
            raise ConfigError(f"model: {plan.architecture} has no setting {key!r}; {hint}")
    tokens = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if defaults.is_encoder_decoder:  # what `generate` begins with
        tokens["decoder_start_token_id"] = start_token(tokenizer)
    try:
        return AutoConfig.for_model(plan.architecture, **{**tokens, "pad_token_id": None, **plan.model})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model: {plan.architecture} refuses these settings ({error})") from error
