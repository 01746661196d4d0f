"""Documents are the same whatever they lie in, and what cannot be read is refused with the place where it is."""

import ast
import gzip
import json
import re
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from saint.data import Document, read_documents
from saint.data._embedded import take_docstrings_out
from saint.errors import DataError

TEXTS = ["Ein Satz.\nNoch einer.\n", "naïve café, 日本語, \u2028 and 🐍", '"quoted" and \\ escaped']
HAS_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def as_jsonl(texts: Sequence[str]) -> bytes:
    return "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts)).encode()


def in_frames(content: bytes) -> bytes:
    """Zstandard as parallel compressors write it: several frames one after the other."""
    return b"".join(zstandard.compress(content[i : i + 50]) for i in range(0, len(content), 50))


def write_parquet(file: Path, texts: Sequence[str]) -> None:
    parquet.write_table(pa.table({"id": list(range(len(texts))), "text": texts}), file, row_group_size=2)


WRITERS: dict[str, Callable[[Path, Sequence[str]], object]] = {
    "all.jsonl": lambda file, texts: file.write_bytes(as_jsonl(texts)),
    "all.jsonl.gz": lambda file, texts: file.write_bytes(gzip.compress(as_jsonl(texts))),
    "all.jsonl.zst": lambda file, texts: file.write_bytes(zstandard.compress(as_jsonl(texts))),
    "frames.jsonl.zst": lambda file, texts: file.write_bytes(in_frames(as_jsonl(texts))),
    "all.parquet": write_parquet,
}


def texts_of(source: str, root: Path, **options: str) -> list[str]:
    return [document.text for document in read_documents(source, root=root, **options)]


def refusal(source: str, root: Path, **options: str) -> str:
    with pytest.raises(DataError) as caught:
        texts_of(source, root, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", WRITERS)
def test_documents_are_the_same_whatever_the_container(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, TEXTS)
    assert texts_of(name, tmp_path) == TEXTS


@pytest.mark.parametrize("name", WRITERS)
def test_empty_documents_are_left_out(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, ["", TEXTS[0], " \n\t", TEXTS[1]])
    assert texts_of(name, tmp_path) == TEXTS[:2]


@pytest.mark.parametrize(
    ("name", "pack"), [("all.txt", bytes), ("all.txt.gz", gzip.compress), ("all.txt.zst", zstandard.compress)]
)
def test_a_separator_cuts_a_text_file_into_documents(name: str, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pack("\n===\n".join([*TEXTS, "  "]).encode()))
    assert texts_of(name, tmp_path, separator="\n===\n") == TEXTS
    assert texts_of(name, tmp_path) == ["\n===\n".join([*TEXTS, "  "])]


def test_a_folder_and_a_glob_stand_for_their_files_in_a_fixed_order(tmp_path: Path) -> None:
    for name, text in {"c.txt": "third", "a.txt": "first", "b/b.txt": "second", "b/note.md": "a note"}.items():
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).write_text(text, encoding="utf-8")
    assert texts_of("all", tmp_path) == ["first", "second", "a note", "third"]
    assert texts_of("all/*.txt", tmp_path) == ["first", "third"]
    assert texts_of("all/**/*.txt", tmp_path) == ["first", "second", "third"]
    assert texts_of(str(tmp_path / "all" / "a.txt"), Path()) == ["first"]


def test_another_key_may_hold_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "from lines", "text": "not this"}\n', encoding="utf-8")
    parquet.write_table(pa.table({"body": ["from a table"], "text": ["not this"]}), tmp_path / "a.parquet")
    assert texts_of("a.*", tmp_path, text_key="body") == ["from lines", "from a table"]


def test_a_document_says_where_it_was_read_and_how_long_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n" + as_jsonl([TEXTS[1]]))
    [document] = read_documents("a.jsonl", root=tmp_path)
    assert document.source == "a.jsonl:2"
    assert document.num_bytes == len(TEXTS[1].encode()) > len(TEXTS[1])
    assert document.digest == Document(TEXTS[1], "elsewhere").digest != Document(TEXTS[0], "a.jsonl:2").digest


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{oops", "not JSON"),
        ('{"body": "x"}', "no text under 'text' .*body"),
        ('{"text": 3}', "no text under 'text'"),
        ('["x"]', "no text under 'text' .*list"),
        ('{"text": "cut in the middle: \\ud83d"}', "half a character"),
    ],
)
def test_a_bad_line_is_named(line: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "fine"}}\n\n{line}\n', encoding="utf-8")
    assert re.search(rf"a\.jsonl:3 .*{complaint}", refusal("a.jsonl", tmp_path))


PACKED = gzip.compress(as_jsonl(TEXTS * 20)), zstandard.compress(as_jsonl(TEXTS * 20))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("latin.txt", "caf\xe9".encode("latin-1")),
        ("latin.jsonl", b'{"text": "caf\xe9"}\n'),
        ("plain.txt.gz", b"plain"),
        ("short.jsonl.gz", PACKED[0][:-12]),
        ("damaged.jsonl.gz", PACKED[0][:40] + bytes(20) + PACKED[0][60:]),
        ("plain.txt.zst", b"plain"),
        ("short.jsonl.zst", PACKED[1][:-5]),
        ("plain.parquet", b"plain"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert str(tmp_path / name) in refusal(name, tmp_path)


def test_a_table_without_the_column_or_with_numbers_in_it_is_refused(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": [1, 2]}), tmp_path / "a.parquet")
    assert "no column 'body' (it has text)" in refusal("a.parquet", tmp_path, text_key="body")
    assert "int" in refusal("a.parquet", tmp_path)


@pytest.mark.parametrize("source", ["missing.txt", "missing/", "*.missing", "hollow"])
def test_what_is_not_there_is_refused(source: str, tmp_path: Path) -> None:
    (tmp_path / "hollow").mkdir()
    assert refusal(source, tmp_path).startswith(f"{source}: no such file, folder or glob")


def test_an_unknown_embedded_text_is_refused_with_those_there_are() -> None:
    assert "embedded:code or embedded:prose or embedded:descriptions" in refusal("embedded:verse", Path())


def docstrings_dropped(tree: ast.AST) -> list[str]:
    """Takes the docstrings out of the tree itself, and gives them back."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, HAS_DOCSTRING) and (text := ast.get_docstring(node)):
            found.append(text)
            del node.body[0]
    return found


@pytest.mark.parametrize(
    "module", ["textwrap", "statistics", "argparse", "json/decoder", "contextlib", "asyncio/tasks"]
)
def test_embedded_code_is_the_same_program_without_docstrings(module: str) -> None:
    source = (Path(sysconfig.get_path("stdlib")) / f"{module}.py").read_text(encoding="utf-8")
    code, prose = take_docstrings_out(source)
    tree = ast.parse(source)
    docstrings = docstrings_dropped(tree)
    assert len(docstrings) > 3
    assert ast.dump(ast.parse(code)) == ast.dump(tree)
    assert sorted(prose.split("\n\n")) == sorted("\n\n".join(docstrings).split("\n\n"))


def test_every_line_of_code_stays_and_every_docstring_goes() -> None:
    function = 'def f():\n    """Of f,\n    long.\n    """\n    return X\n'
    source = f'"""Of the module."""\n\nX = """no docstring"""\n\x0c\n{function}'
    code, prose = take_docstrings_out(source)
    assert code == '\nX = """no docstring"""\n\x0c\ndef f():\n    return X\n'
    assert prose == "Of the module.\n\nOf f,\nlong."


def test_what_is_left_of_a_body_that_was_only_a_docstring_still_parses() -> None:
    code, prose = take_docstrings_out('class E(Exception):\n    """Went\n    wrong."""\n\ndef f(): "beside"\n')
    assert code == 'class E(Exception):\n    pass\n\ndef f(): "beside"\n'
    assert prose == "Went\nwrong.\n\nbeside"


@pytest.mark.slow
def test_embedded_code_and_prose_are_of_the_running_interpreter() -> None:
    code = {document.source: document.text for document in read_documents("embedded:code")}
    prose = {document.source: document.text for document in read_documents("embedded:prose")}
    assert len(code) > 300
    for text in code.values():
        ast.parse(text)
    assert len(prose) > 300
    assert "def dedent(" in code["textwrap.py"]
    assert "Remove any common leading whitespace" not in code["textwrap.py"]
    assert "Remove any common leading whitespace" in prose["textwrap.py:docstrings"]
    assert "def dedent(" not in prose["textwrap.py:docstrings"]
    assert any(name.startswith("topic:") for name in prose)
