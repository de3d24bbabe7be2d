"""A server of the pages of a store: it only reads, and only a browser of this machine reaches it.

It listens on 127.0.0.1. Its addresses begin with a random token, since other users of the machine
reach that address too. Requests whose Host is not this machine are refused, so that a page on the
web cannot read the store through the name of a host of its own (DNS rebinding), and so are methods
that write, and files outside `runs/` and `reports/`.
"""

from __future__ import annotations

import hmac
import os
import secrets
import shutil
import stat
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from analysis.page.html import build_policy
from sweeps.server.live_page import READING_ERRORS, LivePage, describe_error
from sweeps.server.sweep_index import render_index
from uniclip.store import Plan, Store

ADDRESS = "127.0.0.1"
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""Names in the header Host of requests that are answered, with any port: it may be forwarded."""
SERVED_FOLDERS = ("runs", "reports")
"""Folders of the store whose files are served."""
HTML, TEXT, JSON = "text/html; charset=utf-8", "text/plain; charset=utf-8", "application/json"
CONTENT_TYPES = {
    **{".png": "image/png", ".html": HTML, ".json": JSON, ".pdf": "application/pdf"},
    **dict.fromkeys(("", ".yaml", ".jsonl", ".csv", ".md", ".tex", ".claim", ".svg"), TEXT),
}
"""End of a file name -> type; others are for download."""
FILE_POLICY = "sandbox allow-scripts; connect-src 'none'; form-action 'none'"
"""Policy of files of the store: a report keeps its own, and has no access to this server."""
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
IDLE_SECONDS = 30.0
"""Time after which a connection without a request is closed."""


class PageServer(ThreadingHTTPServer):
    """Serves the pages of the sweeps of a store.

    Attributes:
        token: the first part of every path.
    """

    daemon_threads = True

    def __init__(self, store: Store, plans: tuple[Plan, ...] = (), port: int = 0) -> None:
        """Listen.

        Args:
            store: the store.
            plans: plans that may not be in the store yet.
            port: the port; 0 for one that is free.

        Raises:
            OSError: the port is used.
        """
        super().__init__((ADDRESS, port), PageRequestHandler)
        self.store, self.token = store, secrets.token_urlsafe(12)
        self._pages = {plan.sweep_id: LivePage(store, plan) for plan in plans}

    @property
    def url(self) -> str:
        """Address of the list of sweeps."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def get_page_url(self, sweep_id: str) -> str:
        """Return the address of the page of a sweep."""
        return f"{self.url}sweep/{sweep_id}/"

    def find_page(self, sweep_id: str) -> LivePage | None:
        """Return the page of a sweep of the store; None for an unknown one."""
        if sweep_id not in self._pages and sweep_id in {f.id for f in self.store.iter_sweeps()}:
            plan = self.store.get_sweep(sweep_id).read_plan()
            if plan is not None:
                self._pages.setdefault(sweep_id, LivePage(self.store, plan))
        return self._pages.get(sweep_id)

    def open_file(self, parts: list[str]) -> tuple[BinaryIO, Path] | None:
        """Open a file of the store for reading; None if there is none that is served."""
        if not parts or parts[0] not in SERVED_FOLDERS or any("\0" in part for part in parts):
            return None
        root = self.store.root / parts[0]
        try:
            path = self.store.root.joinpath(*parts).resolve()
            if not path.is_relative_to(root.resolve()):
                return None
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, RuntimeError):  # RuntimeError: links that form a loop
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        return os.fdopen(descriptor, "rb"), path


class PageRequestHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "uniclip", ""
    timeout = IDLE_SECONDS
    _has_begun = False
    """Whether an answer to the request has begun."""

    def do_GET(self) -> None:
        """Send a page, its data or a file."""
        self._has_begun = False
        try:
            self._answer()
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
        except READING_ERRORS as error:
            if self._has_begun:
                self.close_connection = True  # a second answer would be taken for the file
            else:
                self._send_text(HTTPStatus.INTERNAL_SERVER_ERROR, describe_error(error))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Refuse: nothing can be written."""
        self.close_connection = True
        self._send_text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD", {"Allow": "GET, HEAD"})

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: the terminal shows the address only."""

    def _answer(self) -> None:
        host = self.headers.get("Host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if name.lower() not in LOCAL_HOSTS:
            self._send_text(HTTPStatus.FORBIDDEN, "this server answers its own machine only")
            return
        path = unquote(urlsplit(self.path).path, errors="replace")
        token, *parts = path.removeprefix("/").split("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self._send_text(HTTPStatus.NOT_FOUND, "no such page: copy the whole address")
        elif parts in ([], [""]):
            self._send_page(render_index(self.server.store).encode(), is_live=False)
        elif parts[0] == "sweep" and len(parts) == 3:
            self._send_sweep(parts[1], parts[2])
        elif parts[0] == "store":
            self._send_file(parts[1:])
        else:
            self._send_text(HTTPStatus.NOT_FOUND, "no such page")

    def _send_sweep(self, sweep_id: str, name: str) -> None:
        page = self.server.find_page(sweep_id)
        if page is None or name not in ("", "data.json"):
            self._send_text(HTTPStatus.NOT_FOUND, "no such sweep")
        elif name == "":
            self._send_page(page.render(), is_live=True)
        else:
            self._send_data(page)

    def _send_data(self, page: LivePage) -> None:
        data = page.get_data()
        tag = f'"{data.tag}"'
        if self.headers.get("If-None-Match") == tag:
            self._send(HTTPStatus.NOT_MODIFIED, None, {"ETag": tag})
        elif "gzip" in self.headers.get("Accept-Encoding", ""):
            headers = {"ETag": tag, "Content-Type": JSON, "Content-Encoding": "gzip"}
            self._send(HTTPStatus.OK, data.compressed, headers)
        else:
            self._send(HTTPStatus.OK, data.json, {"ETag": tag, "Content-Type": JSON})

    def _send_page(self, body: bytes, *, is_live: bool) -> None:
        policy = f"{build_policy(is_live=is_live)}; frame-ancestors 'none'"
        headers = {"Content-Type": HTML, "Content-Security-Policy": policy}
        self._send(HTTPStatus.OK, body, headers)

    def _send_file(self, parts: list[str]) -> None:
        opened = self.server.open_file(parts)
        if opened is None:
            self._send_text(HTTPStatus.NOT_FOUND, "no such file")
            return
        stream, path = opened
        with stream:
            content_type = CONTENT_TYPES.get(path.suffix, "application/octet-stream")
            size = os.fstat(stream.fileno()).st_size
            headers = {"Content-Type": content_type, "Content-Security-Policy": FILE_POLICY}
            self._send(HTTPStatus.OK, None, {**headers, "Content-Length": str(size)})
            self.close_connection = True  # the file may grow or shrink meanwhile
            if self.command != "HEAD":
                shutil.copyfileobj(stream, self.wfile)

    def _send_text(
        self, status: HTTPStatus, text: str, headers: dict[str, str] | None = None
    ) -> None:
        self._send(status, f"{text}\n".encode(), {"Content-Type": TEXT, **(headers or {})})

    def _send(self, status: HTTPStatus, body: bytes | None, headers: dict[str, str]) -> None:
        self._has_begun = True
        self.send_response(status)
        for name, value in {**SECURITY_HEADERS, **headers}.items():
            self.send_header(name, value)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body is not None and self.command != "HEAD":
            self.wfile.write(body)


def serve(server: PageServer) -> None:
    """Answer requests until the user stops the program by Ctrl-C."""
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        server.server_close()
