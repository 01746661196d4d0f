"""A folder of tokenised splits: written once, opened by memory-mapping, checked against its manifest."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from transformers import AutoTokenizer

from saint import records
from saint.data._canaries import read_canaries, write_canaries
from saint.data._contamination import Contamination
from saint.data._corpus import Corpus, Tokens
from saint.data._documents import Document, read_documents
from saint.data._splits import Domain, Splits, split_documents
from saint.data._suites import SafetySuite, check_suite_names, describe_suites, open_suites, read_suites, write_suites
from saint.data._tokenizer import TokenizerSort
from saint.errors import ConfigError, DataError, NewerFormatError
from saint.folders import write_folder
from saint.progress import Progress, Silent

_FORMAT = 1
_SHARD_TOKENS = 1 << 25  # 64 MiB of 16-bit tokens


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DataPlan:
    """Which text, for what."""

    domains: Mapping[str, Domain] = field(default_factory=dict)
    seed: int = 0
    """Chooses the splits."""
    vocab_size: int = 1024
    """Size of the tokenizer that is made when the base has none."""
    tokenizer: TokenizerSort = field(default="bpe", metadata=records.LATER)
    """Which one is made then: byte-level BPE, or of characters: an id for each, and for frequent pairs and triples."""
    prepared: str = ""
    """Instead of domains: a folder that `saint data prepare` wrote."""
    suites: Mapping[str, SafetySuite] = field(default_factory=dict)
    """What the model must not become unsafe on; prepared data has its own."""
    contamination: Contamination = field(default_factory=Contamination)
    """When a training document has seen too much of what grafts are judged on."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if bool(self.domains) == bool(self.prepared):
            raise ConfigError("data needs either domains or prepared, and not both")
        if self.suites and self.prepared:
            raise ConfigError("prepared data has its own safety suites; name suites in the plan that prepares it")
        check_suite_names(self.suites, self.domains)


def read_splits(
    plan: DataPlan, *, root: Path = Path(), tokenizer: Any = None, progress: Progress | None = None
) -> Splits:
    """Read, de-duplicate, split and tokenise the plan's sources, in memory.

    Args:
        root: What the plan's relative paths are relative to.
        tokenizer: The base's; without one the plan's is made.

    Raises:
        DataError: A source is missing or unreadable, or too small for its splits.
    """
    if plan.prepared:
        return open_splits(root / plan.prepared)
    suites = read_suites(plan.suites, seed=plan.seed, root=root)
    documents: dict[str, dict[str, list[Document]]] = {}
    with (progress or Silent()).task("reading text", total=len(plan.domains), unit="domains") as task:
        for name, domain in plan.domains.items():
            by_split = dict(domain.splits) or {"": domain.sources}
            documents[name] = {
                split: [
                    document
                    for source in sources
                    for document in read_documents(
                        source, root=root, text_key=domain.text_key, separator=domain.separator
                    )
                ]
                for split, sources in by_split.items()
            }
            if not any(documents[name].values()):
                raise DataError(f"domain {name!r} has no documents that are not empty; correct its sources")
            task.advance(1)
    return split_documents(
        documents,
        plan.domains,
        seed=plan.seed,
        tokenizer=tokenizer,
        vocab_size=plan.vocab_size,
        sort=plan.tokenizer,
        contamination=plan.contamination,
        suites=suites,
    )


def save_splits(splits: Splits, folder: Path, *, plan: DataPlan) -> None:
    """Write the splits to a new folder, all or nothing.

    Raises:
        DataError: The folder exists already.
        StorageError: The disk refused.
    """
    if folder.exists():
        raise DataError(f"{folder} exists already; give the path of a new folder")
    write_folder(folder, lambda draft: _write(splits, draft, plan))


def open_splits(folder: str | Path, *, verify: bool = False) -> Splits:
    """The splits in a folder that `save_splits` wrote, memory-mapped.

    Args:
        verify: Hash every file again instead of only comparing sizes.

    Raises:
        DataError: The folder is not prepared data, or a file of it was changed.
        NewerFormatError: A newer version wrote it.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(f"{folder} is not prepared data ({error}); make it with `saint data prepare`") from error
    if "kind" in manifest:
        raise DataError(
            f"{folder} holds {manifest['kind']} to train a base on, and no splits; prepare those with a PLAN"
        )
    if manifest.get("format") != _FORMAT:
        raise NewerFormatError(
            f"{folder} has data format {manifest.get('format')}, this version reads {_FORMAT}; update saint-g"
        )
    for name, expected in manifest["files"].items():
        file = folder / name
        if (
            not file.is_file()
            or file.stat().st_size != expected["num_bytes"]
            or (verify and records.file_digest(file) != expected["sha256"])
        ):
            raise DataError(f"{file} is not the file that was prepared; run `saint data prepare` again")
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    corpora = {name: open_corpus(folder / name, name, manifest["tokenizer"]) for name in manifest["splits"]}
    for name, described in manifest["splits"].items():
        if corpora[name].digest != described["digest"]:
            raise DataError(f"{folder / name} does not have the digest of its manifest; run `saint data prepare` again")
    return Splits(
        corpora=corpora,
        roles=manifest["roles"],
        licenses=_licenses_in(manifest["splits"]),
        tokenizer=tokenizer,
        num_exact_duplicates=manifest["num_exact_duplicates"],
        num_near_duplicates=manifest["num_near_duplicates"],
        num_contaminated=manifest.get("num_contaminated", 0),  # before it was looked for
        canaries=_canaries_in(folder, manifest["roles"]),
        suites=open_suites(folder, manifest.get("suites", {})),
    )


def _licenses_in(described: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {name.partition("/")[0]: one["license"] for name, one in described.items() if "license" in one}


def _write(splits: Splits, folder: Path, plan: DataPlan) -> None:
    splits.tokenizer.save_pretrained(folder / "tokenizer")
    for name, corpus in splits.corpora.items():
        (folder / name).mkdir(parents=True)
        for number, shard in enumerate(_shards(corpus)):
            np.save(folder / name / f"shard_{number:05d}.npy", shard)
        listed = zip(corpus.documents, corpus.num_tokens_each.tolist(), corpus.num_bytes_each.tolist(), strict=True)
        lines = [records.to_canonical({"sha256": d, "num_tokens": t, "num_bytes": b}) for d, t, b in listed]
        (folder / name / "documents.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_suites(splits.suites, folder)
    for held_out in _hold_outs(folder, splits.roles):
        write_canaries(held_out)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "format": _FORMAT,
        "plan": records.to_plain(plan),
        "roles": splits.roles,
        "tokenizer": splits.tokenizer_digest,
        "splits": splits.describe(),
        "num_exact_duplicates": splits.num_exact_duplicates,
        "num_near_duplicates": splits.num_near_duplicates,
        "num_contaminated": splits.num_contaminated,
        "suites": describe_suites(splits.suites),
        "files": {
            path.relative_to(folder).as_posix(): {
                "sha256": records.file_digest(path),
                "num_bytes": path.stat().st_size,
            }
            for path in files
        },
    }
    with (folder / "manifest.json").open("w", encoding="utf-8") as file:
        file.write(records.to_canonical(manifest))
        file.flush()
        os.fsync(file.fileno())


def _hold_outs(folder: Path, roles: Mapping[str, str]) -> list[Path]:
    """Where the sealed text of what is grown towards lies."""
    places = [folder / domain / "held_out" for domain, role in roles.items() if role == "grow"]
    return [place for place in places if place.is_dir()]


def _canaries_in(folder: Path, roles: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(text for held_out in _hold_outs(folder, roles) for text in read_canaries(held_out))


def _shards(corpus: Corpus) -> list[Tokens]:
    """The corpus's tokens in pieces of whole documents, each of at most 32 Mi tokens unless one document is longer."""
    pieces: list[list[Tokens]] = [[]]
    size = start = 0
    for length in corpus.num_tokens_each.tolist():
        if size and size + length > _SHARD_TOKENS:
            pieces.append([])
            size = 0
        pieces[-1].append(corpus._run(start, length))  # the store of a corpus may see its inside
        size, start = size + length, start + length
    return [np.concatenate(piece) for piece in pieces if piece]


def open_corpus(folder: Path, name: str, tokenizer: str) -> Corpus:
    """The corpus of shards and a list of documents that lie in a folder."""
    listed = [json.loads(line) for line in (folder / "documents.jsonl").read_text(encoding="utf-8").splitlines()]
    return Corpus(
        name=name,
        shards=[np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("shard_*.npy"))],
        num_tokens_each=np.array([document["num_tokens"] for document in listed], dtype=np.int64),
        num_bytes_each=np.array([document["num_bytes"] for document in listed], dtype=np.int64),
        documents=tuple(document["sha256"] for document in listed),
        tokenizer=tokenizer,
    )
