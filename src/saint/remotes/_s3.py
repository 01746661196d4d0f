import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, final
from urllib.parse import urlsplit

from typing_extensions import override

from saint.errors import ConfigError, MissingPackageError, RemoteError
from saint.remotes._remote import PATIENCE, AbsentError, Remote

_PIECE_BYTES = 1 << 20
_MOST_CONFLICTS = 5


@final
class S3Remote(Remote):
    """A prefix in a bucket of an S3-compatible server.

    Whatever is written is written with `If-None-Match: *`. A server that ignores that header would let two writers
    overwrite each other, so it is tried out before the first write. Credentials and endpoint are looked for where
    every AWS program looks (AWS_ACCESS_KEY_ID, AWS_PROFILE, AWS_ENDPOINT_URL, ~/.aws); they are not kept.
    """

    def __init__(self, address: str, *, patience: float = PATIENCE) -> None:
        super().__init__(address, patience=patience)
        self._root = address.removeprefix("s3://").strip("/")
        if not self._root:
            raise ConfigError(f"{address} names no bucket; give s3://BUCKET or s3://BUCKET/PREFIX")
        self._files = self._connect()
        self._is_proven = False

    def _connect(self) -> Any:
        try:
            import s3fs  # type: ignore[import-untyped]
        except ImportError as error:
            raise MissingPackageError(
                "s3:// remotes need the packages fsspec and s3fs: pip install 'saint-g[remotes]'"
            ) from error
        with self._reached("connected to"):
            files = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
            files.connect(refresh=True)
        endpoint = urlsplit(files.s3.meta.endpoint_url)
        if endpoint.scheme != "https" and endpoint.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ConfigError(f"the S3 endpoint {endpoint.hostname} is not reached by https; give an https:// endpoint")
        return files

    @override
    def _read(self, name: str) -> Generator[bytes, None, None]:
        from fsspec.asyn import sync  # type: ignore[import-untyped]

        bucket, _, key = f"{self._root}/{name}".partition("/")
        try:
            with self._reached(f"asked for {name}"):
                body = self._files.call_s3("get_object", Bucket=bucket, Key=key, timeout=self.patience)["Body"]
                try:
                    while piece := sync(self._files.loop, body.read, _PIECE_BYTES, timeout=self.patience):
                        yield piece
                finally:
                    body.close()
        except FileNotFoundError as error:
            raise AbsentError(f"{self.address} has no {name}; use another copy of the registry") from error

    @override
    def _create(self, name: str, content: bytes) -> bool:
        try:
            with self._reached(f"given {name}"):
                self._prove()
                return self._put(name, content)
        except FileNotFoundError as error:
            bucket = self._root.partition("/")[0]
            raise RemoteError(f"there is no bucket {bucket}, or it is not yours; make it first") from error

    def _prove(self) -> None:
        """Write one object twice: a server for which that is fine cannot hold a registry."""
        if self._is_proven:
            return
        probe = f"tmp/probe-{secrets.token_hex(8)}"
        try:
            honoured = self._put(probe, b"") and not self._put(probe, b"")
        finally:
            self._files.rm_file(f"{self._root}/{probe}")
        if not honoured:
            raise RemoteError(
                f"the server of {self.address} ignores If-None-Match, so two writers could overwrite each other there; "
                "push to a server that honours it"
            )
        self._is_proven = True

    def _put(self, name: str, content: bytes) -> bool:
        for attempt in range(_MOST_CONFLICTS):
            try:
                self._files.pipe_file(f"{self._root}/{name}", content, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                code = _code_of(error)
                if code == "PreconditionFailed":  # a server that does not say which precondition; there is only one
                    return False
                if code != "ConditionalRequestConflict" or attempt == _MOST_CONFLICTS - 1:
                    raise
            else:
                return True
        raise AssertionError("the last attempt returns or raises")

    @override
    def _names(self, folder: str) -> Iterator[str]:
        bucket_root = f"{self._root}/"
        try:
            with self._reached("listed"):
                found = self._files.find(f"{self._root}/{folder}")
        except FileNotFoundError:
            return iter(())
        return (path.removeprefix(bucket_root) for path in found)

    @contextmanager
    def _reached(self, what: str) -> Iterator[None]:
        """Tell in one sentence what a library that speaks to a server may raise, which is of many kinds."""
        try:
            yield
        except (FileNotFoundError, RemoteError):
            raise
        except Exception as error:  # botocore, aiohttp and fsspec have no class in common but this one
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise RemoteError(
                f"{self.address} could not be {what} ({reason:.200}); check the address, the endpoint and the "
                "credentials in the environment, then run the command again"
            ) from error


def _code_of(error: OSError) -> str | None:
    response = getattr(error.__cause__, "response", None) or {}
    code = response.get("Error", {}).get("Code")
    return code if isinstance(code, str) else None
