"""Training text that has seen what grafts are judged on is found, also re-cased and lightly edited."""

import random
import re
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from saint.data import Contamination, Document, Domain, find_contamination, read_documents, split_documents
from saint.errors import ConfigError, DataError
from saint.testing import tiny_splits

LIBRARY = Path(sysconfig.get_path("stdlib"))
JUDGED = [Document(document.text[:3000], document.source) for document in list(read_documents("a*.py", root=LIBRARY))]
OTHERS = [Document(document.text[:3000], document.source) for document in read_documents("[m-t]*.py", root=LIBRARY)]


def edited(text: str) -> str:
    """One word in twenty is another."""
    dice = random.Random(text)
    return re.sub(r"\w+", lambda word: "another" if dice.random() < 0.05 else word[0], text)


def found(planted: list[Document], settings: Contamination | None = None) -> list[int]:
    hits = find_contamination(planted, {"prose/held_out": JUDGED}, settings or Contamination())
    return [hit.train for hit in hits]


@pytest.mark.parametrize(
    "change",
    [
        str,
        str.upper,
        lambda text: text.replace(" ", "\n\n"),
        edited,
        lambda text: edited(text).title(),
        lambda text: OTHERS[0].text + text + OTHERS[1].text,
        lambda text: text[len(text) // 4 : -len(text) // 4],
    ],
    ids=["copied", "upper case", "set differently", "edited", "edited and re-cased", "inside a longer one", "excerpt"],
)
def test_a_copy_is_found(change: Callable[[str], str]) -> None:
    planted = [Document(change(document.text), "planted") for document in JUDGED]
    assert len(found(planted)) >= 0.95 * len(planted)


def test_a_hit_names_both_documents_and_the_test() -> None:
    [hit] = find_contamination(
        [OTHERS[0], JUDGED[2]], {"code/retain": OTHERS[3:5], "prose/vault": JUDGED}, Contamination()
    )
    assert (hit.train, hit.split, hit.document) == (1, "prose/vault", JUDGED[2].digest)
    assert (hit.test, hit.size) == ("13-grams", 1.0)


def test_different_documents_are_left_alone() -> None:
    assert len(found(OTHERS)) <= 1


def test_a_licence_that_many_documents_have_is_no_copy() -> None:
    licence = " ".join(f"word{number}" for number in range(60))
    judged = [Document(f"{licence}\n{document.text}", "") for document in JUDGED[:6]]
    train = [Document(f"{licence}\n{document.text}", "") for document in OTHERS[:6]]
    assert find_contamination(train, {"prose/held_out": judged}, Contamination()) == []
    once = find_contamination(train[:1], {"prose/held_out": judged[:1]}, Contamination())
    assert [(hit.test, hit.size >= 50) for hit in once] in ([("longest run", True)], [("13-grams", False)])


def test_short_texts_are_compared_as_a_whole() -> None:
    judged = [Document("How do I sort a list?", "")]
    train = [Document("how do I sort a list", ""), Document("How do I sort a set?", "")]
    hits = find_contamination(train, {"prose/held_out": judged}, Contamination())
    assert [hit.train for hit in hits] == [0]


@pytest.mark.parametrize("times", [4, 8])
def test_what_is_copied_into_many_documents_is_no_licence(times: int) -> None:
    sealed = Document(JUDGED[0].text[:2000], "")
    around = [OTHERS[place].text for place in range(2 * times)]
    train = [Document("\n".join((around[k], sealed.text, around[-k - 1])), "") for k in range(times)]
    hits = find_contamination(train, {"prose/held_out": [sealed]}, Contamination())
    assert [hit.train for hit in hits] == list(range(times))


def test_what_several_items_ask_is_found() -> None:
    asked = " ".join(f"asked{number}" for number in range(40))
    items = [Document(f"{asked} answer{number}", "") for number in range(5)]
    train = [Document(f"{OTHERS[0].text}\n{asked}\n{OTHERS[1].text}", ""), OTHERS[2]]
    assert [hit.train for hit in find_contamination(train, {"bias/gate": items}, Contamination())] == [0]


@pytest.mark.parametrize(("num_words", "is_found"), [(4, False), (8, True), (12, True), (13, True)])
def test_a_short_text_is_found_inside_a_longer_one(num_words: int, *, is_found: bool) -> None:
    item = " ".join(f"word{number}" for number in range(num_words))
    train = [Document(f"{OTHERS[0].text}\n{item.title()}!\n{OTHERS[1].text}", "")]
    hits = find_contamination(train, {"bias/gate": [Document(item, "")]}, Contamination())
    assert [hit.split for hit in hits] == ["bias/gate"] * is_found


def test_texts_without_a_word_are_not_alike() -> None:
    assert find_contamination([Document("!!! ---", "")], {"prose/vault": [Document("???", "")]}, Contamination()) == []


def test_nothing_to_compare_with_is_no_hit() -> None:
    assert find_contamination(OTHERS, {}, Contamination()) == []
    assert find_contamination([], {"prose/held_out": JUDGED}, Contamination()) == []


def contaminated(settings: Contamination) -> object:
    texts = [document.text for document in OTHERS]
    copies = [f"# {text.upper()}" for text in texts[:8]]
    by_split = {
        "train": [Document(text, "train.txt") for text in (*copies, *texts[30:])],
        "select": [Document(text, "") for text in texts[8:14]],
        "held_out": [Document(text, "") for text in texts[:8]],
        "vault": [Document(text, "") for text in texts[14:20]],
    }
    domain = Domain(role="grow", splits=dict.fromkeys(by_split, ("-",)))
    tokenizer = tiny_splits().tokenizer
    return split_documents({"prose": by_split}, {"prose": domain}, seed=0, tokenizer=tokenizer, contamination=settings)


@pytest.mark.slow
def test_what_has_seen_the_hold_out_is_not_trained_on() -> None:
    splits = contaminated(Contamination(at_most_similar=1.0))
    assert splits.num_near_duplicates + splits.num_contaminated >= 8  # type: ignore[attr-defined]
    kept = set(splits.of("prose", "train").documents)  # type: ignore[attr-defined]
    assert not kept & {Document(f"# {document.text.upper()}", "").digest for document in OTHERS[:8]}


def refusing(train: list[Document], settings: Contamination) -> None:
    texts = [document.text for document in OTHERS]
    by_split = {
        "train": train,
        "select": [Document(text, "") for text in texts[10:16]],
        "held_out": [Document(text, "") for text in (texts[0], *texts[4:8])],
        "vault": [Document(text, "") for text in texts[16:22]],
    }
    domain = Domain(role="grow", splits=dict.fromkeys(by_split, ("-",)))
    tokenizer = tiny_splits().tokenizer
    split_documents({"prose": by_split}, {"prose": domain}, seed=0, tokenizer=tokenizer, contamination=settings)


@pytest.mark.slow
def test_text_can_be_refused_instead_and_the_worst_is_named() -> None:
    texts = [document.text for document in OTHERS]
    half = Document(f"{texts[4][: len(texts[4]) // 2]} {texts[24]}", "half.txt")
    whole = Document(" ".join(texts[:3]), "whole.txt")
    said = r"2 training documents .* whole.txt, which has seen a document of prose/held_out \(13-grams: 1\)"
    for train in ([half, whole], [whole, half]):
        with pytest.raises(DataError, match=said):
            refusing([*train, Document(texts[9], "other.txt")], Contamination(on_hit="refuse"))


@pytest.mark.slow
def test_a_domain_of_which_no_training_text_is_left_is_refused_by_name() -> None:
    seen = [Document(" ".join(document.text for document in OTHERS[:3]), "train.txt")]
    with pytest.raises(DataError, match=r"all 1 training documents of domain 'prose' .* train.txt.* other training"):
        refusing(seen, Contamination())


@pytest.mark.slow
def test_only_what_is_measured_of_a_document_counts() -> None:
    texts = [document.text for document in OTHERS]
    ends = [" ".join(texts[first : first + 4]) for first in (30, 34, 38, 42)]
    sealed = [f"{edited(text)}\n{end}" for text, end in zip(texts, ends, strict=False)]  # train has only the beginnings
    by_split = {
        "train": [
            Document(f"{texts[25]}\n{texts[0]}\n{texts[26]}", ""),
            *(Document(text, "") for text in texts[27:30]),
        ],
        "select": [Document(text, "") for text in texts[8:14]],
        "held_out": [Document(text, "") for text in sealed],
        "vault": [Document(text, "") for text in texts[14:19]],
    }
    domain = Domain(role="grow", splits=dict.fromkeys(by_split, ("-",)), max_document_bytes=1500)
    tokenizer, settings = tiny_splits().tokenizer, Contamination(longest_run=1000)
    splits = split_documents(
        {"prose": by_split}, {"prose": domain}, seed=0, tokenizer=tokenizer, contamination=settings
    )
    assert splits.num_contaminated == 1


@pytest.mark.parametrize(
    "settings", [{"num_words": 1}, {"longest_run": 5}, {"at_most_contained": 0.0}, {"at_most_similar": 1.5}]
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Contamination(**settings)  # type: ignore[arg-type]
