"""A small server on loopback that takes messages of a webhook, and misbehaves as a test asks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "T00/B11/s3cr3t"


class WebhookServer(ThreadingHTTPServer):
    """Keeps the texts that it accepts; it may answer slowly, with another status or not in HTTP."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.texts: list[str] = []
        self.paths: list[str] = []
        self.status = 200
        self.answers_garbage = False
        self.may_answer = threading.Event()
        """Answers wait for it; it is set at first."""
        self.may_answer.set()

    @property
    def url(self) -> str:
        """The URL of the webhook, which is a secret."""
        return f"http://127.0.0.1:{self.server_address[1]}/services/{SECRET}?key=1"


class _Handler(BaseHTTPRequestHandler):
    server: WebhookServer

    def do_POST(self) -> None:
        """Keep the text of a message, and answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.may_answer.wait()
        if self.server.status == 200 and not self.server.answers_garbage:
            self.server.texts.append(json.loads(body)["text"])
        if self.server.answers_garbage:
            self.wfile.write(b"\x00\xff" * 50_000)
            return
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def serve_webhook() -> Iterator[WebhookServer]:
    """Run a server while the context lasts."""
    with WebhookServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.may_answer.set()
            server.shutdown()
