"""open_clip's own trainer as a command: three arms, three seeds, killed and resumed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from ablations.schema import CONF
from tests.helpers.command_line import Driver
from tests.helpers.shards import WORDS, encode_image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.soak,
    pytest.mark.skipif("UNICLIP_SOAK" not in os.environ, reason="minutes: `make soak`"),
]


def write_images(folder: Path) -> Path:
    """Write 128 and 32 images, and their tables as open_clip reads them."""
    for name, start, count in (("train", 0, 128), ("val", 1000, 32)):
        (folder / name).mkdir(parents=True)
        rows = ["filepath\ttitle"]
        for number in range(start, start + count):
            (folder / name / f"{number}.png").write_bytes(encode_image(number))
            rows.append(f"{name}/{number}.png\t{WORDS[number % 4]} {number}")
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return folder


def make_driver(folder: Path, *words: str) -> Driver:
    driver = Driver(folder / "store")
    data_folder = write_images(folder / "images")
    driver.words = (
        *("ablation=openclip_demo", f"data_folder={data_folder}", "launcher.max_workers=1"),
        *("runtime.device=cpu", *words, f"store={driver.folder}"),
    )
    return driver


def test_three_arms_are_killed_resumed_and_reported(tmp_path: Path) -> None:
    pytest.importorskip("open_clip_train")
    driver = make_driver(tmp_path, "seeds=3", "arms=[clip,siglip,no-augmentation]")
    controller = driver.start()
    deadline = time.monotonic() + 1200
    killed = None
    while killed is None:
        assert time.monotonic() < deadline, controller.poll()
        for run in driver.store.iter_runs():
            for number in run.list_attempts():
                attempt = run.get_attempt(number)
                claim, beat = attempt.read_claim(), attempt.read_heartbeat()
                if claim and beat and 5 <= beat.step < 8 and not attempt.read_end():
                    os.kill(claim.pid, signal.SIGKILL)
                    killed = run
        time.sleep(0.02)
    output, _ = controller.communicate(timeout=1800)
    assert controller.returncode == 0, output
    assert "audit: 6 of 6 checks passed" in output
    assert "9 complete" in output
    steps = [r["step"] for r in killed.get_attempt(2).read_metrics() if r["phase"] == "train"]
    assert steps[0] == 5, "it resumed from the checkpoint of the first epoch"
    assert b"SigLIP" in driver.tables()["effects.csv"]


def test_checkpoints_are_evaluated_as_open_clip_does(tmp_path: Path) -> None:
    """Captions without a template (laion_cb): the recall is that of open_clip's own evaluation."""
    pytest.importorskip("open_clip_train")
    driver = make_driver(tmp_path, "seeds=1", "arms=[clip,siglip]", "protocol=laion_cb")
    rows = (tmp_path / "images" / "val.csv").read_text().splitlines()[1:]
    table = ["picture,caption", *(f"images/{row}".replace("\t", ",") for row in rows)]
    (tmp_path / "test.csv").write_text("\n".join(table) + "\n")
    driver.words = (f"benchmark=csv:{tmp_path / 'test.csv'}", *driver.words)
    assert "2 complete" in driver.run()
    plan = driver.plan()
    for cell in plan.cells:
        run, hashes = driver.store.get_run(cell.run_id), plan.evaluation_hashes[cell.arm]
        evaluated = [run.read_scores(name, value) for name, value in hashes.items()]
        own, ours = ({s.name: s.value for s in scores.scores} for scores in evaluated if scores)
        assert ours["retrieval.i2t.r1"] == pytest.approx(own["r1"])
        assert ours["retrieval.t2i.r1"] == pytest.approx(own["t2i.r1"])
    assert any(name.startswith("image_to_text") for name in driver.tables())


def test_a_broken_switch_is_caught(tmp_path: Path) -> None:
    """A flag that open_clip accepts and that changes nothing on a CPU."""
    pytest.importorskip("open_clip_train")
    text = (CONF / "ablation" / "openclip_demo.yaml").read_text()
    folder = tmp_path / "conf" / "ablation"
    folder.mkdir(parents=True)
    text = text.replace("{here}/..", str(CONF)).replace("../openclip_tiny", f"{CONF}/openclip_tiny")
    text = text.replace("[--siglip]", "[--gather-with-grad]").replace("kill_at: 6", "kill_at: 0")
    (folder / "broken.yaml").write_text(text)
    driver = make_driver(tmp_path, "seeds=1", "arms=[clip,siglip]")
    driver.words = (f"conf_dir={tmp_path / 'conf'}", "ablation=broken", *driver.words[1:])
    output = driver.run(status=2)
    assert "siglip: loss differs from clip does not hold" in output
    assert not any(run.list_attempts() for run in driver.store.iter_runs())
