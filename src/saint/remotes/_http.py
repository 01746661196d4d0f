"""HTTP without trust: https only (http for this machine itself), few and checked redirects, nothing waited for long.

The standard library is enough for the few requests that a registry needs, and lets every one of these rules be ours:
`file:` and `ftp:` handlers are not installed, credentials do not follow a redirect, nothing is decompressed.
"""

import http.client
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, final
from urllib.parse import urlsplit

from typing_extensions import override

from saint.errors import RemoteContentError, RemoteError

_PIECE_BYTES = 1 << 16
_HERE = ("localhost", "127.0.0.1", "::1")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a server answered; the body is still to be read, and to be closed."""

    address: str
    """Whom messages are about."""
    status: int
    headers: Mapping[str, str]
    body: Generator[bytes, None, None]
    close: Callable[[], None]
    """Hangs up, also on a body of which nothing was read."""

    def whole(self, at_most: int) -> bytes:
        """The body, of at most `at_most` bytes."""
        content = b""
        try:
            for piece in self.body:
                content += piece
                if len(content) > at_most:
                    raise RemoteContentError(f"{self.address} sends more than {at_most:,} bytes of what is short")
        finally:
            self.close()
        return content


@final
class Http:
    """Sends requests to one remote."""

    def __init__(self, address: str, *, patience: float) -> None:
        """Say whom messages are about, and how long a server may take."""
        self._address, self._patience = address, patience
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            _Plain(),
            _Secure(),
            _Redirects(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ):
            self._opener.add_handler(handler)

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        secret: str | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send one request; answers of any status come back.

        Args:
            secret: The Authorization header; it goes to this address and not where a redirect leads.

        Raises:
            RemoteContentError: It was sent somewhere that is not https.
            RemoteError: Nobody answered, or not in time.
        """
        if not may_be_asked(url, by=url):
            raise RemoteContentError(f"{self._address} leads to an address that is not https, which is not followed")
        request = urllib.request.Request(url, data=body, method=method, headers=dict(headers or {}))  # noqa: S310
        if secret:
            request.add_unredirected_header("Authorization", secret)
        try:
            answer = self._opener.open(request, timeout=self._patience)
        except urllib.error.HTTPError as error:
            if 300 <= error.code < 400:
                error.close()
                raise RemoteContentError(
                    f"{self._address} redirects to an address that is not https, or in circles; it is not followed"
                ) from error
            answer = error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._unreached(error) from error
        assert answer is not None
        return Answer(
            address=self._address,
            status=answer.status,
            headers=dict(answer.headers.items()),
            body=self._pieces(answer),
            close=answer.close,
        )

    def _pieces(self, answer: Any) -> Generator[bytes, None, None]:
        with answer:
            try:
                while piece := answer.read1(_PIECE_BYTES):
                    yield piece
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise self._unreached(error) from error

    def _unreached(self, error: Exception) -> RemoteError:
        reason = (str(getattr(error, "reason", "")) or str(error) or type(error).__name__).partition("\n")[0]
        return RemoteError(f"{self._address} does not answer as it should ({reason:.120}); run the command again later")


def may_be_asked(url: str, *, by: str) -> bool:
    """Whether a request may go there: to https, or within this machine if it was asked for by one that is here."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and parts.hostname in _HERE and urlsplit(by).hostname in _HERE


@final
class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    @override
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not may_be_asked(newurl, by=req.full_url):
            raise urllib.error.HTTPError(req.full_url, code, "not https", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Impatient(http.client.HTTPConnection):
    """Hangs up on a server that sends the head of an answer byte by byte: each comes in time, the last never."""

    @override
    def getresponse(self) -> http.client.HTTPResponse:
        watch = threading.Timer(float(self.timeout or 60), self._hang_up)
        watch.daemon = True
        watch.start()
        try:
            return super().getresponse()
        finally:
            watch.cancel()

    def _hang_up(self) -> None:
        with suppress(OSError, AttributeError):
            self.sock.shutdown(socket.SHUT_RDWR)


class _ImpatientTls(_Impatient, http.client.HTTPSConnection):
    pass


@final
class _Plain(urllib.request.HTTPHandler):
    @override
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Impatient, req)


@final
class _Secure(urllib.request.HTTPSHandler):
    @override
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_ImpatientTls, req)
