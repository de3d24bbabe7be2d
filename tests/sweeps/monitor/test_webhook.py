"""Webhooks: what is posted, what servers may do, and URLs that are refused and never shown."""

from __future__ import annotations

import socket

import pytest

from sweeps.monitor.webhook import MAX_LINES, URL_VARIABLE, escape, find_url, post_lines
from tests.helpers.webhook_server import SECRET, serve_webhook
from uniclip.errors import UserError


def test_lines_are_one_message_without_markup() -> None:
    lines = [f"line {i}" for i in range(MAX_LINES)]
    with serve_webhook() as server:
        assert post_lines(server.url, ["<!channel> a & b", "second"], timeout=30) == ""
        assert post_lines(server.url, [*lines, "x", "y"], timeout=30) == ""
        assert server.paths == [f"/services/{SECRET}?key=1"] * 2
        assert server.texts[0] == "&lt;!channel&gt; a &amp; b\nsecond"
        assert server.texts[1].splitlines() == [*lines, "... and 2 more"]
    assert escape("a<b") == "a&lt;b"


@pytest.mark.parametrize("status", [302, 404, 500])
def test_another_status_is_reported_and_no_redirect_followed(status: int) -> None:
    with serve_webhook() as server:
        server.status = status
        assert post_lines(server.url, ["text"], timeout=30) == f"status {status}"
        assert len(server.paths) == 1


def test_a_server_that_is_slow_absent_or_no_server_is_reported() -> None:
    with serve_webhook() as server:
        server.may_answer.clear()
        assert post_lines(server.url, ["text"], timeout=0.05) == "TimeoutError"
        server.may_answer.set()
        server.answers_garbage = True
        assert post_lines(server.url, ["text"], timeout=30) in ("BadStatusLine", "LineTooLong")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # no one listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/{SECRET}"
        assert post_lines(url, ["text"], timeout=30) == "ConnectionRefusedError"
    assert post_lines(f"http://nowhere.invalid/{SECRET}", ["text"], timeout=30) == "gaierror"


@pytest.mark.parametrize(
    "url",
    ["s3cr3t", "ftp://host/s3cr3t", "https://", "http://[s3cr3t", "http://h:0/s3cr3t",
     "http://host:s3cr3t/", "http://host/s3cr3t\r\nHost: other", "http://h/s3cr3t\u00e9"],
)  # fmt: skip
@pytest.mark.parametrize("is_key", [True, False])
def test_a_url_that_is_none_is_refused_without_being_shown(
    url: str, is_key: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, "https://host/x" if is_key else url)
    with pytest.raises(UserError, match="notify=" if is_key else URL_VARIABLE) as caught:
        find_url(url if is_key else None)
    assert "s3cr3t" not in str(caught.value)


def test_the_key_has_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    assert find_url(None) is None
    monkeypatch.setenv(URL_VARIABLE, "https://host/environment")
    assert find_url(None) == "https://host/environment"
    assert find_url("http://host/key") == "http://host/key"
