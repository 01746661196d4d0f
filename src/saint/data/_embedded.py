"""Text that every machine with Python has: the standard library, as code and as prose.

A newcomer has no corpus and may have no network. The running interpreter has both domains: *code* is the
library's source with its docstrings taken out, *prose* is those docstrings and the language reference that backs
`help()`. A third domain, *descriptions*, is what the installed packages say of themselves where they are published.
The text depends on the interpreter's version and on what is installed; its digest is recorded wherever it is used.
"""

import ast
import io
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from types import MappingProxyType

_LEFT_OUT = frozenset(  # packages of others, tests, and tables of characters or topics that are no code
    ("site-packages", "test", "tests", "idle_test", "__pycache__", "pydoc_data", "encodings")
)
_HAS_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_MIN_CHARS = 300  # a shorter document says little and has a noisy loss per byte


def read_code() -> Iterator[tuple[str, str]]:
    """(text, name) of each module of the standard library, without its docstrings."""
    for name, code, _prose in _library():
        if len(code) >= _MIN_CHARS:
            yield code, name


def read_prose() -> Iterator[tuple[str, str]]:
    """(text, name): one document per module's docstrings, one per topic of the reference."""
    for name, _code, prose in _library():
        if len(prose) >= _MIN_CHARS:
            yield prose, f"{name}:docstrings"
    from pydoc_data.topics import topics

    for name, text in sorted(topics.items()):
        if len(text) >= _MIN_CHARS:
            yield text, f"topic:{name}"


def read_descriptions() -> Iterator[tuple[str, str]]:
    """(text, name): the page of each installed package, mostly Markdown, once for all its versions."""
    pages: dict[str, str] = {}
    for package in distributions():
        text = str(package.metadata.get_payload() or package.metadata.get("Description") or "")  # type: ignore[attr-defined]
        pages.setdefault(str(package.metadata["Name"]).lower(), text)
    for name, text in sorted(pages.items()):
        if len(text) >= _MIN_CHARS:
            yield text, f"package:{name}"


EMBEDDED: Mapping[str, Callable[[], Iterator[tuple[str, str]]]] = MappingProxyType(
    {"code": read_code, "prose": read_prose, "descriptions": read_descriptions}
)


@cache
def _library() -> tuple[tuple[str, str, str], ...]:
    """(module path, its code, its docstrings) of every module that parses, in the order of their paths."""
    root = Path(sysconfig.get_path("stdlib"))
    modules = []
    for file in sorted(root.rglob("*.py")):
        relative = file.relative_to(root)
        if _LEFT_OUT.isdisjoint(relative.parts):
            try:
                code, prose = take_docstrings_out(file.read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError, ValueError):
                continue  # the library ships a few files in other encodings, on purpose
            modules.append((relative.as_posix(), code, prose))
    return tuple(modules)


def take_docstrings_out(source: str) -> tuple[str, str]:
    """(source without the lines of its docstrings, the docstrings joined by blank lines).

    A body that was only a docstring gets `pass` instead, so that what is left is still Python.

    Raises:
        SyntaxError: `source` is not Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old modules have invalid escapes; the parser says so each time
        tree = ast.parse(source)
    docstrings: list[str] = []
    lines: list[str] = io.StringIO(
        source
    ).readlines()  # `splitlines` also cuts where the parser does not, at form feeds
    for node in _statements(tree):
        if isinstance(node, _HAS_DOCSTRING) and (text := ast.get_docstring(node)):
            docstrings.append(text)
            first, last = node.body[0].lineno - 1, node.body[0].end_lineno or 0
            stands_in = f"{' ' * node.body[0].col_offset}pass\n" if len(node.body) == 1 and node is not tree else ""
            if not lines[first][: node.body[0].col_offset].strip():  # one beside its `def` stays where it is
                lines[first:last] = [stands_in, *[""] * (last - first - 1)]
    return "".join(lines), "\n\n".join(docstrings)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """`node` and the statements below it; expressions, which are most of a tree, hold none."""
    yield node
    for block in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, block, ()):
            yield from _statements(child)
