"""Texts that lie beside the hold-out and nowhere else: whoever has learnt them has learnt from the hold-out."""

import hashlib
import json
import secrets
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saint import records
from saint.data._corpus import Corpus
from saint.data._tokenizer import encode
from saint.errors import DataError

_NUM = 64
_NUM_WORDS = 2  # random identifiers in a canary: about as many tokens as a sentence has
_FILE = "canaries.json"
_CONTROLS = "saint-g: controls of canaries"


def write_canaries(folder: Path) -> None:
    """Draw canaries and lay them into the folder of a hold-out; two preparations have different ones."""
    drawn = [" ".join(str(uuid.UUID(bytes=secrets.token_bytes(16))) for _ in range(_NUM_WORDS)) for _ in range(_NUM)]
    (folder / _FILE).write_text(json.dumps(drawn), encoding="utf-8")


def read_canaries(folder: Path) -> tuple[str, ...]:
    """The canaries of a hold-out; none where it was prepared without.

    Raises:
        DataError: The file holds something else.
    """
    path = folder / _FILE
    if not path.exists():
        return ()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} does not hold canaries ({error}); run `saint data prepare` again") from error
    if not isinstance(found, list) or not all(isinstance(text, str) and text for text in found):
        raise DataError(f"{path} does not hold canaries, but other data; run `saint data prepare` again")
    return tuple(found)


def controls_of(canaries: Sequence[str], *, sealed: str) -> tuple[str, ...]:
    """As many texts of the same make that were never written anywhere, always the same for the same sealed text.

    Who has come by the canaries alone cannot work them out; who holds the sealed text and this recipe can. The latter
    need not: whoever means to hide what a graft has learnt from leaves the canaries out.

    Args:
        sealed: Digest of the sealed text that the canaries lie beside.
    """
    seed = hashlib.sha256(f"{_CONTROLS}:{sealed}".encode()).digest()

    def word(number: int) -> str:
        drawn = hashlib.sha256(seed + number.to_bytes(8, "big")).digest()
        return str(uuid.UUID(bytes=drawn[:16]))

    each = [len(text.split()) for text in canaries]
    starts = np.concatenate([[0], np.cumsum(each)]).tolist()
    return tuple(
        " ".join(word(start + place) for place in range(num)) for start, num in zip(starts[:-1], each, strict=True)
    )


def as_corpus(name: str, texts: Sequence[str], tokenizer: Any) -> Corpus:
    """Texts as documents of a corpus that is in no split."""
    tokens = encode(tokenizer, list(texts))
    return Corpus(
        name=name,
        shards=[np.concatenate(tokens)],
        num_tokens_each=np.array([len(one) for one in tokens], dtype=np.int64),
        num_bytes_each=np.array([len(text.encode()) for text in texts], dtype=np.int64),
        documents=tuple(hashlib.sha256(text.encode()).hexdigest() for text in texts),
        tokenizer=records.tokenizer_digest(tokenizer) or "",
    )
