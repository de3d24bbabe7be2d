"""Ours beside CLIP_benchmark 1.6 on the same model and pictures, from the files to the scores.

Where definitions agree the numbers are equal; docs/evaluation.md lists where they do not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from sklearn.metrics import average_precision_score

from tests.helpers.small_runs import claimed, opened, tiny
from uniclip import data, evaluate
from uniclip import run as run_module
from uniclip.checkpoints import importing
from uniclip.checkpoints.exporting import export
from uniclip.checkpoints.load import load
from uniclip.config import OpenmojiData
from uniclip.evaluate import metrics
from uniclip.evaluate.datasets.images import ArrayReader, ImageDataset
from uniclip.evaluate.datasets.readers import webdataset

INSTALL = "pip install --no-deps 'clip-benchmark==1.6.*'"
classification = pytest.importorskip(
    "clip_benchmark.metrics.zeroshot_classification", reason=INSTALL
)
retrieval = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval", reason=INSTALL)

COUNT, DEPTHS = 24, (1, 5, 10)
TEMPLATE = "a photo of a {}."
MODEL = {
    "image": {
        "name": "vit_base_patch32_clip_quickgelu_224",
        "image_size": 32,
        "options": {"patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 1},
    },
    "text": {
        "width": 64, "layers": 2, "heads": 1, "context_length": 77, "vocab_size": 49408,
        "tokenizer": "clip",
    },
    "embed_dim": 32,
}  # fmt: skip


@pytest.fixture(scope="module", params=["ViT-S-32, random", "trained on openmoji"])
def both(request, tmp_path_factory):
    """One model as ours and as open_clip's, with open_clip's transform and tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    if "random" in request.param:
        torch.manual_seed(0)
        peer_model, _, transform = open_clip.create_model_and_transforms("ViT-S-32")
        torch.save(peer_model.state_dict(), folder / "weights.pt")
        return (
            importing.load_model(folder / "weights.pt"),
            Remembering(peer_model.eval()),
            transform,
        )
    of = tiny(
        data={"name": "openmoji", "image_size": 32},
        model=MODEL,
        method={"name": "clip"},
        train={"steps": 10, "batch_size": 32, "validate_every": 10, "learning_rate": 2e-3},
    )
    run = opened(folder / "store", of)
    assert run_module.execute_run(run, of, claimed(run), evaluations={}) == "trained"
    ours = load(run.path)
    export(ours, folder / "exported", "open_clip")
    where = f"local-dir:{folder / 'exported'}"
    peer_model, _, transform = open_clip.create_model_and_transforms(where)
    return ours, Remembering(peer_model.eval()), transform


class Remembering:
    """A model that embeds each batch of pictures once: a ViT takes its time."""

    def __init__(self, model):
        self.encode_text, self._encode, self._seen = model.encode_text, model.encode_image, {}

    def encode_image(self, pixels):
        """Rows of a batch (b, 3, H, W)."""
        key = hash(pixels.numpy().tobytes())
        if key not in self._seen:
            self._seen[key] = self._encode(pixels)
        return self._seen[key]


def accuracy(output, target, topk=(1,)):
    """CLIP_benchmark's own, but for its last line: numpy 2.4 makes no number of an array of one."""
    pred = output.topk(max(topk), 1, True, True)[1].t()
    correct = pred.eq(target.view(1, -1).expand_as(pred))
    return [float(correct[:k].reshape(-1).float().sum()) / len(target) for k in topk]


classification.accuracy = accuracy


@pytest.fixture(scope="module")
def emoji():
    """Some emoji, (n, 3, 90, 90) uint8, their categories and names."""
    source = OpenmojiData(image_size=90)
    test = data.open_split(source, "test")
    chosen = np.linspace(0, len(test) - 1, COUNT).astype(int)
    labels = test.labels["category"][chosen]
    return test.load_pixels(chosen), labels, [test.sample_names[i] for i in chosen]


def written(folder, kind, emoji):
    """The emoji as shards, of another size each; what CLIP_benchmark's loader gives of them."""
    pixels, labels, names = emoji
    classes = tuple(f"class {c}" for c in range(labels.max() + 1))
    several = np.stack([labels == c for c in range(len(classes))], axis=1).astype(np.int64)
    several[np.arange(COUNT), (labels + np.arange(COUNT)) % len(classes)] = 1
    truth = {
        "classification": {"labels": labels, "classes": classes},
        "multilabel": {"labels": several, "classes": classes},
        "retrieval": {"captions": tuple((n, f"{n}, number {i}") for i, n in enumerate(names))},
    }[kind]
    metric = {"classification": "accuracy", "multilabel": "map", "retrieval": "recall"}[kind]
    pictures = ImageDataset(
        name="emoji", split="test", kind=kind, metric=metric, reader=Sized(pixels),
        ids=tuple(map(str, range(COUNT))), **truth,
    )  # fmt: skip
    webdataset.write_shards(pictures, folder)
    return pictures


class Sized(ArrayReader):
    """Pictures that are cut to other widths and heights."""

    def __call__(self, i):
        """Picture `i`."""
        return super().__call__(i).crop((0, 0, 90 - 7 * (i % 5), 90 - 5 * (i % 7)))


def scored(model, folder, protocol):
    config = replace(model.config, runtime=replace(model.config.runtime, protocol=protocol))
    scores, predictions = evaluate.evaluate(f"wds:{folder}", model, config, folder / "cache")
    return {s.name: s.value for s in scores}, predictions


class Loader:
    """Batches as CLIP_benchmark's loader gives them."""

    def __init__(self, pictures, transform, truth):
        self.dataset = pictures
        self.batches = [
            (torch.stack([transform(pictures.load_image(i)) for i in few]), truth(few))
            for few in np.array_split(np.arange(COUNT), 3)
        ]

    def __iter__(self):
        return iter(self.batches)


def theirs_on(pictures, model, transform):
    loader = Loader(pictures, transform, lambda few: torch.from_numpy(pictures.labels[few]))
    templates = [TEMPLATE.replace("{}", "{c}")]
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    return classification.evaluate(
        model, loader, tokenizer, list(pictures.classes), templates, "cpu", amp=False
    )


def pixels_first(emoji):
    pixels, labels, names = emoji
    return pixels.transpose(0, 2, 3, 1), labels, names


def test_accuracy_and_mean_per_class(both, emoji, tmp_path):
    ours, peer_model, transform = both
    pictures = written(tmp_path, "classification", pixels_first(emoji))
    expected = theirs_on(pictures, peer_model, transform)
    found, _ = scored(ours, tmp_path, "clip2021")
    assert found["zeroshot"] == pytest.approx(expected["acc1"], abs=1e-6)
    assert found["zeroshot.top5"] == pytest.approx(expected["acc5"], abs=1e-6)
    per_class = expected["mean_per_class_recall"]
    assert found["zeroshot.mean_per_class"] == pytest.approx(per_class, abs=1e-6)


def test_recall_both_ways(both, emoji, tmp_path):
    ours, peer_model, transform = both
    pictures = written(tmp_path, "retrieval", pixels_first(emoji))
    captions = [list(c) for c in pictures.captions]
    loader = Loader(pictures, transform, lambda few: [captions[i] for i in few])
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    expected = retrieval.evaluate(
        peer_model, loader, tokenizer, "cpu", amp=False, recall_k_list=list(DEPTHS)
    )
    found, _ = scored(ours, tmp_path, "laion_cb")
    for k in DEPTHS:
        to_text = expected[f"text_retrieval_recall@{k}"]
        assert found[f"retrieval.i2t.r{k}"] == pytest.approx(to_text, abs=1e-6)
        to_image = expected[f"image_retrieval_recall@{k}"]
        assert found[f"retrieval.t2i.r{k}"] == pytest.approx(to_image, abs=1e-6)


def test_mean_average_precision(both, emoji, tmp_path):
    ours, peer_model, transform = both
    pictures = written(tmp_path, "multilabel", pixels_first(emoji))
    expected = theirs_on(pictures, peer_model, transform)["mean_average_precision"]
    found, kept = scored(ours, tmp_path, "laion_cb")
    assert found["zeroshot"] == pytest.approx(expected, abs=1e-6)
    scores, labels = kept["zeroshot.scores"], pictures.labels
    by_class = [average_precision_score(labels[:, c], scores[:, c]) for c in range(labels.shape[1])]
    assert found["zeroshot"] == pytest.approx(np.mean(by_class), abs=1e-6)
    found, kept = scored(ours, tmp_path, "clip2021")
    scores = kept["zeroshot.scores"]
    literal = [eleven_point(scores[:, c], labels[:, c]) for c in range(labels.shape[1])]
    assert found["zeroshot"] == pytest.approx(np.mean(literal), abs=1e-6)


def eleven_point(scores, truth):
    """VOC 2007's development kit, line by line (Everingham et al., 2007, VOCevalcls.m)."""
    order = np.argsort(-scores, kind="stable")
    tp = np.cumsum(truth[order] > 0)
    fp = np.cumsum(truth[order] <= 0)
    recall, precision = tp / (truth > 0).sum(), tp / (tp + fp)
    ap = 0.0
    for t in np.arange(0, 1.1, 0.1):
        reached = precision[recall >= t - 1e-12]
        ap += (reached.max() if len(reached) else 0.0) / 11
    return ap


def test_accuracy_equals_clip_benchmark_for_any_number_of_classes():
    random = np.random.default_rng(0)
    for classes in (2, 5, 30):
        scores = random.normal(size=(400, classes)).astype(np.float32)
        labels = random.integers(0, max(2, classes - 2), 400)  # some class may have no picture
        top = min(classes, 5)
        logits, target = torch.from_numpy(scores), torch.from_numpy(labels)
        expected = classification.accuracy(logits, target, topk=(1, top))
        found = [metrics.top_k_correct(scores, labels, k).mean() for k in (1, top)]
        assert found == pytest.approx(expected, abs=1e-6)
        balanced = classification.balanced_accuracy_score(labels, scores.argmax(1))
        outcome = metrics.top_k_correct(scores, labels)
        assert metrics.mean_per_class(outcome, labels) == pytest.approx(balanced, abs=1e-6)
