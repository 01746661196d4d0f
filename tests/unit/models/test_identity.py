"""Any change of weights, configuration or tokenizer is a change of the digest, and is called by its name."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.utils import logging as transformers_logging

import saint
from saint.data import train_tokenizer
from saint.errors import BaseChangedError, BaseModelError
from saint.models import FrozenBase, tensor_digest
from saint.models._frozen import _CHUNK_BYTES
from saint.testing import tiny_base
from small_bases import small_model

transformers_logging.disable_progress_bar()
MIB = 1 << 20


def a_tokenizer(*texts: str) -> Any:
    return train_tokenizer(texts, vocab_size=257 + len(texts))


@pytest.fixture
def base() -> FrozenBase:
    return tiny_base(a_tokenizer("some text"))


def flip_a_bit(tensor: torch.Tensor) -> None:
    """The lowest bit of the last number."""
    raw = tensor.detach().view(-1)[-1:].view(torch.uint8)
    raw[0] ^= 1


def test_the_same_model_has_the_same_digest(base: FrozenBase) -> None:
    again = tiny_base(a_tokenizer("some text"))
    assert again.digest == base.digest
    base.check()
    base.must_be(again.identity, what="the other", remedy="none")


def test_one_flipped_bit_of_any_weight_changes_the_digest() -> None:
    base = saint.freeze(small_model("llama"))
    digests = {base.digest}
    for tensor in base.model.state_dict().values():
        flip_a_bit(tensor)
        digests.add(saint.freeze(base.model).digest)
        with pytest.raises(BaseChangedError, match="weights with digest"):
            base.check()
        flip_a_bit(tensor)
        base.check()
    assert len(digests) == len(base.model.state_dict()) + 1


def test_a_changed_configuration_is_called_so(base: FrozenBase) -> None:
    base.model.config.rms_norm_eps = 1e-3
    with pytest.raises(BaseChangedError, match="the base in memory has a configuration with digest"):
        base.check()


def test_settings_that_do_not_change_the_function_are_left_out(base: FrozenBase) -> None:
    base.model.config._name_or_path = "elsewhere"
    base.model.config.use_cache = not base.model.config.use_cache
    base.check()


def test_another_tokenizer_is_called_so(base: FrozenBase) -> None:
    other = tiny_base(a_tokenizer("some text", "and other text"))
    assert other.digest != base.digest
    with pytest.raises(BaseChangedError, match=r"^the ledger has tokenizer \w{12}, expected \w{12}; use that one$"):
        base.must_be(other.identity, what="the ledger", remedy="use that one")
    with pytest.raises(BaseChangedError, match="has tokenizer none, expected"):
        base.must_be(tiny_base().identity, what="the ledger", remedy="use that one")
    base.tokenizer.add_tokens(["<another>"])
    with pytest.raises(BaseChangedError, match="the base in memory has tokenizer"):
        base.check()


def test_a_call_of_the_tokenizer_does_not_change_it(base: FrozenBase) -> None:
    base.tokenizer.pad_token = base.tokenizer.eos_token
    frozen = saint.freeze(base.model, tokenizer=base.tokenizer)
    base.tokenizer(["one", "two words"], padding=True, truncation=True, max_length=3)
    frozen.check()


def test_the_same_numbers_under_other_names_are_another_base(base: FrozenBase) -> None:
    layer = base.model.model.layers[0].mlp
    layer.gate_proj, layer.up_proj = layer.up_proj, layer.gate_proj
    with pytest.raises(BaseChangedError, match="weights"):
        base.check()


@pytest.mark.parametrize("other", [torch.arange(16).view(4, 4), torch.arange(16).view(torch.float64)])
def test_the_same_bytes_in_another_shape_or_dtype_are_another_base(other: torch.Tensor) -> None:
    digests = set()
    for table in (torch.arange(16), other):
        model = small_model("llama")
        model.register_buffer("table", table)
        digests.add(saint.freeze(model).identity.weights)
    assert len(digests) == 2


def test_a_bfloat16_model_keeps_its_digest_through_a_file(tmp_path: Path) -> None:
    base = saint.freeze(small_model("llama").bfloat16())
    base.model.save_pretrained(tmp_path / "base")
    again = saint.freeze(tmp_path / "base")
    assert again.digest == base.digest
    assert {parameter.dtype for parameter in again.model.parameters()} == {torch.bfloat16}
    flip_a_bit(again.model.lm_head.weight)
    with pytest.raises(BaseChangedError):
        again.check()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_a_tensor_hashes_to_the_sha256_of_its_bytes_in_row_major_order(dtype: torch.dtype) -> None:
    tensor = (torch.arange(60).view(5, 12) % 7).to(dtype)
    for view in (tensor, tensor.T, tensor[::2, 1:5], tensor[0, 0], tensor[:0]):
        raw = bytes(view.contiguous().view(-1).view(torch.uint8).tolist())
        assert tensor_digest(view) == hashlib.sha256(raw).hexdigest()


def test_hashing_reads_a_large_tensor_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[int] = []

    class Recording:
        def __init__(self) -> None:
            self.total = sha256()

        def update(self, piece: memoryview) -> None:
            pieces.append(piece.nbytes)
            self.total.update(piece)

        def hexdigest(self) -> str:
            return self.total.hexdigest()

    sha256 = hashlib.sha256
    large = torch.arange(16 * MIB, dtype=torch.int32)  # 64 MiB
    expected = sha256(large.numpy().data).hexdigest()
    monkeypatch.setattr("saint.models._frozen.hashlib.sha256", Recording)
    assert tensor_digest(large) == expected
    assert sum(pieces) == 64 * MIB
    assert max(pieces) <= _CHUNK_BYTES < 40 * MIB


def test_weights_in_float64_are_refused() -> None:
    with pytest.raises(BaseModelError, match=r"got torch\.float64; convert the model first"):
        saint.freeze(small_model("llama").double())


def test_what_is_no_hugging_face_model_is_refused() -> None:
    with pytest.raises(BaseModelError, match="got Linear"):
        saint.freeze(nn.Linear(2, 2))


def test_a_frozen_model_does_not_learn_or_drop_out() -> None:
    model = small_model("gpt2").train()
    saint.freeze(model)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def refusal(folder: Path | str) -> str:
    with pytest.raises(BaseModelError) as caught:
        saint.freeze(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    return message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_model("llama").save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "is not a folder" in refusal(tmp_path / "missing")
    assert "is not a folder" in refusal("./missing")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    refusal(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    refusal(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "abacus"}), encoding="utf-8")
    refusal(tmp_path)


def test_weights_that_are_not_safetensors_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    assert "safetensors" in refusal(folder)
    torch.save(weights, folder / "pytorch_model.bin")
    assert "safetensors" in refusal(folder)


def test_a_damaged_file_of_weights_is_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "safetensors" in refusal(folder)


def test_a_weight_that_is_missing_is_named_instead_of_drawn_at_random(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "no weights for model.layers.1.mlp.up_proj.weight" in refusal(folder)


def test_a_weight_of_another_shape_is_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = torch.zeros(3, 3)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refusal(folder)


def test_a_tokenizer_beside_the_weights_belongs_to_the_base(folder: Path) -> None:
    assert saint.freeze(folder).tokenizer is None
    tokenizer = a_tokenizer("some text")
    tokenizer.save_pretrained(folder)
    base = saint.freeze(folder)
    assert base.identity == saint.freeze(small_model("llama"), tokenizer=tokenizer).identity
    assert base.source == str(folder)


@pytest.mark.parametrize("architecture", ["gpt2", "opt", "qwen2", "t5_relu"])
def test_no_tokenizer_is_made_up_for_a_base_that_has_none(architecture: str, tmp_path: Path) -> None:
    small_model(architecture).save_pretrained(tmp_path / "base")
    assert saint.freeze(tmp_path / "base").tokenizer is None
