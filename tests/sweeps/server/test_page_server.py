"""The server of pages: it answers this machine, reads only, and stays inside the store."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.server.page_server import PageServer
from tests.helpers import page_store
from uniclip.store import Plan


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PageServer, Plan]]:
    """Serve a store on loopback; beside it is a file that must not be served."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "secret").write_text("secret")
    store, plan = page_store.write_store(folder / "store")
    run = store.get_run(plan.cells[0].run_id)
    (run.path / "link").symlink_to(folder / "secret")
    (run.path / "loop").symlink_to(run.path / "loop")
    os.mkfifo(run.path / "fifo")
    (store.root / "reports").mkdir()
    (store.root / "reports" / "report.html").write_text("<script>1</script>")
    server = PageServer(store)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server, plan
    server.shutdown()
    server.server_close()
    thread.join()


def request(
    server: PageServer, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """Return the answer to a request; the path lacks the token."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, f"/{server.token}{path}", headers=named)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def test_the_page_and_its_data_are_served(served: tuple[PageServer, Plan]) -> None:
    server, plan = served
    response, body = request(server, "/")
    assert (response.status, plan.sweep_id.encode() in body) == (200, True)
    response, body = request(server, f"/sweep/{plan.sweep_id}/")
    assert response.status == 200
    policy = response.getheader("Content-Security-Policy") or ""
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    response, body = request(server, f"/sweep/{plan.sweep_id}/data.json")
    assert json.loads(body)["sweep"]["id"] == plan.sweep_id
    tag = response.getheader("ETag") or ""
    response, body = request(server, f"/sweep/{plan.sweep_id}/data.json", If_None_Match=tag)
    assert (response.status, body) == (304, b"")
    response, body = request(server, f"/sweep/{plan.sweep_id}/data.json", Accept_Encoding="gzip")
    assert (response.getheader("Content-Encoding"), body[:2]) == ("gzip", b"\x1f\x8b")
    response, body = request(server, "/", "HEAD")
    assert (response.status, body) == (200, b"")


def test_files_of_runs_are_text(served: tuple[PageServer, Plan]) -> None:
    server, plan = served
    run = plan.cells[0].run_id
    response, body = request(server, f"/store/runs/{run}/attempts/1/metrics.jsonl")
    assert response.status == 200
    assert (response.getheader("Content-Type") or "").startswith("text/plain")
    assert body == (server.store.root / f"runs/{run}/attempts/1/metrics.jsonl").read_bytes()
    response, _ = request(server, "/store/reports/report.html")
    assert (response.getheader("Content-Security-Policy") or "").startswith("sandbox")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "", "0.0.0.0", "[::]"],
)
def test_other_hosts_are_refused(served: tuple[PageServer, Plan], host: str) -> None:
    response, body = request(served[0], "/", Host=host)
    assert response.status == 403
    assert served[1].sweep_id.encode() not in body


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:8000", "LOCALHOST", "[::1]:80"])
def test_this_machine_may_forward_another_port(served: tuple[PageServer, Plan], host: str) -> None:
    assert request(served[0], "/", Host=host)[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"])
def test_methods_that_write_are_refused(served: tuple[PageServer, Plan], method: str) -> None:
    response, _ = request(served[0], "/", method)
    assert response.status in (405, 501)


@pytest.mark.parametrize(
    "path",
    [
        "/store/",
        "/store/runs",
        "/store/../secret",
        "/store/runs/../../secret",
        "/store/runs/%2e%2e/%2e%2e/secret",
        "/store/runs/..%2f..%2fsecret",
        "/store/runs//etc/passwd",
        "/store//etc/passwd",
        "/store/sweeps/components-quick-1a2b3c4d/plan.json",
        "/store/runs/RUN/link",
        "/store/runs/RUN/fifo",
        "/store/runs/RUN/loop",
        "/store/runs/RUN/loop/file",
        "/store/runs/RUN/%00",
        "/store/runs/" + "a" * 5000,
        "/sweep/../../secret/",
        "/sweep/unknown-smoke-00000000/",
        "/sweep/components-quick-1a2b3c4d/other",
        "/favicon.ico",
    ],
)
def test_nothing_outside_is_served(served: tuple[PageServer, Plan], path: str) -> None:
    server, plan = served
    response, body = request(server, path.replace("RUN", plan.cells[0].run_id))
    assert response.status == 404
    assert b"secret" not in body


def test_the_token_is_needed(served: tuple[PageServer, Plan]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served[0].server_port, timeout=60)
    for path in ("/", f"/sweep/{served[1].sweep_id}/", f"/{served[0].token}x/", "//"):
        connection.request("GET", path)
        response = connection.getresponse()
        assert (response.status, served[1].sweep_id.encode() in response.read()) == (404, False)


@pytest.mark.parametrize("text", [b"\x00\x01\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_other_bytes_do_no_harm(served: tuple[PageServer, Plan], text: bytes) -> None:
    server = served[0]
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as connection:
        connection.sendall(text)
        connection.recv(1000)
    assert request(server, "/")[0].status == 200


@pytest.mark.parametrize("damage", ["damaged", "folder", "loop"])
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store, plan = page_store.write_store(tmp_path)
    outcome_path = store.get_run(plan.cells[0].run_id).path / "outcome.json"
    outcome_path.unlink()
    if damage == "damaged":
        outcome_path.write_text("{")
    elif damage == "folder":
        outcome_path.mkdir()
    else:
        outcome_path.symlink_to(outcome_path)
    server = PageServer(store)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        response, body = request(server, f"/sweep/{plan.sweep_id}/data.json")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert response.status == 500
    assert str(outcome_path).encode() in body
    assert "Traceback" not in capsys.readouterr().err
