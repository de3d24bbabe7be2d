"""Results that CLIP_benchmark and DataComp wrote, as published values with their conditions.

CLIP_benchmark 1.6 writes a JSON file for each model, data set and task; DataComp's `evaluate.py`
writes `eval_results.jsonl`, one line for each data set of one model, which is named by the folder
of the file. Nothing is computed anew: a value is taken over where the same metric of the same data
set is scored here (`docs/evaluation.md` lists where definitions differ). VOC 2007 of either, unless
it is `voc2007_multilabel`, is our `voc2007_boxes`: cut-out objects with one label.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniclip.errors import UserError
from uniclip.evaluate import datasets

PREFIXES = ("wds/", "vtab/", "wilds/", "fairness/", "retrieval/", "misc/")
"""What either library puts in front of the name of a data set."""
OTHER_NAMES = {"voc2007": "voc2007_boxes"}
"""Names that stand for another data set than here."""
RECALLS = {
    f"{retrieved}_retrieval_recall@{k}": f"retrieval.{direction}.r{k}"
    for retrieved, direction in (("image", "t2i"), ("text", "i2t"))
    for k in (1, 5, 10)
}
CLASSIFICATION_METRICS = {
    "accuracy": "acc1",
    "mean_per_class": "mean_per_class_recall",
    "map": "mean_average_precision",
    "f1_macro": "F1-macro_all",
    "worst_group": "acc_wg",
    "worst_group_top5": "acc_top5_wg",
}
"""Our metric -> their name; others are defined differently, such as DataComp's of FMoW."""
PROBE_METRICS = {"accuracy": "lp_acc1", "mean_per_class": "lp_mean_per_class_recall"}
PAIR_METRICS = {
    "text_acc": "composition.text",
    "image_acc": "composition.image",
    "acc": "composition.group",
}
ASSOCIATION_METRICS = {"avg_jaccard_score": "association.jaccard"}


@dataclass(frozen=True, kw_only=True)
class ImportedResult:
    """What one of the libraries measured of one model on one data set."""

    model: str
    conditions: str
    """Library, task and language, as far as the file states them."""
    dataset: str
    metrics: Mapping[str, float]

    def get_value(self, score: str, metric: str) -> float | None:
        """Return the value of a score in [0, 1]; None if there is none with that metric.

        Args:
            score: Name of the score, such as zeroshot.
            metric: Our metric of the data set, such as mean_per_class.
        """
        names = {
            "zeroshot": CLASSIFICATION_METRICS.get(metric),
            "probe": PROBE_METRICS.get(metric),
            **{
                score_name: name
                for name, score_name in (RECALLS | PAIR_METRICS | ASSOCIATION_METRICS).items()
            },
        }
        name = names.get(score)
        return self.metrics.get(name) if name is not None else None


def read_imported_results(path: Path) -> list[ImportedResult] | None:
    """Return the results in a file of either library; None if it is of neither.

    Raises:
        UserError: The file cannot be read, or is incomplete.
    """
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        return None
    if not records or not all(isinstance(r, dict) and "metrics" in r for r in records):
        return None
    try:
        return list(_convert_records(path, records))
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} is no complete file of results ({error})") from None


def _convert_records(path: Path, records: list[dict[str, Any]]) -> Iterator[ImportedResult]:
    for record in records:
        is_datacomp = "key" in record
        dataset = _get_dataset(record["key" if is_datacomp else "dataset"])
        if dataset is None:
            continue
        if is_datacomp:
            model, conditions = path.absolute().parent.name, "DataComp"
        else:
            model = " ".join(filter(None, (record["model"], record.get("pretrained"))))
            details = (record.get("task"), record.get("language"))
            conditions = ", ".join(["CLIP_benchmark", *filter(None, details)])
        metrics = {
            name: float(value)
            for name, value in record["metrics"].items()
            if isinstance(value, int | float)
        }
        yield ImportedResult(model=model, conditions=conditions, dataset=dataset, metrics=metrics)


def _get_dataset(name: str) -> str | None:
    """Return our name of a data set of either library; None if it is not among ours."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    name = OTHER_NAMES.get(name) or datasets.ALIASES.get(name, name)
    return name if name in datasets.DATASETS else None
