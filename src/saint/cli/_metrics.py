"""Metrics over HTTP, for a Prometheus that comes to fetch them."""

from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from typing_extensions import override

from saint.errors import ConfigError, SaintError

_PATH = "/metrics"
_PATIENCE_S = 5.0


def serve(text: Callable[[], str], host: str, port: int, *, told: Callable[[str], object]) -> None:
    """Answer at /metrics with what `text` gives, until Ctrl-C.

    Args:
        port: 0 for any that is free.
        told: Called with the address once it can be asked.

    Raises:
        ConfigError: The address cannot be served at.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE_S  # whoever connects and says nothing does not keep others waiting

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != _PATH:
                return self._answer(HTTPStatus.NOT_FOUND, f"there is only {_PATH} here\n")
            try:
                return self._answer(HTTPStatus.OK, text())
            except (SaintError, OSError) as error:
                return self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error}\n")

        def _answer(self, status: HTTPStatus, said: str) -> None:
            content = said.encode("utf-8", "replace")
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

    try:
        server = HTTPServer((host, port), Handler)
    except OSError as error:
        raise ConfigError(
            f"{host}:{port} cannot be served at ({error.strerror or error}); give another port to --metrics, or --host"
        ) from error
    with server:
        told(f"http://{host}:{server.server_port}{_PATH}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
