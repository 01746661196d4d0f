"""Splits never mix: by digest, by near copies, and whatever else is in the corpus."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from saint.data import (
    DataPlan,
    Document,
    Domain,
    Splits,
    encode,
    open_splits,
    read_splits,
    save_splits,
    split_documents,
    train_tokenizer,
)
from saint.errors import ConfigError, DataError, NewerFormatError, SaintError

WORDS = [
    "the",
    "graft",
    "base",
    "stack",
    "learns",
    "forgets",
    "keeps",
    "measures",
    "text",
    "model",
    "weight",
    "site",
    "gate",
    "token",
    "byte",
    "split",
]
TOKENIZER = train_tokenizer(WORDS, vocab_size=300)
GROW = Domain(role="grow", sources=("-",))
RETAIN = Domain(role="retain", sources=("-",))
SPLITS = ("train", "select", "held_out", "vault")
PLAN = DataPlan(domains={"prose": GROW, "code": RETAIN})
EVEN = {
    "grow": {"train": 0.25, "select": 0.25, "held_out": 0.25, "vault": 0.25},
    "retain": {"train": 0.25, "select": 0.25, "retain": 0.25, "vault": 0.25},
}


def some_texts(count: int, *, seed: int = 0, num_words: int = 40) -> list[str]:
    """Texts that are nothing like each other."""
    choose = random.Random(seed)
    return [
        " ".join(f"{choose.choice(WORDS)}{choose.randrange(1000)}" for _ in range(num_words)) + "\n"
        for _ in range(count)
    ]


def documents(texts: Sequence[str]) -> list[Document]:
    return [Document(text, f"text {i}") for i, text in enumerate(texts)]


def split(texts: Mapping[str, Sequence[str]], domains: Mapping[str, Domain], *, seed: int = 0) -> Splits:
    cut = {name: {"": documents(found)} for name, found in texts.items()}
    return split_documents(cut, domains, seed=seed, tokenizer=TOKENIZER)


def places(splits: Splits) -> dict[str, str]:
    """Digest of a document -> the split it is in."""
    return {digest: name for name, corpus in splits.corpora.items() for digest in corpus.documents}


def digests(texts: Sequence[str]) -> set[str]:
    return {Document(text, "").digest for text in texts}


def test_no_document_is_in_two_splits_of_any_domain() -> None:
    shared = some_texts(60)
    texts = {"prose": shared[:40] + some_texts(80, seed=1), "code": shared[20:] + some_texts(80, seed=2)}
    even = {
        name: Domain(role=domain.role, sources=("-",), shares=EVEN[domain.role])
        for name, domain in PLAN.domains.items()
    }
    splits = split(texts, even)
    for one, other in combinations(splits.corpora.values(), 2):
        assert not set(one.documents) & set(other.documents)
    assert sum(corpus.num_documents for corpus in splits.corpora.values()) == 60 + 160
    assert splits.num_exact_duplicates == 20


def test_a_nearly_equal_document_is_in_no_other_split() -> None:
    texts = some_texts(80, num_words=120)
    edited = [text.replace(text.split()[60], "changed", 1) for text in texts]
    splits = split({"prose": texts + edited}, {"prose": GROW})
    assert splits.num_near_duplicates == 80
    found = places(splits)
    for text, near in zip(texts, edited, strict=True):
        assert len({Document(text, "").digest, Document(near, "").digest} & found.keys()) == 1


@settings(max_examples=10, deadline=None)
@given(
    kept=st.sets(st.integers(0, 79), min_size=60),
    order=st.randoms(use_true_random=False),
    seed=st.integers(0, 5),
)
def test_a_split_depends_on_nothing_but_text_and_seed(kept: set[int], order: random.Random, seed: int) -> None:
    texts = some_texts(80, num_words=12)
    shuffled = [texts[i] for i in sorted(kept)]
    order.shuffle(shuffled)
    domain = Domain(role="grow", sources=("-",), shares=EVEN["grow"])
    everywhere = places(split({"prose": texts}, {"prose": domain}, seed=seed))
    fewer = places(split({"prose": shuffled}, {"prose": domain}, seed=seed))
    assert len(fewer) == len(kept)
    assert fewer.items() <= everywhere.items()


def test_another_seed_makes_another_cut_with_the_shares_that_were_asked_for() -> None:
    texts = some_texts(600, num_words=12)
    domain = Domain(role="grow", sources=("-",), shares={"train": 0.5, "select": 0.1, "held_out": 0.2, "vault": 0.1})
    one, other = (split({"prose": texts}, {"prose": domain}, seed=seed) for seed in (0, 1))
    sizes = [one.of("prose", name).num_documents for name in SPLITS]
    assert sizes == pytest.approx([300, 60, 120, 60], abs=40)  # over three standard deviations
    assert sum(sizes) < 580, "the rest is left unused"
    assert places(one) != places(other)


def test_of_an_exact_copy_the_evaluation_split_keeps_its_own() -> None:
    shared, rest = some_texts(8), some_texts(300, seed=3)
    by_split = {
        name: documents([*shared[2 * i : 2 * i + 2], *shared[:2], *rest[50 * i : 50 * i + 50]])
        for i, name in enumerate(SPLITS)
    }
    domain = Domain(role="grow", splits=dict.fromkeys(SPLITS, ("-",)))
    splits = split_documents({"prose": by_split}, {"prose": domain}, seed=0, tokenizer=TOKENIZER)
    copied = digests(shared[:2])
    assert copied <= set(splits.of("prose", "vault").documents)
    assert not copied & set(splits.of("prose", "train").documents)
    assert splits.num_exact_duplicates == 2 * 4


def test_nothing_of_a_protected_domain_is_trained_on() -> None:
    shared = some_texts(60)
    texts = {"prose": [*shared, *some_texts(100, seed=5)], "bias": shared}
    splits = split(texts, {"prose": GROW, "bias": Domain(role="safety", sources=("-",))})
    assert splits.num_exact_duplicates == 60
    assert splits.corpora.keys() == {
        *(f"prose/{name}" for name in SPLITS),
        *(f"bias/{name}" for name in ("select", "safety", "vault")),
    }
    for split_name in ("train", "select"):
        assert not digests(shared) & set(splits.of("prose", split_name).documents)


def test_too_few_documents_are_refused_with_the_split_that_lacks_them() -> None:
    with pytest.raises(DataError, match=r"prose/\w+ has \d of the domain's 12 documents"):
        split({"prose": some_texts(12)}, {"prose": GROW})


def test_documents_that_are_all_empty_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text('{"text": ""}\n{"text": "  "}\n', encoding="utf-8")
    plan = DataPlan(domains={"prose": Domain(role="grow", sources=("empty.jsonl",))})
    with pytest.raises(DataError, match="'prose' has no documents that are not empty"):
        read_splits(plan, root=tmp_path)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"role": "grow"}, "sources or splits"),
        ({"role": "grow", "sources": ("a",), "splits": {"train": ("b",)}}, "sources or splits"),
        ({"role": "grow", "sources": ("a",), "shares": {"retain": 0.1}}, "no split 'retain'"),
        ({"role": "retain", "sources": ("a",), "max_tokens": {"held_out": 9}}, "no split 'held_out'"),
        ({"role": "grow", "sources": ("a",), "shares": {"train": -0.1}}, "negative"),
        ({"role": "grow", "sources": ("a",), "shares": {"train": 0.9}}, "add up to 1.2"),
        ({"role": "grow", "splits": {"train": ("a",)}}, "splits has no 'select'"),
        ({"role": "safety", "splits": {"safety": ("a",)}, "shares": {"safety": 0.5}}, "no effect"),
    ],
)
def test_a_domain_that_cannot_be_meant_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Domain(**settings)


def test_a_long_document_is_cut_outside_train_only_and_bytes_count_what_is_left() -> None:
    texts = ["".join(f"{line}\n" for line in text.split()) for text in some_texts(120, num_words=60)]
    whole = split({"prose": texts}, {"prose": GROW})
    cut = split({"prose": texts}, {"prose": Domain(role="grow", sources=("-",), max_document_bytes=100)})
    text_of = {Document(text, "").digest: text for text in texts}
    assert cut.train.digest == whole.train.digest
    for name in ("select", "held_out", "vault"):
        corpus = cut.of("prose", name)
        assert corpus.digest != whole.of("prose", name).digest
        ends = np.cumsum(corpus.num_tokens_each)
        for digest, num_bytes, width, end in zip(
            corpus.documents, corpus.num_bytes_each, corpus.num_tokens_each, ends, strict=True
        ):
            used = TOKENIZER.decode(corpus.shards[0][end - width + 1 : end])
            assert text_of[digest].startswith(used)
            assert used.endswith("\n")
            assert 80 < len(used.encode()) == num_bytes <= 100


def test_a_first_line_that_is_too_long_is_cut_between_characters() -> None:
    texts = [f"{number} {'ж' * 200}" for number in range(300, 420)]
    shares = {"select": 0.5, "held_out": 0.2, "vault": 0.2, "train": 0.1}
    domain = Domain(role="grow", sources=("-",), shares=shares, max_document_bytes=101)
    cut = split({"prose": texts}, {"prose": domain})
    assert set(cut.held_out.num_bytes_each.tolist()) == {100}  # "300 " and 48 letters of two bytes


def test_a_split_has_at_most_the_tokens_that_were_asked_for() -> None:
    texts = some_texts(100)
    capped = split({"prose": texts}, {"prose": Domain(role="grow", sources=("-",), max_tokens={"train": 3000})})
    whole = split({"prose": texts}, {"prose": GROW})
    assert 2000 < capped.train.num_tokens <= 3000 < whole.train.num_tokens
    assert set(capped.train.documents) < set(whole.train.documents)
    assert capped.held_out.digest == whole.held_out.digest


@pytest.fixture
def splits() -> Splits:
    return split(
        {"prose": some_texts(60), "code": some_texts(80, seed=9)},
        {
            "prose": Domain(role="grow", sources=("-",), shares=EVEN["grow"]),
            "code": Domain(role="retain", sources=("-",), shares=EVEN["retain"]),
        },
    )


def test_saved_splits_open_memory_mapped_with_the_same_tokens(splits: Splits, tmp_path: Path) -> None:
    save_splits(splits, tmp_path / "text", plan=PLAN)
    opened = open_splits(tmp_path / "text", verify=True)
    assert opened.describe() == splits.describe()
    assert opened.roles == splits.roles
    assert opened.tokenizer_digest == splits.tokenizer_digest
    for name, corpus in opened.corpora.items():
        assert all(isinstance(shard, np.memmap) for shard in corpus.shards)
        np.testing.assert_array_equal(np.concatenate(corpus.shards), np.concatenate(splits.corpora[name].shards))
        np.testing.assert_array_equal(corpus.num_tokens_each, splits.corpora[name].num_tokens_each)
    assert encode(opened.tokenizer, ["the graft"])[0].tolist() == encode(splits.tokenizer, ["the graft"])[0].tolist()


def test_a_licence_is_kept_with_the_text_that_it_is_of_and_changes_no_digest(tmp_path: Path) -> None:
    plain = {"prose": replace(GROW, shares=EVEN["grow"]), "code": replace(RETAIN, shares=EVEN["retain"])}
    licensed = {**plain, "prose": replace(plain["prose"], license="CC-BY-4.0")}
    texts = {"prose": some_texts(60), "code": some_texts(60, seed=1)}
    before, after = split(texts, plain).describe(), split(texts, licensed)
    save_splits(after, tmp_path / "text", plan=DataPlan(domains=licensed))
    described = open_splits(tmp_path / "text").describe()
    assert {name: one.get("license") for name, one in described.items()} == {
        name: "CC-BY-4.0" if name.startswith("prose/") else None for name in before
    }
    assert {name: one["digest"] for name, one in described.items()} == {n: one["digest"] for n, one in before.items()}


def test_prepared_text_is_found_through_the_plan(splits: Splits, tmp_path: Path) -> None:
    save_splits(splits, tmp_path / "text", plan=PLAN)
    assert read_splits(DataPlan(prepared="text"), root=tmp_path).describe() == splits.describe()


@pytest.mark.parametrize(
    ("name", "verify"),
    [
        ("prose/held_out/documents.jsonl", False),
        ("code/train/shard_00000.npy", True),
        ("tokenizer/tokenizer.json", True),
    ],
)
def test_a_changed_file_is_named(name: str, verify: bool, splits: Splits, tmp_path: Path) -> None:  # noqa: FBT001
    save_splits(splits, tmp_path / "text", plan=PLAN)
    file = tmp_path / "text" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content) + (b"" if verify else b"\n"))
    with pytest.raises(DataError, match=Path(name).name):
        open_splits(tmp_path / "text", verify=verify)


def test_a_missing_file_is_named(splits: Splits, tmp_path: Path) -> None:
    save_splits(splits, tmp_path / "text", plan=PLAN)
    (tmp_path / "text/code/train/shard_00000.npy").unlink()
    with pytest.raises(DataError, match="shard_00000"):
        open_splits(tmp_path / "text")


def test_an_existing_folder_is_not_written_to(splits: Splits, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    with pytest.raises(DataError, match="exists already"):
        save_splits(splits, tmp_path / "text", plan=PLAN)
    assert not list((tmp_path / "text").iterdir())


@pytest.mark.parametrize(
    ("manifest", "error"),
    [(None, DataError), ("{", DataError), (json.dumps({"format": 99}), NewerFormatError)],
)
def test_a_folder_that_this_version_cannot_read_is_refused(
    manifest: str | None, error: type[SaintError], tmp_path: Path
) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest, encoding="utf-8")
    with pytest.raises(error, match=str(tmp_path)):
        open_splits(tmp_path)


def test_one_domain_is_grown_towards() -> None:
    texts = {"prose": some_texts(60), "code": some_texts(60, seed=7)}
    domain = Domain(role="grow", sources=("-",), shares=EVEN["grow"])
    with pytest.raises(DataError, match="prose, code"):
        _ = split(texts, {"prose": domain, "code": domain}).train
