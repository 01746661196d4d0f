"""The Hub over HTTP: one winner of every name, private from the first, and nothing that it sends is believed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from made_up_hub import TOKEN, HubServer, serving_hub
from made_up_registry import contents, registry_of
from saint.cli.main import main
from saint.errors import ConfigError, ForkError, MissingPackageError, RemoteContentError, RemoteError
from saint.registry import repair, verify
from saint.remotes import HubRemote, open_remote, pull, push

ADDRESS = "hf://ana/garden"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the library's, of its own upload


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with serving_hub() as one:
        monkeypatch.setenv("HF_ENDPOINT", one.address)
        yield one


def remote_of(_: HubServer, address: str = ADDRESS) -> HubRemote:
    return HubRemote(address, patience=5)


def test_push_pull_and_verify(server: HubServer, tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    registry.write("noted", {}, contents=[bytes(5000)])
    assert push(registry, remote_of(server)).num_entries == 6
    assert server.is_private
    copy, _ = pull(remote_of(server), tmp_path / "copy")
    assert contents(copy.folder) == contents(registry.folder)
    assert copy.origin == registry.origin
    assert verify(copy).problems == ()
    registry.write("noted", {}, contents=[b"one more"])
    assert push(registry, remote_of(server)).num_entries == 1
    assert pull(remote_of(server), copy.folder)[1].num_entries == 1


def test_contents_are_committed_before_entries_and_pages_last(server: HubServer, tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    push(registry, remote_of(server))
    folders = [{name.partition("/")[0] for name in names} for names in server.history]
    assert folders == [{".gitattributes"}, {"registry.json", "origin", "blobs"}, {"log"}, {"FORMAT.md", "verify.py"}]
    num_commits = len(server.history)
    push(registry, remote_of(server))
    assert len(server.history) == num_commits


def test_many_files_are_committed_in_parts(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saint.remotes._hub._MOST_FILES", 3)
    registry = registry_of(tmp_path / "here")
    push(registry, remote_of(server))
    assert max(map(len, server.history)) == 3
    assert contents(pull(remote_of(server), tmp_path / "copy")[0].folder) == contents(registry.folder)


@pytest.mark.parametrize("num_before", [0, 2])
def test_of_two_that_push_at_once_one_wins_and_the_other_is_told(
    server: HubServer, tmp_path: Path, num_before: int
) -> None:
    one = registry_of(tmp_path / "one", num_before)
    if num_before:
        push(one, remote_of(server))
        other, _ = pull(remote_of(server), tmp_path / "other")
    else:
        other = registry_of(tmp_path / "other", 0)
    one.write("noted", {"who": "one"})
    other.write("noted", {"who": "other"})
    slow = remote_of(server)
    commit = slow._commit
    slow._commit = lambda: (push(other, remote_of(server)), commit())  # type: ignore[method-assign]
    with pytest.raises(RemoteError, match="somebody else pushed to hf://ana/garden meanwhile; run the command again"):
        push(one, slow)
    entry = json.loads(server.files[f"log/000000/{num_before:09d}.json"])
    assert entry["body"] == {"who": "other"}
    with pytest.raises(ForkError, match=f"entry {num_before} "):
        push(one, remote_of(server))
    assert contents(pull(remote_of(server), tmp_path / "copy")[0].folder) == contents(other.folder)


def test_a_reader_sees_the_commit_that_it_began_with(server: HubServer, tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here", 2)
    push(registry, remote_of(server))
    reader = remote_of(server)
    reader.get("registry.json", 1000)
    registry.write("noted", {})
    push(registry, remote_of(server))
    assert pull(reader, tmp_path / "copy")[1].num_entries == 2
    assert pull(remote_of(server), tmp_path / "copy")[1].num_entries == 1


def test_a_branch_and_a_commit_can_be_named(server: HubServer, tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here", 2)
    push(registry, remote_of(server))
    head = server.heads["main"]
    server.heads |= {"trial": head, head: head}
    registry.write("noted", {})
    push(registry, remote_of(server, f"{ADDRESS}@trial"))
    assert pull(remote_of(server, f"{ADDRESS}@{head}"), tmp_path / "old")[1].num_entries == 2
    assert pull(remote_of(server, f"{ADDRESS}@trial"), tmp_path / "new")[1].num_entries == 3
    with pytest.raises(RemoteError, match="has no branch or commit nowhere"):
        pull(remote_of(server, f"{ADDRESS}@nowhere"), tmp_path / "copy")


@pytest.mark.parametrize("folder", ["blobs", "log"])
def test_wrong_content_from_the_server_is_found(server: HubServer, tmp_path: Path, folder: str) -> None:
    push(registry_of(tmp_path / "here"), remote_of(server))
    name = sorted(name for name in server.files if name.startswith(folder))[1]
    for content in (b"", b"something else", server.files[name][:-1], server.files[name] + b" "):
        server.commits[server.heads["main"]] = {**server.files, name: content}
        with pytest.raises(RemoteContentError):
            pull(remote_of(server), tmp_path / "copy")
        assert not (tmp_path / "copy").exists()


def test_a_file_that_never_ends_is_cut_off(server: HubServer, tmp_path: Path) -> None:
    push(registry_of(tmp_path / "here"), remote_of(server))
    server.large_from = 100_000
    server.commits[server.heads["main"]] |= {"registry.json": bytes(10_000)}
    with pytest.raises(RemoteContentError, match=r"sends more than 4,096 bytes as registry\.json"):
        pull(remote_of(server), tmp_path / "copy")


def test_the_token_does_not_follow_a_redirect_and_is_never_said(server: HubServer, tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here", 1)
    registry.write("noted", {}, contents=[bytes(5000)])
    push(registry, remote_of(server))
    pull(remote_of(server), tmp_path / "copy")
    elsewhere = {secret for path, secret in server.secrets if path.startswith("/cdn/")}
    assert elsewhere == {None}
    assert {secret for path, secret in server.secrets if "/resolve/" in path} == {f"Bearer {TOKEN}"}


def test_what_is_missing_is_said_in_one_sentence(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry_of(tmp_path / "here", 1)
    assert not server.heads
    run = CliRunner()
    pulling, pushing = ["pull", ADDRESS, str(tmp_path / "copy")], ["push", str(tmp_path / "here"), ADDRESS]
    absent = run.invoke(main, pulling)
    assert (absent.exit_code, "there is no registry at hf://ana/garden" in absent.stderr) == (1, True)
    assert run.invoke(main, pushing).exit_code == 0
    said = []
    monkeypatch.setenv("HF_TOKEN", "hf_somebody_elses")
    said += [run.invoke(main, pulling), run.invoke(main, pushing)]
    monkeypatch.delenv("HF_TOKEN")
    said += [run.invoke(main, pulling), run.invoke(main, pushing)]
    for result in said:
        assert result.exit_code == 3, (result.output, result.exception)
        [line] = result.stderr.strip().splitlines()
        assert "set HF_TOKEN to the token of somebody who may" in line
        assert "hf_somebody_elses" not in line
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    unreachable = run.invoke(main, pulling)
    assert unreachable.exit_code == 3
    assert len(unreachable.stderr.strip().splitlines()) == 1


def test_a_repository_that_leaves_files_out_is_found_out(server: HubServer, tmp_path: Path) -> None:
    server.ignored = ("log/",)
    with pytest.raises(RemoteError, match=r"left out log/000000/000000000\.json"):
        push(registry_of(tmp_path / "here", 1), remote_of(server))


def test_what_rotted_is_taken_from_the_hub(server: HubServer, tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "here")
    push(registry, remote_of(server))
    before = contents(registry.folder)
    sorted(registry.folder.glob("blobs/*/*"))[0].unlink()
    sorted(registry.folder.glob("log/*/*"))[1].unlink()
    done = repair(registry, remote_of(server))
    assert (done.entries, len(done.blobs), done.problems) == ((1,), 1, ())
    assert contents(registry.folder) == before


def test_addresses_that_cannot_be_meant(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_remote(ADDRESS), HubRemote)
    for address in ("hf://", "hf://garden", "hf://ana/garden/more", "hf://ana/../x", "hf://ana/garden@", "hf://a b/c"):
        with pytest.raises(ConfigError, match="is no repository on the Hub"):
            open_remote(address)
    monkeypatch.setenv("HF_ENDPOINT", "http://example.org")
    with pytest.raises(ConfigError, match="not reached by https"):
        open_remote(ADDRESS)
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError, match=r"saint-g\[remotes\]"):
        open_remote(ADDRESS)
    assert server.history == []
