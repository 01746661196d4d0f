"""What is known of a file that was checked, how it is read from a disk, and who may open files of weights at all."""

import ast
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.numpy import save

import saint
from hostile_files import LARGER, MIXED, TWO, differences, header_and, of, tensor
from saint.errors import GraftFileError
from saint.records import digest
from saint.weights import AS_STORED, DTYPES, Caps, TensorSpec, check_weights, read_weights

NUMPY = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int8": "I8", "bool": "BOOL"}


@st.composite
def tensors(draw: Any) -> dict[str, np.ndarray]:
    names = draw(st.lists(st.from_regex(r"[a-z]{1,6}(\.[a-z0-9]{1,4}){0,2}", fullmatch=True), min_size=1, unique=True))
    found = {}
    for name in names:
        dtype = np.dtype(draw(st.sampled_from(sorted(NUMPY))))
        values: Any = st.floats(-1000, 1000, width=8 * dtype.itemsize, allow_subnormal=False)  # type: ignore[call-overload]
        elements = values if dtype.kind == "f" else None
        found[name] = draw(arrays(dtype, array_shapes(max_dims=4, max_side=3), elements=elements))
    return found


@given(tensors())
@settings(max_examples=60, deadline=None)
def test_what_safetensors_writes_is_read_back(found: dict[str, np.ndarray]) -> None:
    checked = check_weights(save(found))
    assert checked.tensors == {
        name: TensorSpec(dtype=NUMPY[values.dtype.name], shape=values.shape) for name, values in found.items()
    }
    assert {name: bytes(checked.raw(name)) for name in found} == {name: v.tobytes() for name, v in found.items()}
    assert differences(save(found), checked) == []


@given(tensors(), st.text(max_size=20))
@settings(max_examples=30, deadline=None)
def test_equal_tensors_have_one_content_digest_whatever_file_they_are_in(
    found: dict[str, np.ndarray], said: str
) -> None:
    one = check_weights(save(found))
    other = check_weights(save(dict(reversed(found.items())), {"said": said, "more": "words"}))
    assert one.content_digest == other.content_digest
    name = min(found)
    changed = {**found, name: found[name].reshape(1, *found[name].shape)}
    assert check_weights(save(changed)).content_digest != one.content_digest
    assert check_weights(save({f"{key}x": v for key, v in found.items()})).content_digest != one.content_digest


@given(st.binary(max_size=300))
def test_noise_is_refused(content: bytes) -> None:
    with pytest.raises(GraftFileError):
        check_weights(content)


def test_the_content_digest_is_as_it_is_described() -> None:
    rows = [["a", "F32", [2], sha256(TWO).hexdigest()], ["b", "U8", [1], sha256(b"\x07").hexdigest()]]
    content = header_and(TWO + b"\x07", {"b": tensor("U8", (1,), (8, 9)), "a": tensor()})
    assert check_weights(content).content_digest == digest(rows)


def test_every_bit_of_the_numbers_is_in_the_digest() -> None:
    begin, whole = len(MIXED) - 64, check_weights(MIXED, caps=AS_STORED).content_digest
    for place in range(8 * begin, 8 * len(MIXED)):
        changed = bytearray(MIXED)
        changed[place // 8] ^= 1 << place % 8
        try:
            found = check_weights(changed, caps=AS_STORED).content_digest
        except GraftFileError as error:
            assert "not finite" in str(error)  # noqa: PT017 - not all flips are refused
        else:
            assert found != whole


@pytest.mark.parametrize(
    ("caps", "words"),
    [
        (Caps(num_bytes=100), r"takes [\d,]+ bytes, expected at most 100; raise the cap"),
        (Caps(num_tensors=11), "12 tensors, expected 1 to 11"),
        (Caps(header_bytes=64), "expected at most 64"),
        (Caps(header_bytes_per_tensor=10), "expected at most 120 for 12 tensors"),
        (Caps(metadata_bytes=7), "metadata__ takes 8 bytes, expected at most 7"),
        (Caps(rank=0), "at most 0 whole numbers"),
        (Caps(largest=1.5), "a value of size 2, expected at most 1.5"),
    ],
)
def test_each_cap_can_be_set(caps: Caps, words: str) -> None:
    check_weights(LARGER)
    with pytest.raises(GraftFileError, match=words):
        check_weights(LARGER, caps=caps)


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("value", [1.0, -1.5, 65504.0, 3.0517578125e-05])
def test_the_size_of_a_number_is_read_from_its_bits(dtype: str, value: float) -> None:
    floats = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
    raw = floats[dtype](value).tobytes() if dtype in floats else np.float32(value).tobytes()[2:]
    kept = value if dtype in floats else float(np.frombuffer(b"\0\0" + raw, np.float32)[0])
    content = of(tensor(dtype, (), (0, DTYPES[dtype])), raw)
    check_weights(content, caps=Caps(largest=abs(kept)))
    with pytest.raises(GraftFileError, match="a value of size"):
        check_weights(content, caps=Caps(largest=abs(kept) * (1 - 1e-9)))


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ({}, "disagree about 'a'"),
        ({"a": TensorSpec(dtype="F32", shape=(2,)), "b": TensorSpec(dtype="F32", shape=(1,))}, "disagree about 'b'"),
        ({"a": TensorSpec(dtype="F32", shape=(1, 2))}, r"a is F32 \(2,\), expected F32 \(1, 2\)"),
        ({"a": TensorSpec(dtype="I32", shape=(2,))}, r"a is F32 \(2,\), expected I32 \(2,\)"),
    ],
)
def test_what_is_expected_is_what_must_be_there(expected: dict[str, TensorSpec], words: str) -> None:
    check_weights(of(), expected={"a": TensorSpec(dtype="F32", shape=(2,))})
    with pytest.raises(GraftFileError, match=words):
        check_weights(of(), expected=expected)


def test_a_file_is_read_whole_and_to_its_cap(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(MIXED)
    assert read_weights(tmp_path / "a") == MIXED
    assert read_weights(tmp_path / "a", caps=Caps(num_bytes=len(MIXED))) == MIXED
    with pytest.raises(GraftFileError, match="expected at most 10; raise the cap"):
        read_weights(tmp_path / "a", caps=replace(AS_STORED, num_bytes=10))
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "b")


def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(GraftFileError, match="no ordinary file"):
        read_weights(tmp_path / "pipe")
    with pytest.raises(GraftFileError, match="no ordinary file"):
        read_weights(Path("/dev/zero"))
    with pytest.raises((GraftFileError, IsADirectoryError)):
        read_weights(tmp_path)


OWN_WORK = {
    "comparison/_bench.py": "what a run of this machine learnt, until it has been measured",
    "composition/_export.py": "the adapter that was just written, read back",
    "growth/_whole.py": "a control's weights, after their digest was held against the ledger",
    "studies/_kept.py": "a model that a study of this machine trained, in its folder of work",
    "training/_learner.py": "a run's own checkpoint, in a folder of work",
    "training/_run_checkpoint.py": "a run's own checkpoint, after its digest was held against what was written",
}
"""Where safetensors reads what is neither a graft nor an adapter."""


def test_safetensors_reads_grafts_and_adapters_only_behind_the_check() -> None:
    readers = {"load", "load_file", "safe_open", "safetensors_torch.load", "deserialize"}
    found = {}
    for file in Path(saint.__file__).parent.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if "safetensors" in text and "import" in text:
            calls = {ast.unparse(n.func) for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)} & readers
            if calls:
                found[file.relative_to(Path(saint.__file__).parent).as_posix()] = "check_weights(" in text
    behind = {"adapters/_files.py", "grafts/_graft.py", "growth/_head_state.py"}
    assert {name for name, checked in found.items() if checked} == behind
    assert {name for name, checked in found.items() if not checked} == OWN_WORK.keys()
