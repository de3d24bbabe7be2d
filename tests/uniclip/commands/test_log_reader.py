"""Metrics from a log that is being written."""

from __future__ import annotations

from pathlib import Path

from uniclip.commands.definition import CommandDefinition, ScoreDefinition
from uniclip.commands.log_reader import LogReader, StepTimer, parse_json_line, parse_log_line

OPEN_CLIP_LINE = (
    "2026-01-01,20:00:00 | INFO | Train Epoch: 1 [ 64/128 (50%)] Data (t): 0.117 Batch (t): 0.231, "
    "138.659/s, 138.659/s/gpu LR: 0.000500 Logit Scale: 14.233 Contrastive_loss: 3.4684 (3.4743) "
    "Loss: 3.4684 (3.4743)"
)


def define(**fields: object) -> CommandDefinition:
    values = {"run": "x", "steps": "1", "scores": {"a": ScoreDefinition()}, **fields}
    return CommandDefinition(**values)  # type: ignore[arg-type]


def test_the_pattern_of_open_clip() -> None:
    from ablations.schema import CONF, load_ablation

    definition = load_ablation("openclip_demo", [CONF]).command
    assert definition is not None
    assert parse_log_line(OPEN_CLIP_LINE, definition) == {
        "epoch": 1, "samples": 64, "lr": 0.0005, "scale": 14.233, "loss": 3.4684, "step": 6,
    }  # fmt: skip
    assert parse_log_line("2026-01-01,20:00:00 | INFO | Start epoch 1", definition) is None


def test_lines_are_read_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("step 1 loss 9\n")
    reader = LogReader(path, define(log_pattern=r"step (?P<step>\d+) loss (?P<loss>\S+)"))
    assert reader.read_records() == []  # of an earlier attempt
    with open(path, "a") as stream:
        stream.write("step 2 loss nan\nnoise\nstep 3 lo")
        stream.flush()
        (record,) = reader.read_records()
        assert record["step"] == 2
        assert record["loss"] != record["loss"]
        stream.write("ss 1e-3\n")
    assert reader.read_records() == [{"step": 3, "loss": 0.001}]
    assert reader.read_records() == []


def test_a_file_that_is_begun_anew_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n')
    reader = LogReader(path, define(metrics_file="metrics.jsonl"))
    path.write_text('{"step": 1}\n')
    assert reader.read_records() == [{"step": 1}]
    path.write_text('{"step": 3}\n{"step": 4}\n')
    assert [r["step"] for r in reader.read_records()] == [3, 4], "it is longer than before"


def test_a_log_that_is_rotated_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 7}\n')
    reader = LogReader(path, define(metrics_file="metrics.jsonl"))
    assert reader.read_records() == []
    path.rename(tmp_path / "metrics.jsonl.1")
    assert reader.read_records() == []
    path.write_text('{"step": 8}\n{"step": 9}\n')
    assert [r["step"] for r in reader.read_records()] == [8, 9]
    assert reader.read_records() == []


def test_rows_of_a_csv(tmp_path: Path) -> None:
    """As Lightning writes them: empty cells, and all of it anew when there is a new column."""
    path = tmp_path / "metrics.csv"
    reader = LogReader(path, define(metrics_file="metrics.csv"))
    path.write_text("epoch,step,loss\n0,1,2.5\n0,")
    assert reader.read_records() == [{"epoch": 0, "step": 1, "loss": 2.5}]
    path.write_text("epoch,step,loss,acc\n0,1,2.5,\n0,2,,0.25\nx,y,z\n")
    assert reader.read_records() == [
        {"epoch": 0, "step": 1, "loss": 2.5},
        {"epoch": 0, "step": 2, "acc": 0.25},
    ]
    with open(path, "a") as stream:
        stream.write("1,3,1.5,0.5\n")
    later = LogReader(path, define(metrics_file="metrics.csv"), offset=path.stat().st_size - 12)
    expected = [{"epoch": 1, "step": 3, "loss": 1.5, "acc": 0.5}]
    assert later.read_records() == reader.read_records() == expected


def test_records_of_one_step_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    reader = LogReader(path, define(metrics_file="metrics.jsonl"))
    path.write_text('{"step": 1, "loss": 9}\n{"step": 1, "validation_loss": 8}\n')
    assert reader.read_records()[-1] == {"step": 1, "loss": 9, "validation_loss": 8}
    with open(path, "a") as stream:
        stream.write('{"step": 1, "rank": 2}\n{"step": 2, "loss": 7}\n')
        stream.write('{"step": 2, "phase": "validation", "loss": 6}\n')
    assert reader.read_records() == [
        {"step": 1, "loss": 9, "validation_loss": 8, "rank": 2},
        {"step": 2, "loss": 7},
        {"step": 2, "phase": "validation", "loss": 6},
    ]


def test_only_objects_with_a_step_are_records() -> None:
    long_number = '{"step": 1, "loss": ' + "9" * 5000 + "}"
    lines = ["", "x", "[1]", '{"loss": 1}', '{"step": "1"}', '{"step": true}', long_number]
    assert [parse_json_line(line) for line in lines] == [None] * len(lines)


def test_steps_are_timed_between_first_and_last_record() -> None:
    timer = StepTimer()
    assert timer.seconds_per_step == 0
    timer.first, timer.last = (2, 10.0), (6, 12.0)
    assert timer.seconds_per_step == 0.5
