"""An OCI registry over HTTP: what it gives back is what was pushed, or it is refused in one sentence."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from made_up_oci import OciServer, serving
from made_up_registry import contents, registry_of
from saint.errors import ConfigError, ForkError, RemoteContentError, RemoteError, SaintError
from saint.registry import verify
from saint.remotes import Caps, OciRemote, open_remote, pull, push


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OciServer]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as one:
        yield one


def remote_of(server: OciServer) -> OciRemote:
    return OciRemote(f"oci://{server.host}/garden/roses:v1", patience=0.5)


def test_push_pull_and_verify(server: OciServer, tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    assert push(registry, remote_of(server)).num_entries == 5
    copy, _ = pull(remote_of(server), tmp_path / "copy")
    assert contents(copy.folder) == contents(registry.folder)
    assert verify(copy).problems == ()
    registry.write("noted", {}, contents=[b"one more"])
    pushed = push(registry, remote_of(server))
    assert (pushed.num_entries, pushed.num_blobs) == (1, 1)
    assert pull(remote_of(server), copy.folder)[1].num_entries == 1


def test_what_is_pushed_is_a_modelpack_artifact_of_raw_layers(server: OciServer, tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    registry.write("noted", {}, contents=[bytes(8) + b'{"a":1}'])
    push(registry, remote_of(server))
    manifest = json.loads(server.manifests["v1"])
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    media = [layer["mediaType"] for layer in manifest["layers"]]
    assert media.count("application/vnd.cncf.model.weight.v1.raw") == 1
    assert media.count("application/vnd.cncf.model.doc.v1.raw") == len(media) - 1
    assert {layer["digest"] for layer in manifest["layers"]} <= set(server.blobs)
    config = json.loads(server.blobs[manifest["config"]["digest"]])
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in manifest["layers"]]


def test_a_push_that_was_stopped_uploads_nothing_twice(server: OciServer, tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    remote = remote_of(server)
    remote.finish = lambda: None  # type: ignore[method-assign]
    push(registry, remote)
    assert not server.manifests
    uploads = server.uploads
    push(registry, remote_of(server))
    assert server.uploads == uploads + 1  # the configuration


def test_a_tag_that_somebody_else_wrote_meanwhile_is_not_written_over(server: OciServer, tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    push(registry, remote_of(server))
    registry.write("noted", {})
    remote = remote_of(server)
    remote.get("registry.json", 1000)
    server.change_manifest(lambda manifest: manifest.update(annotations={"who": "other"}))
    with pytest.raises(RemoteError, match="somebody else pushed"):
        push(registry, remote)


def test_a_fork_is_refused(server: OciServer, tmp_path: Path) -> None:
    push(registry_of(tmp_path / "one", word="one"), remote_of(server))
    with pytest.raises(ForkError, match="entry 0 "):
        push(registry_of(tmp_path / "other", word="other"), remote_of(server))


def of_blobs(act: Callable[[Any], None]) -> Callable[[Any], bool]:
    def misbehave(handler: Any) -> bool:
        if "/blobs/" not in handler.path:
            return False
        act(handler)
        return True

    return misbehave


def held(handler: Any) -> bytes:
    return handler.server.blobs[handler.path.rpartition("/")[2]]  # type: ignore[no-any-return]


def endless(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(bytes(1 << 16))
    finally:
        handler.close_connection = True


def drip(handler: Any, head: bytes) -> None:
    handler.close_connection = True
    handler.wfile.write(head)
    for _ in range(60):
        handler.wfile.write(b"x")
        time.sleep(0.1)


def redirect(place: str) -> Callable[[Any], None]:
    return lambda handler: handler.answer(302, Location=place)


def hang_up(handler: Any) -> None:
    handler.close_connection = True


def silent(handler: Any) -> None:
    time.sleep(1.5)
    handler.close_connection = True


MISBEHAVIOUR: dict[str, Callable[[Any], None]] = {
    "wrong bytes": lambda handler: handler.answer(200, bytes(len(held(handler)))),
    "short": lambda handler: handler.answer(200, held(handler)[:-1]),
    "long": lambda handler: handler.answer(200, held(handler) + b"x"),
    "nothing": lambda handler: handler.answer(200),
    "endless": endless,
    "promises less than it sends": lambda handler: (
        handler.answer(200, held(handler), Content_Length="3"),
        hang_up(handler),
    ),
    "promises no number": lambda handler: (handler.answer(200, b"x", Content_Length="many"), hang_up(handler)),
    "promises less than nothing": lambda handler: (handler.answer(200, b"x", Content_Length="-5"), hang_up(handler)),
    "a page that says not found, with 200": lambda handler: handler.answer(200, b"<html>not found</html>"),
    "compressed": lambda handler: handler.answer(
        200, __import__("gzip").compress(held(handler)), Content_Encoding="gzip"
    ),
    "chunks that are none": lambda handler: (
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        hang_up(handler),
    ),
    "not found": lambda handler: handler.answer(404),
    "out of order": lambda handler: handler.answer(500),
    "too often": lambda handler: handler.answer(429),
    "not allowed": lambda handler: handler.answer(403),
    "who are you, for ever": lambda handler: handler.answer(401, WWW_Authenticate="Basic realm=x"),
    "who are you, says a file": lambda handler: handler.answer(
        401, WWW_Authenticate='Bearer realm="file:///etc/passwd"'
    ),
    "who are you, says elsewhere": lambda handler: handler.answer(
        401, WWW_Authenticate='Bearer realm="http://example.org"'
    ),
    "to a file": redirect("file:///etc/passwd"),
    "to ftp": redirect("ftp://example.org/x"),
    "to plain http": redirect("http://example.org/x"),
    "to itself": lambda handler: handler.answer(302, Location=handler.path),
    "to nowhere": redirect("https://"),
    "not http": lambda handler: (handler.wfile.write(b"SSH-2.0\r\n"), hang_up(handler)),
    "hangs up": hang_up,
    "says nothing": silent,
    "drips its head": lambda handler: drip(handler, b"HTTP/1.1 200 OK\r\nX-Y: "),
    "drips its body": lambda handler: drip(handler, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
    "heads without end": lambda handler: (
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000),
        hang_up(handler),
    ),
}


@pytest.mark.parametrize("name", MISBEHAVIOUR)
def test_a_server_that_misbehaves_is_refused_and_nothing_is_kept(server: OciServer, tmp_path: Path, name: str) -> None:
    push(registry_of(tmp_path / "here", 2), remote_of(server))
    server.misbehave = of_blobs(MISBEHAVIOUR[name])
    with pytest.raises((RemoteError, RemoteContentError)) as raised:
        pull(remote_of(server), tmp_path / "copy", caps=Caps(marker=1 << 20, entry=1 << 20, blob=1 << 20))
    assert "\n" not in str(raised.value)
    assert server.host in str(raised.value)
    assert not (tmp_path / "copy").exists()


def test_a_wrong_size_in_a_header_changes_nothing_where_the_bytes_are_right(server: OciServer, tmp_path: Path) -> None:
    push(registry_of(tmp_path / "here", 2), remote_of(server))

    def promise(handler: Any) -> None:
        handler.answer(200, held(handler), Content_Length="99999")
        hang_up(handler)

    server.misbehave = of_blobs(promise)
    copy, _ = pull(remote_of(server), tmp_path / "copy")
    assert contents(copy.folder) == contents(tmp_path / "here")


def first_layer(**changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest["layers"][0].update(changes)


@pytest.mark.parametrize(
    "change",
    [
        first_layer(digest="sha256:../../../../etc/passwd"),
        first_layer(digest="sha256:" + "A" * 64),
        first_layer(digest="md5:" + "0" * 32),
        first_layer(digest=None),
        first_layer(size=-1),
        first_layer(size=2**60),
        first_layer(size=True),
        first_layer(size="12"),
        first_layer(annotations={"org.cncf.model.filepath": "../../evil"}),
        first_layer(annotations={"org.cncf.model.filepath": "/etc/passwd"}),
        first_layer(annotations={"org.cncf.model.filepath": 7}),
        first_layer(annotations={}),
        lambda manifest: manifest["layers"].append(manifest["layers"][0]),
        lambda manifest: manifest.update(artifactType="application/vnd.other"),
        lambda manifest: manifest.update(layers=None),
        lambda _: b"",
        lambda _: b"[" * 100_000,
        lambda _: b"x" * (5 << 20),
    ],
)
def test_a_manifest_that_lies_is_refused_before_anything_is_asked_for(
    server: OciServer, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    push(registry_of(tmp_path / "here", 2), remote_of(server))
    server.change_manifest(change)
    with pytest.raises(RemoteContentError):
        pull(remote_of(server), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_credentials_go_to_whom_they_are_for(
    server: OciServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(registry_of(tmp_path / "here", 2), remote_of(server))
    monkeypatch.setenv("SAINT_OCI_USERNAME", "somebody")
    monkeypatch.setenv("SAINT_OCI_PASSWORD", "topsecret")
    with serving() as elsewhere:
        elsewhere.blobs = server.blobs

        def misbehave(handler: Any) -> bool:
            if handler.path.startswith("/token"):
                handler.answer(200, b'{"token":"abc"}')
            elif handler.headers.get("Authorization") != "Bearer abc":
                handler.answer(401, WWW_Authenticate=f'Bearer realm="http://{server.host}/token",service="s"')
            elif "/blobs/" in handler.path:
                handler.answer(307, Location=f"http://{elsewhere.host}{handler.path}")
            else:
                return False
            return True

        server.misbehave = misbehave
        pull(remote_of(server), tmp_path / "copy")
        basic = "Basic " + base64.b64encode(b"somebody:topsecret").decode()
        assert set(server.secrets[-20:]) >= {basic, "Bearer abc"}
        assert set(elsewhere.secrets) == {None}


@pytest.mark.parametrize("address", ["oci://", "oci://host", "oci://host/Big", "oci://host/a/../b", "oci://host/a:b:c"])
def test_addresses_that_cannot_be_meant(address: str) -> None:
    with pytest.raises(ConfigError, match="oci://HOST/NAME:TAG"):
        open_remote(address)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(SaintError) as raised:
        pull(OciRemote("oci://127.0.0.1:9/garden/roses", patience=0.5), tmp_path / "copy")
    assert raised.value.exit_status == 3
