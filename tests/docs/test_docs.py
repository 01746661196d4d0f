import re
import sys
from pathlib import Path

import pytest

from saint import config, discovery
from saint.candidates import Proposal
from saint.comparison import ComparisonPlan
from saint.data import DataPlan
from saint.grafts import Kind
from saint.growth import Plan
from saint.studies import CompositionPlan, DockingPlan, FullPlan, StudyPlan, WaysPlan
from saint.training import BasePlan

sys.path.insert(0, str(Path(__file__).parent))

from reference_pages import DOCS, PAGES, commands

ROOT = DOCS.parent
RECIPES = ROOT / "src" / "saint" / "recipes"
PLAN_OF = {
    "code-to-prose": Plan,
    "composition": CompositionPlan,
    "composition-quick": CompositionPlan,
    "docking-study": DockingPlan,
    "docking-study-quick": DockingPlan,
    "full-vs-grafted": FullPlan,
    "full-vs-grafted-published": FullPlan,
    "full-vs-grafted-quick": FullPlan,
    "grafts-on-5m": FullPlan,
    "interface-study": WaysPlan,
    "interface-study-quick": WaysPlan,
    "kinds-small": ComparisonPlan,
    "layerwise": Plan,
    "published-equal-time": FullPlan,
    "python-library-text": DataPlan,
    "python-library-to-judge-on": DataPlan,
    "layerwise-study": WaysPlan,
    "layerwise-study-quick": WaysPlan,
    "small-llama-on-code": BasePlan,
    "study-sensitivity": StudyPlan,
    "two-stages": Plan,
}
PROSE = [ROOT / "README.md", *sorted(DOCS.rglob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]


@pytest.mark.parametrize("page", PAGES)
def test_a_reference_page_says_what_the_code_says(page: str) -> None:
    written = (DOCS / page).read_text(encoding="utf-8")
    assert written == PAGES[page](), "run python tests/docs/reference_pages.py"


@pytest.mark.parametrize("recipe", sorted(file.stem for file in RECIPES.glob("*.toml")))
def test_every_recipe_loads(recipe: str) -> None:
    config.load(RECIPES / f"{recipe}.toml", PLAN_OF[recipe])


@pytest.mark.parametrize("plan", sorted((ROOT / "benchmarks").glob("*.toml")), ids=lambda plan: plan.stem)
def test_every_comparison_of_the_benchmarks_loads(plan: Path) -> None:
    config.load(plan, ComparisonPlan)


@pytest.mark.parametrize("file", PROSE, ids=lambda file: file.name)
def test_every_link_leads_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", file.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (file.parent / target).exists(), target


@pytest.mark.parametrize("file", PROSE, ids=lambda file: file.name)
def test_every_command_in_the_prose_exists(file: Path) -> None:
    known = {name for name, _ in commands()}
    options = {name: {option for p in command.params for option in p.opts} | {"--help"} for name, command in commands()}
    for line in re.findall(r"^\$ saint (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE):
        words = line.partition("#")[0].split()
        name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        assert name in known, line
        assert {word for word in words if word.startswith("--")} <= options[name], line


@pytest.mark.parametrize(
    ("page", "number", "plan"),
    [
        ("grow-your-model", 1, Plan),
        ("growth-schedules", 7, Plan),
        ("grow-layer-by-layer", 1, Plan),
        ("safety-suites", 1, Plan),
        ("compare-kinds", 1, ComparisonPlan),
        ("study-sensitivity", 1, StudyPlan),
        ("full-vs-grafted", 1, FullPlan),
        ("compose-experts", 1, CompositionPlan),
        ("study-docking", 1, DockingPlan),
    ],
)
def test_the_plans_of_the_how_to_load(page: str, number: int, plan: type) -> None:
    plans = re.findall(
        r"```toml\n(.*?)```", (DOCS / "howto" / f"{page}.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    assert len(plans) == number
    for text in plans:
        config.build(config.parse(text, where="how-to"), plan, where="how-to")


@pytest.mark.parametrize("kind", discovery.names("grafts"))
def test_the_examples_of_a_kind_are_a_plan_s(kind: str) -> None:
    page = (DOCS / "reference" / "kinds" / f"{kind}.md").read_text(encoding="utf-8")
    shown = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    proposals = [config.parse(text, where=kind)["proposals"] for text in shown]
    read = [config.build(proposal, Proposal, where=kind) for [proposal] in proposals]
    assert [dict(proposal.options) for proposal in read] == [
        dict(e) for e in discovery.find("grafts", kind, Kind).examples
    ]


def test_every_kind_has_a_page_and_no_other_page_is_left() -> None:
    assert sorted(file.stem for file in (DOCS / "reference" / "kinds").glob("*.md")) == sorted(
        discovery.names("grafts")
    )


def test_the_figures_of_the_readme_have_their_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in readme
    assert "make test" in readme
