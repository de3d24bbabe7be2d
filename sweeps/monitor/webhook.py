"""A webhook that takes messages as Slack's do: JSON with the field `text`.

The URL is a secret: whoever has it can post. It is in no message and no error, and it is never
written to a file.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from uniclip.errors import UserError

URL_VARIABLE = "UNICLIP_NOTIFY"
"""Environment variable with the URL; the key `notify=` has precedence."""
MAX_LINES = 20
"""Lines of one message."""
MAX_TIMEOUTS = 3
"""Timeouts after which a server that goes on answering is left."""


def find_url(value: str | None) -> str | None:
    """Return the URL of the webhook: of the key `notify`, or of the environment; None for none.

    Raises:
        UserError: it is no http or https URL; the line does not show it.
    """
    url = value or os.environ.get(URL_VARIABLE)
    if not url:
        return None
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or not all(" " < character < "\x7f" for character in url):
        source = "notify=" if value else URL_VARIABLE
        raise UserError(f"{source} is no URL that begins with https:// or http://")
    return url


def post_lines(url: str, lines: list[str], timeout: float) -> str:
    """Post lines as one message; return "" if the server accepted it, else what went wrong.

    Redirects are not followed, and what the server answers is not used.

    Args:
        url: of the webhook, as `find_url` returns it.
        lines: the lines; of more than `MAX_LINES` the first ones are sent.
        timeout: seconds that the server has to connect, and for each part of its answer; it has
            three times as many for the whole answer.
    """
    more = [f"... and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
    text = "\n".join([*lines[:MAX_LINES], *more])
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    target = f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}"
    body = json.dumps({"text": escape(text)}).encode()
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=timeout)
        deadline = threading.Timer(MAX_TIMEOUTS * timeout, _break_off, [connection])
        deadline.daemon = True
        deadline.start()
        try:
            connection.request("POST", target, body, {"Content-Type": "application/json"})
            status = connection.getresponse().status
        finally:
            deadline.cancel()
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return type(error).__name__
    return "" if 200 <= status < 300 else f"status {status}"


def _break_off(connection: http.client.HTTPConnection) -> None:
    """End a connection on which another thread waits."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def escape(text: str) -> str:
    """Return a text in which Slack finds no markup: neither mentions nor links."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
