import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from saint import records
from saint.backbones import LayeredConfig, LayeredForCausalLM
from saint.data import Corpus, start_token
from saint.errors import ConfigError, DivergedError, QuantizedBaseError
from saint.grafts import Graft, History
from saint.interfaces import Made, Sources, token_texts
from saint.models import FrozenBase, family_of, must_read
from saint.progress import Progress, Silent
from saint.records import Candidate
from saint.training._learn import Development, Whole, learn
from saint.training._learner import Learner
from saint.training._many import Workspace, train_many
from saint.training._processes import Processes
from saint.training._schedule import Schedule


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
    [trained] = train_many(
        base,
        stack,
        [candidate],
        text,
        select=select,
        schedule=schedule,
        work=Workspace(checkpoint_of=lambda _: checkpoint, progress=progress or Silent()),
    )
    if trained.graft is None:
        raise DivergedError(trained.failure)
    return trained.graft


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
    processes: Processes | None = None,
) -> tuple[nn.Module, History]:
    """Train a copy of the whole base on the same text: the control that grafts are held against.

    The arguments are those of `train`, and `processes` as `train_many` has them.

    Raises:
        QuantizedBaseError: Its weights are stored in few bits, and such weights do not learn.
        ConfigError: The base is divided among processes.
    """
    if base.is_quantised:
        raise QuantizedBaseError(
            "the base is quantised, and weights of few bits do not learn; freeze it in full precision, or compare with "
            "LoRA on the quantised base"
        )
    if base.is_divided:
        raise ConfigError(
            "the base is divided among processes, and a copy of it that learns would be whole in each; leave fsdp out"
        )
    model = copy.deepcopy(base.model).requires_grad_(requires_grad=True)
    schedule, processes = schedule or Schedule(), processes or Processes()
    processes.share(schedule.accumulate, setting="schedule.accumulate")
    learner = _whole(base.digest, model, text, schedule, lr, seed, checkpoint if processes.is_first else None)
    learner.be_as_first(processes)
    history = _learn_whole("full training", model, learner, select, progress, processes)
    with processes.agreed():
        base.check()
    processes.must_have_the_same(learner.digest, what="weights")
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
    font: str = field(default="", metadata=records.LATER)
    """A .hex file of GNU Unifont for an interface that draws tokens, relative to the plan's folder, or in a study to
    where it is run; "" for Unifont where Debian has it, or else what Pillow has."""


def pretrain(
    plan: BasePlan,
    tokenizer: Any,
    text: Corpus,
    *,
    select: Corpus | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    root: Path = Path(),
) -> tuple[PreTrainedModel, History]:
    """Train a language model from random weights.

    Args:
        root: What the plan's font is relative to.

    Raises:
        ConfigError: The architecture or one of its settings is unknown.
        DataError: Its token interface cannot be drawn.
        Interrupted: A stop was asked for through `progress`.
    """
    model = untrained(plan, tokenizer, root=root)
    learner = _whole(known_by(plan, model), model, text, plan.schedule, plan.lr, plan.seed, checkpoint)
    return model, _learn_whole("training the base", model, learner, select, progress)


def train_free(
    model: nn.Module,
    text: Corpus,
    *,
    of: Any,
    lr: float,
    select: Corpus | None = None,
    schedule: Schedule | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> History:
    """Train, where they lie, those parameters of a model that are free to learn, such as a gate above frozen experts.

    The other arguments are those of `train`.

    Args:
        of: What decides the model before it learns, as plain data: a checkpoint of anything else is refused.

    Raises:
        ConfigError: No parameter asks for a gradient.
    """
    schedule = schedule or Schedule()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("no parameter of the model asks for a gradient; free those that are to learn")
    learner = _whole(of, model, text, schedule, lr, seed, checkpoint)
    return _learn_whole("training", model, learner, select, progress)


def untrained(plan: BasePlan, tokenizer: Any, *, root: Path = Path()) -> PreTrainedModel:
    """The base that `plan` describes before it has learnt anything: random weights, the same for a seed.

    Args:
        root: What the plan's font is relative to.

    Raises:
        ConfigError: The architecture or one of its settings is unknown, or there is nothing to draw with the font.
        DataError: Its token interface cannot be drawn.
    """
    config = model_config(plan.architecture, plan.model, tokenizer)
    model = new_model(config, tokenizer, seed=plan.seed, font=root / plan.font if plan.font else None)
    model.eval()
    return model


def new_model(config: Any, tokenizer: Any, *, seed: int, font: Path | None = None) -> PreTrainedModel:
    """A model with random weights, the same for a seed, and the table of its interface where that is drawn.

    Raises:
        ConfigError: There is nothing to draw with the font.
        DataError: The interface cannot be drawn.
    """
    made = draw(config, tokenizer, font)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = (
            family_of(config).from_config(config) if made is None else LayeredForCausalLM(config, made)
        )
    return model


def draw(config: Any, tokenizer: Any, font: Path | None = None) -> Made | None:
    """The table of a token interface that depends on what tokens look like; None for a model without such a one.

    Raises:
        ConfigError: There is nothing to draw with the font.
        DataError: There is no font, or it or the tokenizer does not suffice.
    """
    interface = config.plan_interface() if isinstance(config, LayeredConfig) else None
    if interface is not None and interface.needs_tokens:
        return interface.make(Sources(tokens=token_texts(tokenizer, config.vocab_size), font=font))
    if font is not None:
        what = f"interface {config.interface}" if interface is not None else config.model_type
        raise ConfigError(f"font is {font}, and {what} draws no tokens; leave it out, or take interface 'glyph'")
    return None


def known_by(of: Any, model: Any) -> Any:
    """What a run is known by, with the table that was drawn for it, which a plan names by the path of a font only."""
    config = model.config
    drawn = isinstance(config, LayeredConfig) and config.plan_interface().needs_tokens
    return {"of": of, "interface": config.interface_digest} if drawn else of


def _whole(
    of: Any, model: nn.Module, text: Corpus, schedule: Schedule, lr: float, seed: int, checkpoint: Path | None
) -> Learner:
    """All weights of a model, ready to learn.

    Raises:
        ConfigError: The schedule has a setting that only grafts can follow, or windows that the model cannot read.
    """
    must_read(model.config, schedule.seq_len)
    if schedule.fade_in:
        raise ConfigError(
            f"fade_in is {schedule.fade_in:g}, and a whole base has no strength that could rise; leave it out"
        )
    if schedule.recompute:
        raise ConfigError("recompute is for grafts, which train over frozen blocks; leave it out for a whole base")
    batches = text.batches(batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=seed, shift=schedule.shift)
    free = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return Learner(free, batches, schedule, of=of, lr=lr, checkpoint=checkpoint)


def _learn_whole(
    description: str,
    model: nn.Module,
    learner: Learner,
    select: Corpus | None,
    progress: Progress | None,
    processes: Processes | None = None,
) -> History:
    schedule, processes = learner.schedule, processes or Processes()
    with (progress or Silent()).task(description, total=schedule.num_tokens, unit="tokens") as task:
        with processes.agreed():
            task.advance(learner.step * schedule.tokens_per_step)
        device = next(model.parameters()).device
        development = None if select is None else Development(select, schedule, device, processes)
        passes = Whole(model, schedule, processes)
        learn([learner], passes, task, development=development, processes=processes)
    return learner.finish(keep_best=select is not None)


def model_config(architecture: str, settings: Mapping[str, Any], tokenizer: Any) -> Any:
    """The configuration of an architecture of transformers; its tokens are those of the tokenizer.

    Raises:
        ConfigError: The architecture or one of its settings is unknown.
    """
    try:
        defaults = AutoConfig.for_model(architecture)
    except ValueError as error:
        raise ConfigError(f"transformers knows no architecture {architecture!r}; try 'llama' or 'gpt2'") from error
    known = [*defaults.to_dict(), *defaults.attribute_map]
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"see the configuration of {architecture}"
            raise ConfigError(f"model: {architecture} has no setting {key!r}; {hint}")
    whole = {key for key, value in settings.items() if type(value) is int}  # 0 is a fine weight, learning rate, share
    settings = {**settings, **{key: float(settings[key]) for key in whole if type(getattr(defaults, key)) is float}}
    tokens = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if defaults.is_encoder_decoder:  # what `generate` begins with
        tokens["decoder_start_token_id"] = start_token(tokenizer)
    try:
        return AutoConfig.for_model(architecture, **{**tokens, "pad_token_id": None, **settings})
    except (TypeError, ValueError, StrictDataclassError) as error:
        raise ConfigError(f"model: {architecture} refuses these settings ({' '.join(str(error).split())})") from error
