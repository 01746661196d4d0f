"""What the same tokens buy without grafts: LoRA at equal parameters, and training the whole base further.

The LoRA is at every linear site and, where a plan asks for it, at sites drawn by chance as well.

Each control starts from the bare base and learns from as many tokens as the standing stack has, in one run with one
schedule, so that it does not suffer from being grown in rounds. It gets the same early stopping and the same choice
of strength as a graft; for the whole base that is the interpolation of its old and new weights.

What a submitted graft learnt from is not known, so it adds nothing to those tokens; a stack of such grafts alone gets
no controls, as none could be called equal.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from saint import config, records
from saint.candidates import lora_control, random_control
from saint.data import Corpus
from saint.errors import DivergedError, LedgerError, QuantizedBaseError
from saint.evaluation import (
    Losses,
    PerDocument,
    choose_strength,
    measure_arm,
    paired_interval,
    paired_spread,
    search_strength,
    worst_excess,
)
from saint.grafts import Graft, grow_from
from saint.growth._journal import Journal
from saint.growth._whole import CONTROLS, save_weights, with_weights
from saint.growth._workforce import ControlMade, ControlRun
from saint.records import Arm, Candidate
from saint.training import Schedule, continue_training, train


def train_controls(journal: Journal, losses: Losses, number: int | None, *, is_last: bool = False) -> None:
    """Train what the stack that stands after round `number` is to be held against, unless that is done already.

    Args:
        number: The latest round; None where there was none.
    """
    wanted, standing = journal.plan.controls.after, journal.registry.accepted()
    if wanted == "never" or (wanted == "last round" and not is_last) or not standing:
        return
    if not (num_tokens := sum(entry.evidence.cost.train_tokens for entry in standing)):
        _leave_out(journal, number)
        return
    schedule = _schedule(journal, num_tokens)
    runs = _missing(journal, schedule)
    made = journal.workforce.train_controls(journal, runs) if journal.workforce is not None and runs else {}
    for name, run in runs.items():
        train_one = _train_full if run.candidate is None else _train_lora
        try:
            outcome, contents = train_one(journal, losses, run, number, made.get(name))
        except (DivergedError, QuantizedBaseError) as error:
            outcome, contents = {"failure": str(error)}, []
        told = {"round": number, "stack": journal.state.standing, "submitted": journal.submitted()}
        body = {"name": name, **told, **outcome}
        journal.registry.write("control_trained", body, contents=contents)
        journal.forget(run.checkpoint)


def _missing(journal: Journal, schedule: Schedule) -> dict[str, ControlRun]:
    """The controls of the stack that stands which are yet to be trained."""
    done, missing = _controls(journal), {}
    for name, candidate in _wanted(journal).items():
        checkpoint = f"{name}-{schedule.num_tokens}"
        if name in done and ("file" not in done[name] or _has_weights(journal, done[name])):
            journal.forget(checkpoint)  # a process that was killed after its entry left it
            continue
        missing[name] = ControlRun(
            schedule=schedule,
            checkpoint=checkpoint,
            candidate=candidate,
            file="" if candidate else f"{checkpoint}.safetensors",
        )
    return missing


def _wanted(journal: Journal) -> dict[str, Candidate | None]:
    """Name of a control -> LoRA of the parameters that stand; None for the whole base."""
    standing, plan, sites = journal.registry.accepted(), journal.plan, journal.base.sites()
    spent = sum(entry.evidence.cost.num_params for entry in standing)
    settings: dict[str, Any] = {"lr": plan.controls.lora_lr, "seed": plan.seed}
    wanted: dict[str, Candidate | None] = {"lora": lora_control(sites, spent, **settings)}
    if plan.controls.random:
        touched = {site.key for entry in standing for site in entry.candidate.sites}
        drawn = random_control(sites, spent, num_sites=len(touched), **settings)
        if drawn != wanted["lora"]:
            wanted["random"] = drawn
        else:
            journal.progress.note("no control at sites drawn by chance: the stack is at every linear site")
    return {**wanted, "full": None}


def measure_arms(journal: Journal, losses: Losses, split: Mapping[str, Corpus]) -> list[Arm]:
    """The standing stack and its controls, each held against the bare base on `split` (domain -> text)."""
    costs = [entry.evidence.cost for entry in journal.registry.accepted()]
    tokens = sum(cost.train_tokens for cost in costs)
    stack = journal.stack()
    arms: dict[str, tuple[Callable[[Corpus], PerDocument], int, int]] = {
        "grafts": (partial(losses.of, journal.base, stack), sum(cost.num_params for cost in costs), tokens)
    }
    for name, control in _controls(journal).items():
        if "failure" in control:
            continue
        size = (control["num_params"], control["train_tokens"])
        if "candidate" in control:
            arms[name] = (partial(losses.of, journal.base, [_lora_graft(journal, control)]), *size)
        else:
            arms["full"] = (partial(_full_nats, journal, losses, control, 1.0), *size)
            arms["full, interpolated"] = (partial(_full_nats, journal, losses, control, control["strength"]), *size)
    grown = journal.data.grown_domain
    return [
        measure_arm(
            name,
            journal.base,
            nats_of,
            grown=split[grown],
            retained={domain: corpus for domain, corpus in split.items() if domain != grown},
            num_params=num_params,
            train_tokens=train_tokens,
            losses=losses,
        )
        for name, (nats_of, num_params, train_tokens) in arms.items()
    ]


def _leave_out(journal: Journal, number: int | None) -> None:
    """Record, once for a stack, that nothing can be given as many tokens as it learnt from."""
    standing = journal.state.standing
    if any(one["stack"] == standing for one in journal.state.controls_left_out):
        return
    all_submitted = len(journal.submitted()) == len(standing)
    what = "what submitted grafts learnt from is not known" if all_submitted else "nothing that stands was trained here"
    reason = f"{what}, so no control can be given as many tokens as the stack learnt from"
    journal.registry.write("controls_left_out", {"round": number, "stack": standing, "reason": reason})
    journal.progress.note(f"no controls: {reason}")


def _controls(journal: Journal) -> dict[str, dict[str, Any]]:
    """Name -> the latest control of the stack that stands."""
    state = journal.state
    return {control["name"]: control for control in state.controls if control["stack"] == state.standing}


def _train_lora(
    journal: Journal, losses: Losses, run: ControlRun, number: int | None, made: ControlMade | None
) -> tuple[dict[str, Any], list[bytes]]:
    base, data, candidate = journal.base, journal.data, run.candidate
    assert candidate is not None  # it is LoRA
    journal.progress.note(f"control: LoRA of rank {candidate.options['rank']} at {len(candidate.sites)} sites")
    if made is None:
        graft = train(
            base,
            (),
            candidate,
            data.train,
            select=data.select[data.grown_domain],
            schedule=run.schedule,
            checkpoint=journal.checkpoint(run.checkpoint),
            progress=journal.progress,
        )
    elif made.graft is None:
        raise DivergedError(made.failure)
    else:
        graft = made.graft
    assert graft.history is not None  # it was just trained
    choose_strength(base, (), graft, losses=losses, **journal.settings.strength(number, whole_round=True))
    outcome = {
        "candidate": candidate,
        "graft": graft.digest,
        "num_params": graft.num_params,
        "scheduled_tokens": run.schedule.num_tokens,
        "train_tokens": graft.history.train_tokens,
        "history": graft.history,
        "strength": graft.strength,
    }
    return outcome, [graft.to_bytes()]


def _train_full(
    journal: Journal, losses: Losses, run: ControlRun, number: int | None, made: ControlMade | None
) -> tuple[dict[str, Any], list[bytes]]:
    """The weights are as large as the base, so they stay in the work folder; the ledger has their digest."""
    plan, schedule = journal.plan, run.schedule
    journal.progress.note("control: training the whole base further")
    path = _weights_path(journal, run.file)
    if made is None:
        model, history = continue_training(
            journal.base,
            journal.data.train,
            lr=plan.controls.full_lr,
            select=journal.data.select[journal.data.grown_domain],
            schedule=schedule,
            seed=plan.seed,
            checkpoint=journal.checkpoint(run.checkpoint),
            progress=journal.progress,
        )
        save_weights(model, path)
    elif made.history is None:
        raise DivergedError(made.failure)
    else:
        history = made.history
    outcome = {
        "file": path.name,
        "weights": records.file_digest(path),
        "num_params": journal.base.num_params,
        "scheduled_tokens": schedule.num_tokens,
        "train_tokens": history.train_tokens,
        "history": history,
        "lr": plan.controls.full_lr,
    }
    settings = journal.settings.strength(number, whole_round=True)

    def cost(strength: float, corpus: Corpus) -> tuple[PerDocument, PerDocument]:
        return losses.of(journal.base, (), corpus), _full_nats(journal, losses, outcome, strength, corpus)

    def excess_of(strength: float) -> float:
        kept = {name: (*cost(strength, corpus), corpus.num_bytes_each) for name, corpus in settings["retained"].items()}
        saved = {name: (paired_interval(*one), paired_spread(*one)) for name, one in kept.items()}
        return worst_excess(saved, settings["at_most_bpb"], settings["margins"])

    grown = settings["grown"]
    strength = search_strength(
        lambda strength: paired_interval(*cost(strength, grown), grown.num_bytes_each).estimate,
        excess_of,
        settings["strengths"],
        0.0,
    )
    return outcome | {"strength": strength}, []


def _schedule(journal: Journal, num_tokens: int) -> Schedule:
    """The plan's schedule, stretched to no fewer tokens and at most a step more; a control is not faded in.

    Stages may have other schedules, so their tokens need not be a whole number of this one's steps.
    """
    schedule = journal.plan.schedule
    return replace(schedule, num_steps=max(1, -(-num_tokens // schedule.tokens_per_step)), fade_in=0.0)


def _lora_graft(journal: Journal, control: Mapping[str, Any]) -> Graft:
    candidate = config.build(control["candidate"], Candidate, where="control")
    return grow_from(candidate, weights=journal.registry.payload(control["graft"]))


def _full_nats(
    journal: Journal, losses: Losses, control: Mapping[str, Any], strength: float, corpus: Corpus
) -> PerDocument:
    name = (control["weights"], strength, corpus.digest)
    return losses.remembered(name, partial(_full_model, journal, control, strength), corpus)


def _full_model(journal: Journal, control: Mapping[str, Any], strength: float) -> nn.Module:
    """The base with its weights moved by `strength` of the way that the control went; the rest is shared."""
    if not _has_weights(journal, control):
        raise LedgerError(
            f"{_weights_path(journal, control['file'])} is not what the ledger says; delete it, and `saint grow` "
            "trains that control again"
        )
    return with_weights(journal.base, _weights_path(journal, control["file"]), strength)


def _weights_path(journal: Journal, name: str) -> Path:
    return journal.registry.work / CONTROLS / name


def _has_weights(journal: Journal, control: Mapping[str, Any]) -> bool:
    """Whether the weights of a full control are still there; work in progress is no record, so they may be gone."""
    path = _weights_path(journal, control["file"])
    return path.exists() and records.file_digest(path) == control["weights"]
