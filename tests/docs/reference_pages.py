"""The reference pages, made from the code: `python tests/docs/reference_pages.py` writes them anew."""

import ast
import dataclasses
import inspect
import json
import re
import typing
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from saint import discovery
from saint.candidates import Proposal, Routing
from saint.cli.main import main
from saint.comparison import ArmPlan, ComparisonPlan, Targets
from saint.data import DataPlan, Domain, SafetySuite
from saint.gates import Gate
from saint.gates.safety import SuiteLimit
from saint.grafts import Kind
from saint.growth import Controls, Joint, LayerStage, Layerwise, Overgrow, Plan, Stage
from saint.interfaces import Interface
from saint.judges import Judge
from saint.operators import Operator
from saint.records import Budget
from saint.sensitivity import Map, Sensitivity
from saint.studies import (
    BackbonePlan,
    Claim,
    CompositionPlan,
    CompositionTargets,
    DockBackbone,
    DockClaim,
    DockingPlan,
    DockModule,
    ExpertsPlan,
    FullPlan,
    FullTargets,
    GatePlan,
    InDepth,
    LoraPhases,
    ScratchPlan,
    SetPlan,
    StandingPlan,
    StudyPlan,
    StudyTargets,
    Way,
    WaysPlan,
)
from saint.tasks import task_of
from saint.training import BasePlan, Rung, RunPlan, Schedule, Search

DOCS = Path(__file__).parents[2] / "docs"


def commands() -> Iterator[tuple[str, click.Command]]:
    """`saint ...` -> each command, groups' members included."""
    for name, command in sorted(main.commands.items()):
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", found) for inner, found in sorted(command.commands.items()))
        else:
            yield name, command


def help_of(*arguments: str) -> str:
    return CliRunner().invoke(main, [*arguments, "--help"], prog_name="saint").output.strip()


def commands_page() -> str:
    parts = ["# Commands", "", "What `--help` says, in full.", "", "```text", help_of(), "```", ""]
    for name, _ in commands():
        parts += [f"## saint {name}", "", "```text", help_of(*name.split()), "```", ""]
    return "\n".join(parts)


def field_docs(cls: type) -> dict[str, str]:
    """The docstrings below a dataclass's fields."""
    [definition] = ast.parse(inspect.cleandoc("\n" + inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            found[field.target.id] = " ".join(ast.literal_eval(below.value).split())
    return found


def default_of(field: "dataclasses.Field[Any]") -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is not dataclasses.MISSING:
        made = field.default_factory()
        return "see below" if dataclasses.is_dataclass(made) else f"`{made!r}`"
    return "required"


def type_of(hint: Any) -> str:
    text = hint.__name__ if inspect.isclass(hint) and not typing.get_args(hint) else str(hint)
    text = re.sub(r"\b(?:saint(?:\.\w+)*|collections\.abc|typing)\.", "", text)
    return text.replace("|", "\\|")


def table(cls: Any) -> list[str]:
    hints, docs = typing.get_type_hints(cls), field_docs(cls)
    rows = [
        f"| `{f.name}` | `{type_of(hints[f.name])}` | {default_of(f)} | {docs.get(f.name, '')} |"
        for f in dataclasses.fields(cls)
    ]
    return ["| key | type | default | |", "|---|---|---|---|", *rows, ""]


def summary(cls: type) -> str:
    return inspect.getdoc(cls) or ""


def plans_page() -> str:
    parts = ["# Plans", "", "A plan is a TOML file. Unknown keys are refused; `--set key.inner=value` changes one.", ""]
    sections: list[tuple[str, Any]] = [
        ("A growth plan", Plan),
        ("`[data]`, and a data plan", DataPlan),
        ("`[data.domains.<name>]`", Domain),
        ("`[data.suites.<name>]`", SafetySuite),
        ("`[budget]`", Budget),
        ("`[[proposals]]`", Proposal),
        ("`[schedule]`", Schedule),
        ("`[[stages]]`", Stage),
        ("`[sensitivity]`", Sensitivity),
        ("`[routing]`", Routing),
        ("`[search]`", Search),
        ("`[[search.rungs]]`", Rung),
        ("`[joint]`", Joint),
        ("`[overgrow]`", Overgrow),
        ("`[controls]`", Controls),
        ("`[layerwise]`", Layerwise),
        ("`[[layerwise.stages]]`", LayerStage),
        ("A base plan", BasePlan),
        ("A run: flat YAML, for `saint train --config`", RunPlan),
        ("A comparison's plan", ComparisonPlan),
        ("`[[arms]]`", ArmPlan),
        ("`[targets]`", Targets),
        ("A plan of `saint study interface`", WaysPlan),
        ("`[[ways]]`", Way),
        ("`grown` of a way", InDepth),
        ("`grown.lora` of a way", LoraPhases),
        ("`[[claims]]`", Claim),
        ("A study's plan", StudyPlan),
        ("`[sets]` of a study", SetPlan),
        ("`[targets]` of a study", StudyTargets),
        ("A plan of full against grafted", FullPlan),
        ("`[[backbones]]`", BackbonePlan),
        ("`[backbones.full]`, `[[backbones.others]]`, `[[calibration]]`", ScratchPlan),
        ("`[[arms]]` of full against grafted", StandingPlan),
        ("`[targets]` of full against grafted", FullTargets),
        ("A plan of composed experts", CompositionPlan),
        ("`[[groups]]`", ExpertsPlan),
        ("`[gate]`", GatePlan),
        ("`[targets]` of composed experts", CompositionTargets),
        ("A plan of `saint study docking`", DockingPlan),
        ("`[[backbones]]` of docking", DockBackbone),
        ("`[[modules]]`", DockModule),
        ("`[[claims]]` of docking", DockClaim),
    ]
    for title, cls in sections:
        parts += [f"## {title}", "", summary(cls), "", *table(cls)]
    for name in discovery.names("gates"):
        gate = discovery.find("gates", name, Gate)
        parts += [f"## `[gates.{name}]`", "", summary(gate), ""]
        parts += table(gate) if dataclasses.fields(gate) else ["It has no settings.", ""]  # type: ignore[arg-type]
    parts += ["## `[gates.safety.suites.<name>]`", "", summary(SuiteLimit), "", *table(SuiteLimit)]
    for name in discovery.names("judges"):
        judge: Any = discovery.find("judges", name, Judge)
        parts += [f"## Settings of the judge `{name}`", "", summary(judge), "", *table(judge)]
    parts += ["## Options of a proposal", "", "They are those of its kind; [each kind](kinds.md) has a page.", ""]
    return "\n".join(parts)


def kind_of(name: str) -> Any:
    return discovery.find("grafts", name, Kind)


def what_it_is(kind: Any) -> str:
    """The first line of the kind's module."""
    return (inspect.getdoc(inspect.getmodule(kind)) or "").partition("\n")[0]


def source_of(kind: Any) -> str:
    number = kind.reference.removeprefix("arXiv:")
    return kind.reference if number == kind.reference else f"[{kind.reference}](https://arxiv.org/abs/{number})"


def toml_of(value: Any) -> str:
    """A plain value as TOML on one line."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{toml_key(key)} = {toml_of(item)}" for key, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_of, value))}]"
    return json.dumps(value)


def toml_key(key: str) -> str:
    return key if key.replace("_", "").isalnum() else json.dumps(key)


def example_of(name: str, options: Mapping[str, Any]) -> list[str]:
    chosen = [f"options = {toml_of(options)}"] if options else []
    return ["```toml", "[[proposals]]", f'kind = "{name}"', *chosen, 'bundle = "all"', "```", ""]


def kinds_page() -> str:
    parts = ["# Kinds of graft", "", "What `saint kinds` lists; each has a page.", ""]
    parts += ["| kind | attaches to | | parameters per site | merges into | source |", "|---|---|---|---|---|---|"]
    for name in discovery.names("grafts"):
        kind = kind_of(name)
        into = "weight" if kind.can_fold else "architecture" if kind.can_grow else "nothing"
        price = f"`{kind.formula}`".replace("|", "\\|")
        row = f"[`{name}`](kinds/{name}.md) | {kind.attaches_to} | {what_it_is(kind)} | {price} | {into}"
        parts.append(f"| {row} | {source_of(kind)} |")
    parts += ["", "`d` is the width of the residual stream, `d_in` and `d_out` are the sides of a linear map.", ""]
    return "\n".join(parts)


def kind_page(name: str) -> str:
    kind = kind_of(name)
    price = [f"- Parameters per site: `{kind.formula}`."]
    if kind.effective_formula:
        price.append(f"- Of these effective, redundancy left out: `{kind.effective_formula}`.")
    parts = [f"# `{name}`", "", what_it_is(kind), "", summary(kind), ""]
    parts += [f"- Attaches to {kind.attaches_to} sites.", *price]
    merging = "Cannot be merged"
    if kind.can_fold:
        merging = "Can be folded into the weights"
    elif kind.can_grow:
        merging = "Merged, it is part of a larger architecture"
    parts += [f"- {merging}.", f"- Source: {source_of(kind)}.", ""]
    parts += ["## Options", "", *(table(kind.Options) if dataclasses.fields(kind.Options) else ["It has none.", ""])]
    examples = [line for options in kind.examples for line in example_of(name, options)]
    return "\n".join([*parts, "## In a plan", "", "For a very small base:", "", *examples])


def maps_page() -> str:
    parts = ["# Sensitivity maps", "", "What `saint map` measures, all from the same passes over training text.", ""]
    parts += [
        "x, y: a site's input and output; g: the gradient of the loss at y; G = sum g x^T; W: the weight.",
        "",
    ]
    for name in discovery.names("sensitivity"):
        found: Any = discovery.find("sensitivity", name, Map)
        parts += [f"## `{name}`", "", what_it_is(found), "", summary(found), "", f"- Score: `{found.formula}`."]
        if not found.needs_gradient:
            parts.append("- Needs no backward pass.")
        parts += [f"- Source: {source_of(found)}.", ""]
        parts += table(found.Options) if dataclasses.fields(found.Options) else []
    return "\n".join(parts)


def interfaces_page() -> str:
    parts = [
        "# Token interfaces",
        "",
        "What `saint interface list` lists; [how to use them](../howto/token-interfaces.md).",
        "",
    ]
    for name in discovery.names("interfaces"):
        found: Any = discovery.find("interfaces", name, Interface)
        parts += [f"## `{name}`", "", what_it_is(found), "", summary(found), "", f"- Source: {source_of(found)}.", ""]
        parts += table(found.Options) if dataclasses.fields(found.Options) else []
    return "\n".join(parts)


def operators_page() -> str:
    parts = ["# Operators", "", "What `saint expand MODEL --operator NAME --set KEY=VALUE --out DIR` does.", ""]
    for name in discovery.names("operators"):
        found: Any = discovery.find("operators", name, Operator)
        parts += [f"## `{name}`", "", what_it_is(found), "", summary(found), "", f"- Source: {source_of(found)}.", ""]
        parts += table(found)
    return "\n".join(parts)


SCORES = {
    "choice": "the likeliest option",
    "word": "every token of the word the likeliest",
    "answer": "what is written: exact match, F1",
}


def tasks_page() -> str:
    parts = ["# Benchmarks", "", "What `saint measure MODEL --task NAME=FILES` reads; files are the user's own.", ""]
    parts += ["| task | | right is | source | licence of the items |", "|---|---|---|---|---|"]
    for name in discovery.names("tasks"):
        task = task_of(name)
        row = f"[`{name}`](#{name}) | {what_it_is(type(task))} | {SCORES[task.sort]}"
        parts.append(f"| {row} | {source_of(task)} | {task.licence} |")
    parts += ["", "Lines are JSON objects in .jsonl, .jsonl.gz or .jsonl.zst, or one object in .json.", ""]
    parts += [
        line for name in discovery.names("tasks") for line in (f"## {name}", "", summary(type(task_of(name))), "")
    ]
    return "\n".join(parts)


PAGES = {"reference/commands.md": commands_page, "reference/plans.md": plans_page, "reference/kinds.md": kinds_page}
PAGES |= {"reference/maps.md": maps_page, "reference/interfaces.md": interfaces_page}
PAGES |= {"reference/tasks.md": tasks_page, "reference/operators.md": operators_page}
PAGES |= {f"reference/kinds/{name}.md": partial(kind_page, name) for name in discovery.names("grafts")}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(page(), encoding="utf-8")
