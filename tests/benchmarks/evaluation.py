"""Evaluation compared with CLIP_benchmark 1.6 and scikit-learn, on the same model and data.

Each side runs in a process of its own, on one thread, and reports its CPU seconds, the memory that
it used beyond its inputs, and its scores: times are comparable only if the scores agree.
CLIP_benchmark's linear probe needs CUDA, so the peer of the probe is scikit-learn. The peers are
not dependencies: `make bench` installs CLIP_benchmark into its environment, without its
dependencies.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.benchmarks import full_evaluation
from tests.benchmarks.full_evaluation import RECALL_DEPTHS, Side
from tests.benchmarks.table import Options, Table
from tests.helpers import ROOT

MIB = 2**20

# (full, quick)
NUM_CLASSES = (100, 20)
NUM_IMAGES = (5_000, 1_000)
CAPTIONS_PER_IMAGE = 5
WIDTH = 512
PROBE_SAMPLES = (8_000, 2_000)
PROBE_WIDTH, PROBE_CLASSES = 512, 100
PENALTIES = (1e4, 1e2, 1.0, 1e-2)
"""L2 penalties of the summed loss, from strong to weak; each fit starts from the one before."""
GRADIENT_TOLERANCE = 1e-6
"""Largest gradient component that the published protocols allow at 100 classes: 1e-4 / classes."""


# ---- zero-shot classifier ------------------------------------------------------------------------


def build_text_model() -> Any:
    """Return a model with a text encoder of width 256, 6 layers and 77 positions."""
    import torch

    from uniclip import methods
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.config import build_run_config
    from uniclip.data.text import tokenizer
    from uniclip.models.embedder import build_embedder

    torch.manual_seed(0)
    config = build_run_config(
        {
            "data": {"name": "scenes"},
            "method": {"name": "clip"},
            "model": {"text": {"width": 256, "layers": 6, "heads": 4, "context_length": 77}},
        }
    )
    names, templates = load_names_and_templates(100)
    texts = [template.replace("{}", name) for template in templates for name in names]
    vocabulary = tokenizer.train_bpe(texts, 4096)
    method = methods.build_method(config)
    return PretrainedModel(
        build_embedder(config, vocabulary, method.head_type), method, vocabulary, config
    )


def load_names_and_templates(num_classes: int) -> tuple[list[str], list[str]]:
    """Return the names of ImageNet's first classes, and its 80 templates."""
    from uniclip.evaluate import prompts

    sets = json.loads((prompts.DATA_FOLDER / "names.json").read_text())["datasets"]
    names = [class_names[0] for class_names in sets["imagenet"]["names"].values()]
    return names[:num_classes], list(prompts.get_templates("imagenet80"))


def build_uniclip_classifier(num_classes: int) -> Side:
    from uniclip.evaluate.scoring import zero_shot

    model, (names, templates) = build_text_model(), load_names_and_templates(num_classes)
    prompts_by_class = [zero_shot.fill_templates(templates, [name]) for name in names]
    return lambda: zero_shot.build_classifier(model.embed_texts, prompts_by_class), summarize_rows


def build_peer_classifier(num_classes: int) -> Side:
    import torch
    from clip_benchmark.metrics.zeroshot_classification import zero_shot_classifier

    model, (names, templates) = build_text_model(), load_names_and_templates(num_classes)
    model.embedder.eval()
    context_length = model.config.model.text.context_length

    class Clip(torch.nn.Module):
        def encode_text(self, tokens: Any) -> Any:
            return model.embedder.encode_text(tokens)

    def tokenize(texts: list[str]) -> Any:
        rows = model.tokenizer.encode(texts, context_length)
        padded = np.full((len(rows), context_length), model.tokenizer.pad, np.int64)
        padded[:, : rows.shape[1]] = rows
        return torch.from_numpy(padded)

    peer_templates = [template.replace("{}", "{c}") for template in templates]

    def run() -> Any:
        classifier = zero_shot_classifier(Clip(), tokenize, names, peer_templates, "cpu", amp=False)
        return classifier.T.numpy()

    return run, summarize_rows


def summarize_rows(rows: Any) -> dict[str, Any]:
    """Return a few numbers of a classifier (C, D), for comparison."""
    return {"first": np.asarray(rows[0, :4], np.float64).tolist(), "rows": len(rows)}


# ---- retrieval -----------------------------------------------------------------------------------


def load_features(folder: str) -> tuple[Any, Any, Any]:
    """Return images (n, D), captions (m, D) and the image of each caption (m,)."""
    return tuple(np.load(Path(folder) / f"{n}.npy") for n in ("images", "texts", "image_index"))


def write_features(folder: Path, num_images: int) -> None:
    """Write unit rows of images and of five captions each, with some correct retrievals."""
    random = np.random.default_rng(0)
    images = random.normal(size=(num_images, WIDTH)).astype(np.float32)
    image_index = np.repeat(np.arange(num_images), CAPTIONS_PER_IMAGE)
    noise = random.normal(size=(len(image_index), WIDTH)).astype(np.float32)
    texts = images[image_index] + 5.5 * noise
    for name, rows in {"images": images, "texts": texts}.items():
        np.save(folder / f"{name}.npy", rows / np.linalg.norm(rows, axis=1, keepdims=True))
    np.save(folder / "image_index.npy", image_index)


def build_uniclip_retrieval(folder: str) -> Side:
    from uniclip.evaluate.scoring import retrieval

    images, texts, image_index = load_features(folder)
    num_texts = len(image_index)
    pairs = retrieval.ImageTextPairs(
        tuple(map(str, range(num_texts))), image_index, np.arange(num_texts)
    )

    def to_scores(ranks: Any) -> dict[str, Any]:
        return {
            f"{way} R@{k}": float(way_ranks.hits(k).mean())
            for way, way_ranks in zip(("i2t", "t2i"), ranks)
            for k in RECALL_DEPTHS
        }

    return lambda: retrieval.rank_both_ways(images, texts, pairs, tie=0), to_scores


def build_peer_retrieval(folder: str) -> Side:
    import torch
    from clip_benchmark.metrics import zeroshot_retrieval

    images, texts, image_index = (torch.from_numpy(rows) for rows in load_features(folder))
    text_ids = torch.arange(len(image_index)).view(-1, CAPTIONS_PER_IMAGE).tolist()

    class Clip:
        def encode_image(self, rows: Any) -> Any:
            return rows

        def encode_text(self, indices: Any) -> Any:
            return texts[indices]

    starts = range(0, len(images), 64)
    batches = [(images[i : i + 64], text_ids[i : i + 64]) for i in starts]

    def run() -> Any:
        return zeroshot_retrieval.evaluate(
            Clip(), batches, torch.tensor, "cpu", amp=False, recall_k_list=list(RECALL_DEPTHS)
        )

    def to_scores(recalls: Any) -> dict[str, Any]:
        names = {"i2t": "text_retrieval", "t2i": "image_retrieval"}
        return {
            f"{way} R@{k}": recalls[f"{name}_recall@{k}"]
            for way, name in names.items()
            for k in RECALL_DEPTHS
        }

    return run, to_scores


# ---- linear probe --------------------------------------------------------------------------------


def make_probe_data(num_samples: int) -> tuple[Any, Any, Any, Any]:
    """Return features and labels of training and of test samples.

    As for an encoder's features, classes overlap, and variance decreases along correlated axes.
    """
    random = np.random.default_rng(0)
    labels = random.integers(0, PROBE_CLASSES, 2 * num_samples)
    centers = 0.5 * random.normal(size=(PROBE_CLASSES, PROBE_WIDTH))
    rows = centers[labels] + random.normal(size=(2 * num_samples, PROBE_WIDTH))
    rows *= np.exp(-3 * np.arange(PROBE_WIDTH) / PROBE_WIDTH)
    rotation = np.linalg.qr(random.normal(size=(PROBE_WIDTH, PROBE_WIDTH)))[0]
    rows = (rows @ rotation).astype(np.float32)
    return rows[:num_samples], labels[:num_samples], rows[num_samples:], labels[num_samples:]


def compute_loss_and_gradient(
    weight: Any, bias: Any, rows: Any, labels: Any, l2: float
) -> tuple[float, float]:
    """Return the mean loss and the largest component of its gradient, in float64."""
    logits = rows.astype(np.float64) @ weight.T.astype(np.float64) + bias
    logits -= logits.max(axis=1, keepdims=True)
    residual = np.exp(logits)
    total = residual.sum(axis=1, keepdims=True)
    target = np.arange(len(rows)), labels
    loss = (np.log(total[:, 0]) - logits[target]).mean() + l2 / 2 * (weight**2).sum()
    residual /= total
    residual[target] -= 1
    residual /= len(rows)
    gradient = residual.T @ rows.astype(np.float64) + l2 * weight
    return float(loss), float(max(np.abs(gradient).max(), np.abs(residual.sum(axis=0)).max()))


def build_peer_probe(num_samples: int) -> Side:
    from sklearn.linear_model import LogisticRegression

    rows, labels, test_rows, test_labels = make_probe_data(num_samples)
    float64_rows = rows.astype(np.float64)  # in float32 it stops far above this gradient

    def run() -> Any:
        probe = LogisticRegression(tol=GRADIENT_TOLERANCE, max_iter=1_000, warm_start=True)
        fits = []
        for penalty in PENALTIES:
            probe.set_params(C=1 / penalty).fit(float64_rows, labels)
            fits.append((probe.coef_.copy(), probe.intercept_.copy()))
        return fits

    return run, lambda fits: summarize_fits(fits, rows, labels, test_rows, test_labels)


def build_uniclip_probe(num_samples: int, tolerances: list[float]) -> Side:
    from uniclip.evaluate.scoring.logistic_regression import LogisticRegression

    rows, labels, test_rows, test_labels = make_probe_data(num_samples)

    def run() -> Any:
        regression, fit, fits = LogisticRegression(rows, labels, PROBE_CLASSES), None, []
        for penalty, tolerance in zip(PENALTIES, tolerances):
            fit = regression.fit(penalty / num_samples, fit, tolerance)
            fits.append((fit.weight, fit.bias))
        return fits

    return run, lambda fits: summarize_fits(fits, rows, labels, test_rows, test_labels)


def summarize_fits(
    fits: Any, rows: Any, labels: Any, test_rows: Any, test_labels: Any
) -> dict[str, Any]:
    """Return loss, gradient and test accuracy at each penalty."""
    losses, gradients = zip(
        *(
            compute_loss_and_gradient(weight, bias, rows, labels, penalty / len(rows))
            for (weight, bias), penalty in zip(fits, PENALTIES)
        )
    )
    accuracy = [
        float(((test_rows @ weight.T + bias).argmax(axis=1) == test_labels).mean())
        for weight, bias in fits
    ]
    return {"loss": losses, "gradient": gradients, "accuracy": accuracy}


# ---- measuring -----------------------------------------------------------------------------------

SIDES = {
    "classifier uniclip": build_uniclip_classifier,
    "classifier peer": build_peer_classifier,
    "retrieval uniclip": build_uniclip_retrieval,
    "retrieval peer": build_peer_retrieval,
    "probe uniclip": build_uniclip_probe,
    "probe peer": build_peer_probe,
    "full uniclip": full_evaluation.build_uniclip_side,
    "full peer": full_evaluation.build_peer_side,
}
BOTH = ("uniclip", "peer")


def measure(side: str, arguments: list[Any]) -> dict[str, Any]:
    """Return CPU seconds, MiB beyond the inputs, and scores of one side, run in this process."""
    if "torch" in sys.modules or side != "retrieval uniclip":
        import torch

        torch.set_num_threads(1)
    run_side, to_scores = SIDES[side](*arguments)
    resident_before = psutil.Process().memory_info().rss
    start = time.process_time()
    result = run_side()
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    mib = max(0, peak - resident_before) / MIB
    return {"seconds": seconds, "mib": mib, "scores": to_scores(result)}


def measure_in_subprocess(side: str, *arguments: Any) -> dict[str, Any]:
    """Return `measure` of a side, run in a new process."""
    paths = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    output = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.evaluation", side, json.dumps(arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ).stdout
    measurement: dict[str, Any] = json.loads(output.splitlines()[-1])
    return measurement


def build_row(
    what: str, uniclip: dict[str, Any], peer: dict[str, Any], memory: bool
) -> dict[str, Any]:
    """Return one line of the table."""
    scores = {"uniclip": uniclip["scores"], "peer": peer["scores"]}
    return {
        "what": what,
        "uniclip (s)": uniclip["seconds"],
        "peer (s)": peer["seconds"],
        "peer / uniclip": peer["seconds"] / max(uniclip["seconds"], 1e-9),
        "uniclip (MiB)": uniclip["mib"],
        "peer (MiB)": peer["mib"],
        "peer / uniclip, memory": peer["mib"] / max(uniclip["mib"], 1e-9) if memory else None,
        **{f"scores, {side}": _format_scores(scores[side]) for side in BOTH},
    }


def run(options: Options) -> Table:
    """Return the table of this subject; empty if the peers are not installed."""
    table = Table("evaluation")
    missing = [name for name in ("clip_benchmark", "sklearn") if find_spec(name) is None]
    if missing:
        table.notes["not run"] = f"{' and '.join(missing)} not installed"
        return table
    table.rows = compare(options.quick)
    return table


def _format_scores(scores: dict[str, Any]) -> str:
    """Return names and numbers to five digits."""
    lists = {n: v if isinstance(v, (list, tuple)) else [v] for n, v in scores.items()}
    return "; ".join(f"{n} {' '.join(f'{x:.5g}' for x in v)}" for n, v in lists.items())


def compare(quick: bool) -> list[dict[str, Any]]:
    """Return one row for each comparison; each side runs in a process of its own."""
    size = 1 if quick else 0
    rows = []
    num_classes = NUM_CLASSES[size]
    what = f"zero-shot classifier, {num_classes} classes x 80 templates (peer: CLIP_benchmark)"
    sides = [measure_in_subprocess(f"classifier {side}", num_classes) for side in BOTH]
    rows.append(build_row(what, *sides, memory=False))
    with tempfile.TemporaryDirectory() as folder:
        num_images = NUM_IMAGES[size]
        write_features(Path(folder), num_images)
        shape = f"{num_images} x {num_images * CAPTIONS_PER_IMAGE}"
        sides = [measure_in_subprocess(f"retrieval {side}", folder) for side in BOTH]
        rows.append(build_row(f"retrieval, {shape} (peer: CLIP_benchmark)", *sides, memory=True))
    num_samples = PROBE_SAMPLES[size]
    peer = measure_in_subprocess("probe peer", num_samples)
    uniclip = measure_in_subprocess("probe uniclip", num_samples, peer["scores"]["gradient"])
    shape = f"{num_samples} x {PROBE_WIDTH}, {PROBE_CLASSES} classes, {len(PENALTIES)} penalties"
    what = f"linear probe, {shape} (peer: scikit-learn, to its gradient)"
    rows.append(build_row(what, uniclip, peer, memory=False))
    return [*rows, *compare_full_evaluation(quick)]


def compare_full_evaluation(quick: bool) -> list[dict[str, Any]]:
    """Return the row of a full evaluation, and the row of it without the image encoder."""
    with tempfile.TemporaryDirectory() as folder:
        full_evaluation.write_inputs(Path(folder), quick)
        sides = [measure_in_subprocess(f"full {side}", folder, quick) for side in BOTH]
    num_images = full_evaluation.NUM_IMAGES[int(quick)]
    what = f"zero-shot, probe and retrieval, {num_images} images (peer: both)"
    outside = [{**s, "seconds": s["seconds"] - s["scores"]["encoder s"]} for s in sides]
    return [
        build_row(what, *sides, memory=True),
        build_row(f"{what}, outside the image encoder", *outside, memory=False),
    ]


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], json.loads(sys.argv[2]))))
