"""One model on the data sets that uniclip and CLIP_benchmark 1.6 both read, end to end.

Small data sets of all lists, written in their publishers' formats, become WebDataset copies as
CLIP_benchmark publishes them; SugarCrepe is read in its own format. Both sides read the same files,
with the class names and prompts that lie beside them: SLIP's, of which ImageNet's classes have 7
and not 80, for a short run. A side is one command in a process of its own: imports, loading of the
model and results files count. The peer loads its model for each data set, as its command does. The
rounds are interleaved, on one thread; times are comparable only if the scores agree.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from tests.benchmarks.full_evaluation import RECALL_DEPTHS, TEXT
from tests.benchmarks.table import Options, Table
from tests.helpers import ROOT, composition_trees, dataset_trees, long_caption_trees, shift_trees

# (full, quick): images of each data set; rounds; vision width, layers, patch, image size
NUM_IMAGES = (32, 16)
ROUNDS = (2, 1)
VISION = ((256, 4, 16, 112), (128, 2, 16, 64))
IMAGE_SIDE = 256
QUICK_NAMES = ("cifar10", "flickr30k", "imagenet_r")
MODEL_NAME = "benchmark-model"
SIDES, CLOCKS = ("uniclip", "peer"), ("cpu", "wall")
TASKS = {"classification": "zeroshot_classification", "retrieval": "zeroshot_retrieval"}
METRICS = {
    "zeroshot": "acc1",
    "zeroshot.accuracy": "acc1",
    **{f"retrieval.i2t.r{k}": f"text_retrieval_recall@{k}" for k in RECALL_DEPTHS},
    **{f"retrieval.t2i.r{k}": f"image_retrieval_recall@{k}" for k in RECALL_DEPTHS},
}
"""Score of uniclip -> that of CLIP_benchmark."""

WRITERS: dict[str, Callable[[Path], Any]] = {
    **dataset_trees.WRITERS,
    **dataset_trees.MORE_WRITERS,
    **shift_trees.SHIFT_WRITERS,
    **long_caption_trees.WRITERS,
}


class EnlargedImages:
    """The images of a small data set, several times, with noise of their own."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __call__(self, i: int) -> Image.Image:
        """Return image `i`, RGB."""
        small = self.dataset.load_image(i % len(self.dataset))
        pixels = np.asarray(small.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC))
        noise = np.random.default_rng(i).normal(0, 25, pixels.shape)
        return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def write_inputs(folder: Path, quick: bool) -> dict[str, str]:
    """Write the copies, SugarCrepe and a model; return the kind of each copied data set."""
    size = int(quick)
    names = QUICK_NAMES if quick else tuple(WRITERS)
    kinds = {name: _write_copy(folder, name, NUM_IMAGES[size]) for name in names}
    composition_trees.sugarcrepe(folder)
    for path in (folder / "coco/val2017").iterdir():
        Image.open(path).resize((IMAGE_SIDE, IMAGE_SIDE)).save(path)
    write_model(folder, size)
    return {name: kind for name, kind in kinds.items() if kind in TASKS}


def _write_copy(folder: Path, name: str, num_images: int) -> str:
    """Write the test split of a data set as shards; return its kind."""
    from uniclip.evaluate import datasets
    from uniclip.evaluate.datasets.readers import webdataset
    from uniclip.evaluate.protocols.published import get_published_protocol

    tree = folder / "trees" / name
    tree.mkdir(parents=True)
    WRITERS[name](tree)
    dataset = datasets.get(name)
    opened = dataset.open(tree, "test")
    if opened.kind not in TASKS:
        return opened.kind
    index = np.arange(num_images) % len(opened)
    images = replace(
        opened,
        ids=tuple(str(i) for i in range(num_images)),
        reader=EnlargedImages(opened),
        labels=None if opened.labels is None else opened.labels[index],
        captions=tuple(
            tuple(_write_caption(number, k) for k in range(len(opened.captions[i])))
            for number, i in enumerate(index.tolist() if opened.captions else [])
        ),
        groups=None,
        picture_rows=None,
    )
    rules = get_published_protocol("slip2021").for_dataset(name, opened.classes)
    first_names = tuple(class_names[0] for _, class_names in rules.class_names)
    templates = [t.replace("{}", "{c}") for t in rules.templates] if first_names else []
    webdataset.write_shards(
        replace(images, classes=first_names), folder / "copies" / name, templates=templates
    )
    return opened.kind


def _write_caption(image: int, number: int) -> str:
    """Return ten words that no other caption has in this order."""
    random = np.random.default_rng([image, number])
    words = ["red", "green", "small", "table", "house", "of", "river", "dog", "beside", "two"]
    return " ".join(words[i] for i in random.integers(0, len(words), len(words)))


def write_model(folder: Path, size: int) -> None:
    """Write the weights of a random model of open_clip, and the configuration of its shape."""
    import torch
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    width, layers, patch, image_size = VISION[size]
    text_width, text_layers = TEXT[1]
    vision = {"width": width, "layers": layers, "patch_size": patch, "image_size": image_size}
    text = {"width": text_width, "layers": text_layers, "heads": text_width // 64}
    config = {"embed_dim": 512, "vision_cfg": vision, "text_cfg": text}
    (folder / f"{MODEL_NAME}.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = CLIP(512, CLIPVisionCfg(**vision), CLIPTextCfg(**text))
    torch.save(model.state_dict(), folder / "weights.pt")


def list_uniclip_command(folder: Path, kinds: Mapping[str, str], results: Path) -> list[str]:
    """Return the command of uniclip's side."""
    names = ",".join([*(f"wds:{folder / 'copies' / name}" for name in kinds), "sugarcrepe"])
    return [
        *("-m", "uniclip.evaluate", f"run={folder / 'weights.pt'}", f"benchmark=[{names}]"),
        *(f"data_root={folder}", "protocol=laion_cb", f"cache_dir={results / 'cache'}"),
        f"output={results / 'scores.json'}",
    ]


def list_peer_command(folder: Path, kinds: Mapping[str, str], results: Path) -> list[str]:
    """Return the command of the peer's side."""
    return ["-m", "tests.benchmarks.all_lists", str(folder), json.dumps(dict(kinds)), str(results)]


def run_peer(folder: Path, kinds: Mapping[str, str], results: Path) -> None:
    """Run CLIP_benchmark's command once for each task, in this process.

    Without its task of captioning, whose dependencies are not installed and which is not run, and
    with a function of it that present versions of numpy refuse.
    """
    sys.modules["clip_benchmark.metrics.captioning"] = ModuleType("captioning")
    import open_clip
    from clip_benchmark import cli
    from clip_benchmark.metrics import zeroshot_classification

    zeroshot_classification.accuracy = _compute_accuracy
    open_clip.add_model_config(folder / f"{MODEL_NAME}.json")
    common = [
        *("clip_benchmark", "eval", "--model", MODEL_NAME),
        *("--pretrained", str(folder / "weights.pt"), "--no_amp", "--num_workers", "0", "--quiet"),
        *("--output", str(results / "{dataset}.json")),
        *("--recall_k", *map(str, RECALL_DEPTHS)),
    ]
    for kind, task in TASKS.items():
        copies = [f"wds/{name}" for name in kinds if kinds[name] == kind]
        root = str(folder / "copies/{dataset_cleaned}")
        sys.argv = [*common, "--task", task, "--dataset_root", root, "--dataset", *copies]
        cli.main()
    categories = [f"sugar_crepe/{c}" for c in composition_trees.SUGARCREPE_CATEGORIES]
    root = str(folder / "sugarcrepe_root")
    sys.argv = [*common, "--dataset_root", root, "--dataset", *categories]
    cli.main()


def _compute_accuracy(logits: Any, target: Any, topk: Sequence[int]) -> list[float]:
    """Return what CLIP_benchmark's function of that name does."""
    is_correct = logits.topk(max(topk), 1).indices == target[:, None]
    return [float(is_correct[:, :k].any(1).sum()) / len(target) for k in topk]


def read_uniclip_scores(results: Path) -> dict[tuple[str, str], float]:
    """Return (data set, metric of the peer) -> value."""
    records = json.loads((results / "scores.json").read_text())
    scores = {}
    for name, record in records.items():
        for score in record["scores"]:
            category = score["name"].removeprefix("composition.text[").removesuffix("]")
            if score["name"].startswith("composition.text["):
                scores[f"sugar_crepe_{category}", "text_acc"] = score["value"]
            elif score["name"] in METRICS:
                scores[Path(name).name, METRICS[score["name"]]] = score["value"]
    return scores


def read_peer_scores(results: Path) -> dict[tuple[str, str], float]:
    """Return (data set, metric) -> value."""
    return {
        (path.stem, metric): value
        for path in sorted(results.glob("*.json"))
        for metric, value in json.loads(path.read_text())["metrics"].items()
    }


def time_command(command: list[str]) -> dict[str, float]:
    """Run a command of Python on one thread; return its wall seconds and CPU seconds."""
    paths = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *command], env=environment, check=True, capture_output=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, "wall": wall}


def run(options: Options) -> Table:
    """Return the table of this subject; empty if the peer is not installed."""
    table = Table("all_lists")
    missing = [n for n in ("clip_benchmark", "open_clip", "webdataset") if find_spec(n) is None]
    if missing:
        table.notes["not run"] = f"{' and '.join(missing)} not installed"
        return table
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kinds = write_inputs(folder, options.quick)
        link = folder / "sugarcrepe_root"
        link.mkdir()
        for path in (*(folder / "sugarcrepe").iterdir(), folder / "coco/val2017"):
            (link / path.name).symlink_to(path)
        table.rows = list(_run_rounds(folder, kinds, ROUNDS[int(options.quick)]))
        agreement = compare_scores(folder / "results-0")
    table.notes = {
        "data sets": f"{len(kinds)} copies of {NUM_IMAGES[int(options.quick)]} images, SugarCrepe",
        **agreement,
    }
    return table


def _run_rounds(folder: Path, kinds: Mapping[str, str], rounds: int) -> Iterator[dict[str, Any]]:
    commands = {"uniclip": list_uniclip_command, "peer": list_peer_command}
    for number in range(rounds):
        times = {}
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            results = folder / f"results-{number}" / side
            results.mkdir(parents=True)
            times[side] = time_command(commands[side](folder, kinds, results))
        yield {
            "round": number + 1,
            **{f"{side} ({c} s)": times[side][c] for c in CLOCKS for side in SIDES},
            **{f"peer / uniclip, {c}": times["peer"][c] / times["uniclip"][c] for c in CLOCKS},
        }


def compare_scores(results: Path) -> dict[str, Any]:
    """Return how many scores both sides have, and the largest difference."""
    ours, theirs = read_uniclip_scores(results / "uniclip"), read_peer_scores(results / "peer")
    differences = {key: abs(ours[key] - theirs[key]) for key in ours if key in theirs}
    worst = max(differences, key=lambda key: differences[key])
    others = [" ".join(key) for key, value in differences.items() if value > 1e-6]
    return {
        "scores of both": len(differences),
        "largest difference": f"{differences[worst]:.3g} ({' '.join(worst)})",
        "different by more than 1e-6": ", ".join(others) or "none",
    }


if __name__ == "__main__":
    run_peer(Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]))
