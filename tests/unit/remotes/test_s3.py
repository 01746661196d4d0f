"""A real S3 server, on this machine: one winner of every name, and a registry that comes back whole."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from made_up_registry import contents, registry_of
from saint.cli.main import main
from saint.errors import ConfigError, ForkError, MissingPackageError, RemoteContentError, RemoteError
from saint.registry import Standing, repair, verify
from saint.remotes import AbsentError, Remote, S3Remote, open_remote, pull, push
from saint.remotes._names import entry_name
from signed_garden import Machines, with_roles

pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    started = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"http://{host}:{port}"
    started.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "a-secret-that-nobody-may-see",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    import boto3

    name = f"bucket-{abs(hash(request.node.name))}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


def test_push_pull_and_verify(bucket: str, tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    pushed = push(registry, S3Remote(f"s3://{bucket}/garden"))
    assert (pushed.num_entries, pushed.num_blobs) == (5, 5)
    copy, _ = pull(S3Remote(f"s3://{bucket}/garden"), tmp_path / "copy")
    assert contents(copy.folder) == contents(registry.folder)
    assert copy.origin == registry.origin
    found = verify(copy)
    assert (found.standing, found.problems, found.unchecked) == (Standing.EXTENDS, (), ())
    registry.write("noted", {}, contents=[b"one more"])
    assert push(registry, S3Remote(f"s3://{bucket}/garden")).num_entries == 1
    assert pull(S3Remote(f"s3://{bucket}/garden"), copy.folder)[1].num_entries == 1


def test_signed_checkpoints_travel_and_a_bucket_that_was_cut_short_is_refused(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "machines").mkdir()
    machines = Machines(tmp_path / "machines", monkeypatch)
    registry, _ = with_roles(tmp_path / "here", machines)
    registry.write("noted", {}, contents=[b"seed"])
    registry.seal.seal()
    push(registry, S3Remote(f"s3://{bucket}/garden"))
    machines.at("reader")
    copy, pulled = pull(S3Remote(f"s3://{bucket}/garden"), tmp_path / "copy")
    assert (pulled.num_notes, len(pulled.unchecked), verify(copy).unchecked) == (1, 1, ())
    assert contents(copy.folder) == contents(registry.folder)
    import boto3

    for name in (entry_name(1), "checkpoints/000000002.note"):
        boto3.client("s3").delete_object(Bucket=bucket, Key=f"garden/{name}")
    with pytest.raises(RemoteContentError, match="has 1 entries, and 2 entries were verified here"):
        pull(S3Remote(f"s3://{bucket}/garden"), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    next(copy.folder.glob("blobs/*/*")).unlink()
    assert len(repair(copy, S3Remote(f"s3://{bucket}/garden")).blobs) == 1


def test_the_second_to_create_a_file_is_told_and_the_first_one_stays(bucket: str) -> None:
    remote = S3Remote(f"s3://{bucket}")
    assert remote.create(entry_name(0), b"first")
    assert not remote.create(entry_name(0), b"second")
    assert remote.get(entry_name(0), 100) == b"first"
    with pytest.raises(AbsentError):
        remote.get(entry_name(1), 100)


def test_four_writers_and_thirty_slots_have_thirty_winners(bucket: str) -> None:
    won: list[list[int]] = [[] for _ in range(4)]
    start = threading.Barrier(4)

    def write(writer: int) -> None:
        remote = S3Remote(f"s3://{bucket}")
        start.wait()
        won[writer] += [slot for slot in range(30) if remote.create(entry_name(slot), f"writer {writer}".encode())]

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(slot for slots in won for slot in slots) == list(range(30))
    remote = S3Remote(f"s3://{bucket}")
    for writer, slots in enumerate(won):
        assert all(remote.get(entry_name(slot), 100) == f"writer {writer}".encode() for slot in slots)


def test_a_fork_is_refused(bucket: str, tmp_path: Path) -> None:
    push(registry_of(tmp_path / "one", word="one"), S3Remote(f"s3://{bucket}"))
    with pytest.raises(ForkError, match="entry 0 "):
        push(registry_of(tmp_path / "other", word="other"), S3Remote(f"s3://{bucket}"))


def test_a_server_that_ignores_the_condition_is_found_out_before_anything_is_written(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.s3.responses import S3Response

    put_object: Any = S3Response.put_object

    def careless(self: Any, *arguments: Any, **named: Any) -> Any:
        self.headers = {name: value for name, value in self.headers.items() if name.lower() != "if-none-match"}
        return put_object(self, *arguments, **named)

    monkeypatch.setattr(S3Response, "put_object", careless)
    remote = S3Remote(f"s3://{bucket}/garden")
    with pytest.raises(RemoteError, match="ignores If-None-Match"):
        push(registry_of(tmp_path / "here"), remote)
    assert list(remote.names("log")) == list(remote.names("blobs")) == []


def test_what_cannot_be_reached_is_said_in_one_sentence_without_the_secret(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry_of(tmp_path / "here", 1)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    run = CliRunner()
    absent = run.invoke(main, ["push", str(tmp_path / "here"), f"s3://{bucket}-that-is-not-there/x"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    unreachable = run.invoke(main, ["pull", f"s3://{bucket}/x", str(tmp_path / "copy")])
    for result in (absent, unreachable):
        assert result.exit_code == 3, (result.output, result.exception)
        [said] = result.stderr.strip().splitlines()
        assert said.startswith(("saint: s3://", "saint: there is no bucket"))
        assert "a-secret" not in said


def test_addresses_that_cannot_be_meant(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="names no bucket"):
        open_remote("s3://")
    with pytest.raises(ConfigError, match="holds credentials") as raised:
        open_remote("s3://key:topsecret@bucket/x")
    assert "topsecret" not in str(raised.value)
    with pytest.raises(ConfigError, match="no remote begins with ftp://"):
        open_remote("ftp://example.org/x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://example.org")
    with pytest.raises(ConfigError, match="not reached by https"):
        open_remote(f"s3://{bucket}")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(MissingPackageError, match=r"saint-g\[remotes\]"):
        open_remote("s3://bucket")


def test_every_remote_is_one(bucket: str) -> None:
    assert isinstance(open_remote(f"s3://{bucket}"), Remote)
