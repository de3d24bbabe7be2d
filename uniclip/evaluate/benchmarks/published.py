"""A published data set as a benchmark: zero-shot and linear probe, or retrieval, by a protocol.

`uniclip.evaluate.datasets` reads the pictures, `protocols` says how they are judged, `scoring`
shows them to a model. A set that is not under `runtime.data_root` is missing, with the line that
says how to get it; the others go on without it. A set of which there are test pictures alone
(ImageNet is often kept so) is judged without a probe. A set that is gone, but whose index is in the
cache, is not missing: models whose embeddings are there too are scored again without pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip import identity
from uniclip.config import RunConfig
from uniclip.config.binding import plain
from uniclip.data.split import Part
from uniclip.evaluate import datasets
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.protocols import custom
from uniclip.evaluate.protocols import protocol as protocols
from uniclip.evaluate.protocols.protocol import Protocol
from uniclip.io.atomic import located

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import Pretrained

SEEN = ("kind", "files", "held_out", "templates")
"""What is read off the user's own folder, and noted for when it is gone."""


@dataclass(frozen=True)
class Source:
    """Where the sets are, and by which protocol they are judged."""

    root: str
    rules: Protocol


@dataclass(frozen=True)
class Published:
    """The benchmark of one data set; its functions are those of every benchmark."""

    name: str
    cache: Cache = field(default_factory=Cache)
    stop: Callable[[], bool] = lambda: False
    """Asked on the way; `Stopped` is raised where it says so."""

    def source(self, config: RunConfig) -> Source:
        """What the run says of it; nothing of it is hashed."""
        root = str(located(config.runtime.data_root))
        return Source(root, custom.chosen(config.runtime.protocol))

    def missing(self, config: RunConfig) -> str | None:
        """What of the test part is not there, and how to get it."""
        source = self.source(config)
        dataset = self.dataset(source)
        lacking = dataset.missing(source.root, ("test",))
        return None if lacking is None or self._noted(source, dataset) else lacking

    def unprobed(self, config: RunConfig) -> str | None:
        """What a linear probe lacks where zero-shot classification does not."""
        source = self.source(config)
        dataset = self.dataset(source)
        wanted = _wanted(dataset)
        if self._known(source, dataset)[0] == wanted:
            return None
        return dataset.missing(source.root, wanted)

    def protocol(self, source: Source) -> dict[str, Any]:
        """All that a score depends on besides the model; opens no picture."""
        dataset = self.dataset(source)
        rules = _rules(source, dataset)
        parts, data = self._known(source, dataset)
        probed = dataset.kind != "retrieval" and parts == _wanted(dataset)
        return {
            "protocol": rules.name,
            "data": data,
            "metric": rules.metric(self.name),
            "templates": list(rules.templates(self.name)),
            "names": identity.digest(rules.listed(self.name)),
            "transform": plain(rules.transform),
            "probing": plain(rules.probing) if probed else None,
            "difficult": rules.difficult,
            "departs": list(rules.departs),
            "version": protocols.VERSION,
        }

    def evaluate(self, pretrained: Pretrained, source: Source) -> Any:
        """Scores and predictions on the test part (see `uniclip.evaluate.evaluate`)."""
        from uniclip.evaluate.scoring import published
        from uniclip.evaluate.scoring.embeddings import Embeddings
        from uniclip.evaluate.scoring.score_card import Sheet

        dataset = self.dataset(source)
        names, data = self._known(source, dataset)
        parts = published.Parts(dataset, source.root, names, data, self.cache)
        sheet = Sheet()
        rules = _rules(source, dataset)
        kept = published.score(sheet, Embeddings(pretrained, self.cache, self.stop), rules, parts)
        if kept:
            stated = {"parts": names, **{name: plain(getattr(dataset, name)) for name in SEEN}}
            self.cache.note(self._place(source, dataset), {"data": data, **stated})
        return sheet.finished()

    def dataset(self, source: Source) -> Dataset:
        """The set as the protocol tests it; as it was last seen where the user's own is gone."""
        dataset = datasets.get(self.name)
        if self.name in source.rules.whole:
            return dataset.entire()
        if dataset.place is None or dataset.place.exists():
            return dataset
        noted = self._noted(source, dataset)
        if noted is None:
            return dataset
        files = {part: tuple(names) for part, names in noted["files"].items()}
        templates = tuple(noted.get("templates", ()))
        return replace(dataset, files=files, held_out=noted["held_out"], templates=templates)

    def _known(self, source: Source, dataset: Dataset) -> tuple[tuple[Part, ...], dict[str, Any]]:
        """The parts that scores are of, and the data's fingerprint: as it is or, where some of it
        is gone, as it was when it was last evaluated; with no training pictures, of the test part.
        """
        wanted, noted = _wanted(dataset), self._noted(source, dataset)
        gone = dataset.missing(source.root, ("test",)) is not None
        if (gone and noted is None) or dataset.missing(source.root, wanted) is None:
            return wanted, dataset.fingerprint(source.root, wanted)
        tested = dataset.fingerprint(source.root, ("test",))
        if noted and tested["files"].items() <= noted["data"]["files"].items():
            return tuple(noted.get("parts", wanted)), noted["data"]
        return ("test",), tested

    def _noted(self, source: Source, dataset: Dataset) -> dict[str, Any] | None:
        noted = self.cache.noted(self._place(source, dataset)) or {}
        return noted if noted.get("kind") == dataset.kind else None

    def _place(self, source: Source, dataset: Dataset) -> str:
        root = str(Path(source.root).absolute())
        return identity.digest([self.name, root, dataset.rule])


def _rules(source: Source, dataset: Dataset) -> Protocol:
    """The protocol, with the templates that lie with the pictures where the user has none."""
    own = source.rules.own_templates
    if not dataset.templates or {dataset.name, protocols.OTHERS} & set(own):
        return source.rules
    return replace(source.rules, own_templates={**own, dataset.name: dataset.templates})


def _wanted(dataset: Dataset) -> tuple[Part, ...]:
    """The parts that all scores together need."""
    if dataset.kind == "retrieval":
        return ("test",)
    wanted: tuple[Part, ...] = ("test", "train", "validation")
    return tuple(part for part in wanted if part in dataset.parts)
