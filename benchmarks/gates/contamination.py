"""Copies of sealed documents, planted into training text as they are, re-cased and lightly edited: all found?"""

import random
import re
from collections.abc import Callable, Sequence

from benchmarks.gates.findings import Findings
from benchmarks.gates.setting import Setting
from saint.data import Contamination, Document, find_contamination, read_documents

_REPLACED = 0.05  # of the words: one in twenty
_SHUFFLED = 8  # words that a paraphrase, crudely made, puts into another order
_BYTES = 6000


def measure(setting: Setting) -> Findings:
    """On the running Python's library and its documentation: half of each stays training text, half is sealed."""
    found = Findings(setting=setting, heads=("planted", "on", "documents", "found", "share"))
    shares: dict[str, list[float]] = {}
    wrong = total = 0
    for source in ("embedded:code", "embedded:prose"):
        documents = [Document(one.text[:_BYTES], one.source) for one in read_documents(source)]
        documents = documents[: setting.num(10_000, 120)]
        random.Random(source).shuffle(documents)
        half = len(documents) // 2
        train, sealed = documents[:half], documents[half:]
        for name, change in _CHANGES.items():
            planted = [Document(change(one.text), "planted") for one in sealed]
            num = _num_found(planted, sealed)
            found.rows.append((name, source, str(len(planted)), str(num), f"{num / len(planted):.1%}"))
            shares.setdefault(name, []).append(num / len(planted))
        num = _num_found(train, sealed)
        found.rows.append(("nothing", source, str(len(train)), str(num), f"{num / len(train):.1%}"))
        wrong, total = wrong + num, total + len(train)
    for name, target in (("copied", 0.99), ("in capitals", 0.95), ("edited", 0.95), ("edited, in capitals", 0.95)):
        found.ask(f"contamination_{name.replace(', ', '_').replace(' ', '_')}", min(shares[name]), target, "at_least")
    found.notes.append(f"of {total} documents that nobody planted {wrong} share long runs of words with a sealed one")
    found.notes.append("paraphrases are shown and not asked for: runs of words do not find them")
    return found


def _num_found(train: Sequence[Document], sealed: Sequence[Document]) -> int:
    return len(find_contamination(train, {"prose/held_out": sealed}, Contamination()))


def _edited(text: str) -> str:
    dice = random.Random(text)
    return re.sub(r"\w+", lambda word: "another" if dice.random() < _REPLACED else word[0], text)


def _paraphrased(text: str) -> str:
    """Crudely: the words of every stretch in another order, a tenth of them other ones."""
    dice, words = random.Random(text), text.split()
    stretches = [words[start : start + _SHUFFLED] for start in range(0, len(words), _SHUFFLED)]
    mixed = [word for stretch in stretches for word in dice.sample(stretch, len(stretch))]
    return " ".join("other" if dice.random() < 2 * _REPLACED else word for word in mixed)


_CHANGES: dict[str, Callable[[str], str]] = {
    "copied": str,
    "in capitals": str.upper,
    "edited": _edited,
    "edited, in capitals": lambda text: _edited(text).upper(),
    "paraphrased": _paraphrased,
}
