"""W&B: the records of its offline files, decoded with its own messages."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

from analysis.exports.source import SweepSource
from tests.helpers import exported_sweeps
from tests.helpers.exported_sweeps import (
    count_changes,
    expect_values,
    export_in_process,
    format_value,
)

exported_sweeps.require_library("wandb")

HEADER = b":W&B"
BLOCK_BYTES = 32768
HEADER_BYTES = 7
FULL, LAST = 1, 4


def iterate_records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file in the format of LevelDB's log, after a header of 7 bytes."""
    data, offset, parts = path.read_bytes(), HEADER_BYTES, []
    assert data.startswith(HEADER)
    while offset + HEADER_BYTES <= len(data):
        space = BLOCK_BYTES - offset % BLOCK_BYTES
        if space < HEADER_BYTES:
            offset += space
            continue
        _, length, kind = struct.unpack_from("<IHB", data, offset)
        offset += HEADER_BYTES
        parts.append(data[offset : offset + length])
        offset += length
        if kind in (FULL, LAST):
            yield b"".join(parts)
            parts = []


def read_values(source: SweepSource, folder: Path) -> exported_sweeps.Values:
    """Return the history and the scores of every run; two points of a step are an error."""
    from wandb.proto.wandb_internal_pb2 import Record

    values: exported_sweeps.Values = {}
    paths = list(folder.glob("offline-run-*/run-*.wandb"))
    assert len(paths) == len(list(folder.iterdir()))
    last_steps = {cell.name: cell.last_step for cell in source.iter_cells()}
    for path in paths:
        name, points = "", []
        for data in iterate_records(path):
            record = Record.FromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run" and record.run.display_name:
                name = record.run.display_name
            elif kind == "history":
                step = record.history.step.num
                items = {i.key or "/".join(i.nested_key): i for i in record.history.item}
                points += [((k, step), i.value_json) for k, i in items.items() if "/" in k]
            elif kind == "summary":
                points += [
                    ((item.key or item.nested_key[0], last_steps[name]), item.value_json)
                    for item in record.summary.update
                    if (item.key or item.nested_key[0]).startswith("scores/")
                ]
        values[name] = {key: format_value(float(json.loads(text))) for key, text in points}
        assert len(values[name]) == len({key for key, _ in points})
    assert len(values) == len(paths)
    return values


def test_the_files_have_the_numbers_of_the_store(tmp_path: Path) -> None:
    """Also after a killed export, a second one, one more step and a run started afresh."""
    source, folder = exported_sweeps.make_source(tmp_path / "store"), tmp_path / "to"
    export_in_process("wandb", source, str(folder), kill=True)
    count_changes("wandb", source, folder)
    assert read_values(source, folder) == expect_values(source)
    before = exported_sweeps.read_files(folder)
    assert count_changes("wandb", source, folder) == {"unchanged": 3}
    assert exported_sweeps.read_files(folder) == before
    exported_sweeps.train_on(source, 2000)
    assert count_changes("wandb", source, folder) == {"unchanged": 2, "changed": 1}
    exported_sweeps.rewrite_history(source)
    assert count_changes("wandb", source, folder) == {"unchanged": 2, "changed": 1}
    assert read_values(source, folder) == expect_values(source)
