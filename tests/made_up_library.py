"""Registries with grafts to publish: real files of weights, made-up figures, and no model."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from saint import records
from saint.library import Published, publish
from saint.records import BaseIdentity
from saint.registry import Registry
from saint.remotes import FolderRemote, Remote, blob_name, certificate_name
from saint.signing import IN_TOTO, Key, make_key, read_envelope, sign, spell
from saint.testing import an_evidence
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
    trial = {"trial": hashlib.sha256(name.encode()).hexdigest(), "candidate": an_evidence().candidate}
    body = {**trial, "stack": state.standing, "graft": graft.digest}
    registry.write("trained", body, contents=[graft.to_bytes()])
    judge(registry, graft, base=state.base, **changes)
    return graft


def put(registry: Registry, graft: Seedling, library: Path | Remote, *, competence: str = "code") -> Published:
    """Publish it."""
    remote = library if isinstance(library, Remote) else FolderRemote(library)
    return publish(registry, graft.digest[:12], remote, competences=[competence], licence="Apache-2.0")


def forge(library: Path, change: Callable[[dict[str, Any]], object], *, key: Key, content: bytes | None = None) -> str:
    """Lay a changed copy of the library's only certificate beside it, under the name that it has to have.

    Args:
        change: Of the statement, as plain data.
        key: Signs it, whatever keys it announces.
        content: The bytes of another graft, which it is then about.

    Returns:
        The digest of the graft that it is about.
    """
    [file] = (library / "certificates").iterdir()
    plain = json.loads(read_envelope(file.read_bytes()).payload)
    said = plain["predicate"]
    said["keys"] = {key.key_id: spell(key.public_key)}
    if content is not None:
        digest = hashlib.sha256(content).hexdigest()
        said["graft"] = said["evidence"]["graft"] = digest
        said["file"]["num_bytes"] = len(content)
        plain["subject"] = [{"name": f"graft-{digest[:12]}", "digest": {"sha256": digest}}]
        place = library / blob_name(digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    change(plain)
    signed = sign(IN_TOTO, records.to_canonical(plain).encode(), key).to_bytes()
    name = certificate_name(said["graft"], hashlib.sha256(signed).hexdigest())
    (library / name).write_bytes(signed)
    return str(said["graft"])


def thief(folder: Path) -> Key:
    """A key that nobody knows."""
    return make_key(folder / "thief.pem")
