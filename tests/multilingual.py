"""Small texts of several languages, and what a folder holds."""

import gzip
import json
import random
from pathlib import Path

_SENTENCES = {
    "en": "the house of a quiet river and its long white road was never far from there",
    "pt": "a casa de um rio quieto com sua longa estrada branca nunca ficou longe dali",
    "de": "das haus am stillen fluss mit der langen weissen strasse war nie weit von dort",
}
WORDS = {lang: sentence.split() for lang, sentence in _SENTENCES.items()}


def texts_of(lang: str, number: int, *, seed: int = 0) -> list[str]:
    draw = random.Random(f"{lang}{seed}")
    return [" ".join(draw.choices(WORDS[lang], k=draw.randint(20, 60))) + "." for _ in range(number)]


def write_jsonl(file: Path, texts: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    file.write_bytes(gzip.compress(lines.encode()) if file.suffix == ".gz" else lines.encode())


def write_source(folder: Path, *, number: int = 60, langs: tuple[str, ...] = tuple(WORDS)) -> Path:
    """A folder in which others have not cut anything."""
    for lang in langs:
        write_jsonl(folder / f"{lang}.jsonl.gz", texts_of(lang, number))
    return folder


def content_of(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
