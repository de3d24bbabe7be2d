"""One model on one folder of images with captions and labels: zero-shot, probe and retrieval.

CLIP_benchmark runs each task by itself and embeds the test images for each. Its probe needs CUDA,
so its features go to scikit-learn here, with the same penalties as uniclip's probe. Images have the
input size of the model: both sides see the same pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NUM_CLASSES, RECALL_DEPTHS, BATCH_SIZE = 10, (1, 5, 10), 64
TEMPLATE = "a photo of a {c}"
# (full, quick): number of images; vision width, layers, patch, image size; text width, layers
NUM_IMAGES = (1_000, 200)
VISION = ((768, 12, 32, 224), (128, 2, 16, 64))
TEXT = ((512, 12), (128, 2))

Side = tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]
"""The measured function, and a function of its result that returns the scores."""


def write_inputs(folder: Path, quick: bool) -> None:
    """Write images of ten kinds of stripes, their CSV, and the weights of a random model."""
    import torch

    size = int(quick)
    image_size, random = VISION[size][3], np.random.default_rng(0)
    lines = ["image,caption,label"]
    coordinate = np.arange(image_size)
    for i in range(NUM_IMAGES[size]):
        label = i % NUM_CLASSES
        angle = label * np.pi / NUM_CLASSES
        phase = np.cos(angle) * coordinate[:, None] + np.sin(angle) * coordinate
        wave = np.sin(phase / 3)[..., None]
        noise = random.normal(0, 30, (image_size, image_size, 3)) + random.normal(0, 20, 3)
        pixels = 128 + 60 * wave + noise
        name = f"{i:05d}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name, quality=95)
        lines.append(f"{name},stripes of kind {label} number {i},kind {label}")
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    torch.save(build_peer_model(size).state_dict(), folder / "weights.pt")


def build_peer_model(size: int) -> Any:
    """Return open_clip's CLIP of that size, with random weights."""
    import torch
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    width, layers, patch, image_size = VISION[size]
    vision = CLIPVisionCfg(width=width, layers=layers, patch_size=patch, image_size=image_size)
    text_width, text_layers = TEXT[size]
    text = CLIPTextCfg(width=text_width, layers=text_layers, heads=text_width // 64)
    return CLIP(512, vision, text).eval()


class CallTimer:
    """The CPU seconds spent in one method of an object."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def timing(self, owner: Any, name: str) -> Iterator[None]:
        """Count the calls of `owner.name` inside the block."""
        function = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - start

        setattr(owner, name, timed)
        yield
        setattr(owner, name, function)


def build_data_config(folder: str, quick: bool) -> Any:
    """Return the folder as a data section."""
    from uniclip.config import CsvData

    return CsvData(
        path=f"{folder}/images.csv",
        image_column="image",
        label_column="label",
        image_size=VISION[int(quick)][3],
        test_fraction=0.5,
    )


def build_uniclip_side(folder: str, quick: bool) -> Side:
    """Return uniclip's evaluation of the model on the folder."""
    from uniclip import evaluate
    from uniclip.checkpoints import importing

    pretrained, encoder_timer = importing.load_model(f"{folder}/weights.pt"), CallTimer()
    config = replace(pretrained.config, data=build_data_config(folder, quick))

    def run() -> Any:
        with encoder_timer.timing(pretrained.embedder, "compute_image_features"):
            return evaluate.evaluate("csv", pretrained, config)

    def to_scores(results: Any) -> dict[str, Any]:
        scores = {s.name: s.value for s in results[0]}
        score_names = {
            "zero-shot": "zeroshot.label", "probe": "probe.label",
            **{
                f"{way} R@{k}": f"retrieval.{way}.r{k}"
                for way in ("i2t", "t2i") for k in RECALL_DEPTHS
            },
        }  # fmt: skip
        return {
            "encoder s": encoder_timer.seconds,
            **{label: scores[name] for label, name in score_names.items()},
        }

    return run, to_scores


class LabelledImages:
    """A data set as CLIP_benchmark takes it: samples, and the names of its classes."""

    def __init__(
        self, paths: list[Path], targets: list[Any], classes: list[str], preprocess: Any
    ) -> None:
        self.paths, self.targets, self.classes = paths, targets, classes
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Any:
        return self.preprocess(Image.open(self.paths[i])), self.targets[i]


def build_peer_side(folder: str, quick: bool) -> Side:
    """Return CLIP_benchmark's evaluation, with scikit-learn's probe, of the same model and data."""
    import open_clip
    import torch
    from clip_benchmark.metrics import zeroshot_classification as zero_shot
    from clip_benchmark.metrics import zeroshot_retrieval
    from clip_benchmark.metrics.linear_probe import Featurizer

    from uniclip import data

    model, encoder_timer = build_peer_model(int(quick)), CallTimer()
    model.load_state_dict(torch.load(f"{folder}/weights.pt"))
    preprocess = open_clip.image_transform(VISION[int(quick)][3], is_train=False)
    tokenize = open_clip.tokenizer.SimpleTokenizer()
    split_names = ("train", "validation", "test")
    data_config = build_data_config(folder, quick)
    splits = {name: data.open_split(data_config, name) for name in split_names}

    def build_loader(split_name: str, with_captions: bool = False) -> Any:
        split = splits[split_name]
        captions = [list(c) for c in split.captions]
        targets = captions if with_captions else split.labels["label"].tolist()
        paths = [Path(path) for path in split.image_paths]
        images = LabelledImages(paths, targets, list(split.class_names["label"]), preprocess)
        collate = _collate_captions if with_captions else None
        return torch.utils.data.DataLoader(images, batch_size=BATCH_SIZE, collate_fn=collate)

    def embed(split_name: str) -> Any:
        batches = ((Featurizer(model)(x), y) for x, y in build_loader(split_name))
        features, labels = zip(*batches)
        return torch.cat(features).numpy().astype(np.float64), torch.cat(labels).numpy()

    def run() -> Any:
        with torch.no_grad(), encoder_timer.timing(model, "encode_image"):
            test_loader = build_loader("test")
            classifier = zero_shot.zero_shot_classifier(
                model, tokenize, test_loader.dataset.classes, [TEMPLATE], "cpu", amp=False
            )
            logits, targets = zero_shot.run_classification(
                model, classifier, test_loader, "cpu", amp=False
            )
            zero_shot_accuracy = float((logits.argmax(1) == targets).float().mean())
            probe_accuracy = _fit_sklearn_probe(*(embed(name) for name in split_names))
            recalls = zeroshot_retrieval.evaluate(
                model,
                build_loader("test", True),
                tokenize,
                "cpu",
                amp=False,
                recall_k_list=list(RECALL_DEPTHS),
            )
        return zero_shot_accuracy, probe_accuracy, recalls

    def to_scores(results: Any) -> dict[str, Any]:
        zero_shot_accuracy, probe_accuracy, recalls = results
        directions = {"i2t": "text", "t2i": "image"}
        return {
            "encoder s": encoder_timer.seconds,
            "zero-shot": zero_shot_accuracy,
            "probe": probe_accuracy,
            **{
                f"{way} R@{k}": recalls[f"{name}_retrieval_recall@{k}"]
                for way, name in directions.items()
                for k in RECALL_DEPTHS
            },
        }

    return run, to_scores


def _collate_captions(samples: list[Any]) -> Any:
    import torch

    return torch.stack([image for image, _ in samples]), [captions for _, captions in samples]


def _fit_sklearn_probe(train: Any, validation: Any, test: Any) -> float:
    """Return the test accuracy of scikit-learn's probe.

    The penalty is the best of uniclip's by validation accuracy, fitted to the same tolerance; the
    final fit is on training and validation samples.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from uniclip.evaluate.protocols.protocol import GRADIENT_TOLERANCE, L2_VALUES

    scaler = StandardScaler().fit(train[0])
    (x, y), (x_validation, y_validation), (x_test, y_test) = (
        (scaler.transform(features), labels) for features, labels in (train, validation, test)
    )
    probe = LogisticRegression(tol=GRADIENT_TOLERANCE, max_iter=1_000, warm_start=True)
    accuracies = []
    for l2 in L2_VALUES:
        probe.set_params(C=1 / (l2 * len(x))).fit(x, y)
        accuracies.append((probe.score(x_validation, y_validation), l2))
    x, y = np.concatenate([x, x_validation]), np.concatenate([y, y_validation])
    probe.set_params(C=1 / (max(accuracies)[1] * len(x))).fit(x, y)
    return float(probe.score(x_test, y_test))
