"""One model on one folder of pictures with captions and labels: zero-shot, probe and retrieval.

CLIP_benchmark does each task by itself and embeds the test pictures for each; its probe wants CUDA,
so its features go to scikit-learn here, through the strengths that ours goes through. Pictures have
the model's own size: both sides see the same pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES, DEPTHS, BATCH = 10, (1, 5, 10), 64
TEMPLATE = "a photo of a {c}"
# (full, quick): pictures in all; vision width, layers, patch, side; text width, layers
PICTURES = (1_000, 200)
VISION = ((768, 12, 32, 224), (128, 2, 16, 64))
TEXT = ((512, 12), (128, 2))

Side = tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]


def write(folder: Path, quick: bool) -> None:
    """Pictures of ten kinds of stripes, captions, labels; and open_clip's model, as it draws it."""
    import torch

    size = int(quick)
    side, random, lines = VISION[size][3], np.random.default_rng(0), ["picture,caption,label"]
    at = np.arange(side)
    for i in range(PICTURES[size]):
        label = i % CLASSES
        turn = label * np.pi / CLASSES
        wave = np.sin((np.cos(turn) * at[:, None] + np.sin(turn) * at) / 3)[..., None]
        pixels = 128 + 60 * wave + random.normal(0, 30, (side, side, 3)) + random.normal(0, 20, 3)
        name = f"{i:05d}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name, quality=95)
        lines.append(f"{name},stripes of kind {label} number {i},kind {label}")
    (folder / "pictures.csv").write_text("\n".join(lines) + "\n")
    torch.save(model(size).state_dict(), folder / "weights.pt")


def model(size: int) -> Any:
    """open_clip's CLIP of that size; its weights are drawn anew."""
    import torch
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    width, layers, patch, side = VISION[size]
    vision = CLIPVisionCfg(width=width, layers=layers, patch_size=patch, image_size=side)
    words, depth = TEXT[size]
    text = CLIPTextCfg(width=words, layers=depth, heads=words // 64)
    return CLIP(512, vision, text).eval()


class Clock:
    """CPU seconds spent in one function of an object."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def on(self, owner: Any, name: str) -> Any:
        """While this lasts, calls of `owner.name` are counted."""
        function = getattr(owner, name)

        def counted(*words: Any, **named: Any) -> Any:
            begun = time.process_time()
            try:
                return function(*words, **named)
            finally:
                self.seconds += time.process_time() - begun

        setattr(owner, name, counted)
        yield
        setattr(owner, name, function)


def source(folder: str, quick: bool) -> Any:
    """The folder as a data section."""
    from uniclip.config import CsvData

    side = VISION[int(quick)][3]
    return CsvData(
        path=f"{folder}/pictures.csv", label_column="label", image_size=side, test_fraction=0.5
    )


def ours(folder: str, quick: bool) -> Side:
    from uniclip import evaluate
    from uniclip.checkpoints import importing

    pretrained, clock = importing.load_model(f"{folder}/weights.pt"), Clock()
    config = replace(pretrained.config, data=source(folder, quick))

    def act() -> Any:
        with clock.on(pretrained.embedder, "trunk"):
            return evaluate.evaluate("csv", pretrained, config)

    def said(found: Any) -> dict[str, Any]:
        scores = {s.name: s.value for s in found[0]}
        wanted = {
            "zero-shot": "zeroshot.label", "probe": "probe.label",
            **{f"{way} R@{k}": f"retrieval.{way}.r{k}" for way in ("i2t", "t2i") for k in DEPTHS},
        }  # fmt: skip
        return {"encoder s": clock.seconds, **{n: scores[name] for n, name in wanted.items()}}

    return act, said


class Labelled:
    """What CLIP_benchmark expects of a data set: samples, and its classes."""

    def __init__(self, paths: list[Path], truth: list[Any], classes: list[str], see: Any) -> None:
        self.paths, self.truth, self.classes, self.see = paths, truth, classes, see

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Any:
        return self.see(Image.open(self.paths[i])), self.truth[i]


def peer(folder: str, quick: bool) -> Side:
    import open_clip
    import torch
    from clip_benchmark.metrics import zeroshot_classification as zero_shot
    from clip_benchmark.metrics import zeroshot_retrieval
    from clip_benchmark.metrics.linear_probe import Featurizer

    from uniclip import data

    net, clock = model(int(quick)), Clock()
    net.load_state_dict(torch.load(f"{folder}/weights.pt"))
    see = open_clip.image_transform(VISION[int(quick)][3], is_train=False)
    tokenize = open_clip.tokenizer.SimpleTokenizer()
    parts = {p: data.open_split(source(folder, quick), p) for p in ("train", "validation", "test")}

    def loader(part: str, captions: bool = False) -> Any:
        split = parts[part]
        truth = [list(c) for c in split.captions] if captions else split.labels["label"].tolist()
        paths = [Path(path) for path in split.image_paths]
        pictures = Labelled(paths, truth, list(split.class_names["label"]), see)
        together = _lists if captions else None
        return torch.utils.data.DataLoader(pictures, batch_size=BATCH, collate_fn=together)

    def features(part: str) -> Any:
        seen, labels = zip(*((Featurizer(net)(x), y) for x, y in loader(part)))
        return torch.cat(seen).numpy().astype(np.float64), torch.cat(labels).numpy()

    def act() -> Any:
        with torch.no_grad(), clock.on(net, "encode_image"):
            test = loader("test")
            classes = test.dataset.classes
            classifier = zero_shot.zero_shot_classifier(
                net, tokenize, classes, [TEMPLATE], "cpu", amp=False
            )
            logits, truth = zero_shot.run_classification(net, classifier, test, "cpu", amp=False)
            zero = float((logits.argmax(1) == truth).float().mean())
            probed = _probed(*(features(part) for part in parts))
            found = zeroshot_retrieval.evaluate(
                net, loader("test", True), tokenize, "cpu", amp=False, recall_k_list=list(DEPTHS)
            )
        return zero, probed, found

    def said(given: Any) -> dict[str, Any]:
        zero, probed, found = given
        ways = {"i2t": "text", "t2i": "image"}
        recalls = {
            f"{way} R@{k}": found[f"{name}_retrieval_recall@{k}"]
            for way, name in ways.items()
            for k in DEPTHS
        }
        return {"encoder s": clock.seconds, "zero-shot": zero, "probe": probed, **recalls}

    return act, said


def _lists(samples: list[Any]) -> Any:
    import torch

    return torch.stack([picture for picture, _ in samples]), [own for _, own in samples]


def _probed(train: Any, validation: Any, test: Any) -> float:
    """scikit-learn along the strengths of our probe, to its gradient; refit on both."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from uniclip.evaluate.protocols.protocol import GRADIENT_TOLERANCE, L2_VALUES

    scaler = StandardScaler().fit(train[0])
    parts = (train, validation, test)
    (x, y), (xv, yv), (xt, yt) = ((scaler.transform(rows), own) for rows, own in parts)
    peer = LogisticRegression(tol=GRADIENT_TOLERANCE, max_iter=1_000, warm_start=True)
    found = []
    for strength in L2_VALUES:
        peer.set_params(C=1 / (strength * len(x))).fit(x, y)
        found.append((peer.score(xv, yv), strength))
    both = np.concatenate([x, xv]), np.concatenate([y, yv])
    peer.set_params(C=1 / (max(found)[1] * len(both[0]))).fit(*both)
    return float(peer.score(xt, yt))
