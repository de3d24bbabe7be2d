"""Evaluation beside its peers: CLIP_benchmark 1.6 and scikit-learn, on the same model and data.

Every side runs in a process of its own, on one thread, and says its CPU seconds, the memory that it
took on top of what it was given, and its scores: numbers that differ would make the times nothing.
CLIP_benchmark's linear probe wants CUDA, so the probe's peer is scikit-learn. The peers do not come
with us: `make bench` installs CLIP_benchmark into its environment, without what it depends on.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.benchmarks import whole
from tests.benchmarks.table import Options, Table

ROOT = Path(__file__).resolve().parent.parent.parent
MIB = 2**20

# (full, quick)
CLASSES = (100, 20)
PICTURES = (5_000, 1_000)
CAPTIONS_OF_ONE = 5
WIDTH = 512
PROBED = (8_000, 2_000)
PROBE_WIDTH, PROBE_CLASSES = 512, 100
PATH = (1e4, 1e2, 1.0, 1e-2)
"""Strengths beside the summed loss, from strong to weak, each warm-started from the one before."""
GRADIENT = 1e-6
"""What the published protocols ask for at 100 classes: 1e-4 / classes."""
DEPTHS = (1, 5, 10)


# ---- zero-shot classifier ------------------------------------------------------------------------


def text_model() -> Any:
    """A text tower of width 256 and 6 layers with 77 positions, and its tokenizer."""
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
            "model": {"text": {"width": 256, "layers": 6, "heads": 4, "context": 77}},
        }
    )
    names, templates = prompt_parts(100)
    texts = [t.replace("{}", n) for t in templates for n in names]
    vocabulary = tokenizer.train_bpe(texts, 4096)
    method = methods.build_method(config)
    return PretrainedModel(
        build_embedder(config, vocabulary, method.head_type), method, vocabulary, config
    )


def prompt_parts(classes: int) -> tuple[list[str], list[str]]:
    """The first names of ImageNet's classes, and its 80 templates."""
    from uniclip.evaluate import prompts

    listed = json.loads((prompts.DATA_FOLDER / "names.json").read_text())["sets"]["imagenet"][
        "names"
    ]
    return [own[0] for own in listed.values()][:classes], list(prompts.get_templates("imagenet80"))


def classifier_ours(classes: int) -> tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]:
    from uniclip.evaluate.scoring import zero_shot

    model, (names, templates) = text_model(), prompt_parts(classes)
    asked = [zero_shot.fill_templates(templates, [name]) for name in names]
    return lambda: zero_shot.build_classifier(model.embed_texts, asked), rows_said


def classifier_peer(classes: int) -> tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]:
    import torch
    from clip_benchmark.metrics.zeroshot_classification import zero_shot_classifier

    model, (names, templates) = text_model(), prompt_parts(classes)
    model.embedder.eval()
    context = model.config.model.text.context

    class Clip(torch.nn.Module):
        def encode_text(self, tokens: Any) -> Any:
            return model.embedder.texts(tokens)

    def tokenize(texts: list[str]) -> Any:
        rows = model.tokenizer.encode(texts, context)
        padded = np.full((len(rows), context), model.tokenizer.pad, np.int64)
        padded[:, : rows.shape[1]] = rows
        return torch.from_numpy(padded)

    filled = [t.replace("{}", "{c}") for t in templates]

    def act() -> Any:
        made = zero_shot_classifier(Clip(), tokenize, names, filled, "cpu", amp=False)
        return made.T.numpy()

    return act, rows_said


def rows_said(rows: Any) -> dict[str, Any]:
    """A few numbers of a classifier, to be compared."""
    return {"first": np.asarray(rows[0, :4], np.float64).tolist(), "rows": len(rows)}


# ---- retrieval -----------------------------------------------------------------------------------


def features(folder: str) -> tuple[Any, Any, Any]:
    """Pictures (n, D), captions (m, D) and the picture of each caption (m,), in memory."""
    return tuple(np.load(Path(folder) / f"{n}.npy") for n in ("images", "texts", "owner"))


def write_features(folder: Path, pictures: int) -> None:
    """Unit rows of pictures and of five captions each, that find each other in part."""
    random = np.random.default_rng(0)
    images = random.normal(size=(pictures, WIDTH)).astype(np.float32)
    owner = np.repeat(np.arange(pictures), CAPTIONS_OF_ONE)
    texts = images[owner] + 5.5 * random.normal(size=(len(owner), WIDTH)).astype(np.float32)
    for name, rows in {"images": images, "texts": texts}.items():
        np.save(folder / f"{name}.npy", rows / np.linalg.norm(rows, axis=1, keepdims=True))
    np.save(folder / "owner.npy", owner)


def retrieval_ours(folder: str) -> tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]:
    from uniclip.evaluate.scoring import retrieval

    images, texts, owner = features(folder)
    relation = retrieval.ImageTextPairs(
        tuple(map(str, range(len(owner)))), owner, np.arange(len(owner))
    )

    def said(found: Any) -> dict[str, Any]:
        return {
            f"{way} R@{k}": float(ranks.hits(k).mean())
            for way, ranks in zip(("i2t", "t2i"), found)
            for k in DEPTHS
        }

    return lambda: retrieval.rank_both_ways(images, texts, relation, tie=0), said


def retrieval_peer(folder: str) -> tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]:
    import torch
    from clip_benchmark.metrics import zeroshot_retrieval

    images, texts, owner = (torch.from_numpy(rows) for rows in features(folder))
    own = torch.arange(len(owner)).view(-1, CAPTIONS_OF_ONE).tolist()

    class Clip:
        def encode_image(self, rows: Any) -> Any:
            return rows

        def encode_text(self, which: Any) -> Any:
            return texts[which]

    batches = [(images[i : i + 64], own[i : i + 64]) for i in range(0, len(images), 64)]

    def act() -> Any:
        return zeroshot_retrieval.evaluate(
            Clip(), batches, torch.tensor, "cpu", amp=False, recall_k_list=list(DEPTHS)
        )

    def said(found: Any) -> dict[str, Any]:
        names = {"i2t": "text_retrieval", "t2i": "image_retrieval"}
        return {
            f"{way} R@{k}": found[f"{name}_recall@{k}"]
            for way, name in names.items()
            for k in DEPTHS
        }

    return act, said


# ---- linear probe --------------------------------------------------------------------------------


def probe_data(samples: int) -> tuple[Any, Any, Any, Any]:
    """Features like an encoder's: classes overlap, and variance falls off along correlated axes."""
    random = np.random.default_rng(0)
    labels = random.integers(0, PROBE_CLASSES, 2 * samples)
    centres = 0.5 * random.normal(size=(PROBE_CLASSES, PROBE_WIDTH))
    rows = centres[labels] + random.normal(size=(2 * samples, PROBE_WIDTH))
    rows *= np.exp(-3 * np.arange(PROBE_WIDTH) / PROBE_WIDTH)
    turn = np.linalg.qr(random.normal(size=(PROBE_WIDTH, PROBE_WIDTH)))[0]
    rows = (rows @ turn).astype(np.float32)
    return rows[:samples], labels[:samples], rows[samples:], labels[samples:]


def reached(weight: Any, bias: Any, rows: Any, labels: Any, strength: float) -> tuple[float, float]:
    """The mean loss and its gradient's largest component, in float64, written down plainly."""
    logits = rows.astype(np.float64) @ weight.T.astype(np.float64) + bias
    logits -= logits.max(axis=1, keepdims=True)
    residual = np.exp(logits)
    total = residual.sum(axis=1, keepdims=True)
    place = np.arange(len(rows)), labels
    loss = (np.log(total[:, 0]) - logits[place]).mean() + strength / 2 * (weight**2).sum()
    residual /= total
    residual[place] -= 1
    residual /= len(rows)
    gradient = residual.T @ rows.astype(np.float64) + strength * weight
    return float(loss), float(max(np.abs(gradient).max(), np.abs(residual.sum(axis=0)).max()))


def probe_peer(samples: int) -> tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]:
    from sklearn.linear_model import LogisticRegression

    rows, labels, test, truth = probe_data(samples)
    exact = rows.astype(np.float64)  # in float32 it stops far above this gradient

    def act() -> Any:
        peer = LogisticRegression(tol=GRADIENT, max_iter=1_000, warm_start=True)
        found = []
        for strength in PATH:
            peer.set_params(C=1 / strength).fit(exact, labels)
            found.append((peer.coef_.copy(), peer.intercept_.copy()))
        return found

    return act, lambda found: probes_said(found, rows, labels, test, truth)


def probe_ours(
    samples: int, tolerances: list[float]
) -> tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]:
    from uniclip.evaluate.scoring.logistic_regression import LogisticRegression

    rows, labels, test, truth = probe_data(samples)

    def act() -> Any:
        problem, probe, found = LogisticRegression(rows, labels, PROBE_CLASSES), None, []
        for strength, tolerance in zip(PATH, tolerances):
            probe = problem.fit(strength / samples, probe, tolerance)
            found.append((probe.weight, probe.bias))
        return found

    return act, lambda found: probes_said(found, rows, labels, test, truth)


def probes_said(found: Any, rows: Any, labels: Any, test: Any, truth: Any) -> dict[str, Any]:
    """Loss, gradient and test accuracy at each strength."""
    strengths = [s / len(rows) for s in PATH]
    losses, gradients = zip(
        *(reached(w, b, rows, labels, s) for (w, b), s in zip(found, strengths))
    )
    accuracy = [float(((test @ w.T + b).argmax(axis=1) == truth).mean()) for w, b in found]
    return {"loss": losses, "gradient": gradients, "accuracy": accuracy}


# ---- measuring -----------------------------------------------------------------------------------

SIDES = {
    "classifier ours": classifier_ours,
    "classifier peer": classifier_peer,
    "retrieval ours": retrieval_ours,
    "retrieval peer": retrieval_peer,
    "probe ours": probe_ours,
    "probe peer": probe_peer,
    "whole ours": whole.ours,
    "whole peer": whole.peer,
}


def measure(side: str, arguments: list[Any]) -> dict[str, Any]:
    """CPU seconds of one side, MiB on top of what it was given, and its scores; in this process."""
    if "torch" in sys.modules or side != "retrieval ours":
        import torch

        torch.set_num_threads(1)
    act, said = SIDES[side](*arguments)
    before = psutil.Process().memory_info().rss
    begun = time.process_time()
    found = act()
    seconds = time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "mib": max(0, peak - before) / MIB, "scores": said(found)}


def apart(side: str, *arguments: Any) -> dict[str, Any]:
    """`measure` in a process of its own."""
    paths = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.evaluation", side, json.dumps(arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(what: str, ours: dict[str, Any], peer: dict[str, Any], memory: bool) -> dict[str, Any]:
    """One line of the table."""
    return {
        "what": what,
        "ours": ours,
        "peer": peer,
        "ratio": peer["seconds"] / max(ours["seconds"], 1e-9),
        "memory ratio": peer["mib"] / max(ours["mib"], 1e-9) if memory else None,
    }


def run(options: Options) -> Table:
    """Compare, and return the table; empty without the peers."""
    table = Table("evaluation")
    lacking = [name for name in ("clip_benchmark", "sklearn") if find_spec(name) is None]
    if lacking:
        table.notes["not run"] = f"{' and '.join(lacking)} not installed"
        return table
    table.rows = [_flat(found) for found in compared(options.quick)]
    return table


def _flat(found: dict[str, Any]) -> dict[str, Any]:
    """One line of the Markdown table."""
    return {
        "what": found["what"],
        "ours (s)": found["ours"]["seconds"],
        "peer (s)": found["peer"]["seconds"],
        "peer / ours": found["ratio"],
        "ours (MiB)": found["ours"]["mib"],
        "peer (MiB)": found["peer"]["mib"],
        **{f"scores, {side}": _brief(found[side]["scores"]) for side in ("ours", "peer")},
    }


def _brief(scores: dict[str, Any]) -> str:
    """Names and numbers in few digits."""
    many = {n: v if isinstance(v, (list, tuple)) else [v] for n, v in scores.items()}
    return "; ".join(f"{n} {' '.join(f'{x:.5g}' for x in v)}" for n, v in many.items())


def compared(quick: bool) -> list[dict[str, Any]]:
    """Each comparison, in processes of their own."""
    size = 1 if quick else 0
    rows = []
    classes = CLASSES[size]
    what = f"zero-shot classifier, {classes} classes x 80 templates (peer: CLIP_benchmark)"
    made = [apart(f"classifier {side}", classes) for side in ("ours", "peer")]
    rows.append(row(what, *made, memory=False))
    with tempfile.TemporaryDirectory() as folder:
        pictures = PICTURES[size]
        write_features(Path(folder), pictures)
        what = f"retrieval, {pictures} x {pictures * CAPTIONS_OF_ONE} (peer: CLIP_benchmark)"
        made = [apart(f"retrieval {side}", folder) for side in ("ours", "peer")]
        rows.append(row(what, *made, memory=True))
    samples = PROBED[size]
    peer = apart("probe peer", samples)
    ours = apart("probe ours", samples, peer["scores"]["gradient"])
    what = (
        f"linear probe, {samples} x {PROBE_WIDTH}, {PROBE_CLASSES} classes, {len(PATH)} strengths"
    )
    rows.append(row(f"{what} (peer: scikit-learn, to its gradient)", ours, peer, memory=False))
    return [*rows, *whole_rows(quick)]


def whole_rows(quick: bool) -> list[dict[str, Any]]:
    """One model on one folder: all of it, and what is not the image encoder."""
    with tempfile.TemporaryDirectory() as folder:
        whole.write(Path(folder), quick)
        made = [apart(f"whole {side}", folder, quick) for side in ("ours", "peer")]
    what = f"zero-shot, probe and retrieval, {whole.PICTURES[int(quick)]} pictures (peer: both)"
    outside = [{**m, "seconds": m["seconds"] - m["scores"]["encoder s"]} for m in made]
    return [
        row(what, *made, memory=True),
        row(f"{what}, outside the image encoder", *outside, memory=False),
    ]


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], json.loads(sys.argv[2]))))
