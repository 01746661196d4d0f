"""Registries with grafts to publish: real files of weights, made-up figures, and no model."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from saint import records
from saint.library import Published, publish
from saint.records import BaseIdentity
from saint.registry import Registry
from saint.remotes import FolderRemote, Remote
from signed_garden import judge, open_signed

IDENTITY = BaseIdentity(weights="a" * 64, config="b" * 64, tokenizer="c" * 64)
BASE = records.digest({"weights": IDENTITY.weights, "config": IDENTITY.config, "tokenizer": IDENTITY.tokenizer})


@dataclass(frozen=True)
class Seedling:
    """A graft as a registry knows it: a file."""

    name: str

    def to_bytes(self) -> bytes:
        chance = np.random.default_rng(list(self.name.encode()))
        return save({"A": chance.normal(size=(4, 6)).astype(np.float32)})

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.to_bytes()).hexdigest()


def garden(folder: Path, *, identity: BaseIdentity = IDENTITY, **created: Any) -> Registry:
    """A registry that knows its base and its text."""
    registry = open_signed(folder)
    parts = {"weights": identity.weights, "config": identity.config, "tokenizer": identity.tokenizer}
    text = {"digest": "d" * 64, "num_documents": 40, "num_tokens": 900, "num_bytes": 4000}
    body = {
        "plan": {"name": "made up", "rounds": 1},
        "base": {
            "digest": records.digest(parts),
            "identity": identity,
            "source": "../base",
            "local": True,
            "revision": None,
            "architecture": "LlamaForCausalLM",
            "num_params": 1000,
        },
        "data": {"prose/train": {**text, "license": "PSF-2.0"}, "prose/held_out": text, "code/train": text},
        "versions": {"saint-g": "0.1.0"},
        "code": "9" * 64,
    }
    registry.write("created", {**body, **created})
    return registry


def grown(registry: Registry, name: str, **changes: Any) -> Seedling:
    """A graft that was trained there and stands."""
    graft, state = Seedling(name), registry.state
    candidate = changes.get("candidate")
    if candidate is None:
        from saint.testing import an_evidence

        candidate = an_evidence().candidate
    trial = {"trial": hashlib.sha256(name.encode()).hexdigest(), "candidate": candidate, "stack": state.standing}
    registry.write("trained", {**trial, "graft": graft.digest}, contents=[graft.to_bytes()])
    judge(registry, graft, base=state.base, **changes)  # type: ignore[arg-type]
    return graft


def put(registry: Registry, graft: Seedling, library: Path | Remote, *, competence: str = "code") -> Published:
    """Publish it."""
    remote = library if isinstance(library, Remote) else FolderRemote(library)
    return publish(registry, graft.digest[:12], remote, competences=[competence], licence="Apache-2.0")


def other_base(**changes: Any) -> BaseIdentity:
    """The identity of a base that is not quite the same."""
    return replace(IDENTITY, **changes)


def files(folder: Path, kind: str) -> Mapping[str, Path]:
    """Name -> file, of one folder of a library."""
    return {file.name: file for file in sorted((folder / kind).rglob("*")) if file.is_file()}
