"""A grown stack against the control that is hard to beat: LoRA of rank 1 at every down projection, without any search.

Both have the same parameters and are shown the same tokens: what the stack's bases are measured on, the control learns
from besides. Both try three learning rates on *select* and choose the strength of what they learnt there; growth tries
two sets of sites. The gain is on the vault split, which nothing else looks at.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.search import steps
from benchmarks.search.base import splits, text_folder, trained_base
from benchmarks.search.findings import Findings
from benchmarks.search.setting import Setting
from benchmarks.search.timing import Ratio
from saint.candidates import Proposal
from saint.composition import restore
from saint.data import DataPlan, Splits
from saint.evaluation import Losses, choose_strength
from saint.grafts import Graft, num_params
from saint.growth import Controls, Plan, grow, start
from saint.models import FrozenBase
from saint.records import Budget, Candidate, Interval
from saint.sensitivity import Sensitivity
from saint.training import train_many

_RATES = (1e-2, 3e-2, 1e-1)
_OUR_RATES = (2e-2, 4e-2, 8e-2)  # as many, for a kind whose parameters stand between two fixed bases
_STRENGTHS = (1.0, 0.85, 0.7, 0.5)
_BORN = {"basis": "gradient", "start": "least_squares"}
_IN = {("v", "o", "gate", "up", "down"): 10, ("v", "gate", "up", "down"): 13}
"""Roles -> terms of rank 3 at each of their maps: 4,050 and 4,212 parameters of the control's 4,248."""


def measure(setting: Setting) -> Findings:
    """The stack's gain on the vault over the control's, seed by seed; a stack without a graft has gained nothing."""
    found, data = Findings(setting=setting), splits(setting)
    base, ratios = trained_base(setting, data), []
    for seed in range(setting.seeds):
        stack, num_steps = _grown(setting, base, data, seed)
        control = _control(setting, base, data, seed, num_steps or setting.num_steps)
        gains = {"grown": _gain(setting, base, stack, data), "control": _gain(setting, base, [control], data)}
        ratios.append(gains["grown"].estimate / gains["control"].estimate)
        for name, grafts in (("grown", stack), ("control", [control])):
            found.notes.append(_told(seed, name, grafts, gains[name]))
    what = "gain of the grown stack on the vault, equal parameters"
    found.ask("hard_control", what, "LoRA of rank 1 at every down", Ratio.of(ratios), 1.2)
    return found


def _signal_tokens(setting: Setting) -> int:
    return 16_384 if setting.size == "full" else setting.batch_size * setting.seq_len


def _down(base: FrozenBase, *, lr: float, seed: int) -> Candidate:
    sites = tuple(site for site in base.sites() if site.role == "down")
    return steps.lora_at(sites, rank=1, lr=lr, seed=seed)


def _plan(setting: Setting, base: FrozenBase, seed: int) -> Plan:
    """Grow one graft between bases from the gradient, at most linear maps, in the parameters of the control."""
    control = _down(base, lr=_RATES[0], seed=seed)
    budget = num_params(control.kind, control.options, control.sites)
    proposals = tuple(
        Proposal(
            kind="phi",
            options={"rank": 3, "terms": terms if setting.size == "full" else 1, **_BORN},
            roles=roles,
            bundle="all",
            lr=lr,
        )
        for roles, terms in _IN.items()
        for lr in _OUR_RATES
    )
    num_steps = 2 * setting.num_steps
    schedule = steps.schedule_of(
        setting, num_steps=num_steps, evaluate_every=num_steps // 6, signal_tokens=_signal_tokens(setting)
    )
    return Plan(
        name="against the hard control",
        seed=seed,
        data=DataPlan(prepared=str(text_folder(setting).resolve())),
        budget=Budget(num_params=budget, train_tokens=2 * schedule.num_tokens * len(proposals)),
        proposals=proposals,
        gates={"gain": {"at_least_bpb": 0.0}, "rollback": {}},
        rounds=1,
        candidates_per_round=len(proposals),
        finalists_per_round=1,
        strengths=_STRENGTHS,
        schedule=schedule,
        sensitivity=Sensitivity(),
        controls=Controls(after="never"),
        evaluation_seq_len=setting.seq_len,
    )


def _grown(setting: Setting, base: FrozenBase, data: Splits, seed: int) -> tuple[list[Graft], int]:
    """The stack that `saint grow` leaves, and the steps that the text makes which its grafts were shown."""
    with TemporaryDirectory() as folder:
        plan = _plan(setting, base, seed)
        registry = start(Path(folder) / "registry", base, plan)
        grow(base, data, plan, registry)
        spent = sum(entry.evidence.cost.train_tokens for entry in registry.accepted())  # those of its birth as well
        return restore(registry), -(-spent // plan.schedule.tokens_per_step)


def _control(setting: Setting, base: FrozenBase, data: Splits, seed: int, num_steps: int) -> Graft:
    """The best of its learning rates on *select*, after as many steps as the whole stack has."""
    schedule = steps.schedule_of(setting, num_steps=num_steps, evaluate_every=max(1, num_steps // 6))
    grown = data.select[data.grown_domain]
    candidates = [_down(base, lr=lr, seed=seed) for lr in _RATES]
    trained = train_many(base, (), candidates, data.train, select=grown, schedule=schedule)
    best = steps.best_on_select(trained)
    losses = Losses(seq_len=setting.seq_len)
    choose_strength(base, (), best, grown=grown, retained={}, at_most_bpb={}, strengths=_STRENGTHS, losses=losses)
    return best


def _gain(setting: Setting, base: FrozenBase, stack: Sequence[Graft], data: Splits) -> Interval:
    return Losses(seq_len=setting.seq_len).saved(base, (), stack, data.vault[data.grown_domain])


def _told(seed: int, name: str, grafts: Sequence[Graft], gain: Interval) -> str:
    size = sum(graft.num_params for graft in grafts)
    rates = ", ".join(f"{graft.candidate.lr:g}" for graft in grafts)
    return (
        f"seed {seed}, {name}: {size:,} parameters in {len(grafts)} grafts, learning rates {rates}, gain on the vault "
        f"{gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] bits per byte"
    )
