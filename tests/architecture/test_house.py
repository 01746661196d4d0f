"""The plan of the house, as tests: what may be imported where, what is public, what has a docstring."""

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import saint
import warm

SOURCE = Path(saint.__file__).parent
ROOMS = sorted(module.name for module in pkgutil.iter_modules(saint.__path__, "saint."))
NEED_AN_EXTRA = {"saint.harness": "lm_eval", "saint.peft": "peft"}
"""Rooms that extend another package, and cannot be without it."""
TORCH_FREE = ["saint.errors", "saint.records", "saint.config", "saint.discovery", "saint.gates", "saint.registry"]
TORCH_FREE += [
    "saint.search",
    "saint.report",
    "saint.remotes",
    "saint.progress",
    "saint.cli.main",
    "saint.signing",
    "saint",
]
TORCH_FREE += [
    "saint.signing",
    "saint.statements",
    "saint.exports",
    "saint.judges.lexicon",
    "saint.judges.refusal",
    "saint.gates.safety",
]
HEAVY_EXTRAS = [
    "peft",
    "lm_eval",
    "pyarrow",
    "zstandard",
    "datasets",
    "ray",
    "torchao",
    "bitsandbytes",
    "s3fs",
    "fsspec",
]


def loaded_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after `code`."""
    program = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_judging_and_reading_load_no_torch() -> None:
    imports = "\n".join(f"import {room}" for room in [*TORCH_FREE, "saint.gates.gain", "saint.gates.retention"])
    assert not {"torch", "transformers", "numpy"} & loaded_after(imports)


def test_reading_a_library_loads_no_torch() -> None:
    code = "from click.testing import CliRunner\nfrom saint.cli.main import main\nimport saint.library\n"
    listing = "CliRunner().invoke(main, ['library', 'list', 'nowhere'])"
    assert not {"torch", "transformers"} & loaded_after(f"{code}{listing}")


def test_help_loads_no_torch() -> None:
    code = "from click.testing import CliRunner\nfrom saint.cli.main import main\nCliRunner().invoke(main, ['--help'])"
    assert not {"torch", "transformers", "numpy"} & loaded_after(code)


def test_looking_at_a_registry_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import saint\nfrom saint.registry import verify\n"
        f"registry = saint.Registry.open({str(tmp_path / 'garden')!r})\nverify(registry)\nregistry.state"
    )
    assert "torch" not in loaded_after(code)


@pytest.mark.slow
def test_every_room_imports_with_the_minimum_installed() -> None:
    blocked = f"sys.modules.update(dict.fromkeys({HEAVY_EXTRAS!r}))"  # importing any of them now fails
    imports = "\n".join(f"import {room}" for room in ROOMS if room not in ("saint.cli.__main__", *NEED_AN_EXTRA))
    assert "torch" in loaded_after(f"{blocked}\n{imports}")


@pytest.mark.slow
def test_the_room_that_extends_peft_says_how_to_get_it(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys\nsys.modules['peft'] = None\nimport saint.peft", encoding="utf-8")
    done = warm.run(program)
    said = done.stderr.strip().splitlines()[-1]
    assert said.endswith("MissingPackageError: saint.peft needs the package peft: pip install 'saint-g[peft]'")


def public_things() -> Iterator[tuple[str, object]]:
    for room in ROOMS:
        if room in NEED_AN_EXTRA and importlib.util.find_spec(NEED_AN_EXTRA[room]) is None:
            continue
        module = importlib.import_module(room)
        for name, thing in vars(module).items():
            ours = getattr(thing, "__module__", "").startswith("saint")
            if not name.startswith("_") and ours and not isinstance(thing, ModuleType | typing.TypeVar):
                yield f"{room}.{name}", thing


def test_every_public_name_has_a_docstring() -> None:
    classes_and_functions = [(name, t) for name, t in public_things() if inspect.isclass(t) or inspect.isroutine(t)]
    assert len(classes_and_functions) > 60
    missing = [name for name, thing in classes_and_functions if not inspect.getdoc(thing)]
    for name, thing in classes_and_functions:
        if inspect.isclass(thing):
            own = [member for member in vars(thing).items() if inspect.isroutine(member[1])]
            missing += [
                f"{name}.{n}"
                for n, m in own
                if not n.startswith(("_", "test_")) and not inspect.getdoc(getattr(thing, n, m))
            ]
    assert missing == []


def test_every_module_has_a_docstring_or_is_private() -> None:
    public = [file for file in SOURCE.rglob("*.py") if not file.name.startswith("_") and "cli" not in file.parts]
    missing = [file.name for file in public if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))]
    assert missing == []


def test_files_stay_short_and_have_names_that_say_something() -> None:
    for file in SOURCE.rglob("*.py"):
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 400, file
        empty_names = {"utils", "util", "common", "helpers", "core", "misc", "manager"}
        assert file.stem.strip("_") not in empty_names, file


def test_the_main_flow_is_one_page() -> None:
    assert len((SOURCE / "growth" / "_grow.py").read_text(encoding="utf-8").splitlines()) <= 100


def test_nothing_on_disk_can_run_code() -> None:
    for file in SOURCE.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not names & {"pickle", "shelve", "marshal", "dill", "joblib"}, file
        calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not calls & {"torch.load", "torch.save", "eval", "exec"}, file


def api() -> list[str]:
    """The front door: each name with its parameters."""
    return [f"{name}{_parameters(getattr(saint, name))}" for name in dir(saint)]


def _parameters(thing: typing.Any) -> inspect.Signature:
    signature = inspect.signature(thing)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return inspect.Signature(bare)


def test_the_front_door_is_what_it_was() -> None:
    """A change of the public interface is seen in review: after one, write the new lines into api.txt."""
    kept = (Path(__file__).parent / "api.txt").read_text(encoding="utf-8").splitlines()
    assert api() == kept


@pytest.mark.parametrize("name", dir(saint))
def test_every_name_of_the_front_door_is_there(name: str) -> None:
    assert inspect.getdoc(getattr(saint, name))
