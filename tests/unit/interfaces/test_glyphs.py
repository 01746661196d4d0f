"""Tokens as they look: what is drawn, what is kept of it, and what cannot be."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saint.data import train_tokenizer
from saint.errors import DataError
from saint.interfaces import FrozenTable, Made, Sources, describe, open_interface, token_texts
from saint.interfaces._font import GLYPH, open_font
from saint.interfaces._render import render
from saint.testing import write_font

BAR = "007C:00000000080808080808080808080808\n"  # as Unifont has it, 8 columns
FULL = f"2588:{'FF' * 32}\n"  # a full block of 16 columns
SPACE, PICTURE = f"0020:{'00' * 16}\n", f"2420:{'0F' * 32}\n"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def font_of(path: Path, *lines: str) -> Path:
    path.write_text("".join(lines), encoding="ascii")
    return path


def made_of(tokens: list[str], font: Path, d_model: int = 32, **options: Any) -> tuple[FrozenTable, Made]:
    interface = open_interface("glyph", vocab_size=len(tokens), d_model=d_model, options=options)
    made = interface.make(Sources(tokens=tokens, font=font))
    table = FrozenTable(interface)
    table.fill(made)
    return table, made


def test_a_glyph_is_drawn_in_the_middle_of_its_square(tmp_path: Path) -> None:
    font = open_font(font_of(tmp_path / "small.hex", BAR, FULL))
    pictures, missing = render(["|", "\u2588", "?"], font, cell=GLYPH)
    bar = pictures[0].reshape(GLYPH, GLYPH)
    assert np.argwhere(bar).tolist() == [[row, 8] for row in range(4, 16)]
    assert set(bar.ravel().tolist()) == {0, 255}
    assert (pictures[1] == 255).all()
    assert missing.tolist() == [False, False, True]
    assert pictures[2].any()  # a box stands for what is missing


@pytest.mark.parametrize("cell", [5, 16, 32, 33])
def test_strings_are_squeezed_by_area(tmp_path: Path, cell: int) -> None:
    font = open_font(font_of(tmp_path / "small.hex", BAR, FULL))
    tokens = ["\u2588" * 3, "||||", "\u2588|"]
    pictures, _ = render(tokens, font, cell=cell)
    assert (pictures[0] == 255).all()
    ink = pictures.astype(float).mean(axis=1) / 255
    assert ink == pytest.approx([1, 12 / 256, (256 + 12) / 512], abs=0.005)
    halves = pictures[2].reshape(cell, cell)
    assert halves[:, : cell // 2].mean() > 254
    assert halves[:, -(cell // 2) :].mean() < 30


def test_spaces_and_line_ends_are_seen_where_the_font_has_pictures_of_them(tmp_path: Path) -> None:
    bare = open_font(font_of(tmp_path / "bare.hex", SPACE, BAR))
    assert not render([" "], bare, cell=16)[0].any()
    font = open_font(font_of(tmp_path / "small.hex", SPACE, BAR, PICTURE))
    pictures, missing = render([" ", " |", "|"], font, cell=16)
    assert pictures[0].any()
    assert len(np.unique(pictures, axis=0)) == 3
    assert not missing.any()


def test_rows_are_principal_components_of_norm_1(tmp_path: Path) -> None:
    tokens = [*LETTERS, "ab", "ba", "abc"]
    font = write_font(tmp_path / "made-up.hex", LETTERS)
    table, made = made_of(tokens, font, d_model=24, cell=8)
    pictures = render(tokens, open_font(font), cell=8)[0].astype(float)
    centred = pictures - pictures.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    projected = centred @ axes[:24].T
    projected /= np.linalg.norm(projected, axis=1, keepdims=True)
    kernel = table.lifted().double().numpy()
    assert np.allclose(kernel @ kernel.T, projected @ projected.T, atol=2e-3)
    assert np.allclose(np.abs(kernel), np.abs(projected), atol=1e-3)
    assert describe(table).norm_mean == pytest.approx(1, abs=1e-3)
    assert (made.facts["num_missing"], made.facts["num_collisions"], made.facts["font"]) == (0, 0, "made-up.hex")


def test_rows_are_as_long_as_asked_for_when_lifted(tmp_path: Path) -> None:
    font = write_font(tmp_path / "made-up.hex", LETTERS)
    table, _ = made_of(list(LETTERS), font, d_model=48, cell=8, num_components=12, norm=5.0)
    assert table.code.shape == (26, 12)
    assert describe(table).norm_max == pytest.approx(5, rel=1e-3)


def test_what_the_font_lacks_is_counted_and_refused_above_a_limit(tmp_path: Path) -> None:
    font, tokens = write_font(tmp_path / "made-up.hex", LETTERS), [*LETTERS, "a\u00e9", "\u00e9"]
    with pytest.raises(DataError, match=r"made-up.hex lacks a character of 2 of 28 tokens, such as 'aé', more than"):
        made_of(tokens, font)
    assert made_of(tokens, font, max_missing=0.1)[1].facts["num_missing"] == 2


def test_tokens_that_look_alike_are_counted_and_refused_above_a_limit(tmp_path: Path) -> None:
    font, tokens = write_font(tmp_path / "made-up.hex", LETTERS), [*LETTERS, "\u00e9", "\u00e8", "a"]
    with pytest.raises(DataError, match="2 of 29 tokens look as an earlier one does, such as 'è' as 'é', more than"):
        made_of(tokens, font, max_missing=0.1)
    table, made = made_of(tokens, font, max_missing=0.1, max_collisions=0.1)
    assert made.facts["num_collisions"] == describe(table).num_collisions == 2


def test_another_font_is_another_table_and_the_same_one_packed_is_not(tmp_path: Path) -> None:
    font = write_font(tmp_path / "made-up.hex", LETTERS)
    packed = tmp_path / "made-up.hex.gz"
    packed.write_bytes(gzip.compress(font.read_bytes()))
    changed = [f"{line[:5]}{line[5:].replace('F', 'E')}\n" for line in font.read_text(encoding="ascii").split()]
    other = font_of(tmp_path / "other.hex", *changed)
    (one, facts), (again, _), (another, others) = (made_of(list(LETTERS), path) for path in (font, packed, other))
    assert one.digest() == again.digest() != another.digest()
    assert facts.facts["font_digest"] != others.facts["font_digest"]


def test_letters_of_pillow_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL", reason="Pillow is not installed")
    monkeypatch.setattr("saint.interfaces._font._DEBIAN", ())
    tokens = [chr(code) for code in range(33, 127)]
    interface = open_interface("glyph", vocab_size=len(tokens), d_model=64)
    made = interface.make(Sources(tokens=tokens))
    assert (made.facts["font"], made.facts["num_missing"], made.facts["num_collisions"]) == (
        "Pillow's bitmap font",
        0,
        0,
    )


def test_without_any_font_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saint.interfaces._font._DEBIAN", ())
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(DataError, match="no font was found to render tokens with; give the path of a GNU Unifont"):
        open_font()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0041:00FF\n", "'0041:00FF' is no glyph of 8 or 16 columns"),
        (f"110000:{'00' * 16}\n", "110000 is no code point"),
        (f"xyz:{'00' * 16}\n", "invalid literal"),
        (f"0041:{'0g' * 16}\n", "non-hexadecimal"),
        ("\u00e9", "ascii"),
        ("", "has no glyphs"),
    ],
)
def test_a_file_that_is_no_font_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.hex"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said) as caught:
        open_font(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="cannot be read as a bitmap font"):
        open_font(tmp_path / "nowhere.hex")


def test_texts_of_all_tokens_are_needed() -> None:
    interface = open_interface("glyph", vocab_size=5, d_model=8)
    with pytest.raises(DataError, match="0 texts of tokens came for a vocabulary of 5; give the text of each token"):
        interface.make(Sources())


def test_texts_of_tokens_tell_them_apart() -> None:
    tokenizer = train_tokenizer(["caf\u00e9 na\u00efve " * 50, "the cat " * 50], vocab_size=290)
    texts = token_texts(tokenizer, 300)
    assert len(texts) == len(set(texts)) == 300
    assert texts[0] == "<|endoftext|>"
    assert texts[tokenizer.convert_tokens_to_ids("\u0120the")] == " the"
    assert texts[tokenizer.convert_tokens_to_ids("\u00e9")] == "<\u00e9>"  # the byte E9, no whole letter
    assert texts[-1] == "<unused_299>"
    assert token_texts(tokenizer, 270) == texts[:270]


def test_a_table_of_glyphs_is_the_same_on_every_machine(tmp_path: Path) -> None:
    font = write_font(tmp_path / "made-up.hex", LETTERS)
    assert made_of(list(LETTERS), font)[0].digest()[:16] == "7b1b44c3beb56254"
