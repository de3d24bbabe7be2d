"""`make device`: what only a GPU can show; writes docs/device/<card>.json.

    python -m tests.test_device [--device cuda] [--out docs/device] [check ...]

Without a GPU it prints one line and does nothing. With `--device cpu` everything runs at tiny
scale, so that the script is known to work; no file of a CPU belongs into docs/device. The same
checks are tests with the marker `device`.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from tests.helpers import ROOT, csv_data
from tests.helpers.small_runs import METHODS, of_method, opened
from tests.uniclip.augmentation.test_resample import draw_photograph
from uniclip import numerics
from uniclip.augmentation.batched_views import make_views
from uniclip.config import RunConfig, build_run_config
from uniclip.config.compose import CONF, compose
from uniclip.io.atomic import read_jsonl
from uniclip.losses.image_text import clip_loss, unicl_loss
from uniclip.losses.multi_positive import mp_nce
from uniclip.losses.sigmoid import siglip_loss
from uniclip.losses.similarity import DomainSimilarity
from uniclip.store import Store
from uniclip.training import trainer
from uniclip.training.batch_feed import BatchFeed

NUMERICS = ("exact", "fast")
BF16_TOLERANCE, STREAMED_TOLERANCE = 0.05, 1e-5
"""Relative: of the losses of the first steps, and of streamed losses and gradients in float32."""


@dataclass(frozen=True)
class Scale:
    """What is run on a device."""

    device: str
    presets: tuple[str, ...] = ()
    """Options of `model=` that are trained beside the smallest model."""
    batch_size: int = 16
    curve_steps: int = 6
    measured_steps: int = 3
    num_embeddings: int = 96
    kill_steps: int = 40
    photograph_shape: tuple[int, int] = (45, 60)
    """Height and width in pixels of the JPEGs of which views are made."""
    view_size: int = 32

    def build_config(self, method: str, preset: str | None, **train: Any) -> RunConfig:
        """Return a run on this device; without a preset it has the smallest model."""
        train = {"batch_size": self.batch_size, **train}
        runtime = {"device": self.device}
        if preset is None:
            return of_method(method, train=train, runtime=runtime)
        values = compose(
            "config",
            {"data": "scenes", "method": method, "budget": "smoke", "model": preset},
            [CONF],
        )
        text = {"tokenizer": "bpe", "vocab_size": 300}  # needs no file
        values["model"]["text"] = {**values["model"]["text"], **text}
        values["train"] = {**values.get("train", {}), **train}
        values["runtime"] = {**values["runtime"], **runtime}
        return build_run_config({k: v for k, v in values.items() if k != "seeds"})


CPU_SCALE = Scale("cpu")
GPU_SCALE = Scale(
    "cuda",
    presets=("vit_s16", "vit_b32", "vit_b16", "resnet50", "resnet50_clip", "swin_t"),
    batch_size=128,
    curve_steps=50,
    measured_steps=20,
    num_embeddings=4096,
    photograph_shape=(375, 500),
    view_size=224,
)


def open_training(config: RunConfig) -> tuple[trainer.TrainingBatches, trainer.TrainState]:
    """Return batches and state, with the numerics of the configuration."""
    numerics.apply(config.train.num_threads, config.train.numerics)
    return trainer.setup_training(config)


def train_steps(config: RunConfig, num_steps: int) -> tuple[list[float], Any]:
    """Return the losses of the first steps, and the state after them."""
    batches, state = open_training(config)
    losses = []
    for step in range(num_steps):
        losses.append(trainer.training_step(state, batches.build_batch(step)).loss)
        state.record_step(0.0, clipped=False)
    return losses, state


def check_steps(scale: Scale) -> dict[str, Any]:
    """Take two steps with every method and preset, exact and fast; exact ones twice."""
    results: dict[str, Any] = {}
    models = [(method, None) for method in METHODS] + [("uniclip", p) for p in scale.presets]
    for method, preset in models:
        for name in NUMERICS:
            key = f"{method} {preset or 'smallest'} {name}"
            try:
                losses = train_steps(scale.build_config(method, preset, numerics=name), 2)[0]
                result: dict[str, Any] = {"losses": losses, "ok": all(map(math.isfinite, losses))}
                if name == "exact" and preset is None:
                    again = train_steps(scale.build_config(method, preset), 2)[0]
                    result |= {"repeats": again == losses, "ok": result["ok"] and again == losses}
            except Exception as error:  # the others are run all the same
                result = {"error": f"{type(error).__name__}: {error}"[:500], "ok": False}
            results[key] = result
    return results


def check_streamed_losses(scale: Scale) -> dict[str, Any]:
    """Compare streamed losses and gradients with the dense ones, in float32."""
    generator = torch.Generator().manual_seed(0)
    num_rows, tile_rows = scale.num_embeddings, max(32, scale.num_embeddings // 8)
    rows = torch.randn(2, num_rows, 64, generator=generator).to(scale.device)
    labels = (torch.arange(num_rows) // 3).to(scale.device)
    sample = torch.arange(num_rows // 2).repeat(2).to(scale.device)
    domain = (torch.arange(num_rows) >= num_rows // 2).long().to(scale.device)
    similarity = DomainSimilarity().to(scale.device)
    losses: dict[str, Callable[[Tensor, Tensor, int | None], Tensor]] = {
        "clip": lambda x, y, chunk: clip_loss(x, y, 20.0, chunk=chunk),
        "unicl": lambda x, y, chunk: unicl_loss(x, y, labels, 20.0, chunk=chunk),
        "siglip": lambda x, y, chunk: siglip_loss(x, y, 10.0, -10.0, chunk=chunk),
        "mp_nce": lambda x, y, chunk: mp_nce(x, sample, domain, similarity, chunk=chunk),
    }
    results = {}
    for name, loss in losses.items():
        values, gradients = [], []
        for chunk in (None, tile_rows):
            inputs = rows.clone().requires_grad_()
            value = loss(*functional.normalize(inputs, dim=-1).unbind(0), chunk)
            value.backward()
            assert inputs.grad is not None
            values.append(value.item())
            gradients.append(inputs.grad)
        difference = abs(values[1] - values[0]) / abs(values[0])
        gradient_difference = ((gradients[1] - gradients[0]).norm() / gradients[0].norm()).item()
        is_equal = max(difference, gradient_difference) < STREAMED_TOLERANCE
        results[name] = {
            "loss_difference": difference,
            "gradient_difference": gradient_difference,
            "ok": is_equal,
        }
    return results


TRAINS = """
import json, sys
from pathlib import Path
from tests.helpers.small_runs import claimed
from uniclip import identity
from uniclip.store import Store
from uniclip.training.trainer import train_model
run = Store(Path(sys.argv[1])).get_run(sys.argv[2])
config = identity.config_from_spec(run.read_spec(), json.loads(sys.argv[3]))
result = train_model(config, attempt=claimed(run))
from uniclip.checkpoints.tensor_file import encode
modules = {"embedder": result.pretrained.embedder, "method": result.pretrained.method}
weights = {f"{p}.{n}": v for p, m in modules.items() for n, v in m.state_dict().items()}
Path(sys.argv[4]).write_bytes(encode(weights, {}))
"""


def check_resume(scale: Scale) -> dict[str, Any]:
    """Kill a training by SIGKILL, resume it, and compare its weights with an undisturbed one."""
    config = scale.build_config("uniclip", None, steps=scale.kill_steps, validate_every=10**6)
    runtime = {"device": scale.device, "log_every": 1, "checkpoint_seconds": 0}
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, kills in (("undisturbed", 0), ("killed", 1)):
            run = opened(Path(folder, name), config)
            files[name] = Path(folder, f"{name}.safetensors")
            arguments = [folder + "/" + name, run.id, json.dumps({"runtime": runtime})]
            command = [sys.executable, "-c", TRAINS, *arguments, str(files[name])]
            for _ in range(kills):
                child = subprocess.Popen(command, cwd=ROOT)
                while child.poll() is None and len(run.read_history()) < scale.kill_steps // 2:
                    time.sleep(0.02)
                child.kill()
                child.wait()
            subprocess.run(command, cwd=ROOT, check=True)
        attempts = Store(Path(folder, "killed")).get_run(run.id)
        events = [
            event
            for number in attempts.list_attempts()
            for event in read_jsonl(attempts.get_attempt(number).events_path)
        ]
        resumed = [event["step"] for event in events if event["event"] == "resumed"]
        is_equal = files["killed"].read_bytes() == files["undisturbed"].read_bytes()
    return {"weights": {"resumed_at": resumed, "equal": is_equal, "ok": is_equal and any(resumed)}}


def check_throughput(scale: Scale) -> dict[str, Any]:
    """Measure samples a second of the step, exact and fast, and of the loader alone."""
    results: dict[str, Any] = {}
    preset = scale.presets[1] if scale.presets else None
    for name, train in {
        "step, exact": {},
        "step, fast": {"numerics": "fast"},
        "step, fast, bf16": {"numerics": "fast", "precision": "bf16"},
        "step, fast, bf16, activation checkpointing": {
            "numerics": "fast",
            "precision": "bf16",
            "activation_checkpointing": True,
        },
    }.items():
        config = scale.build_config("clip", preset, **train)
        batches, state = open_training(config)
        batch = batches.build_batch(0).to(state.device)
        numerics.reset_peak_memory(state.device)
        seconds = []
        for _ in range(2 + scale.measured_steps):  # the first ones compile and choose kernels
            start = time.perf_counter()
            trainer.training_step(state, batch)  # returns the gradient norm: the device is done
            seconds.append(time.perf_counter() - start)
        results[name] = {
            "samples_per_second": config.train.batch_size / statistics.median(seconds[2:]),
            "peak_memory_bytes": numerics.get_peak_memory_bytes(state.device),
            "ok": True,
        }
    feed = BatchFeed(batches, 0, 2 + scale.measured_steps, state.device)
    times = [time.perf_counter() for _ in feed]
    samples = config.train.batch_size * (len(times) - 1)
    results["loader"] = {"samples_per_second": samples / (times[-1] - times[0]), "ok": True}
    return results


def check_views(scale: Scale) -> dict[str, Any]:
    """Compare views of the device with those of data workers; measure the rates of both."""
    results: dict[str, Any] = {}
    num_images, size = 4 * scale.batch_size, scale.view_size  # not all are training images
    with tempfile.TemporaryDirectory() as folder:
        for i in range(num_images):
            height, width = scale.photograph_shape
            Image.fromarray(draw_photograph(height, width + i % 8)).save(Path(folder, f"{i}.jpg"))
        csv_data.write_csv(Path(folder), [(f"{i}.jpg", f"{i}", "a") for i in range(num_images)])
        feeds, batches_of = {}, {}
        for made_on in ("cpu", "device"):
            config = of_method(
                "clip",
                data={"name": "csv", "path": f"{folder}/data.csv", "image_size": size},
                model={"image": {"image_size": size}},
                views={"num_weak": 1, "num_strong": 2, "made_on": made_on},
                train={"batch_size": scale.batch_size},
                runtime={"device": scale.device},
            )
            batches, state = open_training(config)
            batches_of[made_on] = batches
            feeds[made_on] = BatchFeed(batches, 0, 2 + scale.measured_steps, state.device)
        device = state.device
        expected, packed = (batches_of[name].build_batch(0) for name in ("cpu", "device"))
        is_equal = torch.equal(packed.to(device).images.cpu(), expected.images)
        views = packed.packed_views.to(device)
        seconds = []
        for _ in range(1 + scale.measured_steps):
            start = time.perf_counter()
            make_views(views)[-1, -1, -1, -1, -1].item()  # the device is done
            seconds.append(time.perf_counter() - start)
        rate = expected.images.shape[0] * scale.batch_size / statistics.median(seconds[1:])
        results["device"] = {"views_per_second": rate, "equal": is_equal, "ok": is_equal}
        for made_on, feed in feeds.items():
            times = [time.perf_counter() for _ in feed]
            samples = scale.batch_size * (len(times) - 1)
            rate = samples / (times[-1] - times[0])
            num_workers = batches_of[made_on].num_workers
            results[f"loader, views.made_on={made_on}"] = {
                "samples_per_second": rate,
                "num_workers": num_workers,
                "ok": True,
            }
    return results


def check_bf16(scale: Scale) -> dict[str, Any]:
    """Compare the losses of a short training in bfloat16 with those in float32."""
    preset = scale.presets[0] if scale.presets else None
    curves = {
        precision: train_steps(
            scale.build_config("uniclip", preset, precision=precision), scale.curve_steps
        )[0]
        for precision in ("fp32", "bf16")
    }
    difference = max(abs(b - a) / a for a, b in zip(curves["fp32"], curves["bf16"]))
    return {"curves": {**curves, "max_difference": difference, "ok": difference < BF16_TOLERANCE}}


CHECKS: dict[str, Callable[[Scale], dict[str, Any]]] = {
    "steps": check_steps,
    "streamed_losses": check_streamed_losses,
    "resume": check_resume,
    "throughput": check_throughput,
    "views": check_views,
    "bf16": check_bf16,
}


def list_failures(results: dict[str, Any]) -> list[str]:
    """Return a line for each result that is not as it should be."""
    return [f"{name}: {result}" for name, result in results.items() if not result["ok"]]


def describe_device(device: str) -> dict[str, Any]:
    """Return the card, its driver's capability and the version of torch."""
    if device == "cpu":
        return {"card": "cpu", "torch": torch.__version__}
    return {
        "card": torch.cuda.get_device_name(device),
        "capability": list(torch.cuda.get_device_capability(device)),
        "cuda": torch.version.cuda,
        "compiled": numerics.is_compilation_available(torch.device(device)),
        "torch": torch.__version__,
    }


def main(arguments: list[str]) -> int:
    """Run the checks and write their results; 1 if one failed."""
    parser = argparse.ArgumentParser(prog="make device", description=__doc__)
    parser.add_argument("checks", nargs="*", metavar="check", help=", ".join(CHECKS))
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "device")
    options = parser.parse_args(arguments)
    if unknown := sorted({*options.checks} - {*CHECKS}):
        parser.error(f"no check {unknown[0]!r}; there are {', '.join(CHECKS)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        print("make device: no CUDA GPU here, nothing was run")
        return 0
    scale = GPU_SCALE if options.device == "cuda" else CPU_SCALE
    content: dict[str, Any] = {"device": describe_device(scale.device)}
    name = re.sub(r"\W+", "-", content["device"]["card"]).strip("-").lower()
    path = options.out / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for check in options.checks or CHECKS:
        start = time.perf_counter()
        content[check] = CHECKS[check](scale)
        failures += [f"{check}: {line}" for line in list_failures(content[check])]
        print(f"{check}: {time.perf_counter() - start:.1f} s", flush=True)
        path.write_text(json.dumps(content, indent=1) + "\n")  # each one, should the next fail
    print("\n".join([*failures, f"written: {path}"]))
    return 1 if failures else 0


@pytest.fixture(autouse=True)
def exact_numerics_afterwards():
    yield
    numerics.apply(1)


@pytest.mark.device
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
@pytest.mark.parametrize("check", CHECKS)
def test_gpu(check: str) -> None:
    assert list_failures(CHECKS[check](GPU_SCALE)) == []


@pytest.mark.slow
def test_the_script_runs_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", "--out", str(tmp_path)]) == 0, capsys.readouterr().out
    content = json.loads((tmp_path / "cpu.json").read_text())
    assert content.keys() == {"device", *CHECKS}
    assert len(content["steps"]) == len(NUMERICS) * len(METHODS)
    assert all(result["losses"] for result in content["steps"].values())
    assert 0 < content["resume"]["weights"]["resumed_at"][0] < CPU_SCALE.kill_steps
    assert all(r["samples_per_second"] > 0 for r in content["throughput"].values())
    assert content["views"]["device"]["equal"]
    assert content["views"]["device"]["views_per_second"] > 0
    loaders = [r for name, r in content["views"].items() if name.startswith("loader")]
    assert len([r for r in loaders if r["samples_per_second"] > 0]) == 2
    fp32, bf16 = (content["bf16"]["curves"][p] for p in ("fp32", "bf16"))
    assert len(fp32) == len(bf16) == CPU_SCALE.curve_steps
    assert fp32 != bf16


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_without_a_gpu_one_line_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == "make device: no CUDA GPU here, nothing was run\n"
    assert not (tmp_path / "out").exists()


def test_a_result_that_is_not_as_it_should_be_fails(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(CHECKS, "bf16", lambda scale: {"curves": {"ok": False}})
    assert main(["--device", "cpu", "--out", str(tmp_path), "bf16"]) == 1
    assert json.loads((tmp_path / "cpu.json").read_text())["bf16"] == {"curves": {"ok": False}}


def test_an_error_of_one_configuration_leaves_the_others(monkeypatch) -> None:
    def fail(config: RunConfig, num_steps: int) -> None:
        raise RuntimeError(config.method.name)

    monkeypatch.setitem(globals(), "train_steps", fail)
    results = check_steps(CPU_SCALE)
    assert len(list_failures(results)) == len(results) == len(NUMERICS) * len(METHODS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
