import os
import shutil
from dataclasses import replace
from pathlib import Path

from saint import records
from saint.candidates import propose
from saint.data import SHARES, Splits, describe_suites, open_splits, read_splits, save_splits
from saint.errors import ConfigError, DataError, NotARegistryError, SaintError
from saint.evaluation import holdout_sizes
from saint.growth._environment import environment
from saint.growth._layers import active_stages, candidate_of
from saint.growth._plan import Plan
from saint.growth._sets import Overgrow
from saint.judging import must_suffice, set_policy
from saint.models import FrozenBase, must_read
from saint.progress import Progress
from saint.records import SensitivityMap
from saint.registry import Registry
from saint.signing import sign_entries
from saint.training import check_tokenizer


def start(
    folder: str | Path,
    base: FrozenBase,
    plan: Plan,
    *,
    root: Path = Path(),
    plan_text: str = "",
    progress: Progress | None = None,
) -> Registry:
    """Make a registry for one base and one plan, with its text prepared.

    Everything that can be refused is refused before the registry exists.

    Args:
        root: What the plan's relative paths are relative to.
        plan_text: The plan as it was written, to be kept beside its digest.

    Raises:
        NotARegistryError: The folder is there already.
        ConfigError: The base cannot read the plan's windows.
        BudgetError, SiteError: No candidate, or not every stage of growth by layers, fits the budget, or a proposal
            names sites that the base does not have.
        UnknownNameError: A gate has a limit for a suite that the plan has no text of.
        DataError: The text is missing or too little, or a domain lacks a split.
        BaseChangedError: Prepared text was made with another tokenizer than the base's.
    """
    folder = Path(folder)
    if not Registry.can_begin(folder):
        raise NotARegistryError(f"{folder} exists already; give the path of a new folder")
    schedules = [plan.schedule, *map(plan.schedule_of, plan.in_full)]
    for schedule in schedules:
        must_read(base.model.config, schedule.seq_len)
    if plan.layerwise is None:
        _check_proposals(base, plan)
    else:
        candidate_of(base, plan.layerwise, seed=plan.seed)
        active_stages(plan, base.model.config)
    data = read_splits(plan.data, root=root, tokenizer=base.tokenizer, progress=progress)
    check_tokenizer(base, data)
    for schedule in schedules:
        data.train.batches(batch_size=schedule.batch_size, seq_len=schedule.seq_len, seed=plan.seed)
    _check_splits(data)
    sorts = {name: part.sort for name, part in data.suites_of("gate").items()}
    must_suffice(plan.policy, holdout_sizes(data), grown=data.grown_domain, sorts=sorts)
    registry = Registry.open(folder)
    sign_entries(registry)
    if not plan.data.prepared:
        shutil.rmtree(registry.work / "data", ignore_errors=True)  # of a start that was killed
        save_splits(data, registry.work / "data", plan=plan.data)
    body = {
        "plan": plan,
        "plan_digest": records.digest(plan),
        "seed": plan.seed,
        "root": _seen_from(folder, root),
        "base": {
            "digest": base.digest,
            "identity": base.identity,
            "source": _seen_from(folder, Path(base.source)) if Path(base.source).is_dir() else base.source,
            "local": Path(base.source).is_dir(),
            "revision": base.revision,
            "architecture": type(base.model).__name__,
            "num_params": base.num_params,
            "sites": base.sites(),
        },
        "data": data.describe(),
        "suites": describe_suites(data.suites),
        "duplicates": {
            "exact": data.num_exact_duplicates,
            "near": data.num_near_duplicates,
            "contaminated": data.num_contaminated,
        },
        "tokenizer": data.tokenizer_digest,
        **environment(base.model.device),
    }
    registry.write("created", body, contents=[plan_text.encode()] if plan_text else [])
    set_policy(registry, plan.policy, reason="the plan's")
    registry.seal.seal()
    return registry


def open_data(registry: Registry, plan: Plan, base: FrozenBase, *, progress: Progress | None = None) -> Splits:
    """The text that the registry was started with; made again from its sources when the prepared copy is gone.

    Raises:
        DataError: The text is not the one that the ledger describes.
    """
    created = registry.state.created
    root = registry.folder / created["root"]
    prepared = root / plan.data.prepared if plan.data.prepared else registry.work / "data"
    try:
        data = open_splits(prepared, verify=True)
    except DataError:
        if plan.data.prepared:
            raise
        shutil.rmtree(prepared, ignore_errors=True)  # a copy of ours that is gone or damaged is made again
        data = read_splits(plan.data, root=root, tokenizer=base.tokenizer, progress=progress)
        save_splits(data, prepared, plan=plan.data)
    now = {**data.describe(), **describe_suites(data.suites)}
    then = {**created["data"], **created.get("suites", {})}
    for name in sorted(now.keys() | then.keys()):
        if now.get(name, {}).get("digest") != then.get(name, {}).get("digest"):
            raise DataError(
                f"{name} is not the text that this registry was started with; restore the sources, or start another "
                "registry"
            )
    return data


def _check_splits(data: Splits) -> None:
    """Every stage must find its text, long before it comes to it."""
    for domain, role in data.roles.items():
        for split in SHARES[role]:
            if f"{domain}/{split}" not in data.corpora and (role, split) != ("retain", "train"):
                raise DataError(
                    f"domain {domain!r} has no {split} split, which a domain of role {role!r} needs; give it one"
                )


def _check_proposals(base: FrozenBase, plan: Plan) -> None:
    """Ask for candidates with an empty map: whether any fits does not depend on the scores.

    Refined sites are fewer than all, and which is not known yet, so for them only the kinds and roles are checked.
    """
    nothing_known, unlimited = SensitivityMap(method="none", scores={}), records.LARGEST_EXACT_INT
    for stage in plan.in_full:
        budget = replace(plan.budget, num_params=unlimited) if stage.sites == "refined" else plan.budget
        propose(base.sites(), nothing_known, stage.proposals, budget, seed=plan.seed)
    if plan.overgrow is not None:
        _check_overgrow(base, plan.overgrow)


def _check_overgrow(base: FrozenBase, plan: Overgrow) -> None:
    """See to it that there are more sites than are to be left."""
    everything = records.Budget(num_params=records.LARGEST_EXACT_INT, train_tokens=records.LARGEST_EXACT_INT)
    try:
        [whole] = propose(base.sites(), SensitivityMap(method="none", scores={}), [plan.proposal], everything)
    except SaintError as error:
        raise type(error)(f"overgrow: {error}") from error
    if len(whole.sites) <= plan.keep:
        raise ConfigError(
            f"overgrow.keep is {plan.keep}, and {plan.kind} would be at {len(whole.sites)} sites, so there is nothing "
            "to prune; lower it or name more roles"
        )


def _seen_from(folder: Path, place: Path) -> str:
    """The way from the registry to `place`, so that both can be moved together."""
    return os.path.relpath(place.resolve(), folder.resolve())
