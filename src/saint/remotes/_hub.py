import os
import re
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any, final

from typing_extensions import override

from saint.errors import ConfigError, MissingPackageError, RemoteContentError, RemoteError, SaintError
from saint.remotes._http import Http, may_be_asked
from saint.remotes._names import Caps, is_name
from saint.remotes._remote import PATIENCE, AbsentError, Remote

_ADDRESS = re.compile(r"hf://([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([A-Za-z0-9][\w./-]*))?")
_MOST_FILES, _MOST_BYTES = 250, 256 << 20
"""Of one commit; what is to be committed is in memory until then."""


@final
class HubRemote(Remote):
    """A model repository on the Hugging Face Hub, made private if it is not there.

    What is created comes to be there by commits that name the one they follow: if somebody else has made one since the
    repository was looked at, the Hub refuses, so that nothing is written over. Contents go first, then entries, then
    the rest, each in commits of their own. It is read as of the commit that it was first looked at. Bytes come by the
    rules of all remotes, and not by the library's, which believes them. The token is the one that the library uses:
    HF_TOKEN, or that of `hf auth login`.
    """

    def __init__(self, address: str, *, patience: float = PATIENCE) -> None:
        super().__init__(address, patience=patience)
        found = _ADDRESS.fullmatch(address)
        if found is None:
            raise ConfigError(
                f"{address:.200} is no repository on the Hub; give hf://USER/NAME or hf://USER/NAME@BRANCH"
            )
        self._repository, self._revision = found[1], found[2] or "main"
        self._hub = _library()
        self._endpoint = (os.environ.get("HF_ENDPOINT") or self._hub.constants.ENDPOINT).rstrip("/")
        if not may_be_asked(self._endpoint, by=self._endpoint):
            raise ConfigError("HF_ENDPOINT is not reached by https; give an https:// address")
        self._token: str | None = self._hub.get_token()
        self._api = self._hub.HfApi(endpoint=self._endpoint, token=self._token)
        self._http = Http(address, patience=patience)
        self._head: str | None = None
        self._files: set[str] | None = None
        self._pending: dict[str, bytes] = {}

    @override
    def _read(self, name: str) -> Generator[bytes, None, None]:
        if name in self._pending:
            yield self._pending[name]
            return
        if name not in self._there():
            raise AbsentError(f"{self.address} has no {name}; use another copy of the registry")
        url = self._hub.hf_hub_url(self._repository, name, revision=self._head, endpoint=self._endpoint)
        secret = f"Bearer {self._token}" if self._token else None
        with closing(self._http.ask("GET", url, secret=secret)) as answer:
            if answer.status == 404:
                raise RemoteContentError(f"{self.address} lists {name} and does not have it; use another copy")
            if answer.status != 200:
                raise RemoteError(f"{self.address} answers {answer.status} when asked for {name}; {_TOKEN}")
            yield from answer.body

    @override
    def _create(self, name: str, content: bytes) -> bool:
        if name in self._there() or name in self._pending:
            return False
        size = len(content) + sum(map(len, self._pending.values()))
        another = any(_stage(name) != _stage(one) for one in self._pending)
        if another or len(self._pending) >= _MOST_FILES or size > _MOST_BYTES:
            self._commit()
        self._pending[name] = content
        return True

    @override
    def _names(self, folder: str) -> Iterator[str]:
        return iter(sorted(self._there() | self._pending.keys()))

    @override
    def finish(self) -> None:
        self._commit()

    def _there(self) -> set[str]:
        """The names of files as of the commit that counts, which is looked for the first time."""
        if self._files is None:
            self._head, self._files = self._look()
        return self._files

    def _look(self) -> tuple[str | None, set[str]]:
        with self._reached("looked at"):
            try:
                head = self._api.repo_info(self._repository, revision=self._revision, timeout=self.patience).sha
            except self._hub.errors.GatedRepoError:
                raise
            except self._hub.errors.RepositoryNotFoundError as error:
                if self._token:
                    return None, set()
                raise RemoteError(f"{self.address} is not there, or not for everybody; {_TOKEN}") from error
            return head, self._list(head)

    def _list(self, head: str) -> set[str]:
        most = Caps().num_names
        listed = self._api.list_repo_tree(self._repository, recursive=True, revision=head)
        paths = [one.path for one in islice(listed, most + 1)]
        if len(paths) > most:
            raise RemoteContentError(f"{self.address} lists more than {most:,} files; use another copy")
        return {path for path in paths if isinstance(path, str) and is_name(path)}

    def _commit(self) -> None:
        if not self._pending:
            return
        with self._reached("written"):
            if self._head is None:
                self._api.create_repo(self._repository, private=True, exist_ok=True)
                self._must_still_be_absent()
            add = self._hub.CommitOperationAdd
            made = self._api.create_commit(
                self._repository,
                [add(path_in_repo=name, path_or_fileobj=content) for name, content in self._pending.items()],
                commit_message=f"saint push: {len(self._pending)} files",
                revision=self._revision,
                parent_commit=self._head,
            )
            self._head, self._files = made.oid, self._list(made.oid)
        if left := sorted(self._pending.keys() - self._files):
            raise RemoteError(
                f"{self.address} left out {left[0]}, which was committed; take the .gitignore out of it that says so"
            )
        self._pending = {}

    def _must_still_be_absent(self) -> None:
        """A repository that was made now has a first commit to go on from, by us or by who was faster."""
        self._head, self._files = self._look()
        if self._head is None:
            raise RemoteError(f"{self.address} was made and cannot be seen; {_TOKEN}")
        if self._pending.keys() & self._files:
            raise self._overtaken()

    def _overtaken(self) -> RemoteError:
        return RemoteError(f"somebody else pushed to {self.address} meanwhile; run the command again")

    @contextmanager
    def _reached(self, what: str) -> Iterator[None]:
        """Tell in one sentence what the library may raise, which is of many kinds."""
        errors = self._hub.errors
        try:
            yield
        except SaintError:
            raise
        except errors.RevisionNotFoundError as error:
            raise RemoteError(
                f"{self.address} has no branch or commit {self._revision}; make it first, or name another"
            ) from error
        except errors.OfflineModeIsEnabled as error:
            raise RemoteError(f"{self.address} was not asked, as HF_HUB_OFFLINE is set; unset it") from error
        except Exception as error:  # the library, httpx and hf_xet have no class in common but this one
            response = getattr(error, "response", None)
            status = getattr(response, "status_code", None)
            if status in (409, 412):
                raise self._overtaken() from error
            if status in (401, 403) or isinstance(error, errors.LocalTokenNotFoundError):
                raise RemoteError(f"{self.address} may not be {what} by you; {_TOKEN}") from error
            reason = f"answers {status}" if status else f"{type(error).__name__}: {error}".partition("\n")[0]
            raise RemoteError(
                f"{self.address} could not be {what} ({reason:.200}); check the address and the network, then run the "
                "command again"
            ) from error


_TOKEN = "set HF_TOKEN to the token of somebody who may, or run `hf auth login`"  # noqa: S105 - no token


def _stage(name: str) -> int:
    """What is committed together: contents and what says whose they are, then entries, then what is about them."""
    folder = name.partition("/")[0]
    return 1 if folder == "log" else 0 if folder in ("blobs", "registry.json", "origin") else 2


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError as error:
        raise MissingPackageError(
            "hf:// remotes need the package huggingface_hub: pip install 'saint-g[remotes]'"
        ) from error
    disable_progress_bars()
    return huggingface_hub
