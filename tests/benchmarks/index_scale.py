"""An index of 15 million samples, made without pictures: plan, start and memory.

All samples are one JPEG of one shard; the other shards are empty files of a usual size. The index,
and the tokens are written as a run writes them. Plan and start run in processes of their own:
seconds and memory include the imports, those of torch at the start of training. Private memory is
what a process has written; pages of mapped files are the system's cache, which it takes back where
memory is short.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.benchmarks.table import Options, Table
from uniclip.config import RunConfig, build_run_config
from uniclip.data.webdataset import index as shard_index
from uniclip.data.webdataset.index import ARRAYS, SUMMARY_FILE, IndexRequest, IndexSummary
from uniclip.io.array_file import ArrayWriter

if TYPE_CHECKING:
    from uniclip.data.loader import TrainingBatches

NUM_SAMPLES, NUM_SHARDS = 15_000_000, 1_500
QUICK_SAMPLES, QUICK_SHARDS = 30_000, 3
CAPTION = b"a photo of the small red old house near water"
BATCH_SIZE, IMAGE_SIZE = 256, 64
SHARD_BYTES = 500_000_000
BLOCK = 512

MEASURE = """
import json, sys, threading, time
from pathlib import Path
def read_gib(name):
    line = next(line for line in open("/proc/self/status") if line.startswith(name))
    return int(line.split()[1]) / 2**20
private_peaks = [0.0]
def watch():
    while True:
        private_peaks[0] = max(private_peaks[0], read_gib("RssAnon"))
        time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()
start, cpu = time.perf_counter(), time.process_time()
from {module} import {function}
{function}(Path(sys.argv[1]))
lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
sizes = {{line.split()[0]: int(line.split()[1]) / 2**20 for line in lines[1:]}}
private = sizes["Private_Dirty:"]
seconds = {{"cpu": time.process_time() - cpu, "wall": time.perf_counter() - start}}
memory = {{"private": private, "shared": sizes["Rss:"] - private}}
peaks = {{"peak": read_gib("VmHWM"), "private peak": private_peaks[0]}}
print(json.dumps({{**seconds, **memory, **peaks}}))
"""


def make_config(folder: Path) -> RunConfig:
    """Return a run of method CLIP with CLIP's tokenizer on shards."""
    section = {"name": "webdataset", "path": str(folder), "image_size": IMAGE_SIZE}
    text = {"tokenizer": "clip", "vocab_size": 49_408, "context_length": 77}
    return build_run_config(
        {
            "data": {**section, "validation_fraction": 0.005, "test_fraction": 0.0},
            "method": {"name": "clip"},
            "views": {"num_weak": 1, "num_strong": 0},
            "model": {"image": {"image_size": IMAGE_SIZE}, "text": text},
            "train": {"batch_size": BATCH_SIZE},
        }
    )


def write_shards(folder: Path, num_shards: int) -> int:
    """Write the shards; return the bytes of the image that the first one holds."""
    from tests.benchmarks.shards import draw_photo
    from tests.helpers.shards import write_tar

    image = draw_photo(0, (96, 96))
    write_tar(folder / "00000.tar", {"000000000.jpg": image})
    for shard in range(1, num_shards):
        with open(folder / f"{shard:05d}.tar", "wb") as stream:
            stream.truncate(SHARD_BYTES)
    return len(image)


def write_index(folder: Path, num_samples: int, num_shards: int, image_bytes: int) -> None:
    """Write the index of these shards: every sample is the image of the first one."""
    request = IndexRequest(str(folder))
    target = request.name_folder(request.list_shards())
    target.mkdir(parents=True)
    # The first shard holds all samples: only there is an image.
    first = [0, *[num_samples] * num_shards]
    generator = np.random.default_rng(0)
    values: dict[str, Any] = {
        "blocks": lambda n: np.full(n, 1, np.uint32),
        "lengths": lambda n: np.full(n, image_bytes, np.uint32),
        "ids": lambda n: generator.integers(0, 2**64, n, np.uint64),
        "split_positions": lambda n: generator.integers(0, 2**32, n, np.uint32),
        "captions": lambda n: np.tile(np.frombuffer(CAPTION, np.uint8), n),
    }
    for name, dtype in ARRAYS.items():
        with ArrayWriter(target / f"{name}.npy", dtype) as writer:
            for start in range(0, num_samples, 10**6):
                n = min(10**6, num_samples - start)
                if name == "caption_ends":
                    writer.append(np.arange(start + 1, start + n + 1) * len(CAPTION))
                else:
                    writer.append(values[name](n))
    summary = IndexSummary(
        num_samples=num_samples,
        first_samples=first,
        first_captions=[n * len(CAPTION) for n in first],
        counts={},
        named=[],
        num_repeated=0,
    )
    (target / SUMMARY_FILE).write_text(json.dumps(asdict(summary)))


def write_tokens(folder: Path, num_samples: int) -> None:
    """Write the tokens of all captions."""
    from uniclip.data.text import packed_tokens
    from uniclip.data.text.tokenizer import load_clip_tokenizer

    config, tokenizer = make_config(folder), load_clip_tokenizer()
    index = shard_index.find_index(config.data)
    assert index is not None
    target = packed_tokens.name_folder(index, tokenizer, config.model.text.context_length)
    target.mkdir()
    (ids,) = tokenizer.encode_uncut([CAPTION.decode()])
    with ArrayWriter(target / packed_tokens.TOKENS_FILE, np.uint16) as writer:
        for start in range(0, num_samples, 10**6):
            writer.append(np.tile(np.array(ids, np.uint16), min(10**6, num_samples - start)))
    with ArrayWriter(target / packed_tokens.ENDS_FILE, np.int64) as writer:
        writer.append(np.arange(1, num_samples + 1) * len(ids))


def plan(folder: Path) -> None:
    """Do with the shards what a plan does."""
    plan_data(make_config(folder))


def start_training(folder: Path) -> None:
    """Open the shards and make ten batches."""
    make_batches(open_batches(make_config(folder)))


def plan_data(config: RunConfig) -> None:
    """Do with the data what a plan does."""
    from uniclip import data
    from uniclip.data import inspection

    data.fingerprint(config.data)
    inspection.describe_training_data([config])
    inspection.check_batch_sizes([config])


def open_batches(config: RunConfig) -> TrainingBatches:
    """Return the training batches of a run with CLIP's tokenizer."""
    from uniclip import data
    from uniclip.data.loader import TrainingBatches
    from uniclip.data.text.tokenizer import load_clip_tokenizer

    split = data.open_split(config.data, "train")
    return TrainingBatches(config, split, load_clip_tokenizer())


def make_batches(batches: TrainingBatches) -> None:
    """Make the first ten batches."""
    for step in range(10):
        batches.build_batch(step)


def measure(function: str, folder: Path, module: str = __name__) -> dict[str, float]:
    """Return seconds and GiB of a function of a module, in a new process."""
    command = [sys.executable, "-c", MEASURE.format(module=module, function=function), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    numbers: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return numbers


def run(options: Options) -> Table:
    """Return the table of this subject."""
    sizes = (QUICK_SAMPLES, QUICK_SHARDS) if options.quick else (NUM_SAMPLES, NUM_SHARDS)
    table = Table("index_scale")
    previous = os.environ.get("UNICLIP_CACHE")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "shards")
        folder.mkdir()
        os.environ["UNICLIP_CACHE"] = f"{name}/cache"
        try:
            image_bytes = write_shards(folder, sizes[1])
            write_index(folder, *sizes, image_bytes)
            write_tokens(folder, sizes[0])
            cases = (("plan, first", plan), ("plan", plan))
            cases += (("start and ten batches, first", start_training),)
            cases += (("start and ten batches", start_training),)
            for what, function in cases:
                numbers = measure(function.__name__, folder)
                table.rows.append(
                    {
                        "what": f"{what}: {sizes[0]:,} samples",
                        "CPU s": numbers["cpu"],
                        "wall s": numbers["wall"],
                        "private GiB at the end": numbers["private"],
                        "mapped and shared GiB": numbers["shared"],
                        "peak of both, GiB": numbers["peak"],
                        "private peak, GiB": numbers["private peak"],
                    }
                )
        finally:
            del os.environ["UNICLIP_CACHE"]
            if previous is not None:
                os.environ["UNICLIP_CACHE"] = previous
    return table
