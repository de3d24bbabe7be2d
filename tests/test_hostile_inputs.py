"""Inputs by others that are wrong or hostile: nothing is executed, written elsewhere or ends.

`INPUTS` lists them by kind. Each is put where such an input comes from (a plan, a log of metrics,
the answer of a server, a request), and the programs that read it are run.
"""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from analysis.collect.frame import collect_sweep_data
from analysis.exports.source import SweepSource
from analysis.exports.targets import load_exporter
from analysis.page.html import list_interactive_sections, render_page
from analysis.page.payload import build_payload
from analysis.report.disagreements import ArmDisagreement, DisagreementSample
from analysis.report.html import _macro
from sweeps.bundles.manifest import is_safe_name
from sweeps.monitor.page_source import PageSource
from sweeps.monitor.status import build_rows, read_last_loss
from sweeps.monitor.webhook import post_lines
from sweeps.server.page_server import PageServer
from tests.helpers import page_store
from tests.helpers.browser import open_browser, require_browser
from uniclip.frames.store_frames import StoreFrames
from uniclip.io.atomic import append_jsonl
from uniclip.store import Plan, Store

SCRIPT = page_store.HOSTILE
"""Sets `window.hacked` where it is taken for HTML."""
TEXTS = {
    "a script": SCRIPT,
    "a quote that ends an attribute": '" onmouseover="window.hacked = 1" x="',
    "a template": "{{ 7 * 7 }}{% include 'x' %}{{ ''.__class__.__mro__ }}",
    "a comment": "<!--<script>window.hacked = 1//--></style><style>*{display:none}",
    "a link to code": "[x](javascript:window.hacked=1) <a href=javascript:window.hacked=1>x</a>",
    "invisible characters": "a\u0000b\u202ec\u2028d\ufeff\u0007\x1b[31m",
    "half a character": "a\udc80b<b>",
    "a very long text": "w" * 100_000,
}
"""Texts that are labels and captions."""
NAMES = {
    "the folder above": "../../outside",
    "an absolute path": "/etc/passwd",
    "a hidden file": ".bashrc",
    "a folder of Windows": "..\\..\\outside",
    "a device": "con\x00.txt",
    "a very long name": "n" * 5_000,
}
"""Names of files: of arms, from which exports make some, and of files in bundles."""
METRICS = {
    "no JSON": b"\xff\xfe\x00{",
    "no record": b'[1, "x", null]',
    "values nested too deeply": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a number of 5,000 digits": b'{"step": 5, "phase": "train", "loss": ' + b"1" * 5_000 + b"}",
    "a number beyond floats": b'{"step": 5, "phase": "train", "loss": ' + b"1" * 400 + b"}",
    "half a character": b'{"step": 5, "loss": 1.0, "\\ud800": 2.0, "note": "\\ud800"}',
    "steps that are none": b'{"step": NaN, "loss": 1}\n{"step": "<b>"}\n{"step": -5}',
    "a phase that is a path": b'{"step": 5, "phase": "../../../outside", "loss": 1.0}',
    "a name that is code": json.dumps({"step": 5, SCRIPT: 1.5, "../../x": 1.0}).encode(),
    "names of JavaScript": b'{"step": 5, "__proto__": 1.0, "constructor": 2.0, "toString": 3.0}',
    "another cell": b'{"step": 5, "arm": "none", "seed": 7, "run": "../..", "loss": 1.0}',
    "lists for numbers": b'{"step": 5, "seconds": [], "samples_seen": {}, "images_seen": [1]}',
    "a formula": b'{"step": 5, "note": "=HYPERLINK(\\"http://evil\\")", "loss": 1.0}',
}
"""Lines of metrics.jsonl."""
ANSWERS = {
    "a redirection": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x00\xff" * 100,
    "a line without end": b"HTTP/1.1 200 " + b"x" * 100_000,
    "a thousand headers": b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 1_000,
    "a status that is none": b"HTTP/1.1 -200 OK\r\n\r\n",
    "an answer that never comes": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a negative length": b"HTTP/1.1 500 X\r\nContent-Length: -5\r\n\r\n",
}
"""Answers of a webhook."""
REQUESTS = {
    "a file outside": b"GET /TOKEN/store/runs/../../secret HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "the same in another code": b"GET /TOKEN/store/runs/%2e%2e%2f%2e%2e%2fsecret HTTP/1.0\r\n"
    b"Host: localhost\r\n\r\n",
    "another server": b"GET http://evil.example/TOKEN/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "two hosts": b"GET /TOKEN/ HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n\r\n",
    "no host": b"GET /TOKEN/ HTTP/1.0\r\n\r\n",
    "a request in a body": b"POST /TOKEN/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /TOKEN/store/runs/ HTTP/1.1\r\n\r\n",
    "a very long path": b"GET /TOKEN/" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "very many headers": b"GET /TOKEN/ HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 5_000,
    "a header in the path": b"GET /TOKEN/%0d%0aX-Evil:%20s HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a tag that is none": b"GET /TOKEN/sweep/SWEEP/data.json HTTP/1.1\r\nHost: localhost\r\n"
    b"If-None-Match: \xff\x00\r\n\r\n",
    "an encrypted connection": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
}
"""Requests to the server of pages."""
MAX_ANSWERS = 3_000
"""How often a server that goes on answers at most."""
INPUTS = {
    "label": TEXTS,
    "caption": TEXTS,
    "file name": NAMES,
    "metrics.jsonl": METRICS,
    "answer of a webhook": ANSWERS,
    "HTTP request": REQUESTS,
}
"""Kind -> what it is -> the input."""


def test_the_table_lists_what_is_claimed() -> None:
    assert sum(map(len, INPUTS.values())) == 53
    assert min(map(len, INPUTS.values())) >= 6


def render(store: Store, plan: Plan) -> str:
    """Return the page of a sweep."""
    payload = build_payload(store, collect_sweep_data(store, plan.sweep_id), generated=0.0)
    return render_page(payload, key_facts={}, sections=list_interactive_sections())


def split_page(page: str) -> tuple[str, dict[str, object]]:
    """Return the markup of a page without code and data, and its data."""
    (data,) = re.findall(r'<script type="application/json" id="payload">(.*?)</script>', page, re.S)
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.S), json.loads(data)


def render_captions(*captions: str) -> str:
    """Return the part of a report that shows samples with their captions."""
    samples = tuple(
        DisagreementSample(title=text, image="", captions=(text,), outcomes=((text, "right"),))
        for text in captions
    )
    pair = ArmDisagreement(
        labels=(captions[0], captions[-1]), score=captions[0], num_different=1, num_samples=1,
        samples=samples, note=captions[0],
    )  # fmt: skip
    return str(_macro("disagreements", [pair]))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_labels_stay_text(tmp_path: Path, text: str) -> None:
    store, plan = page_store.write_store(tmp_path, label=text)
    plan = dataclasses.replace(plan, title=text)
    store.get_sweep(plan.sweep_id).write_plan(plan)
    markup, data = split_page(render(store, plan))
    assert data["arms"][2]["label"] == text  # type: ignore[index]
    assert "49" not in markup
    for part in ("<script", "<img", "<a href=javascript", "<style>*", '" onmouseover="'):
        assert part not in markup


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_captions_stay_text(text: str) -> None:
    markup = render_captions(text)
    for part in ("<script", "<img src=x", "<a href=javascript", "<style>", '" onmouseover="', "49"):
        assert part not in markup


def rename(arm: str, name: str) -> str:
    """Return another name for the arm clip."""
    return name if arm == "clip" else arm


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    """An export makes one file name of an arm; a bundle with such a file is refused."""
    assert not is_safe_name(name)
    store, plan = page_store.write_store(tmp_path / "a" / "store")
    plan = dataclasses.replace(
        plan,
        arms=tuple(dataclasses.replace(a, name=rename(a.name, name)) for a in plan.arms),
        cells=tuple(dataclasses.replace(c, arm=rename(c.arm, name)) for c in plan.cells[:3]),
        evaluation_hashes={rename(k, name): v for k, v in plan.evaluation_hashes.items()},
    )
    source = SweepSource(store=store, plan=plan, cells=plan.cells)
    folder = tmp_path / "a" / "b" / "to"
    list(load_exporter("csv")(source, folder))
    for cell in source.iter_cells():
        path = folder / cell.file_name
        assert path.resolve().parent == folder.resolve()
        assert not cell.file_name.startswith(".")
        assert "\0" not in cell.file_name
    assert {path.name for path in tmp_path.iterdir()} == {"a"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"store", "b"}


@pytest.mark.parametrize("line", METRICS.values(), ids=METRICS)
def test_metrics_that_cannot_be_used_are_left_out(tmp_path: Path, line: bytes) -> None:
    """Page, status, frames and exports read the other records of the run."""
    store, plan = page_store.write_store(tmp_path / "store")
    cell = plan.cells[0]
    attempt = store.get_run(cell.run_id).get_attempt(1)
    attempt.metrics_path.write_bytes(attempt.metrics_path.read_bytes() + line + b"\n")
    markup, data = split_page(render(store, plan))
    assert "<img" not in markup
    assert set(data["curves"]["runs"]) == {c.run_id for c in plan.cells[:4]}  # type: ignore[index]
    assert PageSource(store, plan).read_payload()["curves"]["runs"].keys() == {
        c.run_id for c in plan.cells[:4]
    }
    assert len(build_rows(store, plan)) == len(plan.cells)
    assert read_last_loss(attempt) is None or read_last_loss(attempt) < 100
    metrics = StoreFrames(store).metrics(plan.sweep_id)
    assert set(metrics.index.get_level_values("arm")) <= {c.arm for c in plan.cells}
    source = SweepSource(store=store, plan=plan, cells=(cell,))
    for target in ("csv", "parquet"):
        assert list(load_exporter(target)(source, tmp_path / target))
    assert {path.name for path in tmp_path.iterdir()} == {"store", "csv", "parquet"}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_answers_of_a_webhook_are_one_word(answer: bytes) -> None:
    """Also a server that goes on answering is left."""
    sent: list[int] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=answer_on, args=(listener, answer, sent), daemon=True)
        thread.start()
        problem = post_lines(f"http://127.0.0.1:{listener.getsockname()[1]}/", ["x"], timeout=0.2)
        thread.join()
    assert re.fullmatch(r"[A-Za-z]+|status \d{3}", problem)
    assert len(sent) < MAX_ANSWERS


def answer_on(listener: socket.socket, answer: bytes, sent: list[int]) -> None:
    """Send the same bytes to the first client until it goes away."""
    client, _ = listener.accept()
    with client, suppress(OSError):
        client.recv(10_000)
        while len(sent) < MAX_ANSWERS:
            client.sendall(answer)
            sent.append(len(answer))
            time.sleep(0.01)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PageServer, Plan]]:
    """Serve a store; beside it is a file that must not be served."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "secret").write_text("s3cr3t content")
    store, plan = page_store.write_store(folder / "store")
    server = PageServer(store)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server, plan
    server.shutdown()
    server.server_close()
    thread.join()


def request(server: PageServer, plan: Plan, data: bytes) -> bytes:
    """Return all that the server answers to some bytes, after which nothing more is sent."""
    data = data.replace(b"TOKEN", server.token.encode()).replace(b"SWEEP", plan.sweep_id.encode())
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as connection:
        answer = b""
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                answer += part
        except OSError:  # the server does not read on what it refuses
            pass
        return answer


@pytest.mark.parametrize("data", REQUESTS.values(), ids=REQUESTS)
def test_requests_are_answered_or_refused(
    served: tuple[PageServer, Plan], data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    server, plan = served
    before = sorted(server.store.root.parent.rglob("*"))
    answer = request(server, plan, data)
    assert b"s3cr3t" not in answer
    assert b"\nX-Evil" not in answer
    assert answer.count(b"HTTP/1.1 200") <= 1
    assert sorted(server.store.root.parent.rglob("*")) == before
    good = request(server, plan, b"GET /TOKEN/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert good.startswith(b"HTTP/1.1 200")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_browser_executes_none_of_the_texts(tmp_path: Path) -> None:
    """All labels, captions, log lines and names of metrics on one page, with every run opened."""
    require_browser()
    texts = [text for text in TEXTS.values() if len(text) < 1_000 and "\udc80" not in text]
    text = "\n".join(texts)
    store, plan = page_store.write_store(tmp_path / "store", label=text, log=text)
    attempt = store.get_run(plan.cells[0].run_id).get_attempt(1)
    append_jsonl(attempt.metrics_path, {"step": 5, **dict.fromkeys(texts, 1.0)})
    path = tmp_path / "page.html"
    page = render(store, plan).replace("</main>", f"{render_captions(*texts)}</main>")
    path.write_text(page, encoding="utf-8", errors="replace")
    with open_browser() as browser:
        browser.open(path.as_uri())
        for i in range(len(plan.cells)):
            browser.run(f"document.querySelectorAll('#now tbody th button')[{i}].click()")
        browser.run(
            "for (const e of document.querySelectorAll('figure, b, td'))"
            " e.dispatchEvent(new Event('mouseover', {bubbles: true}))"
        )
        assert SCRIPT in "".join(browser.list_texts("figure.sample"))
        assert browser.run("return window.hacked === undefined")
        assert browser.list_errors() == []
        assert [url for url in browser.list_requests() if url != path.as_uri()] == []
