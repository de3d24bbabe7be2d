"""A table of 15 million images as `data=csv`: reading it once, plan, start and memory.

The rows that are read are those of a table of a million images, from which the time of 15 million
follows, or as many as the second number of `--sizes`. For plan, start and memory the index of 15
million is written without a table of rows: its texts and tokens are those that a run would write.
Each is measured in a process of its own. Seconds and memory include the imports, which are measured
alone, too: those of this module have torch, which a plan does without.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.index_scale import (
    BATCH_SIZE,
    IMAGE_SIZE,
    make_batches,
    measure,
    open_batches,
    plan_data,
)
from tests.benchmarks.shards import draw_photo, measure_worker
from tests.benchmarks.table import Options, Table
from uniclip.config import RunConfig, build_run_config
from uniclip.data.csv import packed_index
from uniclip.data.csv.index_writer import IndexContent
from uniclip.data.csv.packed_split import SplitSizes
from uniclip.data.split import SPLIT_NAMES
from uniclip.io.array_file import ArrayWriter

NUM_READ, NUM_SAMPLES = 1_000_000, 15_000_000
QUICK_READ, QUICK_SAMPLES = 20_000, 30_000
CAPTION = "a photo of the small red old house near water"
IMAGE = "image.jpg"
MIN_TABLE_BYTES = 2**25 + 1
"""A table of this size is a large one."""
CHUNK = 10**6


def make_config(folder: Path) -> RunConfig:
    """Return a run of method CLIP with CLIP's tokenizer on a table."""
    section = {"name": "csv", "path": str(folder / "data.csv"), "image_size": IMAGE_SIZE}
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


def write_table(folder: Path, num_rows: int) -> None:
    """Write a table of images that need not exist."""
    folder.mkdir()
    with open(folder / "data.csv", "w", encoding="utf-8") as stream:
        stream.write("picture,caption\n")
        for i in range(num_rows):
            stream.write(f"images/{i:09d}.jpg,{CAPTION} {i}\n")
        stream.write("\n" * max(0, MIN_TABLE_BYTES - stream.tell()))


def write_index(folder: Path, num_samples: int) -> None:
    """Write a table, and an index of so many samples, all of which are one image."""
    folder.mkdir()
    (folder / IMAGE).write_bytes(draw_photo(0, (96, 96)))
    (folder / "data.csv").write_text("picture,caption\n" + "\n" * MIN_TABLE_BYTES)
    config = make_config(folder).data
    target = packed_index._name_folder(config, [config.path])
    num_validation = num_samples // 200
    counts = dict(zip(SPLIT_NAMES, (num_samples - num_validation, num_validation, 0)))
    sizes = {
        name: SplitSizes(
            num_samples=n,
            num_captions=n,
            path_bytes=n * len(IMAGE),
            caption_bytes=n * len(CAPTION),
        )
        for name, n in counts.items()
    }
    for name, split_sizes in sizes.items():
        (target / name).mkdir(parents=True)
        for array, (dtype, length) in split_sizes.list_arrays(has_labels=False).items():
            with ArrayWriter(target / name / f"{array}.npy", dtype) as writer:
                for start in range(0, length, CHUNK):
                    writer.append(_make_values(array, start, min(CHUNK, length - start)))
    content = IndexContent(
        splits=sizes,
        class_names=[],
        label_counts=[(None, num_samples)],
        same_images=[],
        faults=[],
        num_distinct_captions=1,
        distinct_captions=[CAPTION],
    )
    (target / packed_index.CONTENT_FILE).write_text(json.dumps(asdict(content)))


def _make_values(array: str, start: int, length: int) -> Any:
    texts = {"paths": IMAGE, "captions": CAPTION}
    if array in texts:
        text = np.frombuffer(texts[array].encode(), np.uint8)
        return text[np.arange(start, start + length) % len(text)]
    if array.endswith("_ends"):
        size = len(texts[array.removesuffix("_ends")])
        return np.arange(start + 1, start + length + 1) * size
    return np.random.default_rng(start).integers(0, 2**32, length)


def write_tokens(folder: Path) -> None:
    """Write the tokens of all training captions."""
    from uniclip.data.text import packed_tokens
    from uniclip.data.text.tokenizer import load_clip_tokenizer

    config, tokenizer = make_config(folder), load_clip_tokenizer()
    split = packed_index.open_index(config.data).open_split("train")
    target = packed_tokens.name_folder(split, tokenizer, config.model.text.context_length)
    target.mkdir()
    (ids,) = tokenizer.encode_uncut([CAPTION])
    with ArrayWriter(target / packed_tokens.TOKENS_FILE, np.uint16) as writer:
        for start in range(0, len(split), CHUNK):
            writer.append(np.tile(np.array(ids, np.uint16), min(CHUNK, len(split) - start)))
    with ArrayWriter(target / packed_tokens.ENDS_FILE, np.int64) as writer:
        writer.append(np.arange(1, len(split) + 1) * len(ids))


def only_import(folder: Path) -> None:
    """Do nothing with a table."""


def read_table(folder: Path) -> None:
    """Read the rows of a table into an index."""
    packed_index.open_index(make_config(folder).data)


def plan(folder: Path) -> None:
    """Do with the table what a plan does."""
    plan_data(make_config(folder))


def start_training(folder: Path) -> None:
    """Open the table and make ten batches."""
    make_batches(open_batches(make_config(folder)))


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Keep indices in a folder, also those of new processes."""
    previous = os.environ.get("UNICLIP_CACHE")
    os.environ["UNICLIP_CACHE"] = str(folder)
    try:
        yield
    finally:
        del os.environ["UNICLIP_CACHE"]
        if previous is not None:
            os.environ["UNICLIP_CACHE"] = previous


def run(options: Options) -> Table:
    """Return the table of this subject; `--sizes` are the samples of the index, and rows read."""
    num_read, num_samples = (
        (QUICK_READ, QUICK_SAMPLES) if options.quick else (NUM_READ, NUM_SAMPLES)
    )
    num_samples, num_read = (*options.sizes, *(num_samples, num_read)[len(options.sizes) :])
    table = Table("table_scale")
    with tempfile.TemporaryDirectory() as name, own_cache(Path(name, "cache")):
        read, indexed = Path(name, "read"), Path(name, "indexed")
        write_table(read, num_read)
        write_index(indexed, num_samples)
        write_tokens(indexed)
        for what, function, folder, size in (
            ("the imports alone", only_import, read, 0),
            ("reading the table, once", read_table, read, num_read),
            ("plan, first", plan, indexed, num_samples),
            ("plan", plan, indexed, num_samples),
            ("start and ten batches", start_training, indexed, num_samples),
        ):
            numbers = measure(function.__name__, folder, __name__)
            table.rows.append(
                {
                    "what": f"{what}: {size:,} samples",
                    "CPU s": numbers["cpu"],
                    "wall s": numbers["wall"],
                    "private GiB at the end": numbers["private"],
                    "mapped and shared GiB": numbers["shared"],
                    "peak of both, GiB": numbers["peak"],
                    "private peak, GiB": numbers["private peak"],
                }
            )
        worker_gib = measure_worker(open_batches(make_config(indexed))) / 1024
        what = f"a forked worker after ten batches: {num_samples:,} samples"
        table.rows.append({"what": what, "private GiB at the end": worker_gib})
    return table
