"""Codes of tokens: what they spell, what they refuse, and that they are the same numbers everywhere."""

from typing import Any

import numpy as np
import pytest
import torch

from saint.errors import ConfigError, UnknownNameError
from saint.interfaces import FrozenTable, Sources, bits_for, describe, open_interface


def a_table(name: str, vocab_size: int, d_model: int, **options: Any) -> FrozenTable:
    interface = open_interface(name, vocab_size=vocab_size, d_model=d_model, options=options)
    table = FrozenTable(interface)
    table.fill(interface.make(Sources()))
    return table


def test_the_binary_code_is_the_id_in_binary() -> None:
    code = a_table("binary", 1000, 64).code
    spelled = ["".join(map(str, row)) for row in code.tolist()]
    assert spelled == [f"{number:010b}" for number in range(1000)]


def test_lifted_bits_are_repeated_as_published() -> None:
    table = a_table("binary", 65536, 1024, coding="bits")
    ids = torch.tensor([0, 1, 40503, 65535])
    published = table.code[ids].float().repeat_interleave(64, dim=-1)
    assert torch.equal(table(ids), published)
    assert torch.equal(table(ids[:1]), torch.zeros(1, 1024))
    signs = a_table("binary", 65536, 1024)
    assert torch.equal(signs(ids), 2 * published - 1)


@pytest.mark.parametrize(("vocab_size", "num_bits"), [(1, 1), (2, 1), (3, 2), (256, 8), (257, 9), (65536, 16)])
def test_a_code_is_no_longer_than_it_has_to_be(vocab_size: int, num_bits: int) -> None:
    assert bits_for(vocab_size) == num_bits
    assert a_table("binary", vocab_size, 32).code.shape == (vocab_size, num_bits)


def test_a_width_that_the_code_does_not_divide_is_filled_evenly() -> None:
    table = a_table("binary", 100, 24)  # 7 bits
    lifted = table(torch.tensor([0b1010101]))[0]  # neighbouring bits differ, so each run of numbers is one bit
    runs = torch.unique_consecutive(lifted, return_counts=True)[1].tolist()
    assert len(runs) == 7
    assert sum(runs) == 24
    assert set(runs) == {3, 4}


def test_dropped_bits_let_tokens_share_rows() -> None:
    for dropped, num_distinct in ((0, 1000), (1, 500), (2, 250), (10, 1)):
        report = describe(a_table("binary", 1000, 64, dropped_bits=dropped))
        assert report.num_collisions == 1000 - num_distinct
        assert report.is_injective == (dropped == 0)
    assert torch.equal(a_table("binary", 4, 8, dropped_bits=1).code, torch.tensor([[0], [0], [1], [1]]))


def test_permuted_ids_are_the_same_words_in_another_order() -> None:
    plain, permuted = (a_table("binary", 300, 18, **options).code for options in ({}, {"permutation_seed": 4}))
    assert not torch.equal(plain, permuted)
    assert torch.equal(plain.unique(dim=0), permuted.unique(dim=0))


@pytest.mark.parametrize("num_bits", [9, 10, 11, 18, 64, 200])  # all words, few left over, many
def test_random_words_are_unique_and_of_every_bit(num_bits: int) -> None:
    code = a_table("random_binary", 512, 256, num_bits=num_bits).code
    assert code.shape == (512, num_bits)
    assert len(code.unique(dim=0)) == 512
    assert ((code.float().mean(dim=0) - 0.5).abs() < 0.12).all()  # five deviations
    other = a_table("random_binary", 512, 256, num_bits=num_bits, seed=1).code
    assert not torch.equal(code, other)


def test_gaussian_numbers_are_normal() -> None:
    table = a_table("gaussian", 4000, 50)
    values = table.values().flatten()
    assert values.mean().item() == pytest.approx(0, abs=0.01)
    assert values.std().item() == pytest.approx(1, abs=0.01)
    within = [(values.abs() < bound).double().mean().item() for bound in (1, 2, 3)]
    assert within == pytest.approx([0.6827, 0.9545, 0.9973], abs=0.005)
    assert describe(table).rank == 50


@pytest.mark.parametrize(
    ("name", "options", "digest"),
    [
        ("binary", {}, "a6f7ca6b5ed4c803"),
        ("binary", {"coding": "bits"}, "e4ddcbf326abc96b"),
        ("binary", {"permutation_seed": 1}, "d972db69012823fe"),
        ("random_binary", {}, "528fafb0e63bd414"),
        ("gaussian", {}, "ff8b3de00a0d9bcf"),
        ("learned", {"frozen": True}, "72b3db22882209a5"),
    ],
)
def test_tables_are_the_same_on_every_machine(name: str, options: dict[str, Any], digest: str) -> None:
    assert a_table(name, 1000, 64, **options).digest()[:16] == digest


def test_an_equal_table_under_another_name_has_an_equal_digest() -> None:
    assert a_table("binary", 256, 64, num_bits=8).digest() == a_table("binary", 256, 64).digest()
    digests = {a_table("binary", 256, width).digest() for width in (64, 72)}
    digests |= {a_table("binary", 256, 64, coding="bits").digest(), a_table("binary", 255, 64).digest()}
    assert len(digests) == 4


def test_an_embedding_is_described_as_it_stands() -> None:
    embedding = torch.nn.Embedding(40, 6)
    with torch.no_grad():
        embedding.weight[:, 4:] = embedding.weight[:, :2]
        embedding.weight[7] = embedding.weight[3]
        embedding.weight[8] = 0
    report = describe(embedding)
    assert (report.digest, report.rank, report.num_collisions) == (None, 4, 1)
    assert report.norm_min == 0
    assert report.norm_max == pytest.approx(embedding.weight.norm(dim=1).max().item(), rel=1e-6)
    assert report.num_bytes == 40 * 6 * 4


@pytest.mark.parametrize(
    ("name", "sizes", "options", "said"),
    [
        ("binary", (300, 64), {"num_bits": 8}, "a code of 8 bits names 256 tokens, and the vocabulary has 300; take "),
        ("random_binary", (300, 64), {"num_bits": 8}, "take num_bits of at least 9, or 0 for just enough"),
        ("random_binary", (300, 64), {"num_bits": -1}, "num_bits is -1; it must not be negative"),
        ("binary", (300, 8), {}, "the code of a token has 9 numbers, more than the model's width of 8; take a wider"),
        ("binary", (300, 64), {"dropped_bits": 10}, "dropped_bits is 10, expected from 0 to the 9 that there are"),
        ("gaussian", (300, 64), {"num_columns": -1}, "num_columns is -1; it must not be negative"),
        ("binary", (0, 64), {}, "a table of 0 tokens and width 64 is empty"),
        ("binary", (300, 64), {"coding": "gray"}, "expected 'signs' or 'bits', got 'gray'"),
        ("binary", (300, 64), {"codign": "bits"}, "has no key 'codign'; did you mean 'coding'"),
        ("glyph", (300, 64), {"cell": 4, "num_components": 17}, "num_components is 17 of a cell of 4 pixels each way"),
    ],
)
def test_impossible_tables_are_refused(name: str, sizes: tuple[int, int], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        open_interface(name, vocab_size=sizes[0], d_model=sizes[1], options=options)
    assert "\n" not in str(caught.value)


def test_an_unknown_interface_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="has nothing called 'bianry'; did you mean 'binary'"):
        open_interface("bianry", vocab_size=10, d_model=8)


def test_projection_of_a_narrow_dtype_stays_narrow() -> None:
    table = a_table("binary", 100, 24)
    hidden = torch.randn(2, 24, generator=torch.Generator().manual_seed(0))
    narrow = table.project(hidden.to(torch.bfloat16))
    assert narrow.dtype == torch.bfloat16
    assert np.allclose(narrow.float(), table.project(hidden), atol=0.3)
