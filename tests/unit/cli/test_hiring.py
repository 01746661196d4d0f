"""What is asked of workers on the command line and cannot be: said before any work."""

import click
import pytest
import torch
from click.testing import CliRunner, Result

from saint import config, freeze
from saint.cli._hiring import size
from saint.cli.main import main
from saint.growth import Plan, start
from workshop import Workshop


def grow(workshop: Workshop, *options: str) -> Result:
    return CliRunner().invoke(main, ["grow", str(workshop.registry), *options])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--gpus", "0.5"], "--gpus and --memory are of each worker; give --workers."),
        (["--memory", "4GiB"], "--gpus and --memory are of each worker; give --workers."),
        (["--workers", "2", "--gpus", "1.5"], "1.5 is not in the range 0<x<=1"),
        (["--workers", "2", "--memory", "much"], "'much' is no size; give such as 4GiB"),
        (["--workers", "2", "--address", "auto"], "--address is of a Ray cluster; give --executor ray."),
    ],
)
def test_options_that_cannot_be_meant(workshop: Workshop, options: list[str], said: str) -> None:
    result = grow(workshop, *options)
    assert result.exit_code == 2
    assert said in result.stderr


def test_more_than_a_machine_has_is_refused_before_any_work(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, plan = freeze(workshop.base), config.load(workshop.plan, Plan)
    start(workshop.registry, base, plan, root=workshop.root)
    before = workshop.events()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for executor in ("processes", "ray"):
        more = ("--executor", executor)
        for options, said in (
            (["--workers", "100000", *more], "100000 workers with "),
            (["--workers", "2", "--memory", "90TiB", *more], "2 workers with 92160 GiB of memory each"),
            (["--workers", "2", "--memory", "1KiB", *more], "--memory gives a worker 0.01 GiB, and Python"),
            (["--workers", "2", "--gpus", "0.5", *more], "PyTorch finds none on this one"),
        ):
            result = grow(workshop, *options)
            assert result.exit_code == 2, result.output
            assert said in result.stderr.splitlines()[-1]
    assert workshop.events() == before


@pytest.mark.parametrize(
    ("said", "expected"),
    [("0", 0), ("4GiB", 4 << 30), ("1.5MiB", 3 << 19), ("500MB", 500_000_000), ("7B", 7), ("2KB", 2000)],
)
def test_sizes(said: str, expected: int) -> None:
    command = main.commands["grow"]
    [parameter] = [one for one in command.params if one.name == "memory"]
    assert size(click.Context(command), parameter, said) == expected
