"""Documents cut into splits that never mix: a document's split follows from its own text and the seed."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, final

import numpy as np

from saint import records
from saint.data._contamination import Contamination, find_contamination, must_be_clean, spell_hit, worst_hit
from saint.data._corpus import Corpus, Tokens
from saint.data._documents import Document, read_documents
from saint.data._duplicates import Duplicates, find_duplicates
from saint.data._suites import SuiteItems
from saint.data._tokenizer import TokenizerSort, encode, train_tokenizer
from saint.errors import ConfigError, DataError

Role = Literal["grow", "retain", "safety"]

SHARES: Mapping[Role, Mapping[str, float]] = MappingProxyType(
    {
        "grow": {"train": 0.70, "select": 0.08, "held_out": 0.12, "vault": 0.10},
        "retain": {"train": 0.80, "select": 0.05, "retain": 0.08, "vault": 0.07},
        "safety": {"select": 0.20, "safety": 0.60, "vault": 0.20},
    }
)
"""Which splits a domain of each role has, and the share of its documents that each gets unless the plan says else."""

_JUDGED_ON = ("held_out", "retain", "safety", "vault")
_MIN_DOCUMENTS = 4  # fewer independent observations give no interval worth the name
_ENCODED_TOGETHER = 64
_TOO_LITTLE_ROOM = 256  # tokens: a corpus this near its cap is full
_FIRST_KEPT = ("vault", "held_out", "safety", "retain", "select", "train")
"""Of a document that is in two splits' own files, the copy in the split named first stays."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """One sort of text, and what it is for."""

    role: Role
    """`grow` is what the model is to learn, `retain` and `safety` are what it must not lose."""
    sources: tuple[str, ...] = ()
    """Files, folders, globs, `embedded:code` or `embedded:prose`; cut into splits by `shares`."""
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Instead of `sources`: the sources of each split, for text that others have cut already."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Split -> share of the documents; the rest is left unused."""
    max_tokens: Mapping[str, int] = field(default_factory=dict)
    """Split -> most tokens to keep in it; whole documents are left out beyond that."""
    max_document_bytes: int = 0
    """Of a longer document only the beginning, up to a line's end, is used outside `train`; 0 for no limit. A few long
    documents among short ones make every interval wide."""
    text_key: str = "text"
    separator: str = ""
    license: str = ""
    """Of its text, as an SPDX expression or in words. It changes nothing; the ledger keeps it, and exports say it."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        allowed = SHARES[self.role]
        if bool(self.sources) == bool(self.splits):
            raise ConfigError("a domain needs either sources or splits, and not both")
        for name in (*self.splits, *self.shares, *self.max_tokens):
            if name not in allowed:
                raise ConfigError(f"a domain of role {self.role!r} has no split {name!r}; it has {', '.join(allowed)}")
        if self.splits and self.shares:
            raise ConfigError("shares have no effect on splits that are given as files; leave them out")
        if self.splits and (missing := [name for name in allowed if name not in self.splits and name != "train"]):
            raise ConfigError(
                f"splits has no {missing[0]!r}; a domain of role {self.role!r} needs {', '.join(allowed)}"
            )
        total = sum(self.shares_in_effect.values())
        if total > 1 + 1e-9 or any(share < 0 for share in self.shares.values()):
            raise ConfigError(f"shares add up to {total:g}; they must not be negative nor exceed 1")

    @property
    def shares_in_effect(self) -> Mapping[str, float]:
        """The plan's shares over the defaults of the role."""
        return {**SHARES[self.role], **self.shares}


@final
@dataclass(frozen=True, kw_only=True)
class Splits:
    """All text of a project: train, select, held_out, vault, retain and safety share no document."""

    corpora: Mapping[str, Corpus]
    """`domain/split` -> its documents."""
    roles: Mapping[str, Role]
    licenses: Mapping[str, str] = field(default_factory=dict)
    """Domain -> the licence of its text, where whoever wrote the plan said so."""
    tokenizer: Any
    """The Hugging Face tokenizer that made the tokens."""
    num_exact_duplicates: int = 0
    num_near_duplicates: int = 0
    num_contaminated: int = 0
    """Training documents that were left out because they have seen one that grafts are judged on."""
    canaries: tuple[str, ...] = ()
    """Texts that lie beside held_out and nowhere else; none before the splits were saved."""
    suites: Mapping[str, SuiteItems] = field(default_factory=dict)
    """`suite/part` -> safety items: `select` may be looked at, `gate` and `vault` are sealed."""

    @property
    def grown_domain(self) -> str:
        """The domain that is grown towards.

        Raises:
            DataError: There is none, or more than one.
        """
        grown = [domain for domain, role in self.roles.items() if role == "grow"]
        if len(grown) != 1:
            raise DataError(f"expected one domain of role 'grow', got {', '.join(grown) or 'none'}; correct the plan")
        return grown[0]

    @property
    def train(self) -> Corpus:
        """What grafts learn from."""
        return self.corpora[f"{self.grown_domain}/train"]

    @property
    def select(self) -> Mapping[str, Corpus]:
        """Domain -> development text: stops training, ranks candidates, sets strengths. Free to look at."""
        return self._of("select")

    @property
    def held_out(self) -> Corpus:
        """What the gates judge the gain on."""
        return self.corpora[f"{self.grown_domain}/held_out"]

    @property
    def retain(self) -> Mapping[str, Corpus]:
        """Domain -> what the gates judge forgetting on."""
        return self._of("retain")

    @property
    def safety(self) -> Mapping[str, Corpus]:
        """Domain -> what the gates judge on of protected text that is never trained on."""
        return self._of("safety")

    @property
    def vault(self) -> Mapping[str, Corpus]:
        """Domain -> what the result is measured on, once, at the end."""
        return self._of("vault")

    @property
    def protected(self) -> Mapping[str, Corpus]:
        """The suites on which a graft may not lose: retain and safety."""
        return {**self.retain, **self.safety}

    @property
    def sealed(self) -> Mapping[str, Corpus]:
        """Domain -> text that gates are answered from: one bit for each query, and nothing else."""
        return {self.grown_domain: self.held_out, **self.protected}

    def suites_of(self, part: str) -> Mapping[str, SuiteItems]:
        """Safety suite -> its items of one part: `select`, `gate` or `vault`."""
        suffix = f"/{part}"
        return {name.removesuffix(suffix): found for name, found in self.suites.items() if name.endswith(suffix)}

    @property
    def tokenizer_digest(self) -> str | None:
        """Identity of the tokenizer, to be held against the base's."""
        return records.tokenizer_digest(self.tokenizer)

    def of(self, domain: str, split: str) -> Corpus:
        """The documents of one split of one domain.

        Raises:
            DataError: There is no such domain or split.
        """
        try:
            return self.corpora[f"{domain}/{split}"]
        except KeyError:
            raise DataError(f"there is no {domain}/{split}; there are {', '.join(self.corpora)}") from None

    def describe(self) -> dict[str, dict[str, int | str]]:
        """Size and digest of every split, and its licence where that is known, for the ledger."""
        known = {name: self.licenses.get(name.partition("/")[0], "") for name in self.corpora}
        return {
            name: {
                "digest": corpus.digest,
                "num_documents": corpus.num_documents,
                "num_tokens": corpus.num_tokens,
                "num_bytes": corpus.num_bytes,
                **({"license": known[name]} if known[name] else {}),
            }
            for name, corpus in self.corpora.items()
        }

    def _of(self, split: str) -> Mapping[str, Corpus]:
        suffix = f"/{split}"
        return {name.removesuffix(suffix): found for name, found in self.corpora.items() if name.endswith(suffix)}


def split_documents(
    documents: Mapping[str, Mapping[str, Sequence[Document]]],
    domains: Mapping[str, Domain],
    *,
    seed: int,
    tokenizer: Any = None,
    vocab_size: int = 0,
    sort: TokenizerSort = "bpe",
    contamination: Contamination | None = None,
    suites: Mapping[str, SuiteItems] | None = None,
) -> Splits:
    """De-duplicate, split and tokenise.

    Args:
        documents: Domain -> split -> documents; the split "" holds documents that are yet to be assigned.
        seed: Shifts every document's place; the same seed gives a document the same split for ever.
        tokenizer: The base's; without one of `vocab_size` and `sort` is made from the train splits of the retained
            domains (what the base will learn from), or of all domains when none is retained.
        sort: Of that one, as `train_tokenizer` has it.
        contamination: When a training document has seen too much of one that grafts are judged on.
        suites: `suite/part` -> safety items, none of which may be trained on either.

    Raises:
        DataError: A split gets too few documents, or text is contaminated and is to be refused then.
    """
    assigned, duplicates = _without_duplicates(_assign(documents, domains, seed), domains)
    judged = {name: _as_judged(name, found, domains) for name, found in assigned.items()}
    judged = {name: found for name, found in judged.items() if name.partition("/")[2] in _JUDGED_ON}
    judged |= {name: [Document(text, name) for text in part.documents] for name, part in (suites or {}).items()}
    num_contaminated = 0
    for name in [name for name in assigned if name.endswith("/train")]:
        clean = _uncontaminated(name, assigned[name], judged, contamination or Contamination())
        num_contaminated += len(assigned[name]) - len(clean)
        assigned[name] = clean
    if tokenizer is None:
        learnt = [name for name, domain in domains.items() if domain.role == "retain"] or list(domains)
        texts = (document.text for name in learnt for document in assigned.get(f"{name}/train", ()))
        tokenizer = train_tokenizer(texts, vocab_size=vocab_size, sort=sort)
    corpora = {}
    for name, members in assigned.items():
        domain, _, split = name.partition("/")
        cut = 0 if split == "train" else domains[domain].max_document_bytes
        corpora[name] = _tokenise(name, members, tokenizer, domains[domain].max_tokens.get(split), cut)
        _check_size(corpora[name], num_available=sum(map(len, documents[domain].values())))
    return Splits(
        corpora=corpora,
        roles={name: domain.role for name, domain in domains.items()},
        licenses={name: domain.license for name, domain in domains.items() if domain.license},
        tokenizer=tokenizer,
        num_exact_duplicates=duplicates.num_exact,
        num_near_duplicates=duplicates.num_near,
        num_contaminated=num_contaminated,
        suites=suites or {},
    )


def _as_judged(name: str, members: Sequence[Document], domains: Mapping[str, Domain]) -> list[Document]:
    """What of a split's documents is measured: of a long one the beginning, if the domain says so."""
    most = domains[name.partition("/")[0]].max_document_bytes
    return [Document(_beginning(document.text, most), document.source) for document in members]


def _uncontaminated(
    name: str, train: list[Document], judged: Mapping[str, Sequence[Document]], settings: Contamination
) -> list[Document]:
    """The training documents that have seen nothing that grafts are judged on."""
    if settings.on_hit == "ignore":
        return train
    hits = find_contamination(train, judged, settings)
    if settings.on_hit == "refuse":
        must_be_clean(hits, train)
    dropped = {hit.train for hit in hits}
    if train and len(dropped) == len(train):
        raise DataError(
            f"all {len(train)} training documents of domain {name.partition('/')[0]!r} have seen text that grafts are "
            f"judged on, worst of all {spell_hit(worst_hit(hits), train)}; give it other training text"
        )
    return [document for index, document in enumerate(train) if index not in dropped]


def read_corpus(
    name: str, sources: Sequence[str], *, tokenizer: Any, root: Path = Path(), text_key: str = "text"
) -> Corpus:
    """Documents of a user's own as a corpus, which is in no split.

    Args:
        sources: As of a domain.

    Raises:
        DataError: They are missing or unreadable, or too few.
    """
    members = [document for source in sources for document in read_documents(source, root=root, text_key=text_key)]
    kept = [members[index] for index in find_duplicates(members).kept]
    corpus = _tokenise(name, kept, tokenizer, None, 0)
    if corpus.num_documents < _MIN_DOCUMENTS:
        few = f"{corpus.num_documents} documents that differ, and needs {_MIN_DOCUMENTS}"
        raise DataError(f"text {name!r} has {few}: give more")
    return corpus


def _assign(
    documents: Mapping[str, Mapping[str, Sequence[Document]]], domains: Mapping[str, Domain], seed: int
) -> list[tuple[str, Document]]:
    """(domain/split, document) for every document that has a split."""
    return [
        (f"{domain}/{where}", document)
        for domain, by_split in documents.items()
        for split, members in by_split.items()
        for document in members
        if (where := split or _place(document, domains[domain].shares_in_effect, seed))
    ]


def _place(document: Document, shares: Mapping[str, float], seed: int) -> str | None:
    """The split whose stretch of [0, 1) the document's hash falls into; None beyond the last."""
    point = _point(document, seed)
    for split, share in shares.items():
        if point < share:
            return split
        point -= share
    return None


def held_out_or_train(document: Document, share: float) -> str:
    """`val` or `test` for that share of all documents each, as a document's own text decides; `train` for the rest."""
    return _place(document, {"val": share, "test": share}, seed=0) or "train"


def _point(document: Document, seed: int) -> float:
    """A number in [0, 1) that depends on the text and the seed only."""
    return int(hashlib.sha256(f"{seed}:{document.digest}".encode()).hexdigest()[:13], 16) / 16**13


def _without_duplicates(
    placed: Iterable[tuple[str, Document]], domains: Mapping[str, Domain]
) -> tuple[dict[str, list[Document]], Duplicates]:
    """The documents by split, protected domains and evaluation splits first in the right to keep a shared one."""
    role_order = {"safety": 0, "retain": 1, "grow": 2}

    def right(item: tuple[str, Document]) -> tuple[int, int]:
        domain, _, split = item[0].partition("/")
        return _FIRST_KEPT.index(split), role_order[domains[domain].role]

    ordered = sorted(placed, key=right)
    duplicates = find_duplicates([document for _, document in ordered])
    assigned: dict[str, list[Document]] = {
        f"{domain}/{split}": [] for domain, spec in domains.items() for split in spec.splits or spec.shares_in_effect
    }
    for index in duplicates.kept:
        name, document = ordered[index]
        assigned[name].append(document)
    empty_on_purpose = [
        name for name in assigned if not domains[name.partition("/")[0]].shares_in_effect.get(name.partition("/")[2])
    ]
    for name in empty_on_purpose:
        if not assigned[name]:
            del assigned[name]
    return assigned, duplicates


def _tokenise(
    name: str, members: Sequence[Document], tokenizer: Any, max_tokens: int | None, max_document_bytes: int
) -> Corpus:
    ordered = sorted(members, key=lambda document: document.digest)  # no order of files or sources leaks in
    kept: list[tuple[Document, int, Tokens]] = []
    room = float("inf") if max_tokens is None else max_tokens
    for first in range(0, len(ordered), _ENCODED_TOGETHER):
        group = ordered[first : first + _ENCODED_TOGETHER]
        texts = [_beginning(document.text, max_document_bytes) for document in group]
        for document, text, tokens in zip(group, texts, encode(tokenizer, texts), strict=True):
            if 1 < len(tokens) <= room:  # a text that the tokenizer makes nothing of is no observation
                kept.append((document, len(text.encode()), tokens))
                room -= len(tokens)
        if room < _TOO_LITTLE_ROOM:
            break
    return Corpus(
        name=name,
        shards=[np.concatenate([tokens for *_, tokens in kept])] if kept else [],
        num_tokens_each=np.array([len(tokens) for *_, tokens in kept], dtype=np.int64),
        num_bytes_each=np.array([num_bytes for _, num_bytes, _ in kept], dtype=np.int64),
        documents=tuple(document.digest for document, *_ in kept),
        tokenizer=records.tokenizer_digest(tokenizer) or "",
    )


def _beginning(text: str, max_bytes: int) -> str:
    """The whole lines of `text` that fit into `max_bytes`; of a first line that is longer, what fits."""
    content = text.encode()
    if not max_bytes or len(content) <= max_bytes:
        return text
    fitting = content[:max_bytes].decode(errors="ignore")
    return fitting[: fitting.rfind("\n") + 1] or fitting


def _check_size(corpus: Corpus, *, num_available: int) -> None:
    needed = 1 if corpus.name.endswith("/train") else _MIN_DOCUMENTS
    if corpus.num_documents < needed:
        raise DataError(
            f"{corpus.name} has {corpus.num_documents} of the domain's {num_available} documents, and needs {needed}: "
            "give more documents, a larger share or a larger max_tokens"
        )
