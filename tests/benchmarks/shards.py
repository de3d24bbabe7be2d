"""Shards: index, plan, first batch and memory at scale, and the loader against webdataset's.

Loader: decode, central square of 224 pixels, tokens, batches of 256; no views. webdataset does what
open_clip's pipeline does (`decode("pilrgb")`, open_clip's tokenizer, `batched`): with the same crop
and resize, and with open_clip's own transform, which normalizes too. It reads the shards in their
order, uniclip in the random order of an epoch. Reading alone: files of images and captions as they
are in the shards, none decoded. One process each, CPU seconds, rounds in turn; the shards are in
the page cache.
"""

from __future__ import annotations

import gc
import io
import json
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import torch
import webdataset
from PIL import Image

from tests.benchmarks.table import Options, Table
from tests.helpers.shards import write_tar
from uniclip import data
from uniclip.config import build_run_config
from uniclip.data.loader import TrainingBatches
from uniclip.data.text.tokenizer import load_clip_tokenizer
from uniclip.data.webdataset import source
from uniclip.data.webdataset.index import open_index
from uniclip.data.webdataset.split import WebdatasetSplit
from uniclip.io import rgb_image

WORDS = (
    "a photo of the small red old house near water with two people and one dog in summer".split()
)
NUM_IMAGES = 2_000
"""Different images; the samples repeat them."""
BATCH_SIZE, IMAGE_SIZE, CONTEXT_LENGTH = 256, 224, 77
ROUNDS = 5


def draw_photo(number: int, size: tuple[int, int]) -> bytes:
    """Return a JPEG of smooth random colors, in quality 90."""
    coarse = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def write_set(folder: Path, num_samples: int, num_shards: int, size: tuple[int, int]) -> None:
    """Write shards as img2dataset does, with captions of 10 words."""
    images = [draw_photo(n, size) for n in range(min(NUM_IMAGES, num_samples))]
    generator = np.random.default_rng(0)
    for shard in range(num_shards):
        members = []
        for n in range(num_samples * shard // num_shards, num_samples * (shard + 1) // num_shards):
            caption = " ".join(WORDS[i] for i in generator.integers(0, len(WORDS), 10))
            fields = {"caption": caption, "key": f"{n:09d}", "width": size[0], "height": size[1]}
            contents = (images[n % len(images)], json.dumps(fields).encode(), caption.encode())
            members += [(f"{n:09d}.{e}", c) for e, c in zip(("jpg", "json", "txt"), contents)]
        write_tar(folder / f"{shard:05d}.tar", members)


def make_config(folder: Path, batch_size: int, image_size: int) -> object:
    """Return a run of method CLIP with CLIP's tokenizer on shards."""
    section = {"name": "webdataset", "path": str(folder), "image_size": image_size}
    return build_run_config(
        {
            "data": {**section, "validation_fraction": 0.005, "test_fraction": 0.0},
            "method": {"name": "clip"},
            "views": {"num_weak": 1, "num_strong": 0},
            "model": {
                "image": {"image_size": image_size},
                "text": {
                    "tokenizer": "clip",
                    "vocab_size": 49_408,
                    "context_length": CONTEXT_LENGTH,
                },
            },
            "train": {"batch_size": batch_size},
        }
    )


def read_cpu_seconds() -> float:
    """Return the CPU seconds of this process and of those that it waited for."""
    return sum(os.times()[:4])


def read_private_mib() -> float:
    """Return the memory that this process has written and shares with no other, in MiB.

    Pages of mapped files that no other process has in use now are the system's cache.
    """
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    (kilobytes,) = [int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:")]
    return kilobytes / 1024


def measure_worker(batches: TrainingBatches) -> float:
    """Return the private memory of a forked worker after ten batches, in MiB."""
    gc.collect()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        torch.set_num_threads(1)
        for step in range(10):
            batches.build_batch(step)
        os.write(writer, f"{read_private_mib()}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        return float(stream.read())


def measure_scale(table: Table, folder: Path) -> None:
    """Add what an index of many samples costs."""
    config = make_config(folder, 64, 32)
    start = read_cpu_seconds()
    index = open_index(config.data)
    scan_seconds = read_cpu_seconds() - start
    start = time.process_time()
    num_files = sum(1 for path in sorted(folder.glob("*.tar"))[:2] for _ in tarfile.open(path))
    tarfile_seconds = time.process_time() - start
    start = time.process_time()
    data.fingerprint(config.data)
    source.describe_content(config.data, config.model)
    plan_seconds = time.process_time() - start
    start = time.process_time()
    split = data.open_split(config.data, "train")
    batches = TrainingBatches(config, split, load_clip_tokenizer())
    batches.build_batch(0)
    tokens_seconds = time.process_time() - start
    start = time.process_time()
    split = data.open_split(config.data, "train")
    batches = TrainingBatches(config, split, load_clip_tokenizer())
    batches.build_batch(0)
    texts = {"captions.npy", "caption_ends.npy"}
    folders = [index.folder, *index.folder.parent.glob(f"{index.folder.name}-train-*")]
    paths = [path for folder in folders for path in folder.glob("*.npy")]
    index_bytes = sum(path.stat().st_size for path in paths if path.name not in texts)
    scanned, listed = len(index) / scan_seconds, num_files / 3 / tarfile_seconds
    values = {
        "samples": len(index),
        "samples/s of headers and captions": scanned,
        "relative to listing with tarfile": scanned / listed,
        "index bytes a sample beside captions": index_bytes / len(index),
        "plan, CPU s": plan_seconds,
        "first batch with tokens to encode, CPU s": tokens_seconds,
        "first batch with an index, CPU s": time.process_time() - start,
        "private memory of a worker, MiB": measure_worker(batches),
    }
    table.rows += [{"what": name, "uniclip": value} for name, value in values.items()]


def iterate_uniclip(split: WebdatasetSplit, batches: TrainingBatches) -> Iterator[int]:
    """Read batches in the random order of an epoch; yield their sizes."""
    (source_slice,) = batches._source_slices
    order = source_slice.get_order(1)
    for step in range(batches.steps_per_epoch):
        index = order[step * BATCH_SIZE : (step + 1) * BATCH_SIZE]
        pixels, tokens = split.load_pixels(index), batches._draw_captions(0, index)
        yield len(torch.from_numpy(pixels)) + 0 * len(torch.from_numpy(tokens))


def iterate_webdataset(
    folder: Path, transform: Callable[[Image.Image], torch.Tensor]
) -> Iterator[int]:
    """Read batches in the order of the shards; yield their sizes."""
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    pipeline = webdataset.DataPipeline(
        *list_readers(folder),
        webdataset.decode("pilrgb"),
        webdataset.rename(image="jpg;png;jpeg;webp", text="txt"),
        webdataset.map_dict(image=transform, text=lambda text: tokenizer(text)[0]),
        webdataset.to_tuple("image", "text"),
        webdataset.batched(BATCH_SIZE, partial=False),
    )
    for images, _ in pipeline:
        yield len(images)


def list_readers(folder: Path) -> list[object]:
    """Return the stages of a pipeline that read samples in the order of the shards."""
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    return [webdataset.SimpleShardList(shards), webdataset.tarfile_to_samples()]


def crop_as_uniclip(image: Image.Image) -> torch.Tensor:
    """Return the central square of an image as `uniclip` computes it."""
    return torch.from_numpy(rgb_image.crop_and_resize(image, IMAGE_SIZE))


def read_uniclip(split: WebdatasetSplit) -> Iterator[int]:
    """Read images and captions in random order."""
    for i in np.random.default_rng(0).permutation(len(split)).tolist():
        assert split.read_bytes(i)
        assert split.captions[i]
        yield 1


def read_webdataset(folder: Path) -> Iterator[int]:
    """Read images and captions in the order of the shards."""
    for sample in webdataset.DataPipeline(*list_readers(folder)):
        assert sample["jpg"]
        assert sample["txt"]
        yield 1


def time_samples(iterate: Callable[[], Iterator[int]]) -> float:
    """Return the samples of a CPU second."""
    start = time.process_time()
    num_samples = sum(iterate())
    return num_samples / (time.process_time() - start)


def measure_loader(table: Table, folder: Path, rounds: int) -> None:
    """Add samples a second of both libraries."""
    config = make_config(folder, BATCH_SIZE, IMAGE_SIZE)
    split = data.open_split(config.data, "train")
    assert isinstance(split, WebdatasetSplit)
    batches = TrainingBatches(config, split, load_clip_tokenizer())
    transform = open_clip.image_transform(IMAGE_SIZE, is_train=False)
    load = partial(iterate_uniclip, split, batches)
    pairs: dict[str, tuple[Callable[[], Iterator[int]], Callable[[], Iterator[int]], float]] = {
        "decode, the same resize, tokens, batch": (
            load,
            partial(iterate_webdataset, folder, crop_as_uniclip),
            1.0,
        ),
        "decode, open_clip's transform, tokens, batch": (
            load,
            partial(iterate_webdataset, folder, transform),
            1.0,
        ),
        "reading: random order, webdataset's sequential": (
            partial(read_uniclip, split),
            partial(read_webdataset, folder),
            2.0,
        ),
    }
    for what, (ours, theirs, least) in pairs.items():
        speeds = [(time_samples(ours), time_samples(theirs)) for _ in range(rounds)]
        medians = [statistics.median(column) for column in zip(*speeds)]
        table.rows.append(
            {
                "what": f"{what}: samples/s a core",
                "uniclip": medians[0],
                "webdataset": medians[1],
                "ratio": statistics.median(a / b for a, b in speeds),
                "at least": least,
            }
        )


def run(options: Options) -> Table:
    """Return the table of this subject."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    table = Table("shards")
    with tempfile.TemporaryDirectory() as folder:
        previous = os.environ.get("UNICLIP_CACHE")
        os.environ["UNICLIP_CACHE"] = f"{folder}/cache"
        try:
            many, photos = Path(folder, "many"), Path(folder, "photos")
            write_set(many, *((2_000, 4) if options.quick else (200_000, 40)), (32, 24))
            measure_scale(table, many)
            write_set(photos, 520 if options.quick else 2_600, 4, (500, 375))
            measure_loader(table, photos, 1 if options.quick else ROUNDS)
        finally:
            del os.environ["UNICLIP_CACHE"]
            if previous is not None:
                os.environ["UNICLIP_CACHE"] = previous
    torch.set_num_threads(threads)
    return table
