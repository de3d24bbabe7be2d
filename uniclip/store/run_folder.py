"""The folder of a run: every path in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uniclip.io.atomic import atomic_write, read_jsonl, write_once
from uniclip.store import history
from uniclip.store.attempt_folder import AttemptFolder
from uniclip.store.json_io import to_json_bytes
from uniclip.store.permissions import find_unreadable, find_unwritable
from uniclip.store.run_files import RunFiles
from uniclip.store.run_records import (
    ClaimRecord,
    DatasetScores,
    Outcome,
)

_WRITTEN_FOLDERS = ("attempts", "scores", "predictions")
"""Folders of a run in which its attempts write."""
_MAX_STEP = 2**53
"""Steps from which on a record of metrics is not one of ours."""
CACHE_FOLDER = "cache"
"""The store's folder of files that can be computed again."""


class RunFolder:
    """`runs/<id>/`: a run. Files at this level are written once, but for `config_path`.

    Args:
        path: The folder.
        files: How its files are read; None = each whenever it is asked for.
    """

    def __init__(self, path: Path, files: RunFiles | None = None) -> None:
        self.path = path
        self.id = path.name
        self.files = files or RunFiles(str(path))

    @property
    def weights_path(self) -> Path:
        """The final weights."""
        return self.path / "weights.safetensors"

    @property
    def best_weights_path(self) -> Path:
        """The weights of the best validation."""
        return self.path / "best.safetensors"

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer with which the weights were trained."""
        return self.path / "tokenizer.json"

    @property
    def config_path(self) -> Path:
        """The configuration with which the run was last executed, as YAML."""
        return self.path / "config.yaml"

    @property
    def cache_path(self) -> Path:
        """The store's folder of files that can be computed again."""
        return self.path.parent.parent / CACHE_FOLDER

    def write_spec(self, spec: Mapping[str, Any]) -> None:
        """Write the spec, unless it is there: all processes write the same."""
        write_once(self.path / "spec.json", to_json_bytes(spec))

    def write_config(self, text: str) -> None:
        """Write the configuration, over an earlier one of which the run-only part differs."""
        data = text.encode()
        if not self.config_path.exists() or self.config_path.read_bytes() != data:
            atomic_write(self.config_path, data)

    def is_readable(self) -> bool:
        """Return whether this user may read the folder, if it exists."""
        folder = self.files.folder
        return find_unreadable([folder, *(f"{folder}/{n}" for n in _WRITTEN_FOLDERS)]) is None

    def find_unwritable(self) -> Path | None:
        """Return the folder of this run in which this user may not write, or None."""
        return find_unwritable(self._list_folders())

    def _list_folders(self) -> list[Path]:
        return [self.path, *(self.path / name for name in _WRITTEN_FOLDERS)]

    def has_spec(self) -> bool:
        """Return whether the spec was written, and this user may search the folder."""
        return self.files.has_file("spec.json")

    def read_spec(self) -> dict[str, Any]:
        """Return the spec, of which the run id is the hash.

        Raises:
            FileNotFoundError: it was never written.
            UserError: the file is damaged.
        """
        spec: dict[str, Any] = self.files.read_json("spec.json")
        return spec

    def read_outcome(self) -> Outcome | None:
        """Return the outcome, or None while there is none.

        Raises:
            UserError: the file is damaged.
        """
        return self.files.read_record(Outcome, "outcome.json")

    def write_outcome(self, outcome: Outcome) -> bool:
        """Write the outcome; return False if there is one already."""
        return write_once(self.path / "outcome.json", to_json_bytes(outcome))

    def list_attempts(self) -> list[int]:
        """Return the numbers of the claimed attempts, ascending."""
        names = self.files.list_folder("attempts")
        numbers = [n.removesuffix(".claim") for n in names if n.endswith(".claim")]
        return sorted(int(n) for n in numbers if n.isdecimal())

    def get_attempt(self, number: int) -> AttemptFolder:
        """Return the folder of one attempt."""
        return AttemptFolder(self, number)

    def claim_attempt(self, number: int, claim_record: ClaimRecord) -> AttemptFolder | None:
        """Claim attempt `number`; return None if another process has claimed it."""
        attempt = AttemptFolder(self, number)
        claim_bytes = to_json_bytes(claim_record)
        if not write_once(attempt.claim_path, claim_bytes):
            return None
        attempt._claim_bytes, attempt._claim_record = claim_bytes, claim_record
        attempt.path.mkdir(exist_ok=True)
        return attempt

    def scores_path(self, dataset: str, evaluation_hash: str) -> Path:
        """Return the path of the scores of a data set under an evaluation hash."""
        return self.path / "scores" / _name_scores_file(dataset, evaluation_hash)

    def has_scores(self, evaluations: Mapping[str, str]) -> bool:
        """Return whether the scores of all `evaluations` (data set -> evaluation hash) are there.

        This lists one folder, however many evaluations there are.
        """
        required_names = {_name_scores_file(*item) for item in evaluations.items()}
        return not required_names or required_names <= set(self.files.list_folder("scores"))

    def list_score_paths(self) -> set[Path]:
        """Return the paths of all scores files."""
        return {self.path / "scores" / name for name in self.files.list_folder("scores")}

    def predictions_path(self, dataset: str, evaluation_hash: str) -> Path:
        """Return the path of the outcomes per sample behind those scores."""
        return self.path / "predictions" / f"{_name_evaluation(dataset, evaluation_hash)}.npz"

    def read_scores(self, dataset: str, evaluation_hash: str) -> DatasetScores | None:
        """Return the scores of a data set under an evaluation hash, or None if there are none.

        Raises:
            UserError: the file is damaged.
        """
        name = _name_scores_file(dataset, evaluation_hash)
        return self.files.read_record(DatasetScores, f"scores/{name}")

    def count_unreadable_images(self) -> int:
        """Return how many training images were replaced since they cannot be read."""
        return max((r.get("unreadable_images", 0) for r in self.read_history()), default=0)

    def count_skipped_samples(self) -> int:
        """Return how many samples of the data were left out since they cannot be used."""
        return max((r.get("skipped_samples", 0) for r in self.read_history()), default=0)

    def read_history(self) -> list[dict[str, Any]]:
        """Return the metrics of all attempts by step; where attempts overlap, the newest's.

        Lines without a step and a phase that training could have written are left out.
        """
        by_step: dict[tuple[int, str], dict[str, Any]] = {}
        for number in self.list_attempts():
            for record in self.get_attempt(number).read_metrics():
                step, phase = record.get("step", 0), record.get("phase", "train")
                if type(step) is int and 0 <= step < _MAX_STEP and isinstance(phase, str):
                    by_step[step, phase] = record
        return [by_step[k] for k in sorted(by_step)]

    def read_history_columns(self) -> history.Columns:
        """Return `read_history` by column; see `uniclip.store.history.build_columns`."""
        names = [f"attempts/{number}/metrics.jsonl" for number in self.list_attempts()]

        def compute() -> history.EncodedColumns:
            return history.encode_columns(history.build_columns(self.read_history()))

        encoded = self.files.derive("history", names, history.EncodedColumns, compute)
        return history.decode_columns(encoded)

    def read_usage(self) -> list[dict[str, Any]]:
        """Return the samples of the use of the machine, an attempt after the other."""
        samples = []
        for number in self.list_attempts():
            for record in read_jsonl(self.get_attempt(number).usage_path):
                if all(type(value) in (int, float) for value in record.values()):
                    samples.append(record)
        return [sample for sample in samples if "time" in sample]


def _name_scores_file(dataset: str, evaluation_hash: str) -> str:
    return f"{_name_evaluation(dataset, evaluation_hash)}.json"


def _name_evaluation(dataset: str, evaluation_hash: str) -> str:
    """Return the name of an evaluation as one file name of any file system.

    The name of a user's data set holds a path, such as `csv:images/test.csv`. It is left out: the
    hash holds the content, which has the same scores wherever it lies.
    """
    return f"{dataset.partition(':')[0]}@{evaluation_hash}"
