"""The interface of a benchmark, built in or from a plug-in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from uniclip import data
from uniclip.config import DataConfig
from uniclip.data.split import SplitName
from uniclip.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.store import Score

    Results = tuple[tuple[Score, ...], dict[str, NDArray[np.generic]]]
    """Scores, and the predictions behind them (see `uniclip.evaluate.evaluate`)."""

ConfigT = TypeVar("ConfigT", bound=DataConfig)


class Benchmark(ABC):
    """The scores of one data set under one protocol."""

    @abstractmethod
    def describe_missing(self) -> str | None:
        """Return what the test split lacks and how to get it; None if it can be evaluated."""

    def describe_missing_probe_data(self) -> str | None:
        """Return what a linear probe lacks where the other scores need nothing; None if nothing."""
        return None

    @abstractmethod
    def build_protocol(self) -> dict[str, Any]:
        """Return everything that the scores depend on besides the model, as plain JSON.

        No image is opened and numpy is not imported: plans hash this record.
        """

    @abstractmethod
    def evaluate(self, pretrained: PretrainedModel) -> Results:
        """Return scores and predictions on the split that is evaluated."""

    def embed_share(self, pretrained: PretrainedModel, rank: int, world_size: int) -> None:
        """Store the share of process `rank` in the image features that `evaluate` needs.

        Without an implementation, nothing: rank 0, which evaluates, embeds all images.
        """
        return None


@dataclass(frozen=True)
class SourceBenchmark(Benchmark, Generic[ConfigT]):
    """A benchmark on the test split of a training source, or on its validation split."""

    data_config: ConfigT
    """The data section that is evaluated."""
    split: SplitName = "test"
    """The split that is evaluated."""

    scores_validation: ClassVar[bool] = False
    """Whether `split` may be "validation"."""

    def describe_missing(self) -> str | None:
        return data.describe_missing(self.data_config)

    def build_protocol(self) -> dict[str, Any]:
        split = {} if self.split == "test" else {"split": self.split}
        return {"data": data.fingerprint(self.data_config), **split, **self.describe_scores()}

    @abstractmethod
    def describe_scores(self) -> dict[str, Any]:
        """Return what the scores depend on besides model and data, as plain JSON."""


@dataclass(frozen=True)
class UserDataBenchmark(Benchmark, Generic[ConfigT]):
    """A benchmark on the test split of the user's data, which all processes of a run embed."""

    data_config: ConfigT | None
    """The run's data section; None if its data are others."""
    shares_folder: Path | None = None
    """Where the processes store their shares of features; None = a single process embeds all."""

    other_data: ClassVar[str]
    """Message for a run on other data."""

    @property
    def config(self) -> ConfigT:
        """The data section; `UserError` for a run on other data."""
        if self.data_config is None:
            raise UserError(self.other_data)
        return self.data_config

    def embed_share(self, pretrained: PretrainedModel, rank: int, world_size: int) -> None:
        from uniclip.evaluate.scoring import user_pairs  # here: it imports numpy

        if self.shares_folder is not None:
            folder = self.shares_folder
            user_pairs.embed_share(pretrained, self.config, folder, rank, world_size)

    def score_test_split(self, pretrained: PretrainedModel, missing: str) -> Results:
        """Return retrieval scores on the test split, and those of its label.

        Args:
            pretrained: The model.
            missing: What to say if there are no test images.

        Raises:
            UserError: There are none.
        """
        from uniclip.evaluate.scoring import user_pairs  # here: it imports numpy

        return user_pairs.score_test_split(pretrained, self.config, missing, self.shares_folder)


class BenchmarkModule(Protocol):
    """A module that `uniclip.evaluate.BENCHMARKS` names."""

    def build_benchmark(self, run_data: DataConfig) -> Benchmark:
        """Return the benchmark of a run whose data section is `run_data`.

        Only a section of the benchmark's own source is used; otherwise the source's default is
        evaluated.
        """
