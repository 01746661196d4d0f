"""Bitmap fonts: GNU Unifont's .hex files, or the small font that comes with Pillow."""

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from saint.errors import DataError

GLYPH = 16
"""Pixels of a glyph's square, each way; narrower glyphs stand in its middle."""
_DEBIAN = (Path("/usr/share/unifont/unifont.hex"), Path("/usr/share/unifont/unifont.hex.gz"))
_NARROW, _WIDE = 32, 64  # hexadecimal digits of a glyph of 8 and of 16 columns
_NUM_CODE_POINTS = 0x110000
_LAST_OF_PILLOW = 0xFF


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Font:
    """Glyphs by code point."""

    name: str
    bitmaps: NDArray[np.uint8]
    """(N, GLYPH, GLYPH), 1 where there is ink; the first is a hollow box, which stands for every missing one."""
    index: NDArray[np.int32]
    """For each code point which bitmap it has; 0 where it has none."""

    @property
    def digest(self) -> str:
        """The SHA-256 of the glyphs and of whose they are."""
        total = hashlib.sha256(np.packbits(self.bitmaps).tobytes())
        total.update(self.index.astype("<i4").tobytes())
        return total.hexdigest()


def open_font(path: Path | None = None) -> Font:
    """The font in a .hex file, or without one Unifont where Debian puts it, or what Pillow has.

    Raises:
        DataError: There is no font, or the file is none.
    """
    if path is not None:
        return _read_hex(path)
    for place in _DEBIAN:
        if place.is_file():
            return _read_hex(place)
    found = _of_pillow()
    if found is None:
        raise DataError(
            "no font was found to render tokens with; give the path of a GNU Unifont .hex file, install the Debian "
            "package unifont, or install Pillow"
        )
    return found


def _read_hex(path: Path) -> Font:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("ascii")
        glyphs = dict(_glyphs(text))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read as a bitmap font ({error}); give a .hex file of GNU Unifont, with lines such as "
            "0041:0000000018242442427E424242420000"
        ) from error
    if not glyphs:
        raise DataError(f"{path} has no glyphs; give a .hex file of GNU Unifont")
    return _font(path.name, glyphs)


def _glyphs(text: str) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for line in text.split():
        point, _, digits = line.partition(":")
        if len(digits) not in (_NARROW, _WIDE):
            raise ValueError(f"{line[:20]!r} is no glyph of 8 or 16 columns")
        rows = np.frombuffer(bytes.fromhex(digits), dtype=np.uint8).reshape(GLYPH, -1)
        code_point = int(point, 16)
        if not 0 <= code_point < _NUM_CODE_POINTS:
            raise ValueError(f"{point} is no code point")
        yield code_point, _centred(np.unpackbits(rows, axis=1))


def _of_pillow() -> Font | None:
    """Latin letters alone; which bits they are does not depend on the machine."""
    try:
        from PIL import ImageFont
    except ImportError:
        return None
    font = ImageFont.load_default_imagefont()
    glyphs = {}
    for point in range(ord(" "), _LAST_OF_PILLOW + 1):
        mask = font.getmask(chr(point), mode="1")
        pixels = np.array(list(mask), dtype=np.uint8).reshape(mask.size[::-1])
        if pixels.any() or point == ord(" "):
            glyphs[point] = _centred((pixels[:GLYPH, :GLYPH] > 0).astype(np.uint8))
    return _font("Pillow's bitmap font", glyphs)


def _centred(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """In the middle of a square by its columns; by its rows as it stands, for height tells commas from quotes."""
    left = (GLYPH - pixels.shape[1]) // 2
    square = np.zeros((GLYPH, GLYPH), dtype=np.uint8)
    square[: pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return square


def _font(name: str, glyphs: dict[int, NDArray[np.uint8]]) -> Font:
    missing = np.zeros((GLYPH, GLYPH), dtype=np.uint8)
    missing[1:-1, 4:-4] = 1
    missing[2:-2, 5:-5] = 0
    points = sorted(glyphs)
    index = np.zeros(_NUM_CODE_POINTS, dtype=np.int32)
    index[points] = np.arange(1, len(points) + 1)
    return Font(name=name, bitmaps=np.stack([missing, *(glyphs[point] for point in points)]), index=index)
