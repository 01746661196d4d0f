"""An OCI registry on this machine that follows the distribution specification, or breaks it as a test asks."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit


class OciServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.uploads = 0
        self.secrets: list[str | None] = []
        self.misbehave: Callable[[_Handler], bool] = lambda _: False
        """Answers a request in its own way and says True, or leaves it."""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def change_manifest(self, change: Callable[[dict[str, object]], object]) -> None:
        """Let somebody else write the tag."""
        for tag, content in self.manifests.items():
            manifest = json.loads(content)
            changed = change(manifest)
            self.manifests[tag] = changed if isinstance(changed, bytes) else json.dumps(manifest).encode()

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OciServer

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(content))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self) -> None:
        self.server.secrets.append(self.headers.get("Authorization"))
        if self.server.misbehave(self):
            return
        kind, _, name = self.path.removeprefix("/v2/garden/roses/").partition("/")
        held = {"manifests": self.server.manifests, "blobs": self.server.blobs}.get(kind, {})
        if name in held:
            self.answer(200, held[name])
        else:
            self.answer(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.server.uploads += 1
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.answer(202, Location=f"/v2/garden/roses/blobs/uploads/{self.server.uploads}?state=x")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        parts = urlsplit(self.path)
        if "/manifests/" in parts.path:
            self.server.manifests[parts.path.rpartition("/")[2]] = content
            self.answer(201)
            return
        digest = parse_qs(parts.query)["digest"][0]
        right = digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
        if right:
            self.server.blobs[digest] = content
        self.answer(201 if right else 400)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[OciServer]:
    with OciServer() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
