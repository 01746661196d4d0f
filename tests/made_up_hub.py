"""The part of the Hugging Face Hub's HTTP interface that a registry needs, on this machine; it can misbehave."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_a_secret_that_nobody_may_see"


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commits: dict[str, dict[str, bytes]] = {}
        """Id -> the files as they are then."""
        self.heads: dict[str, str] = {}
        """Branch -> id; no repository without any."""
        self.is_private = False
        self.history: list[list[str]] = []
        """Names of the files of each commit."""
        self.large: dict[str, bytes] = {}
        self.large_from = 1000
        self.ignored: tuple[str, ...] = ()
        self.secrets: list[tuple[str, str | None]] = []
        """(path, Authorization) of each request."""
        self.misbehave: Callable[[_Handler], bool] = lambda _: False
        """Answers a request in its own way and says True, or leaves it."""
        self.lock = Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.heads["main"]]

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        before = self.commits.get(self.heads.get(branch, ""), {})
        made = hashlib.sha1(f"{len(self.commits)} {branch}".encode()).hexdigest()
        self.commits[made], self.heads[branch] = {**before, **files}, made
        self.history.append(sorted(files))
        return made

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def answer(self, status: int, content: Any = b"", **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        parts = urlsplit(self.path)
        self.server.secrets.append((parts.path, self.headers.get("Authorization")))
        if self.server.misbehave(self):
            return
        for method, pattern, act in _ROUTES:
            if self.command == method and (found := re.fullmatch(pattern, unquote(parts.path))):
                with self.server.lock:
                    act(self, *found.groups())
                return
        self.answer(404)

    def do_GET(self) -> None:
        self.handle_any()

    def do_POST(self) -> None:
        self.handle_any()

    def do_PUT(self) -> None:
        self.handle_any()

    @property
    def is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def may(self, *, write: bool = False) -> bool:
        if not self.is_known and (write or self.server.is_private):
            self.answer(401, {"error": "Invalid username or password."})
        elif not self.server.heads:
            self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        else:
            return True
        return False

    def make(self) -> None:
        if not self.is_known:
            self.answer(401, {"error": "Invalid username or password."})
            return
        asked = json.loads(self.body)
        if self.server.heads:
            self.answer(409, {"error": "You already created this repo", "url": f"{self.server.address}/ana/garden"})
            return
        self.server.is_private = asked["visibility"] == "private"
        self.server.commit("main", {".gitattributes": b"* text"})
        self.answer(200, {"url": f"{self.server.address}/ana/garden", "name": "ana/garden"})

    def tell(self, revision: str) -> None:
        if not self.may():
            return
        if (head := self.server.heads.get(revision)) is None:
            self.answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
            return
        self.answer(200, {"id": "ana/garden", "modelId": "ana/garden", "sha": head, "siblings": [], "tags": []})

    def list(self, commit: str) -> None:
        if self.may():
            files = self.server.commits[commit]
            made = hashlib.sha1  # as git names files
            rows = [
                {"type": "file", "path": name, "size": len(content), "oid": made(content).hexdigest()}
                for name, content in files.items()
            ]
            self.answer(200, rows)

    def give(self, commit: str, name: str) -> None:
        if not self.may():
            return
        content = self.server.commits[commit].get(name)
        if content is None:
            self.answer(404, X_Error_Code="EntryNotFound")
        elif len(content) >= self.server.large_from:
            self.answer(302, Location=f"{self.server.address}/cdn/{hashlib.sha256(content).hexdigest()}")
        else:
            self.answer(200, content)

    def give_large(self, digest: str) -> None:
        self.answer(200, self.server.large[digest])

    def sort(self, _branch: str) -> None:
        if self.may(write=True):
            rows = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["size"] >= self.server.large_from else "regular",
                    "shouldIgnore": one["path"].startswith(self.server.ignored) if self.server.ignored else False,
                }
                for one in json.loads(self.body)["files"]
            ]
            self.answer(200, {"files": rows})

    def begin_large(self) -> None:
        if self.may(write=True):
            rows = [
                {
                    "oid": one["oid"],
                    "size": one["size"],
                    "actions": {"upload": {"href": f"{self.server.address}/upload/{one['oid']}"}},
                }
                for one in json.loads(self.body)["objects"]
            ]
            self.answer(200, {"transfer": "basic", "objects": rows})

    def take_large(self, digest: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == digest
        self.server.large[digest] = self.body
        self.answer(200)

    def commit(self, branch: str) -> None:
        if not self.may(write=True):
            return
        head, *rows = map(json.loads, self.body.splitlines())
        if head["value"].get("parentCommit") != self.server.heads[branch]:
            self.answer(412, {"error": "A commit has happened since. Please refresh and try again."})
            return
        files = {}
        for row in rows:
            value = row["value"]
            large = row["key"] == "lfsFile"
            files[value["path"]] = self.server.large[value["oid"]] if large else base64.b64decode(value["content"])
        made = self.server.commit(branch, files)
        self.answer(200, {"commitUrl": f"{self.server.address}/ana/garden/commit/{made}", "commitOid": made})

    def log_message(self, *_: object) -> None:
        pass


_REPOSITORY = "/api/models/ana/garden"
_ROUTES: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("POST", "/api/repos/create", _Handler.make),
    ("GET", f"{_REPOSITORY}/revision/(.+)", _Handler.tell),
    ("GET", f"{_REPOSITORY}/tree/([0-9a-f]+)/?", _Handler.list),
    ("POST", f"{_REPOSITORY}/preupload/(.+)", _Handler.sort),
    ("POST", f"{_REPOSITORY}/commit/(.+)", _Handler.commit),
    ("GET", "/ana/garden/resolve/([0-9a-f]+)/(.+)", _Handler.give),
    ("POST", r"/ana/garden\.git/info/lfs/objects/batch", _Handler.begin_large),
    ("PUT", "/upload/([0-9a-f]{64})", _Handler.take_large),
    ("GET", "/cdn/([0-9a-f]{64})", _Handler.give_large),
)


@contextmanager
def serving_hub() -> Iterator[HubServer]:
    with HubServer() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
