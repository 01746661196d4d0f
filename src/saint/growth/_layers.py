"""Growth by layers: the candidate of a stage, what it starts from, and what all stages take."""

from collections.abc import Iterable, Mapping, Sequence
from math import log
from typing import Any

import torch
from torch import Tensor, nn

from saint.backbones import LayeredForCausalLM
from saint.composition import blocks_of, newborn, place_of
from saint.data import Corpus, Splits
from saint.errors import BaseChangedError, BudgetError, ConfigError
from saint.evaluation import Losses
from saint.grafts import Graft, NewLayer
from saint.growth._head_state import HEAD_PARTS, read
from saint.growth._journal import Journal
from saint.growth._layerwise import LAYERS_BEGUN, Layerwise, num_layers
from saint.growth._plan import Plan
from saint.growth._stages import stage_of
from saint.growth._trial import Trial
from saint.models import FrozenBase, block_stacks, family_of
from saint.records import ActiveStage, Candidate, SensitivityMap, Site
from saint.training import (
    BasePlan,
    Moments,
    Schedule,
    active_stage,
    deepened,
    head_of,
    lora_rank,
    lora_stage,
    model_config,
)


def active_stages(plan: Plan, config: Any) -> list[ActiveStage]:
    """What each stage of a plan for growth by layers takes, before anything is trained.

    Args:
        config: Of the base, which is the first stage.

    Raises:
        ConfigError: The model cannot grow so.
        BudgetError: A stage, or all of them, go beyond the active budget or the plan's.
    """
    layers = _layerwise(plan)
    stages = stages_of(layers, config, plan.layer_schedules)
    layers.active.check(stages)
    _check_budget(plan, stages)
    return stages


def stages_of(layers: Layerwise, config: Any, schedules: Sequence[Schedule]) -> list[ActiveStage]:
    """What each stage takes with such a schedule, whatever the budget.

    Raises:
        ConfigError: The model cannot grow so.
        BudgetError: The adapters of a LoRA phase have more parameters than the blocks of a stage.
    """
    stages = [_active(layers, config, index, schedule) for index, schedule in enumerate(schedules)]
    for number, stage in enumerate(stages, 1):
        if stage.adapter_params > (most := stages[0].block_params):
            raise BudgetError(
                f"stage {number} ({stage.name}) has {stage.adapter_params:,} parameters in adapters, and the blocks of "
                f"a stage have {most:,}, which is the budget of both; lower its rank, or leave it out"
            )
    return stages


def _active(layers: Layerwise, config: Any, index: int, schedule: Schedule) -> ActiveStage:
    """What one stage takes."""
    name, num_blocks = layers.name_of(index), layers.num_blocks(index)
    with_head = layers.head != "frozen" or (index == 0 and has_own_head(config))
    if layers.stages[index].sort == "lora":
        rank = layers.stages[index].rank or _rank(config, layers, num_blocks)
        return lora_stage(config, name=name, num_blocks=num_blocks, rank=rank, with_head=with_head, schedule=schedule)
    return active_stage(
        config,
        name=name,
        num_blocks=num_blocks,
        num_newest=layers.blocks,
        with_head=with_head,
        schedule=schedule,
        with_interface=layers.interface_learns and index == 0,
    )


def _rank(config: Any, layers: Layerwise, num_blocks: int) -> int:
    """Of adapters on so many blocks, by default."""
    with torch.device("meta"):
        [blocks] = block_stacks(family_of(config).from_config(deepened(config, 1))).values()
    return lora_rank(next(iter(blocks)), num_newest=layers.blocks, num_blocks=num_blocks)


def first_config(plan: Plan, tokenizer: Any) -> Any:
    """The configuration of the base that the first stage makes.

    Raises:
        ConfigError: The architecture or one of its settings is unknown, or the plan is for other growth.
    """
    layers = _layerwise(plan)
    return model_config(layers.architecture, {**layers.model, "num_hidden_layers": layers.blocks}, tokenizer)


def first_plan(plan: Plan, data: Splits) -> BasePlan:
    """What the first stage trains."""
    layers = _layerwise(plan)
    return BasePlan(
        architecture=layers.architecture,
        model={**layers.model, "num_hidden_layers": layers.blocks},
        domain=data.grown_domain,
        lr=layers.lr_of(0),
        seed=plan.seed,
        schedule=plan.layer_schedules[0],
        font=layers.font,
    )


def candidate_of(base: FrozenBase, layers: Layerwise, *, seed: int, lr: float | None = None) -> Candidate:
    """The blocks that a stage puts on top of everything, with the head unless that is frozen.

    Args:
        lr: Peak learning rate; None for that of all stages.

    Raises:
        ConfigError: The base is no decoder, or its head cannot learn.
    """
    if not (blocks := blocks_of(base)):
        raise ConfigError("growth by layers puts blocks on a decoder's, and this base is none; give another base")
    top = [site for site in base.sites() if site.sort == "insertion" and site.module == blocks[-1]]
    options: dict[str, Any] = {"blocks": layers.blocks}
    if layers.head != "frozen":
        top.append(_head_site(base))
        options |= {"head_bias": True} if head_of(base.model).bias is not None else {}
    return Candidate(sites=tuple(top), kind="layer", options=options, lr=lr or layers.lr, seed=seed)


def stage_candidate(base: FrozenBase, stack: Sequence[Graft], layers: Layerwise, index: int, *, seed: int) -> Candidate:
    """What stage `index` of a plan for growth by layers, counted from the first's 0, tries on top of a stack.

    Raises:
        ConfigError: The base is no decoder, or its head cannot learn.
    """
    if layers.stages[index].sort == "lora":
        return _readjusting(base, stack, layers, index, seed=seed)
    return candidate_of(base, layers, seed=seed, lr=layers.lr_of(index))


def _readjusting(base: FrozenBase, stack: Sequence[Graft], layers: Layerwise, index: int, *, seed: int) -> Candidate:
    """The adapters of a LoRA phase: at every linear map of every block, new ones included, with the head unless frozen.

    Args:
        stack: What stands; its new layers are those that are readjusted.
        index: Of the stage in the plan. The rank follows from the blocks that are there, of which a stage that was
            refused has put none.
    """
    [insertion, *heads] = candidate_of(base, layers, seed=seed).sites
    block = base.model.get_submodule(insertion.module)
    num_new = num_layers(graft.candidate for graft in stack if insertion.key in graft.parts)
    num_blocks = len(blocks_of(base)) + num_new
    inside = [site for site in base.sites() if site.sort == "linear" and site.depth >= 0 and site.role != "head"]
    options: dict[str, Any] = {
        "rank": layers.stages[index].rank or lora_rank(block, num_newest=layers.blocks, num_blocks=num_blocks)
    }
    if num_new:
        width = sum(sum(parameter.shape) for parameter in block.parameters() if parameter.ndim == 2)
        options |= {"layers": num_new, "layer_width": width}
    if heads and head_of(base.model).bias is not None:
        options |= {"head_bias": True}
    sites = (*inside, *([insertion] if num_new else []), *heads)
    return Candidate(sites=sites, kind="readjust", options=options, lr=layers.lr_of(index), seed=seed)


def open_layers(journal: Journal, losses: Losses, number: int, stack: Sequence[Graft]) -> Trial:
    """The one trial of a stage of growth by layers, which the ledger then knows."""
    base, plan = journal.base, journal.plan
    index = stage_of(plan, journal.state, number) + 1  # after the first, which made the base
    candidate = stage_candidate(base, stack, _layerwise(plan), index, seed=plan.seed + number + 1)
    start = started(base, stack, candidate, _layerwise(plan))
    if number not in journal.state.rounds:
        text = journal.data.select[journal.data.grown_domain]
        bpb = {
            name: _bpb(losses, base, there, text) for name, there in (("before", stack), ("at_birth", [*stack, start]))
        }
        nothing = SensitivityMap(method="none", scores={})
        journal.open_round(number, stack, nothing, [candidate], bpb=bpb)
        journal.progress.note(
            f"{bpb['before']:.4f} bits per byte of development text below it, {bpb['at_birth']:.4f} as it starts"
        )
    moments = _moments(journal, stack, candidate) if _layerwise(plan).head == "carried" else {}
    schedule = journal.settings.schedule(number)
    return Trial(candidate=candidate, stack=stack, schedule=schedule, start=start, moments=moments)


def must_be_untouched(journal: Journal, number: int, stack: Sequence[Graft]) -> None:
    """Hold every block below a stage against its digest from before; the base has been, by whoever trained.

    Raises:
        BaseChangedError: Something wrote to one.
    """
    for graft, before in zip(stack, journal.state.rounds[number]["stack"], strict=True):
        if (now := graft.digest) != before:
            raise BaseChangedError(
                f"graft {before[:12]} has digest {now[:12]} after stage {number + 2} was trained on it; nothing may "
                "write to what is below a stage"
            )


@torch.no_grad()
def started(base: FrozenBase, stack: Sequence[Graft], candidate: Candidate, layers: Layerwise) -> Graft:
    """A newborn stage as its plan lets it start; with `init` zero, and no new head, it changes nothing to the bit.

    Adapters change nothing as they start, whatever the plan says of new blocks.
    """
    graft = newborn(base, candidate, stack=stack)
    if candidate.kind != "layer":
        return graft
    insertion, *heads = candidate.sites
    part: Any = graft.parts[insertion.key]
    if layers.init == "copy":
        part.put([_block_below(base, stack, insertion)] * layers.blocks, silent=False)
    else:
        fresh = _fresh(base, candidate.seed, layers.blocks)
        [blocks] = block_stacks(fresh).values()
        new = [dict(block.named_parameters()) for block in blocks]
        part.put([_on(base, weights) for weights in new], silent=layers.init == "zero")
        if layers.head == "reset":
            _renew(base, stack, graft, heads[0], head_of(fresh))
    return graft


def _fresh(base: FrozenBase, seed: int, num_blocks: int) -> Any:
    """A model of the base's architecture that has learnt nothing."""
    config = deepened(base.model.config, num_blocks)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if isinstance(base.model, LayeredForCausalLM):  # some tables cannot be made again from a configuration
            return base.model.anew(config)
        return family_of(config).from_config(config)


def _on(base: FrozenBase, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.to(base.model.device, torch.float32) for name, weight in weights.items()}


def _block_below(base: FrozenBase, stack: Sequence[Graft], insertion: Site) -> dict[str, Tensor]:
    """The weights of the topmost block, by their names in it, with what stands of adapters on it."""
    layers: list[dict[str, Tensor]] = []
    block = base.model.get_submodule(insertion.module)
    weights = _on(base, dict(block.named_parameters()))
    for graft in stack:
        for name in weights:
            linear, _, last = name.rpartition(".")
            changes = graft.parts.get(f"{insertion.module}.{linear}") if last == "weight" else None
            if changes is not None and changes.is_weight:
                folded = changes.fold(weights[name], None)
                assert folded is not None  # it is a weight
                weights[name] = folded[0]
        if (part := graft.parts.get(insertion.key)) is None:
            continue
        part.attach(place_of(base, insertion))
        if isinstance(grown := part.growth(), NewLayer):
            layers += [dict(one) for one in (grown.weights, *grown.further)]
        elif part.changes_layers:
            layers = part.change_layers(layers)
    return layers[-1] if layers else weights


def _renew(base: FrozenBase, stack: Sequence[Graft], graft: Graft, site: Site, fresh: nn.Linear) -> None:
    """Let the head be one that has learnt nothing: the change is from what the stack makes of it to that."""
    head = head_of(base.model)
    weight: Tensor = head.weight.float()
    bias: Tensor | None = head.bias
    for other in stack:
        if (part := other.parts.get(site.key)) is not None:
            folded = part.fold(weight, bias)
            assert folded is not None  # it is a weight
            weight, bias = folded
    own: Any = graft.parts[site.key]
    own.delta.copy_(fresh.weight.to(weight) - weight)
    if own.bias is not None and bias is not None:
        own.bias.copy_(fresh.bias.to(bias) - bias)


def _moments(journal: Journal, stack: Sequence[Graft], candidate: Candidate) -> Moments:
    """What AdamW knows of the head from the stage below, by site key and name in the part there; nothing if unknown."""
    registry, state = journal.registry, journal.state
    if stack:
        below = [one for one in state.trained.values() if one["graft"] == stack[-1].digest]
        known = below[-1].get("head_state", "") if below else ""  # what was submitted was not trained here
    else:
        begun = [event.body for event in state.others if event.name == LAYERS_BEGUN]
        known = begun[-1]["head_state"] if begun else ""
    if not known:
        return {}
    moments, head = read(registry.payload(known), head_of(journal.base.model)), candidate.sites[-1].key
    return {f"{head}.{ours}": moments[theirs] for ours, theirs in HEAD_PARTS.items() if theirs in moments}


def _bpb(losses: Losses, base: FrozenBase, stack: Sequence[Graft], text: Corpus) -> float:
    return float(losses.of(base, stack, text).sum()) / log(2) / text.num_bytes


def _layerwise(plan: Plan) -> Layerwise:
    if plan.layerwise is None:
        raise ConfigError(f"plan {plan.name!r} has no table [layerwise]; give it one, or use saint init and saint grow")
    return plan.layerwise


def has_own_head(config: Any) -> bool:
    """Whether the head of such a model could learn apart from the interface."""
    with torch.device("meta"):
        model = family_of(config).from_config(deepened(config, 1))
    try:
        head_of(model)
    except ConfigError:
        return False
    return True


def _head_site(base: FrozenBase) -> Site:
    head = head_of(base.model)
    names = {id(module): name for name, module in base.model.named_modules()}
    return next(site for site in base.sites() if site.module == names[id(head)] and site.sort == "linear")


def _check_budget(plan: Plan, stages: Sequence[ActiveStage]) -> None:
    """Refuse more stages than the plan's own budget has room for."""
    grown = stages[1:]
    limits: Iterable[tuple[str, int, float | None]] = (
        ("num_params", sum(stage.params for stage in grown), plan.budget.num_params),
        ("train_tokens", sum(stage.num_tokens for stage in grown), plan.budget.train_tokens),
        ("train_flops", sum(stage.train_flops for stage in grown), plan.budget.train_flops),
    )
    for name, asked, limit in limits:
        if limit is not None and asked > limit:
            raise BudgetError(
                f"budget.{name} is {limit:,.0f}, and the {len(grown)} stages after the first take {asked:,}; take "
                "fewer or smaller stages, or raise it"
            )
