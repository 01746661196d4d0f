import base64
import hashlib
import json
import os
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, final
from urllib.parse import quote, urljoin, urlsplit

from typing_extensions import override

from saint.errors import ConfigError, RemoteContentError, RemoteError
from saint.remotes._http import Answer, Http, may_be_asked
from saint.remotes._modelpack import MANIFEST, MOST_MANIFEST_BYTES, Layer, config_of, layers_in, manifest_of
from saint.remotes._names import Caps
from saint.remotes._remote import PATIENCE, AbsentError, Remote

_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_MOST_TOKEN_BYTES = 64 << 10


@final
class OciRemote(Remote):
    """A tag in an OCI registry: a ModelPack artifact with one raw layer for each file.

    OCI registries have no way to write a tag only if nobody else did: what was pushed in between is looked for before
    the tag is written, but one writer at a time is a rule here, not a promise. Credentials are SAINT_OCI_USERNAME and
    SAINT_OCI_PASSWORD, or those of ~/.docker/config.json; helpers of Docker's are not asked.
    """

    def __init__(self, address: str, *, patience: float = PATIENCE) -> None:
        super().__init__(address, patience=patience)
        parts = urlsplit(address)
        name, _, tag = parts.path.strip("/").partition(":")
        if not parts.netloc or not _NAME.fullmatch(name) or not _TAG.fullmatch(tag or "latest"):
            raise ConfigError(f"{address:.200} is no address of an OCI artifact; give oci://HOST/NAME:TAG")
        here = f"http://{parts.netloc}"
        self._host, self._name, self._tag = parts.netloc, name, tag or "latest"
        self._root = f"{here if may_be_asked(here, by=here) else f'https://{self._host}'}/v2/{name}"
        self._http = Http(address, patience=patience)
        self._secret: str | None = None
        self._head: bytes | None = None
        self._files: dict[str, Layer] | None = None
        self._is_changed = False

    @override
    def _read(self, name: str) -> Generator[bytes, None, None]:
        layer = self._layers().get(name)
        if layer is None:
            raise AbsentError(f"{self.address} has no {name}; use another copy of the registry")
        hashed, received = hashlib.sha256(), 0
        with closing(self._ask("GET", f"/blobs/sha256:{layer.digest}", expect=(200,))) as answer:
            for piece in answer.body:
                hashed.update(piece)
                received += len(piece)
                yield piece
        if hashed.hexdigest() != layer.digest or received != layer.size:
            raise RemoteContentError(
                f"{self.address} sent {received:,} bytes that hash to {hashed.hexdigest()[:12]} as {name}, where its "
                f"manifest says {layer.size:,} bytes and {layer.digest[:12]}; use another copy"
            )

    @override
    def _create(self, name: str, content: bytes) -> bool:
        files = self._layers()
        if name in files:
            return False
        files[name] = self._upload(name, content)
        self._is_changed = True
        return True

    @override
    def _names(self, folder: str) -> Iterator[str]:
        return iter(list(self._layers()))

    @override
    def finish(self) -> None:
        if not self._is_changed:
            return
        files = self._layers()
        config = config_of(self._name, files)
        uploaded = self._upload("", config)
        manifest = manifest_of(uploaded, files)
        if len(manifest) > MOST_MANIFEST_BYTES:
            raise RemoteError(
                f"{len(files):,} files are more than an OCI manifest can list; push to a folder or to S3 instead"
            )
        if self._fetch_head() != self._head:
            raise RemoteError(f"somebody else pushed to {self.address} meanwhile; run the command again")
        url = f"/manifests/{self._tag}"
        self._ask("PUT", url, body=manifest, headers={"Content-Type": MANIFEST}, expect=(201,)).whole(_MOST_TOKEN_BYTES)
        self._head, self._is_changed = manifest, False

    def _layers(self) -> dict[str, Layer]:
        if self._files is None:
            self._head = self._fetch_head()
            self._files = layers_in(self._head, self.address, Caps()) if self._head is not None else {}
        return self._files

    def _fetch_head(self) -> bytes | None:
        answer = self._ask("GET", f"/manifests/{self._tag}", headers={"Accept": MANIFEST}, expect=(200, 404))
        content = answer.whole(MOST_MANIFEST_BYTES)
        return content if answer.status == 200 else None

    def _upload(self, name: str, content: bytes) -> Layer:
        layer = Layer.of(name, content)
        path = f"/blobs/sha256:{layer.digest}"
        there = self._ask("HEAD", path, expect=(200, 404))
        there.close()
        if there.status == 200 and there.headers.get("Content-Length") == str(layer.size):
            return layer
        begun = self._ask("POST", "/blobs/uploads/", body=b"", expect=(202,))
        begun.whole(_MOST_TOKEN_BYTES)
        place = urljoin(f"{self._root}/blobs/uploads/", begun.headers.get("Location", ""))
        place += f"{'&' if urlsplit(place).query else '?'}digest=sha256:{layer.digest}"
        headers = {"Content-Type": "application/octet-stream"}
        self._ask("PUT", place, body=content, headers=headers, expect=(201,)).whole(_MOST_TOKEN_BYTES)
        return layer

    def _ask(
        self,
        method: str,
        path: str,
        *,
        expect: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        url = path if "://" in path else self._root + path
        answer = self._send(method, url, headers, body)
        if answer.status == 401:
            self._secret = self._earn(answer)
            answer = self._send(method, url, headers, body)
        if answer.status in expect:
            return answer
        answer.close()
        if answer.status in (401, 403):
            raise RemoteError(
                f"{self.address} refuses ({answer.status}); set SAINT_OCI_USERNAME and SAINT_OCI_PASSWORD to those of "
                "somebody who may"
            )
        if answer.status == 404:
            raise RemoteContentError(f"{self.address} names what it does not have; use another copy of the registry")
        raise RemoteError(f"{self.address} answers {answer.status} to {method}; run the command again later")

    def _send(self, method: str, url: str, headers: Mapping[str, str] | None, body: bytes | None) -> Answer:
        own = urlsplit(url).netloc == self._host
        return self._http.ask(method, url, headers=headers, body=body, secret=self._secret if own else None)

    def _earn(self, refused: Answer) -> str | None:
        """The Authorization header that a registry wants, by the token protocol of the distribution specification."""
        refused.close()
        scheme, _, rest = refused.headers.get("WWW-Authenticate", "").partition(" ")
        basic = _credentials(self._host)
        if scheme.lower() != "bearer":
            return basic
        wanted = dict(_PARAMETER.findall(rest))
        query = "&".join(f"{key}={quote(wanted[key])}" for key in ("service", "scope") if key in wanted)
        realm = f"{wanted.get('realm', '')}?{query}"
        if not may_be_asked(realm, by=self._root):
            raise RemoteContentError(
                f"{self.address} asks for credentials at an address that is not https; none are sent"
            )
        answer = self._http.ask("GET", realm, secret=basic)
        try:
            found: Any = json.loads(answer.whole(_MOST_TOKEN_BYTES))
            token = found.get("token") or found["access_token"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return f"Bearer {token}" if isinstance(token, str) and re.fullmatch(r"[!-~]+", token) else None


def _credentials(host: str) -> str | None:
    """An Authorization header for the host from the environment or Docker's file; it is never printed or kept."""
    name, password = os.environ.get("SAINT_OCI_USERNAME"), os.environ.get("SAINT_OCI_PASSWORD")
    if name and password:
        return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
    file = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        auth = json.loads(file.read_bytes())["auths"][host]["auth"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return f"Basic {auth}" if isinstance(auth, str) and re.fullmatch(r"[A-Za-z0-9+/=]+", auth) else None
