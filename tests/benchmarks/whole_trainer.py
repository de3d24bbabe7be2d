"""The whole trainer against open_clip's, on the same shards, model, text length and batch.

Model: a 6-layer ViT/32 of width 384 at 224 pixels, a 6-layer text encoder of width 256, embeddings
of 256 numbers; method CLIP, AdamW, float32, no data workers, batches of 32 (16 of each of two
processes). Each trainer runs in processes of its own. A step is the time between two updates of the
optimizer, the median of the steps: reading, decoding, tokens, views, model, loss, optimizer and
records; CPU seconds are summed over processes, and the wall time, which a shared machine prolongs,
is that of the slowest one. Memory is the peak of resident memory, imports and mapped libraries
included, of the process with the largest; both trainers write a checkpoint: open_clip at its end,
uniclip after the second step. "batches" are the CPU seconds for the same batches alone, in the same
process afterwards. Two lengths of captions: beyond 77 tokens, where both trainers compute the same
tokens, and 10 words, where uniclip drops the padding behind the longest caption of a batch (a
causal encoder's outputs do not depend on it) and open_clip does not.

open_clip gives DistributedDataParallel a device number, which CPU modules refuse, and stumbles over
the marks that webdataset 1.0 puts at the end of a shard: both are left out.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.shards import WORDS, draw_photo
from tests.benchmarks.table import Options, Table
from tests.helpers import ROOT
from tests.helpers.shards import write_tar

BATCH_SIZE, NUM_SHARDS, ROUNDS = 32, 4, 1
STEPS, QUICK_STEPS = 5, 3
LIMIT_SECONDS = 1800.0
"""Longest time of one trainer."""
CAPTION_WORDS = {"77 tokens": 90, "10 words": 10}
OPEN_CLIP_MODEL = {
    "embed_dim": 256,
    "vision_cfg": {
        "image_size": 224,
        "patch_size": 32,
        "width": 384,
        "layers": 6,
        "head_width": 64,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49_408,
        "width": 256,
        "heads": 4,
        "layers": 6,
    },
}
UNICLIP_MODEL = {
    "image": {
        "name": "vit_small_patch32_224",
        "image_size": 224,
        "options": {"depth": 6, "pre_norm": True, "class_token": True},
    },
    "text": {
        "tokenizer": "clip",
        "context_length": 77,
        "vocab_size": 49_408,
        "width": 256,
        "heads": 4,
        "layers": 6,
    },
    "embed_dim": 256,
}
UNICLIP_PROGRAM = """
from pathlib import Path
from tests.helpers.small_runs import claimed, opened
from uniclip import distributed
from uniclip.config import build_run_config
from uniclip.training import metrics_log, trainer
metrics_log.MetricsLogger._is_checkpoint_due = lambda *_: len(marks) == 2
process_group = distributed.init_process_group("cpu")
config = build_run_config({
    "data": {"name": "webdataset", "path": folder, "image_size": 224, "validation_fraction": 0.05,
             "test_fraction": 0.0},
    "method": {"name": "clip"}, "model": model, "views": {"num_weak": 1, "num_strong": 0},
    "train": {"steps": steps, "batch_size": batch_size, "validate_every": steps},
    "runtime": {"num_workers": 0},
})
attempt = None
if process_group.rank == 0:
    attempt = claimed(opened(Path(f"{folder}-store{os.getpid()}"), config))
trainer.train_model(config, attempt=attempt)
report()
batches, _ = trainer.setup_training(config)
print_results(batches.iterate_batches(0, steps))
distributed.destroy_process_group()
"""
OPEN_CLIP_PROGRAM = """
from functools import partial
from open_clip_train import main, data, params
import open_clip
data.tar_file_expander = partial(data.tar_file_expander, eof_value=None)
world_size = int(os.environ.get("WORLD_SIZE", "1"))
with open(f"{folder}/six_layers{os.getpid()}.json", "w") as stream:
    json.dump(model, stream)
open_clip.add_model_config(stream.name)
name = os.path.basename(stream.name).removesuffix(".json")
torch.set_num_threads(1)
wrap = torch.nn.parallel.DistributedDataParallel
torch.nn.parallel.DistributedDataParallel = lambda m, device_ids=None, **options: wrap(m, **options)
words = ["--train-data", f"{folder}/{{00000..00003}}.tar", "--dataset-type", "webdataset",
    "--train-num-samples", str(steps * batch_size), "--batch-size", str(batch_size // world_size),
    "--epochs", "1", "--workers", "0", "--device", "cpu", "--precision", "fp32", "--logs", folder,
    "--model", name, "--warmup", "1", "--local-loss", "--gather-with-grad"]
main.main(words)
report()
args = params.parse_args(words)
args.distributed, args.world_size, args.rank, args.device = False, world_size, 0, "cpu"
preprocess = open_clip.image_transform(224, is_train=True)
loader = data.get_data(args, (preprocess, preprocess), tokenizer=open_clip.get_tokenizer(name))
print_results(loader["train"].dataloader)
"""
PREAMBLE = """
import json, os, resource, statistics, sys, time
from torch.optim.optimizer import register_optimizer_step_post_hook
import torch
folder, steps, batch_size, model = sys.argv[1], *map(json.loads, sys.argv[2:])
marks, results = [], []
def mark(*_):
    marks.append((sum(os.times()[:2]), time.perf_counter()))
register_optimizer_step_post_hook(mark)
def take_medians():
    steps = [[b - a for a, b in zip(*pair)] for pair in zip(marks, marks[1:])]
    return [statistics.median(column) for column in zip(*steps)]
def report():
    results.extend(take_medians())
    results.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
def print_results(batches):
    marks.clear()
    for _ in batches:
        mark()
    print(json.dumps([*results, take_medians()[0]]))
"""
PROGRAMS = {"uniclip": UNICLIP_PROGRAM, "open_clip": OPEN_CLIP_PROGRAM}
MODELS = {"uniclip": UNICLIP_MODEL, "open_clip": OPEN_CLIP_MODEL}


def write_pairs(folder: Path, num_words: int, num_samples: int) -> None:
    """Write shards of photographs with captions of so many words."""
    generator = np.random.default_rng(0)
    for shard in range(NUM_SHARDS):
        members = []
        for n in range(shard, num_samples, NUM_SHARDS):
            words = generator.integers(0, len(WORDS), num_words)
            caption = " ".join(WORDS[i] for i in words).encode()
            members += [(f"{n:09d}.jpg", draw_photo(n, (500, 375))), (f"{n:09d}.txt", caption)]
        write_tar(folder / f"{shard:05d}.tar", members)


@dataclass(frozen=True)
class Cost:
    """What one trainer costs."""

    step_seconds: float
    """CPU seconds of a step, summed over processes."""
    wall_seconds: float
    """Seconds of a step in the slowest process."""
    mib: float
    """Largest peak of resident memory of a process."""
    batch_seconds: float
    """CPU seconds of a step's batch, summed over processes."""


def run_trainer(name: str, folder: Path, num_steps: int, num_processes: int) -> Cost:
    """Train for some steps.

    Raises:
        RuntimeError: A process failed, with the last lines that it printed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = [str(folder), str(num_steps), str(BATCH_SIZE), json.dumps(MODELS[name])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "UNICLIP_CACHE": f"{folder}-cache"}
    environment |= {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    processes = []
    for rank in range(num_processes):
        if num_processes > 1:
            values = (rank, num_processes, rank, "127.0.0.1", port)
            names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
            environment = {**environment, **{n: str(v) for n, v in zip(names, values)}}
        command = [sys.executable, "-c", PREAMBLE + PROGRAMS[name], *arguments]
        processes.append(
            subprocess.Popen(
                command,
                cwd=folder,  # open_clip makes folders of logs
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
    results = []
    try:
        for process in processes:
            output, errors = process.communicate(timeout=LIMIT_SECONDS)
            if process.returncode:
                raise RuntimeError(f"{name}: {errors.decode()[-2000:]}")
            results.append(json.loads(output.splitlines()[-1]))
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{name}: {error}") from None
    finally:
        for process in processes:
            process.kill()
            process.wait()
    step_seconds, wall_seconds, mib, batch_seconds = zip(*results)
    return Cost(sum(step_seconds), max(wall_seconds), max(mib), sum(batch_seconds))


def compare(folder: Path, num_processes: int, num_steps: int, rounds: int) -> dict[str, Any]:
    """Return a row: both trainers in turn, medians of the rounds."""
    measured: dict[str, list[Cost]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name in PROGRAMS:
            cost = run_trainer(name, folder, num_steps, num_processes)
            measured[name].append(cost)
            print(f"{folder.name}, {num_processes} processes, {name}: {cost}", file=sys.stderr)
    row: dict[str, Any] = {}
    for name, costs in measured.items():
        take_median = partial(_take_median, costs)
        row[f"{name}, CPU ms a step"] = 1e3 * take_median("step_seconds")
        row[f"{name}, of these batches"] = 1e3 * take_median("batch_seconds")
        row[f"{name}, wall ms"] = 1e3 * take_median("wall_seconds")
        row[f"{name}, MiB"] = take_median("mib")
    pairs = list(zip(measured["uniclip"], measured["open_clip"]))
    row["open_clip / uniclip, step"] = statistics.median(
        other.step_seconds / ours.step_seconds for ours, other in pairs
    )
    row["open_clip / uniclip, memory"] = statistics.median(
        other.mib / ours.mib for ours, other in pairs
    )
    return row


def _take_median(costs: list[Cost], name: str) -> float:
    return statistics.median(getattr(cost, name) for cost in costs)


def run(options: Options) -> Table:
    """Return the table of this subject; it is also written after each of its rows.

    A comparison that fails is a note, and the others go on.
    """
    table = Table("whole_trainer")
    num_steps = QUICK_STEPS if options.quick else STEPS
    with tempfile.TemporaryDirectory() as parent:
        for captions, num_words in CAPTION_WORDS.items():
            folder = Path(parent, captions.replace(" ", "_"))
            write_pairs(folder, num_words, (num_steps + 2) * BATCH_SIZE)
            for num_processes in (1, 2):
                what = {"captions": captions, "processes": num_processes}
                try:
                    table.rows.append(what | compare(folder, num_processes, num_steps, ROUNDS))
                except RuntimeError as error:
                    table.notes[f"failed: {captions}, {num_processes} processes"] = str(error)
                table.write(options.out)
    return table
