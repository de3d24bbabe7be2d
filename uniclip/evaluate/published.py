"""A published data set as a benchmark: zero-shot and linear probe, or retrieval, by a protocol.

`uniclip.evaluate.datasets` reads the pictures, `protocols` says how they are judged; here a model
is shown them, each once, and scored. A set that is not under `runtime.data_root` is missing, with
the line that says how to get it; the others go on without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uniclip import identity
from uniclip.binding import plain
from uniclip.config import RunConfig
from uniclip.data.split import Part
from uniclip.evaluate import datasets, prompts, protocols

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from uniclip.evaluate.datasets.pictures import Pictures
    from uniclip.evaluate.protocols import Judgement
    from uniclip.evaluate.sheet import Sheet
    from uniclip.model.pretrained import Pretrained

PIECE = 256
"""Pictures decoded at once."""


@dataclass(frozen=True)
class Source:
    """Where the sets are, and by which protocol they are judged."""

    root: str
    protocol: str


@dataclass(frozen=True)
class Published:
    """The benchmark of one data set; its functions are those of every benchmark."""

    name: str

    def source(self, config: RunConfig) -> Source:
        """What the run says of it; nothing of it is hashed."""
        return Source(config.runtime.data_root, config.runtime.protocol)

    def missing(self, config: RunConfig) -> str | None:
        """What is not there, and how to get it."""
        if self.name in protocols.published(config.runtime.protocol).whole:
            return f"{config.runtime.protocol} tests all pictures of {self.name}; use clip2021"
        return datasets.get(self.name).missing(config.runtime.data_root, self._parts())

    def protocol(self, source: Source) -> dict[str, Any]:
        """All that a score depends on besides the model; opens no picture."""
        dataset, rules = datasets.get(self.name), protocols.published(source.protocol)
        probing = None if dataset.kind == "retrieval" else plain(rules.probing)
        return {
            "protocol": rules.name,
            "data": dataset.fingerprint(source.root, self._parts()),
            "metric": rules.metric(self.name),
            "templates": list(rules.templates(self.name)),
            "names": identity.digest(prompts.listed(self.name)),
            "transform": plain(rules.transform),
            "probing": probing,
            "difficult": rules.difficult,
            "departs": list(rules.departs),
            "version": protocols.VERSION,
        }

    def evaluate(self, pretrained: Pretrained, source: Source) -> Any:
        """Scores and predictions on the test part (see `uniclip.evaluate.evaluate`)."""
        from uniclip.evaluate.sheet import Sheet

        dataset, rules = datasets.get(self.name), protocols.published(source.protocol)
        test = dataset.open(source.root, "test")
        judgement = rules.judgement(self.name, test.classes)
        sheet = Sheet()
        if dataset.kind == "retrieval":
            _retrieve(sheet, pretrained, judgement, test)
            return sheet.finished()
        others = [dataset.open(source.root, part) for part in self._parts() if part != "test"]
        _classify(sheet, pretrained, judgement, test, others)
        return sheet.finished()

    def _parts(self) -> tuple[Part, ...]:
        """The parts that are needed."""
        dataset = datasets.get(self.name)
        if dataset.kind == "retrieval":
            return ("test",)
        wanted: tuple[Part, ...] = ("test", "train", "validation")
        return tuple(part for part in wanted if part in dataset.parts)


def _classify(
    sheet: Sheet,
    pretrained: Pretrained,
    judgement: Judgement,
    test: Pictures,
    others: Sequence[Pictures],
) -> None:
    """Zero-shot, and a linear probe where there are pictures to fit and to choose it."""
    from uniclip.evaluate import classification, features, zero_shot
    from uniclip.evaluate.linear_probe import Part as Fitted

    assert test.labels is not None
    truth = classification.truth_of(test.labels, test.classes, test.difficult, judgement)
    trunk = _trunk(pretrained, test, judgement)
    images = features.project(pretrained, trunk)
    classes = zero_shot.classifier(pretrained.embed_texts, classification.prompts(judgement))
    scale = pretrained.image_text_scale()
    classification.score_zero_shot(sheet, judgement, images, classes, truth, scale)
    if len(others) < 2 or judgement.probing is None:
        return
    chosen = judgement.probing.features

    def seen(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return rows if chosen == "trunk" else features.project(pretrained, rows)

    parts = []
    for part in others:
        assert part.labels is not None
        known = classification.truth_of(part.labels, part.classes, part.difficult, judgement)
        parts.append(Fitted(seen(_trunk(pretrained, part, judgement)), known.labels))
    classification.score_probe(sheet, judgement, parts[0], parts[1], seen(trunk), truth)


def _retrieve(sheet: Sheet, pretrained: Pretrained, judgement: Judgement, test: Pictures) -> None:
    """Captions for pictures and pictures for captions."""
    from uniclip.evaluate import features, retrieval

    relation = retrieval.relate(test.captions)
    images = features.project(pretrained, _trunk(pretrained, test, judgement))
    template = judgement.templates[0]
    texts = pretrained.embed_texts([template.format(caption) for caption in relation.texts])
    retrieval.score(sheet, images, texts, relation, tie=0)


def _trunk(pretrained: Pretrained, pictures: Pictures, judgement: Judgement) -> NDArray[np.float32]:
    """Image-encoder features (n, F) of pictures, each decoded and seen once."""
    import numpy as np
    from PIL import Image

    side = pretrained.config.model.image.pixels
    resampling = Image.Resampling[judgement.transform.interpolation.upper()]
    rows = []
    for start in range(0, len(pictures), PIECE):
        few = range(start, min(start + PIECE, len(pictures)))
        canvas = np.stack([_square(pictures.picture(i), side, resampling) for i in few])
        rows.append(pretrained.trunk(canvas))
    return np.concatenate(rows)


def _square(picture: Image.Image, side: int, resampling: Image.Resampling) -> NDArray[np.uint8]:
    """(3, side, side) uint8: the shorter side resized to `side`, the centre cropped."""
    import numpy as np

    scale = side / min(picture.size)
    width, height = (max(side, round(length * scale)) for length in picture.size)
    resized = picture.resize((width, height), resampling)
    left, top = (width - side) // 2, (height - side) // 2
    cropped = resized.crop((left, top, left + side, top + side))
    return np.asarray(cropped, dtype=np.uint8).transpose(2, 0, 1)
