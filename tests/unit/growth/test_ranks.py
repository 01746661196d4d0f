"""Growth by several processes in step: the first one tells the others, who lend it weights meanwhile."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import saint
from in_step import in_step
from saint import config
from saint.cli.main import main
from saint.errors import ConfigError, WorkerError
from saint.evaluation import Losses
from saint.growth import ControlRun, Plan, Ranks, brief_of, open_data, serve, start
from saint.growth._journal import Journal
from saint.growth._training import train_trials
from saint.growth._trial import Trial
from saint.progress import Silent
from saint.records import Candidate
from saint.registry import Registry
from saint.training import Processes, Schedule
from workshop import Workshop, build_workshop

CPU = torch.device("cpu")
SCHEDULE = Schedule(num_steps=4, batch_size=4, seq_len=16, evaluate_every=4, accumulate=2)


def work_of(workshop: Workshop, ranks: Ranks | None, *, fsdp: bool = False) -> Any:
    """What some of the work of growth comes to, with others or alone."""
    base, registry = saint.freeze(workshop.base), Registry.open(workshop.registry)
    plan = config.load(workshop.plan, Plan, overrides=("schedule.accumulate=2",))
    if ranks is not None:
        ranks.begin(brief_of(registry, base, plan, num_sharing=1), plan, base, fsdp=fsdp)
    journal = Journal(registry, base, open_data(registry, plan, base), plan, Silent(), ranks)
    losses = Losses(seq_len=32)
    up = next(site for site in base.sites() if site.role == "up")
    lora = Candidate(sites=(up,), kind="lora", options={"rank": 2}, lr=0.03)
    before = Trial(candidate=lora, stack=(), schedule=SCHEDULE)
    grafts = train(journal, before)
    later = Trial(candidate=lora, stack=(), schedule=SCHEDULE, start=grafts)
    further = train(journal, later)
    runs = {
        "lora": ControlRun(schedule=SCHEDULE, checkpoint="lora", candidate=lora),
        "full": ControlRun(schedule=SCHEDULE, checkpoint="full", file="full.safetensors"),
    }
    made = ranks.train_controls(journal, runs) if ranks is not None else {}
    nats = losses.of(base, [further], journal.data.select["prose"])
    told = {name: (one.failure, one.graft and one.graft.to_bytes(), one.history) for name, one in made.items()}
    base.check()
    return grafts.to_bytes(), further.to_bytes(), nats.tolist(), told


def train(journal: Journal, trial: Trial) -> Any:
    [graft] = train_trials(journal, trial.stack, [trial])
    return graft


def made(root: Path) -> Workshop:
    workshop = build_workshop(root)
    plan = config.load(workshop.plan, Plan, overrides=("schedule.accumulate=2",))
    start(workshop.registry, saint.freeze(workshop.base), plan, root=workshop.root)
    return workshop


@pytest.mark.distributed
@pytest.mark.skipif(sys.platform != "linux", reason="forks its processes")
@pytest.mark.slow
def test_the_first_process_is_lent_what_it_needs_and_comes_to_the_same(tmp_path: Path) -> None:
    alone, in_pairs, divided = (made(tmp_path / name) for name in ("alone", "in_pairs", "divided"))

    def work(processes: Processes, workshop: Workshop, *, fsdp: bool) -> Any:
        if not processes.is_first:
            serve(processes, CPU)
            return None
        with Ranks(processes, CPU) as ranks:
            return work_of(workshop, ranks, fsdp=fsdp)

    [expected] = in_step(1, lambda _: work_of(alone, None))
    [pair, _] = in_step(2, lambda processes: work(processes, in_pairs, fsdp=False))
    [lent, _] = in_step(2, lambda processes: work(processes, divided, fsdp=True))
    assert pair[:3] == lent[:3] == expected[:3]
    assert pair[3]["lora"][1] == lent[3]["lora"][1] == expected[0]
    assert pair[3]["full"][2].train_tokens == SCHEDULE.num_tokens
    assert lent[3]["full"][0].startswith("the base was divided among processes")


@pytest.mark.distributed
@pytest.mark.skipif(sys.platform != "linux", reason="forks its processes")
@pytest.mark.parametrize("fsdp", [False, True])
def test_another_process_with_another_base_is_told_of_and_ends(tmp_path: Path, *, fsdp: bool) -> None:
    workshop = made(tmp_path)
    base = saint.freeze(workshop.base)

    def work(processes: Processes) -> str:
        if not processes.is_first:
            (workshop.base / "model.safetensors").unlink()
            serve(processes, CPU)
            return "ended"
        registry = Registry.open(workshop.registry)
        plan = config.load(workshop.plan, Plan, overrides=("schedule.accumulate=2",))
        with (
            pytest.raises(WorkerError, match=r"process 1 could not go on: .*could not be loaded"),
            Ranks(processes, CPU) as ranks,
        ):
            ranks.begin(brief_of(registry, base, plan, num_sharing=1), plan, base, fsdp=fsdp)
        return "told"

    assert in_step(2, work) == ["told", "ended"]


def test_passes_that_cannot_be_shared_are_refused_before_any_work(workshop: Workshop) -> None:
    plan, base = config.load(workshop.plan, Plan), saint.freeze(workshop.base)
    brief: Any = None
    with pytest.raises(ConfigError, match=r"schedule.accumulate is 1, which 2 processes cannot share equally"):
        Ranks(Processes(size=2), CPU).begin(brief, plan, base)


@pytest.mark.parametrize(
    ("options", "place", "said"),
    [
        (["--fsdp"], {}, "--fsdp divides the base among processes, and there is one"),
        (["--device", "cuda"], {}, "--device is of the processes that torchrun starts"),
        (["--workers", "2"], {"WORLD_SIZE": "2", "RANK": "0"}, "leave --workers out"),
        (["--fsdp"], {"WORLD_SIZE": "2", "RANK": "0"}, "leave --fsdp out"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(
    options: list[str], place: Mapping[str, str], said: str
) -> None:
    what = "layers.toml" if said == "leave --fsdp out" else "garden"
    done = CliRunner().invoke(main, ["grow", what, *options], env=place)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
