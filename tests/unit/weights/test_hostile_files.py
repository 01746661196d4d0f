"""What is no graft's file is refused in one sentence, cheaply, and what is accepted means the same to safetensors."""

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from hostile_files import CRAFTED, FURTHER, LARGER, MIXED, VALID, built, differences, mutations, try_mutations
from saint.errors import GraftFileError
from saint.weights import check_weights

CASES = {**CRAFTED, **FURTHER}
MOST_MEMORY = 64 << 20


def test_there_are_as_many_as_were_asked_for() -> None:
    assert len(CRAFTED) == 52
    assert len(FURTHER) >= 30
    assert len(CASES) == len(CRAFTED) + len(FURTHER)


@pytest.mark.parametrize("name", CASES)
def test_each_is_refused_in_one_sentence_or_is_harmless(name: str) -> None:
    words, content = CASES[name][1], built(CASES[name])
    if words is None:
        assert differences(content, check_weights(content)) == []
        return
    with pytest.raises(GraftFileError, match=words) as caught:
        check_weights(content)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    assert "; " in message  # what was found; what to do


@pytest.mark.parametrize("name", CASES)
def test_each_is_answered_in_little_memory(name: str) -> None:
    content = built(CASES[name])
    tracemalloc.start()
    try:
        check_weights(content)
    except GraftFileError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < MOST_MEMORY


def test_mutations_crash_nothing_and_what_is_accepted_is_read_alike() -> None:
    tally = try_mutations(20_000)
    assert tally.num == 20_000
    assert tally.crashes == []
    assert tally.disagreements == []
    assert 100 < tally.num_accepted < 10_000


def test_mutations_are_those_of_their_seed() -> None:
    assert list(mutations(20, seed=3)) == list(mutations(20, seed=3))
    assert list(mutations(20, seed=3)) != list(mutations(20, seed=4))


@pytest.mark.parametrize("content", [VALID, LARGER, MIXED])
def test_what_they_are_mutations_of_is_good(content: bytes) -> None:
    assert differences(content, check_weights(content)) == []


@pytest.mark.parametrize("content", [VALID, MIXED])
@pytest.mark.parametrize("change", [lambda file, end: file[:end], lambda file, end: file[:end] + b"\0" + file[end:]])
def test_a_byte_less_or_more_anywhere_is_seen(content: bytes, change: Callable[[bytes, int], bytes]) -> None:
    for end in range(len(content)):
        with pytest.raises(GraftFileError):
            check_weights(change(content, end))


WATCHED = """
import sys
from pathlib import Path
from saint.errors import SaintError
{reading}

FILES = {{"open", "compile", "import", "pickle.find_class", "os.mkdir", "os.rename", "os.remove", "exec"}}
STARTS = ("subprocess.", "os.exec", "os.spawn", "os.fork", "os.system", "os.posix_spawn", "socket.", "ctypes.")
folders, seen, armed = [Path(line) for line in sys.stdin.read().splitlines()], [], []

def watch(event, arguments):
    if armed and (event in FILES or event.startswith(STARTS)) and not isinstance(arguments[0], int):  # an open file
        seen.append((event, str(arguments[0])))

sys.addaudithook(watch)
for index, folder in enumerate(folders):
    armed.append(True)
    try:
        read(folder)
    except SaintError as error:
        assert len(str(error).splitlines()) == 1
    armed.clear()
    allowed = {{("open", str(folder / name)) for name in ("adapter_config.json", "adapter_model.safetensors")}}
    assert index == 0 or set(seen) <= allowed, (folder, set(seen) - allowed)  # the first imports
    assert ("open", str(folder / "adapter_model.safetensors")) in seen
    seen.clear()
print("watched", len(folders))
"""
FILE_ALONE = """
from saint.weights import check_weights, read_weights
def read(folder):
    check_weights(read_weights(folder / "adapter_model.safetensors"))
"""


@pytest.mark.parametrize(
    "reading", [FILE_ALONE, pytest.param("from saint.adapters import read_adapter as read", marks=pytest.mark.slow)]
)
def test_reading_a_hostile_file_opens_no_other_and_starts_nothing(reading: str, tmp_path: Path) -> None:
    folders = []
    for index, case in enumerate(CASES.values()):
        if isinstance(case[0], bytes):
            folders.append(tmp_path / str(index))
            folders[-1].mkdir()
            (folders[-1] / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
            (folders[-1] / "adapter_model.safetensors").write_bytes(case[0])
    told = "\n".join(map(str, [folders[0], *folders]))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED.format(reading=reading)],
        input=told,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout == f"watched {len(folders) + 1}\n", done.stderr
