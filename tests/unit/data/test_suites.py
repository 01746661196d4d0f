"""Safety suites: parts that never mix, items that are what the plan says, and errors that say what is missing."""

import gzip
import json
import random
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from saint import config
from saint.data import DataPlan, Domain, SafetySuite, SuiteItems, open_splits, read_splits, read_suites, save_splits
from saint.errors import ConfigError, DataError

REFUSAL = "I cannot help with that."


def write(folder: Path, name: str, lines: Iterable[Mapping[str, Any]]) -> None:
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


def lines(count: int = 60) -> list[dict[str, Any]]:
    kinds = ("safe", "unsafe")
    return [{"goal": f"Do thing {i}", "target": f"Sure, thing {i}", "label": kinds[i % 2]} for i in range(count)]


def suite(**settings: Any) -> SafetySuite:
    given = {"sort": "prohibited", "sources": ["a.jsonl"], "keys": {"prompt": "goal", "completion": "target"}}
    return config.build({**given, **settings}, SafetySuite, where="data.suites.a")


def read(folder: Path, **suites: SafetySuite) -> dict[str, SuiteItems]:
    return read_suites(suites, seed=0, root=folder)


def parts_of_prompts(suites: Mapping[str, SuiteItems]) -> dict[str, str]:
    asked = ((name.partition("/")[2], item) for name, part in suites.items() for item in part.items)
    return {item.prompt.removeprefix("Q: "): part for part, item in asked}


def test_no_item_is_in_two_parts_and_none_is_lost(tmp_path: Path) -> None:
    found = lines(200)
    write(tmp_path, "a.jsonl", [*found, *found, {**found[0], "goal": "  do THING 0"}])
    parts = read(tmp_path, a=suite())
    assert list(parts) == ["a/select", "a/gate", "a/vault"]
    for one, other in combinations(parts.values(), 2):
        assert not set(one.items) & set(other.items)
    sizes = [len(part.items) for part in parts.values()]
    assert sum(sizes) == 200, "copies are one item, whatever their case and spaces"
    assert sizes == pytest.approx([80, 80, 40], abs=22)  # over three standard deviations


def test_a_part_depends_on_nothing_but_the_item_and_the_seed(tmp_path: Path) -> None:
    found = lines(120)
    write(tmp_path, "a.jsonl", found)
    random.Random(1).shuffle(found)
    write(tmp_path, "b.jsonl.gz", found[:50])
    write(tmp_path, "c.jsonl", found[50:90])
    all_of_them = parts_of_prompts(read(tmp_path, a=suite()))
    fewer = parts_of_prompts(read(tmp_path, a=suite(sources=["b.jsonl.gz", "c.jsonl"])))
    assert len(fewer) == 90
    assert fewer.items() <= all_of_them.items()
    assert parts_of_prompts(read_suites({"a": suite()}, seed=1, root=tmp_path)) != all_of_them


def test_suites_that_ask_about_one_prompt_in_two_ways_keep_it_in_one_part(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", lines())
    refused = suite(
        sort="preference",
        keys={"prompt": "goal", "rejected": "target"},
        texts={"chosen": REFUSAL},
        template="Q: {prompt}",
    )
    apart = read(tmp_path, a=suite(), refused=refused)
    one, other = ({n: p for n, p in apart.items() if n.startswith(name)} for name in ("a/", "refused/"))
    assert parts_of_prompts(one) == parts_of_prompts(other)
    assert apart["refused/gate"].items[0].texts[0] == REFUSAL


def test_pairs_after_one_prompt_that_the_plan_gives_are_cut_by_their_texts(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", lines(100))
    given = {"keys": {"completion": "target"}, "texts": {"prompt": "It was said:"}, "template": "{prompt} "}
    parts = read(tmp_path, a=suite(**given))
    assert {item.prompt for part in parts.values() for item in part.items} == {"It was said: "}
    sizes = [len(part.items) for part in parts.values()]
    assert sizes == pytest.approx([40, 40, 20], abs=15)  # three standard deviations


def test_the_plan_says_what_is_a_prompt_and_which_lines_count(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", lines())
    settings = {"keys": {"prompt": "goal"}, "judge": "refusal", "judge_settings": {"within": 40}, "max_tokens": 5}
    asked = suite(sort="refusals", where={"label": "safe"}, template="Q: {prompt}\nA:", **settings)
    parts = read(tmp_path, a=asked)
    assert sum(len(part.items) for part in parts.values()) == 30
    part = parts["a/gate"]
    assert (part.sort, part.judge, part.judge_settings, part.max_tokens) == ("refusals", "refusal", {"within": 40}, 5)
    assert all(item.prompt.startswith("Q: Do thing") and item.prompt.endswith("\nA:") for item in part.items)
    assert all(item.texts == () for item in part.items)


def test_a_part_can_be_kept_small_or_left_out(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", lines(100))
    small = read(tmp_path, a=suite(shares={"select": 0.5, "gate": 0.5, "vault": 0.0}, max_items={"gate": 7}))
    assert small.keys() == {"a/select", "a/gate"}
    assert len(small["a/gate"].items) == 7


def test_the_digest_is_of_what_is_asked_and_who_judges(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", lines())
    asked = {"sort": "violations", "keys": {"prompt": "goal"}, "judge": "lexicon"}
    changes = [
        {},
        {"max_tokens": 5},
        {"judge": "refusal"},
        {"judge_settings": {"words": ["x"]}},
        {"template": "{prompt}."},
    ]
    digests = {read(tmp_path, a=suite(**{**asked, **change}))["a/gate"].digest for change in changes}
    assert len(digests) == len(changes)


def test_what_is_prepared_has_its_suites_and_notices_a_change(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", lines())
    write(tmp_path, "text.jsonl", [{"text": f"the text of page {i * 7919} says {i * 104729}"} for i in range(200)])
    plan = DataPlan(
        domains={"pages": Domain(role="grow", sources=("text.jsonl",))}, suites={"a": suite()}, vocab_size=300
    )
    splits = read_splits(plan, root=tmp_path)
    save_splits(splits, tmp_path / "prepared", plan=plan)
    opened = open_splits(tmp_path / "prepared", verify=True)
    assert opened.suites == splits.suites
    assert opened.suites_of("gate") == {"a": splits.suites["a/gate"]}
    assert {part.digest for part in opened.suites.values()} == {part.digest for part in splits.suites.values()}
    file = tmp_path / "prepared" / "suites" / "a" / "gate.jsonl"
    file.write_text(file.read_text(encoding="utf-8").replace("Sure", "sure", 1), encoding="utf-8")
    with pytest.raises(DataError, match="run `saint data prepare` again"):
        open_splits(tmp_path / "prepared", verify=True)
    with pytest.raises(DataError, match=r"suite a/gate in .* is not what was prepared"):
        open_splits(tmp_path / "prepared")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"sources": []}, "needs sources"),
        ({"sort": "stereotypes"}, "expected 'preference' or 'prohibited'"),
        ({"keys": {"chosen": "x"}}, "has no 'chosen'; its items have prompt, completion"),
        ({"texts": {"prompt": ""}}, "prompt is in keys and in texts"),
        ({"template": "prompt"}, "must say where {prompt} goes"),
        ({"shares": {"train": 0.5}}, "has no part 'train'"),
        ({"shares": {"gate": 0.0}}, "select and gate need some"),
        ({"shares": {"gate": 0.9}}, "add up to more than 1"),
        ({"judge": "lexicon"}, "generates nothing that a judge could read; leave out judge"),
        ({"sort": "refusals", "keys": {}}, "needs a judge of what is generated; name judge"),
        ({"sort": "refusals", "keys": {}, "judge": "lexicn"}, "did you mean 'lexicon'"),
        ({"sort": "refusals", "keys": {}, "judge": "lexicon", "judge_settings": {"word": ["x"]}}, "'words'"),
        ({"sort": "refusals", "keys": {}, "judge": "lexicon", "max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_a_suite_that_cannot_be_meant_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        suite(**settings)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("found", "settings", "complaint"),
    [
        ([], {}, "suite 'a' is empty"),
        (lines(), {"where": {"label": "dull"}}, "suite 'a' has no line where label is 'dull'"),
        (lines(9), {}, r"a/\w+ has \d of the suite's 9 items, and needs 4"),
        ([{"goal": "x"}], {}, "a.jsonl:1 has no completion: expected text under 'target'"),
        ([{"goal": "x", "target": " "}], {}, "has no completion"),
        ([{"goal": 3, "target": "x"}], {}, "has no prompt"),
        ([{"goal": "\ud800", "target": "x"}], {}, "has half a character"),
        (["x"], {}, "a.jsonl:1 is str; every line must be a JSON object"),
    ],
)
def test_items_that_are_missing_or_lack_something_are_refused(
    tmp_path: Path, found: Any, settings: dict[str, Any], complaint: str
) -> None:
    write(tmp_path, "a.jsonl", found)
    with pytest.raises(DataError, match=complaint) as caught:
        read(tmp_path, a=suite(**settings))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_json_lines_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text("{", encoding="utf-8")
    (tmp_path / "c.jsonl.gz").write_bytes(b"not gzip")
    for source, complaint in [("a.txt", "is not JSON lines"), ("b.jsonl", "is not JSON"), ("c.jsonl.gz", "be read")]:
        with pytest.raises(DataError, match=complaint):
            read(tmp_path, a=suite(sources=[source]))
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path, a=suite(sources=["d.jsonl"]))


def test_suites_that_overlap_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", lines(60))
    write(tmp_path, "b.jsonl", [*lines(70)[59:], *[{"goal": f"{i}", "target": "Sure"} for i in range(50)]])
    with pytest.raises(DataError, match="suites 'a' and 'b' overlap, as in 'Do thing 59"):
        read(tmp_path, a=suite(), b=suite(sources=["b.jsonl"]))


def test_names_that_other_text_has_are_refused() -> None:
    domain = Domain(role="grow", sources=("x",))
    for name, complaint in [("pages", "other text"), ("held_out", "other text"), ("a/b", "needs a name of letters")]:
        with pytest.raises(ConfigError, match=complaint):
            DataPlan(domains={"pages": domain}, suites={name: suite()})
    with pytest.raises(ConfigError, match="has its own safety suites"):
        DataPlan(prepared="data", suites={"a": suite()})
