"""The search for copies of training images by embedding, cached by training data, set and model.

Embeddings of the training images, the calibration and the verdicts on each data set are in the
store's cache. Of each run, the last verdicts are noted for reports, which need neither images nor
the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniclip import data
from uniclip.evaluate.cache import Cache, locate_note
from uniclip.evaluate.checks.embedding_copies import (
    VERSION,
    Calibration,
    TrainingImages,
    calibrate,
    find_copies,
)
from uniclip.evaluate.metrics import Numbers
from uniclip.io import hashing

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.config import DataConfig
    from uniclip.data import Split
    from uniclip.evaluate.benchmarks.published import PublishedBenchmark
    from uniclip.evaluate.datasets.images import ImageDataset

FOLDER = "leakage"
"""Folder of these files in the cache of a store."""
ReportProgress = Callable[[int, int], object]
"""Called with the number of training images that are embedded, and that of all."""


@dataclass(frozen=True, kw_only=True)
class CopyVerdicts:
    """The verdicts on the test images of a data set."""

    verdicts: NDArray[np.int8]
    """(n,), as `embedding_copies.find_copies` returns them."""
    calibration: Calibration
    model: str
    """What the model is called."""


@dataclass(frozen=True)
class CopySearch:
    """Searches test images for copies of the training images of a run."""

    pretrained: PretrainedModel
    """The model whose embeddings are compared: any, not only that of the run."""
    model_name: str
    weights_hash: str
    cache_folder: Path
    report_progress: ReportProgress = lambda done, total: None
    _training_images: dict[str, tuple[TrainingImages, Calibration]] = field(default_factory=dict)

    def find(
        self,
        benchmark: PublishedBenchmark,
        data_config: DataConfig,
        train_fingerprint: Mapping[str, Any],
    ) -> CopyVerdicts | None:
        """Return the verdicts on the test images of a data set; None if it is missing.

        Args:
            benchmark: The data set.
            data_config: The training data.
            train_fingerprint: What their images depend on.
        """
        dataset = benchmark.resolve_dataset()
        if dataset.describe_missing(benchmark.root, ("test",)) is not None:
            return None
        train, calibration = self._open_training_images(data_config, train_fingerprint)
        test = dataset.open(benchmark.root, "test")
        key = {
            **self._build_key(train_fingerprint),
            "test": dataset.fingerprint(benchmark.root, ("test",)),
        }
        arrays = self._cache.get_or_compute(
            {**key, "kind": "verdicts"}, lambda: {"array": self._search(test, train, calibration)}
        )
        return CopyVerdicts(
            verdicts=arrays["array"], calibration=calibration, model=self.model_name
        )

    def _search(
        self, test: ImageDataset, train: TrainingImages, calibration: Calibration
    ) -> Numbers:
        """Return the verdict on each image: that on its photograph, which is embedded once."""
        first, photographs = np.arange(len(test)), np.arange(len(test))
        if test.cluster_rows is not None:
            _, first, photographs = np.unique(
                test.cluster_rows, return_index=True, return_inverse=True
            )

        def load(row: int) -> Image.Image:
            return test.load_photograph(int(first[row]))

        rows = Cache().get_or_embed(
            {}, len(first), lambda index: train.embed([load(i) for i in index.tolist()])
        )
        return find_copies(rows, load, train, calibration)[photographs]

    def _open_training_images(
        self, data_config: DataConfig, fingerprint: Mapping[str, Any]
    ) -> tuple[TrainingImages, Calibration]:
        """Embed the training images, and calibrate; once in this process and in the cache."""
        name = hashing.digest(dict(fingerprint), 32)
        if name not in self._training_images:
            split, key = data.open_split(data_config, "train"), self._build_key(fingerprint)

            def embed(index: NDArray[np.int64]) -> NDArray[np.float32]:
                pixels, is_readable = split.load_readable_pixels(index)
                images = [Image.fromarray(p.transpose(1, 2, 0)) for p in pixels]
                rows = self._embed(images) * is_readable[:, None]
                self.report_progress(int(index[-1]) + 1, len(split))
                return rows.astype(np.float32)

            train = TrainingImages(
                self._cache.get_or_embed({**key, "kind": "training images"}, len(split), embed),
                lambda i: _load_image(split, i),
                self._embed,
            )
            arrays = self._cache.get_or_compute(
                {**key, "kind": "calibration"},
                lambda: {n: np.array(v) for n, v in asdict(calibrate(train)).items()},
            )
            values = {name: array.item() for name, array in arrays.items()}
            self._training_images[name] = train, Calibration(**values)
        return self._training_images[name]

    def _embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        return np.nan_to_num(self.pretrained.embed_images(list(images)))

    @property
    def _cache(self) -> Cache:
        return Cache(self.cache_folder / FOLDER, self.weights_hash)

    def _build_key(self, train_fingerprint: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "copies_by_embedding": VERSION,
            "train": dict(train_fingerprint),
            "weights": self.weights_hash,
        }


def _load_image(split: Split, i: int) -> Image.Image | None:
    pixels, is_readable = split.load_readable_pixels(np.array([i]))
    return Image.fromarray(pixels[0].transpose(1, 2, 0)) if is_readable[0] else None


def note_verdicts(
    cache_folder: Path, run_id: str, dataset: str, evaluation_hash: str, copies: CopyVerdicts
) -> None:
    """Note the verdicts on a data set for the reports on a run; they replace the last ones."""
    Cache(cache_folder / FOLDER).write_note(
        _name_note(run_id, dataset, evaluation_hash),
        {
            "verdicts": copies.verdicts.tolist(),
            "calibration": asdict(copies.calibration),
            "model": copies.model,
        },
    )


def read_verdicts(
    cache_folder: Path, run_id: str, dataset: str, evaluation_hash: str
) -> CopyVerdicts | None:
    """Return the verdicts that were last noted; None if there are none."""
    note = Cache(cache_folder / FOLDER).read_note(_name_note(run_id, dataset, evaluation_hash))
    if note is None:
        return None
    return CopyVerdicts(
        verdicts=np.array(note["verdicts"], np.int8),
        calibration=Calibration(**note["calibration"]),
        model=note["model"],
    )


def locate_verdicts(cache_folder: Path, run_id: str, dataset: str, evaluation_hash: str) -> Path:
    """Return the file in which the verdicts on a data set are noted for the reports on a run."""
    return locate_note(cache_folder / FOLDER, _name_note(run_id, dataset, evaluation_hash))


def _name_note(run_id: str, dataset: str, evaluation_hash: str) -> str:
    return hashing.digest(["copies by embedding", VERSION, run_id, dataset, evaluation_hash])
