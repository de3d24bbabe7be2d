"""The payload is JSON, and a page of damaged and hostile metrics is still one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from analysis.collect.frame import collect_sweep_data
from analysis.page.html import encode_json
from analysis.page.payload import build_payload
from tests.helpers import page_store

HOSTILE_LINES = (
    '{"step": "<script>", "phase": "train", "loss": 1}',
    '{"step": [], "phase": "train"}',
    '{"step": 1e999, "phase": "train", "loss": 1}',
    '{"step": -5, "phase": "train", "loss": 1}',
    '{"step": 9007199254740993, "phase": "train", "loss": 1}',
    '{"step": true, "phase": "train", "loss": 1}',
    '{"step": 300, "phase": {"a": 1}, "loss": 1}',
    '{"step": 300, "phase": "train", "loss": NaN}',
    '{"step": 301, "phase": "train", "loss": Infinity}',
    '{"step": 302, "phase": "train", "odd": "</script>"}',
    '{"step": 303, "phase": "train", "huge": 1' + "0" * 400 + "}",
    '{"step": 304, "phase": "validation", "score": "<img src=x>"}',
    '{"step": 305, "phase": "train", "</script>": 1.5}',
    "[" * 5000,
    "\x00\xff",
)


def test_the_payload_names_arms_by_the_lines_of_the_figures(payload: dict[str, Any]) -> None:
    assert [arm["name"] for arm in payload["arms"]] == list(page_store.ARMS)
    assert payload["arms"][2]["color"] == "ink"
    assert payload["sweep"]["reference"] == "full"
    assert json.loads(encode_json(payload)) == json.loads(json.dumps(payload))


def test_hostile_metrics_change_no_other_line(tmp_path: Path) -> None:
    store, plan = page_store.write_store(tmp_path)
    run = store.get_run(plan.cells[0].run_id)
    with run.get_attempt(1).metrics_path.open("a", encoding="utf-8", errors="replace") as file:
        file.writelines(f"{line}\n" for line in HOSTILE_LINES)
    payload = build_payload(
        store, collect_sweep_data(store, plan.sweep_id), store_url=None, generated=None
    )
    train = payload["curves"]["runs"][plan.cells[0].run_id]["train"]
    assert train["step"] == [*range(10, 201, 10), 300, 301, 302, 303, 305]
    loss = train["values"]["loss"]
    assert all(value is not None for value in loss[:20])
    assert loss[20:] == [None] * 5
    text = encode_json(payload)
    assert "<" not in text
    json.loads(text)
