"""The search for copies of training images by embedding, cached by training data, set and model.

Embeddings of the training images, the calibration and the verdicts on each data set are in the
store's cache. The last verdicts of each run are in its folder, for reports, which need neither
images nor the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniclip import data
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.checks.embedding_copies import (
    VERSION,
    Calibration,
    LoadImage,
    TrainingImages,
    calibrate,
    find_copies,
)
from uniclip.evaluate.checks.near_duplicates import DUPLICATE, UNDECIDABLE
from uniclip.evaluate.metrics import Numbers
from uniclip.io import hashing
from uniclip.io.atomic import atomic_write
from uniclip.store import RunFolder
from uniclip.store.copy_searches import CopySearchRecord, get_copies_path, list_copies_paths
from uniclip.store.json_io import read_record, to_json_bytes

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.config import DataConfig
    from uniclip.data import Split
    from uniclip.evaluate.benchmarks.published import PublishedBenchmark

FOLDER = "leakage"
"""Folder of these files in the cache of a store."""
ReportProgress = Callable[[int, int], object]
"""Called with the number of training images that are embedded, and that of all."""
UNREADABLE = Image.new("RGB", (16, 16))
"""Stands for an image that cannot be read."""


@dataclass(frozen=True)
class SearchedImages:
    """The test images of a data set."""

    fingerprint: Mapping[str, Any]
    """What they depend on, as plain JSON."""
    photographs: NDArray[np.int64]
    """(n,) for each image the number of the first one that shows the same photograph."""
    load_photograph: LoadImage
    """Returns the photograph of an image, RGB; None if it cannot be read."""


def open_dataset_images(benchmark: PublishedBenchmark) -> SearchedImages | None:
    """Return the test images of a data set; None if they are missing."""
    dataset = benchmark.resolve_dataset()
    if dataset.describe_missing(benchmark.root, ("test",)) is not None:
        return None
    test = dataset.open(benchmark.root, "test")
    photographs = np.arange(len(test))
    if test.cluster_rows is not None:
        _, first, inverse = np.unique(test.cluster_rows, return_index=True, return_inverse=True)
        photographs = first[inverse]
    return SearchedImages(
        dataset.fingerprint(benchmark.root, ("test",)), photographs, test.load_photograph
    )


def open_split_images(split: Split, fingerprint: Mapping[str, Any]) -> SearchedImages:
    """Return the test images of a training source."""
    return SearchedImages(fingerprint, np.arange(len(split)), lambda i: _load_image(split, i))


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
        test: SearchedImages,
        data_config: DataConfig,
        train_fingerprint: Mapping[str, Any],
    ) -> CopyVerdicts:
        """Return the verdicts on test images.

        Args:
            test: The test images.
            data_config: The training data.
            train_fingerprint: What the training images depend on.
        """
        train, calibration = self._open_training_images(data_config, train_fingerprint)
        key = {**self._build_key(train_fingerprint), "test": dict(test.fingerprint)}
        arrays = self._cache.get_or_compute(
            {**key, "kind": "verdicts"}, lambda: {"array": _search(test, train, calibration)}
        )
        return CopyVerdicts(
            verdicts=arrays["array"], calibration=calibration, model=self.model_name
        )

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


def _search(test: SearchedImages, train: TrainingImages, calibration: Calibration) -> Numbers:
    """Return the verdict on each image: that on its photograph, which is embedded once."""
    first, inverse = np.unique(test.photographs, return_inverse=True)

    def load(row: int) -> Image.Image | None:
        return test.load_photograph(int(first[row]))

    def embed(index: NDArray[np.int64]) -> NDArray[np.float32]:
        images = [load(i) for i in index.tolist()]
        rows = train.embed([UNREADABLE if image is None else image for image in images])
        return rows * np.array([[image is not None] for image in images], np.float32)

    rows = Cache().get_or_embed({}, len(first), embed)
    return find_copies(rows, load, train, calibration)[inverse]


def _load_image(split: Split, i: int) -> Image.Image | None:
    pixels, is_readable = split.load_readable_pixels(np.array([i]))
    return Image.fromarray(pixels[0].transpose(1, 2, 0)) if is_readable[0] else None


def write_verdicts(
    run: RunFolder, dataset: str, evaluation_hash: str, copies: CopyVerdicts
) -> None:
    """Write the verdicts on a data set for the reports on a run, over those of an earlier search.

    Raises:
        OSError: The run's folder cannot be written.
    """
    verdicts = tuple(copies.verdicts.tolist())
    record = CopySearchRecord(
        version=VERSION, verdicts=verdicts, model=copies.model, **asdict(copies.calibration)
    )
    atomic_write(get_copies_path(run, dataset, evaluation_hash), to_json_bytes(record))


def read_verdicts(run: RunFolder, dataset: str, evaluation_hash: str) -> CopyVerdicts | None:
    """Return the verdicts of the last search; None if there was none of this version.

    Raises:
        UserError: The file is damaged.
    """
    path = get_copies_path(run, dataset, evaluation_hash)
    record = read_record(CopySearchRecord, path) if path in list_copies_paths(run) else None
    if record is None or record.version != VERSION:
        return None
    values = {f.name: getattr(record, f.name) for f in fields(Calibration)}
    return CopyVerdicts(
        verdicts=np.clip(record.verdicts, UNDECIDABLE, DUPLICATE).astype(np.int8),
        calibration=Calibration(**values),
        model=record.model,
    )
