"""How a registry's files are described in an OCI registry: CNCF ModelPack, one raw layer for each file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

from saint import records
from saint.errors import RemoteContentError
from saint.remotes._names import Caps, blob_name, is_name

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MOST_MANIFEST_BYTES = 4 << 20
"""What the distribution specification asks registries to accept at least."""
_ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
_CONFIG = "application/vnd.cncf.model.config.v1+json"
_WEIGHT = "application/vnd.cncf.model.weight.v1.raw"
_DOCUMENT = "application/vnd.cncf.model.doc.v1.raw"
_FILEPATH = "org.cncf.model.filepath"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One file as a manifest describes it."""

    media: str
    digest: str
    """SHA-256, hexadecimal."""
    size: int

    @classmethod
    def of(cls, name: str, content: bytes) -> Self:
        """The layer for a file; a blob that begins as safetensors do is a weight, all else a document."""
        is_weight = name.startswith("blobs/") and content[8:9] == b"{"
        digest = hashlib.sha256(content).hexdigest()
        return cls(media=_WEIGHT if is_weight else _DOCUMENT, digest=digest, size=len(content))


def manifest_of(config: Layer, files: Mapping[str, Layer]) -> bytes:
    """The manifest of an artifact with those files."""
    layers = [{**_descriptor(one), "annotations": {_FILEPATH: name}} for name, one in sorted(files.items())]
    described = {**_descriptor(config), "mediaType": _CONFIG}
    whole = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": _ARTIFACT,
        "config": described,
        "layers": layers,
    }
    return records.to_canonical(whole).encode()


def config_of(name: str, files: Mapping[str, Layer]) -> bytes:
    """The configuration that ModelPack wants of every artifact."""
    digests = [f"sha256:{one.digest}" for _, one in sorted(files.items())]
    whole = {
        "descriptor": {"name": name},
        "config": {"format": "saint-g-registry"},
        "modelfs": {"type": "layers", "diffIds": digests},
    }
    return records.to_canonical(whole).encode()


def layers_in(manifest: bytes, address: str, caps: Caps) -> dict[str, Layer]:
    """The files that a manifest lists, each with a digest that is one and a size that may be.

    Raises:
        RemoteContentError: It lists something else.
    """
    try:
        listed: Any = json.loads(manifest)
        layers = [
            (one["annotations"][_FILEPATH], one["digest"], one["size"], one["mediaType"]) for one in listed["layers"]
        ]
        artifact = listed["artifactType"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RemoteContentError(f"{address} has a manifest that cannot be read; it is no registry of ours") from error
    if artifact != _ARTIFACT:
        raise RemoteContentError(
            f"{address} is an artifact of type {artifact!r:.80}, not {_ARTIFACT}; give another tag"
        )
    found: dict[str, Layer] = {}
    for name, digest, size, media in layers:
        if not isinstance(digest, str) or not digest.startswith("sha256:"):
            raise RemoteContentError(
                f"{address} lists {digest!r:.80} where a SHA-256 digest has to stand; use another copy"
            )
        blob_name(digest.removeprefix("sha256:"))
        if not isinstance(name, str) or not is_name(name) or name in found:
            raise RemoteContentError(f"{address} lists a file {name!r:.80}, which no registry has; use another copy")
        if type(size) is not int or not 0 <= size <= caps.blob:
            raise RemoteContentError(
                f"{address} lists {name} with {size!r:.40} bytes, which none can have; use another"
            )
        found[name] = Layer(
            media=_WEIGHT if media == _WEIGHT else _DOCUMENT, digest=digest.removeprefix("sha256:"), size=size
        )
    return found


def _descriptor(layer: Layer) -> dict[str, Any]:
    return {"mediaType": layer.media, "digest": f"sha256:{layer.digest}", "size": layer.size}
