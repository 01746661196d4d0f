"""A registry that was copied elsewhere is read by its own pages: plain Python that knows nothing of this package."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from saint.registry import Registry, collect, public_pem, verify
from saint.signing import sign_entries
from signed_garden import ROSE, judge

_PAGE = Path(__file__).parents[3] / "src" / "saint" / "registry" / "_verifier.py"
_NOBODY = 65534


@pytest.fixture
def garden(tmp_path: Path) -> Registry:
    """Four entries, one of them signed, with a signed checkpoint."""
    registry = Registry.open(tmp_path / "garden")
    sign_entries(registry)
    for row in range(3):
        registry.write("noted", {"row": row}, contents=[f"content {row}".encode()])
    judge(registry, ROSE)
    registry.seal.seal()
    return registry


def copied(registry: Registry, folder: Path) -> Path:
    return shutil.copytree(registry.folder, folder / "copy of it")


def read_alone(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """What its verify.py says where nothing is installed, not even what Python's own site finds."""
    command = [sys.executable, "-I", "-S", "verify.py", *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin"}, timeout=30
    )


def expected(registry: Registry) -> tuple[str, str]:
    found = verify(registry)
    return "--expect", f"{found.num_entries}:{found.root}"


def overwrite(place: Path, content: bytes) -> None:
    place.chmod(0o644)
    place.write_bytes(content)


def test_this_package_is_not_there_for_it(garden: Registry, tmp_path: Path) -> None:
    copy = copied(garden, tmp_path)
    command = [sys.executable, "-I", "-S", "-c", "import saint"]
    assert "No module named 'saint'" in subprocess.run(command, capture_output=True, text=True, check=False).stderr
    done = read_alone(copy, ".", *expected(garden))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("the files fit together, and with what you expected\n")
    assert "attestations are whole; FORMAT.md says how to check who signed them" in done.stdout


def test_without_a_checkpoint_from_elsewhere_it_does_not_say_verified(garden: Registry, tmp_path: Path) -> None:
    done = read_alone(copied(garden, tmp_path))
    assert done.returncode == 3
    assert "could not check whether the log was cut short or written anew: give --expect SIZE:ROOT\n" in done.stdout
    assert done.stdout.endswith("what was read fits together\n")


def test_its_openssl_commands_hold_the_checkpoint_against_the_key_that_signed_it(
    garden: Registry, tmp_path: Path
) -> None:
    copy = copied(garden, tmp_path)
    (copy / "checkpoints" / "ffffffffffffffff.pem").write_text("another's\n")  # the last of them by name
    done = read_alone(copy, ".")
    commands = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")][:4]
    script = "\n".join(commands).replace("cd checkpoints", f"cd '{copy}/checkpoints'")
    checked = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert checked.stdout == "Signature Verified Successfully\n", checked.stderr


@pytest.mark.parametrize("what", ["log/*/000000001.json", "blobs/*/*", "checkpoints/*.note", "registry.json"])
def test_one_flipped_bit_is_a_problem(garden: Registry, tmp_path: Path, what: str) -> None:
    copy, about = copied(garden, tmp_path), expected(garden)
    place = sorted(copy.glob(what))[0]
    content = bytearray(place.read_bytes())
    content[5] ^= 4
    overwrite(place, bytes(content))
    done = read_alone(copy, ".", *about)
    assert (done.returncode, done.stderr) == (1, "")
    assert "problem: " in done.stdout


ODD = {
    "is no ordinary file": [os.mkfifo, os.mkdir, lambda place: place.symlink_to("/dev/zero")],
    "bytes": [lambda place: place.touch() or os.truncate(place, 1 << 40)],
}


@pytest.mark.parametrize(
    "what",
    ["log/*/000000001.json", "blobs/*/*", "checkpoints/*.note", "checkpoints/*.pem", "registry.json", "origin"],
)
def test_what_is_no_ordinary_file_or_has_no_end_is_a_problem_and_not_waited_for(
    garden: Registry, tmp_path: Path, what: str
) -> None:
    copy, about = copied(garden, tmp_path), expected(garden)
    place = sorted(copy.glob(what))[0]
    for words, ways in ODD.items():
        for make in ways if words != "bytes" or not what.startswith("blobs") else []:  # a content may be of any size
            place.rmdir() if place.is_dir() else place.unlink()
            make(place)
            done = read_alone(copy, ".", *about)
            assert (done.returncode, done.stderr) == (1, ""), (make, done.stdout)
            [problem] = [line for line in done.stdout.splitlines() if str(place.name) in line and "problem: " in line]
            assert problem.endswith(words)


def test_a_key_that_is_another_than_its_name_says_is_a_problem(garden: Registry, tmp_path: Path) -> None:
    copy, about = copied(garden, tmp_path), expected(garden)
    [place] = copy.glob("checkpoints/*.pem")
    for content in (public_pem(bytes(32)), b"junk", place.read_bytes() + b"\n"):
        overwrite(place, content)
        done = read_alone(copy, ".", *about)
        assert (done.returncode, done.stderr) == (1, "")
        assert f"{place.name} does not hold the key that it is called by" in done.stdout


def test_what_was_collected_is_not_missed_and_leftovers_are_no_problem(garden: Registry, tmp_path: Path) -> None:
    garden.store.put(b"what a writer left that died")
    collected = collect(garden, grace_seconds=-1)
    assert len(collected.blobs) == 1
    garden.store.put(b"and another")
    (garden.folder / "tmp" / "000000009.json.0123456789abcdef").write_text("{")
    (garden.folder / "work" / "notes").write_text("text")
    (garden.folder / "index.sqlite").write_bytes(b"a cache")
    (garden.folder / "lost+found").mkdir()
    done = read_alone(copied(garden, tmp_path), ".", *expected(garden))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    [besides] = [
        line for line in done.stdout.splitlines() if line.startswith("also there, and no part of the record: ")
    ]
    assert besides.split(": ")[1].split("; ") == [
        "1 blobs that no entry names",
        "1 files in tmp/",
        "1 files in trash/",
        "1 files in work/",
        "lost+found, which is no registry's",
    ]


def test_a_blob_that_is_needed_and_lies_in_the_trash_is_said_to_be_there(garden: Registry, tmp_path: Path) -> None:
    about, copy = expected(garden), copied(garden, tmp_path)
    place = next(copy.glob("blobs/*/*"))
    (copy / "trash").mkdir()
    place.rename(copy / "trash" / f"{place.name}.0123456789abcdef")
    done = read_alone(copy, ".", *about)
    assert done.returncode == 1
    assert "has its name: `saint gc` brings it back" in done.stdout


_AS_SOMEBODY_WITHOUT_RIGHTS = f"""
import contextlib, io, os, sys
page = {{"__name__": "page", "__file__": "verify.py"}}
exec(open("verify.py").read(), page)
with contextlib.redirect_stdout(io.StringIO()):
    page["main"](sys.argv[1:])  # what Python loads only now it may read still
os.geteuid() or os.seteuid({_NOBODY})  # root may read everything
sys.exit(page["main"](sys.argv[1:]))
"""


@pytest.mark.parametrize("what", ["log/*/000000001.json", "blobs/*/*", "checkpoints/*.note", "log/000000", "origin"])
def test_what_cannot_be_read_is_never_called_wrong_or_sound(garden: Registry, tmp_path: Path, what: str) -> None:
    copy, about = copied(garden, tmp_path), expected(garden)
    place = sorted(copy.glob(what))[0]
    place.chmod(0)
    command = [sys.executable, "-I", "-S", "-c", _AS_SOMEBODY_WITHOUT_RIGHTS, ".", *about]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    place.chmod(0o755)
    assert (done.returncode, done.stderr) == (3, ""), done.stdout
    assert "it cannot be read" in done.stdout
    assert "problem" not in done.stdout


def test_a_newer_format_could_not_be_checked(garden: Registry, tmp_path: Path) -> None:
    copy = copied(garden, tmp_path)
    overwrite(copy / "registry.json", b'{"format":2,"hash":"sha256"}')
    done = read_alone(copy, ".")
    assert (done.returncode, done.stdout) == (3, "could not check: format 2, this file reads 1\n")


def test_it_is_plain_old_python() -> None:
    """What a system of ten years ago has: the syntax of 3.8, and the standard library alone."""
    tree = ast.parse(_PAGE.read_text(encoding="utf-8"), feature_version=(3, 8))
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
    }
    assert modules <= sys.stdlib_module_names
    assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body), (
        "annotations such as list[str] are no types yet in 3.8"
    )
