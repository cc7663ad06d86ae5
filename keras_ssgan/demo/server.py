"""A web server for this machine alone, of files that lie in memory.

What it protects: the model, from the pages of other sites that the same browser
has open. Nothing outside `files` can be asked for, as no path of a request ever
reaches the file system.
"""

import http.server
import os
import socketserver
import sys
from http import HTTPStatus
from typing import Any

from keras_ssgan.errors import InputError

ADDRESS = "127.0.0.1"

_HEADERS = {
    # `wasm-unsafe-eval` lets WebAssembly be compiled, and no JavaScript.
    "Content-Security-Policy": "default-src 'self'; "
    "script-src 'self' 'wasm-unsafe-eval'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    # The next run's models have the same addresses.
    "Cache-Control": "no-store",
}


class Server(socketserver.ThreadingTCPServer):
    """Serves files to the pages that it serves itself, on 127.0.0.1.

    It listens from the start, and answers within `serve_forever`.

    Args:
        port: int; 0 for one that is free.

    Attributes:
        files: Dict from path, such as `"/app.js"`, to a pair of content type
            and bytes. All else is not found.
        url: Address of the page.

    Raises:
        InputError: If the port cannot be had.
    """

    # Windows would let a second server have a port that is taken.
    allow_reuse_address = os.name == "posix"
    daemon_threads = True

    def __init__(self, port: int) -> None:
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"port {port} cannot be had: {reason}; give another --port, "
                "or 0 for one that is free"
            ) from None
        self.files: dict[str, tuple[str, bytes]] = {}
        port = self.server_address[1]
        self.url = f"http://{ADDRESS}:{port}/"
        self.hosts = {f"{ADDRESS}:{port}", f"localhost:{port}"}
        if port == 80:
            self.hosts |= {ADDRESS, "localhost"}

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A page that is left while it loads is no error.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    server_version = "keras-ssgan"
    sys_version = ""
    # Seconds until a silent client is let go.
    timeout = 30

    def do_GET(self):
        if not self._is_ours():
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        file = self.server.files.get(self.path.partition("?")[0])
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        content_type, content = file
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def _is_ours(self):
        """Whether our own page asks, or the user who types its address.

        Another name for this address may belong to another site, which would
        then count as the same origin ("DNS rebinding").
        """
        hosts = self.headers.get_all("Host", [])
        origins = self.headers.get_all("Origin", [])
        sites = self.headers.get_all("Sec-Fetch-Site", [])
        return (
            len(hosts) == 1
            and hosts[0] in self.server.hosts
            and all(origin == f"http://{hosts[0]}" for origin in origins)
            and all(site in ("same-origin", "none") for site in sites)
        )

    def end_headers(self):
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format, *args):
        """The terminal is not told of every file."""
