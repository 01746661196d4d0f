"""Safety suites: items that a model is asked about and never trained on, cut into parts that never mix."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, final

from saint import records
from saint.data._documents import read_json_objects
from saint.errors import ConfigError, DataError
from saint.judges import build_judge

SuiteSort = Literal["preference", "prohibited", "violations", "refusals"]

TEXTS: Mapping[SuiteSort, tuple[str, ...]] = MappingProxyType(
    {"preference": ("chosen", "rejected"), "prohibited": ("completion",), "violations": (), "refusals": ()}
)
"""What an item of each sort has besides its prompt."""
PART_SHARES: Mapping[str, float] = MappingProxyType({"select": 0.4, "gate": 0.4, "vault": 0.2})
"""The parts of a suite, and the share of the items that each gets unless the plan says else."""

_MIN_ITEMS = 4  # as of documents: fewer independent observations give no interval worth the name
_PROMPT = "{prompt}"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SafetySuite:
    """Items that a model must not become worse on. They are never trained on.

    `preference`: the chosen completion must stay as likely against the rejected one. `prohibited`: the completion must
    not become likelier. `violations`: what the model writes after the prompt must not violate, as a judge says.
    `refusals`: benign prompts must not be refused, as a judge says.
    """

    sort: SuiteSort
    sources: tuple[str, ...]
    """Files, folders or globs of .jsonl, .jsonl.gz or .jsonl.zst; one item a line."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """`prompt`, `chosen`, `rejected` or `completion` -> a line's field that has it; by default that of this name."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """The same -> a text that is the same in every item, instead of a field: a refusal, or an empty prompt."""
    where: Mapping[str, Any] = field(default_factory=dict)
    """Only lines whose fields have these values."""
    template: str = _PROMPT
    """What a prompt is put into, such as "User: {prompt}\\nAssistant:"."""
    judge: str = ""
    """Who judges what was generated, for violations and refusals."""
    judge_settings: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int = 32
    """How many tokens are generated for each prompt, for violations and refusals."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """`select`, `gate` or `vault` -> share of the items; the rest is left unused."""
    max_items: Mapping[str, int] = field(default_factory=dict)
    """`select`, `gate` or `vault` -> most items to keep in it."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.sources:
            raise ConfigError("a suite needs sources; give files of JSON lines")
        self._check_items()
        self._check_parts()
        self._check_judge()

    def _check_items(self) -> None:
        names = ("prompt", *TEXTS[self.sort])
        for name in (*self.keys, *self.texts):
            if name not in names:
                raise ConfigError(f"a suite of sort {self.sort!r} has no {name!r}; its items have {', '.join(names)}")
        if twice := sorted(self.keys.keys() & self.texts.keys()):
            raise ConfigError(f"{twice[0]} is in keys and in texts; leave it out of one")
        if _PROMPT not in self.template:
            raise ConfigError(f"template is {self.template!r}; it must say where {_PROMPT} goes")

    def _check_parts(self) -> None:
        for name in (*self.shares, *self.max_items):
            if name not in PART_SHARES:
                raise ConfigError(f"a suite has no part {name!r}; it has {', '.join(PART_SHARES)}")
        shares = self.shares_in_effect
        if sum(shares.values()) > 1 + 1e-9 or min(shares.values()) < 0 or not (shares["select"] and shares["gate"]):
            raise ConfigError("shares must not be negative nor add up to more than 1, and select and gate need some")

    def _check_judge(self) -> None:
        generated = not TEXTS[self.sort]
        if generated != bool(self.judge):
            wanted = "needs a judge of what is generated" if generated else "generates nothing that a judge could read"
            raise ConfigError(f"a suite of sort {self.sort!r} {wanted}; {'name' if generated else 'leave out'} judge")
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if generated:
            build_judge(self.judge, self.judge_settings)

    @property
    def shares_in_effect(self) -> Mapping[str, float]:
        """The plan's shares over the defaults."""
        return {**PART_SHARES, **self.shares}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """What a model is asked about once: one observation."""

    prompt: str
    """As the model is shown it; may be empty."""
    texts: tuple[str, ...] = ()
    """Completions of it: (chosen, rejected), (prohibited,), or none where the model writes one."""

    @property
    def digest(self) -> str:
        """Of prompt and texts."""
        return records.digest(self)


@final
@dataclass(frozen=True, kw_only=True)
class SuiteItems:
    """The items of one part of one suite, with what is needed to measure them."""

    name: str
    """suite/part"""
    sort: SuiteSort
    items: tuple[Item, ...]
    judge: str = ""
    judge_settings: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int = 0

    @cached_property
    def digest(self) -> str:
        """What is asked and who judges the answers."""
        return records.digest({**self.measured_by, "items": [item.digest for item in self.items]})

    @property
    def measured_by(self) -> dict[str, Any]:
        """How an item's value is come by."""
        by_judge = {"judge": self.judge, "judge_settings": self.judge_settings, "max_tokens": self.max_tokens}
        return {"sort": self.sort, **(by_judge if self.judge else {})}

    @property
    def documents(self) -> tuple[str, ...]:
        """All text of each item, for whoever looks for it elsewhere."""
        return tuple("\n".join((item.prompt, *item.texts)) for item in self.items)


def read_suites(suites: Mapping[str, SafetySuite], *, seed: int, root: Path = Path()) -> dict[str, SuiteItems]:
    """`suite/part` -> its items, read, de-duplicated and cut.

    Items that differ only in case and spaces are one. Which part an item is in follows from the seed and its line's
    prompt, or its completions where lines have none, so suites that ask about one prompt in different ways agree.

    Args:
        seed: Chooses the parts.
        root: What relative paths are relative to.

    Raises:
        DataError: A source is missing or unreadable, an item lacks what its sort needs, a part has too few items, or
            two suites that are measured in the same way share an item.
    """
    parts = {items.name: items for name, suite in suites.items() for items in _cut(name, suite, seed=seed, root=root)}
    _must_not_overlap(parts.values())
    return parts


def describe_suites(suites: Mapping[str, SuiteItems]) -> dict[str, dict[str, Any]]:
    """Size and digest of every part, and how its items are measured, for manifest and ledger."""
    return {
        name: {"digest": part.digest, "num_items": len(part.items), **part.measured_by} for name, part in suites.items()
    }


def write_suites(suites: Mapping[str, SuiteItems], folder: Path) -> None:
    """One file of JSON lines for each part below `folder`/suites."""
    for name, part in suites.items():
        file = folder / "suites" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{records.to_canonical(item)}\n" for item in part.items), encoding="utf-8")


def open_suites(folder: Path, described: Mapping[str, Mapping[str, Any]]) -> dict[str, SuiteItems]:
    """What `write_suites` wrote.

    Args:
        described: What `describe_suites` said of it.

    Raises:
        DataError: The items are other ones.
    """
    found = {}
    for name, known in described.items():
        lines = (folder / "suites" / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        read = [json.loads(line) for line in lines]
        items = tuple(Item(prompt=one["prompt"], texts=tuple(one["texts"])) for one in read)
        how = {key: value for key, value in known.items() if key not in ("digest", "num_items")}
        found[name] = SuiteItems(name=name, items=items, **how)
        if found[name].digest != known["digest"]:
            raise DataError(f"suite {name} in {folder} is not what was prepared; run `saint data prepare` again")
    return found


def check_suite_names(suites: Mapping[str, SafetySuite], domains: Mapping[str, Any]) -> None:
    """Refuse names that are a domain's, or no file's.

    Raises:
        ConfigError: Says which.
    """
    for name in suites:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ConfigError(f"suite {name!r} needs a name of letters, digits, '-', '_' and '.'; rename it")
        if name in domains or name == "held_out":
            raise ConfigError(f"suite {name!r} has the name of other text that the gates judge on; rename it")


def _cut(name: str, suite: SafetySuite, *, seed: int, root: Path) -> Iterator[SuiteItems]:
    """The parts of one suite."""
    different: dict[str, tuple[str, Item]] = {}
    for asked, item in sorted(_read(name, suite, root), key=lambda found: found[1].digest):  # files in any order
        different.setdefault(_plain(item.prompt, *item.texts), (asked, item))
    if not different:
        which = f"has no line where {_spell(suite.where)}" if suite.where else "is empty"
        raise DataError(f"suite {name!r} {which}; correct its sources")
    placed: dict[str, list[Item]] = {part: [] for part, share in suite.shares_in_effect.items() if share}
    for asked, item in different.values():
        if part := _part(asked, suite.shares_in_effect, seed):
            placed[part].append(item)
    for part, items in placed.items():
        kept = tuple(items[: suite.max_items.get(part, len(items))])
        if len(kept) < _MIN_ITEMS:
            raise DataError(
                f"{name}/{part} has {len(kept)} of the suite's {len(different)} items, and needs {_MIN_ITEMS}: give "
                "more items, a larger share or a larger max_items"
            )
        yield SuiteItems(
            name=f"{name}/{part}",
            sort=suite.sort,
            items=kept,
            judge=suite.judge,
            judge_settings=suite.judge_settings,
            max_tokens=suite.max_tokens if suite.judge else 0,
        )


def _read(name: str, suite: SafetySuite, root: Path) -> Iterator[tuple[str, Item]]:
    """Each item, after what decides which part it is in: its line's prompt, or else its completions."""
    for source in suite.sources:
        for found, place in read_json_objects(source, root=root):
            if all(field in found and found[field] == value for field, value in suite.where.items()):
                prompt = _text("prompt", suite, found, f"suite {name!r}: {place}")
                texts = [_text(one, suite, found, f"suite {name!r}: {place}") for one in TEXTS[suite.sort]]
                asked = _plain(*texts) if "prompt" in suite.texts and texts else _plain(prompt)
                yield asked, Item(prompt=suite.template.replace(_PROMPT, prompt), texts=tuple(texts))


def _text(name: str, suite: SafetySuite, found: Mapping[str, Any], place: str) -> str:
    """A part of an item: a field's or the suite's own. Only a prompt that the plan gives may be empty."""
    key = suite.keys.get(name, name)
    text = suite.texts[name] if name in suite.texts else found.get(key)
    if not isinstance(text, str) or not (text.strip() or (name == "prompt" and name in suite.texts)):
        raise DataError(
            f"{place} has no {name}: expected text under {key!r} (it has {', '.join(found)}); set keys.{name} or "
            f"texts.{name} in the plan"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{place} has half a character ({error}); repair the line or leave it out") from error
    return text


def _part(asked: str, shares: Mapping[str, float], seed: int) -> str | None:
    """The part whose stretch of [0, 1) what is asked falls into; None beyond the last."""
    point = int(hashlib.sha256(f"{seed}:{asked}".encode()).hexdigest()[:13], 16) / 16**13
    for part, share in shares.items():
        if point < share:
            return part
        point -= share
    return None


def _must_not_overlap(parts: Iterable[SuiteItems]) -> None:
    """Refuse an item that would count twice."""
    owners: dict[tuple[str, str], str] = {}
    for part in parts:
        suite, how = part.name.partition("/")[0], records.digest(part.measured_by)
        for item in part.items:
            owner = owners.setdefault((how, _plain(item.prompt, *item.texts)), suite)
            if owner != suite:
                raise DataError(
                    f"suites {owner!r} and {suite!r} overlap, as in {_short(item)!r}; leave it out of one of them"
                )


def _plain(*texts: str) -> str:
    """What is left when case and spaces do not matter."""
    return "\n".join(" ".join(text.casefold().split()) for text in texts)


def _spell(where: Mapping[str, Any]) -> str:
    return " and ".join(f"{field} is {value!r}" for field, value in where.items())


def _short(item: Item) -> str:
    return " ".join((item.prompt, *item.texts)).strip()[:60]
