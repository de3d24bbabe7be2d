"""The kinds of evaluation of published data sets: the scores that each shows, and whose."""

from __future__ import annotations

from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.images import CAPTIONED_KINDS
from uniclip.evaluate.datasets.same_images import SAME_IMAGES_KINDS
from uniclip.evaluate.protocols.protocol import COMPOSITION_SCORES, RECALL_KS, FewShotConfig
from uniclip.evaluate.scoring.shift_scores import OUT_OF_DISTRIBUTION

PANEL_TASKS = {
    "zero_shot": ("Zero-shot classification", ("zeroshot",)),
    "linear_probe": ("Linear probe", ("probe",)),
    "image_to_text_retrieval": (
        "Image-to-text retrieval",
        tuple(f"retrieval.i2t.r{k}" for k in RECALL_KS),
    ),
    "text_to_image_retrieval": (
        "Text-to-image retrieval",
        tuple(f"retrieval.t2i.r{k}" for k in RECALL_KS),
    ),
    "composition": (
        "Composition: the correct caption, image, or both",
        tuple(f"composition.{name}" for name in COMPOSITION_SCORES),
    ),
    "effective_robustness": ("Effective robustness", ("shift.robust",)),
    "detection": ("Detection of images of no class, AUPR", ("ood.aupr",)),
    "association": ("Association with a cue, Jaccard index", ("association.jaccard",)),
    "few_shot": (
        "Probes of a few training images of each class, and nearest neighbors",
        (*(f"fewshot.{shots}" for shots in FewShotConfig.shots), "knn"),
    ),
    "fine_tuning": ("Full fine-tuning", ("finetune",)),
}
"""Name of a panel -> title, and the scores of each data set."""
SHIFT_TASKS = ("effective_robustness", "detection")
"""Panels of scores that a data set has only where ImageNet is present, too."""
METRIC_LABELS = {
    "mean_per_class": "mean per class",
    "map11": "11-point mAP",
    "map": "mAP",
    "f1_macro": "macro F1",
    "worst_group": "accuracy of the worst group",
    "worst_group_top5": "top-5 accuracy of the worst group",
}


def supports_task(dataset: str, task: str) -> bool:
    """Return whether a data set has this kind of evaluation."""
    dataset_info = datasets.get(dataset)
    if task in SHIFT_TASKS:
        is_detected = dataset == OUT_OF_DISTRIBUTION
        return dataset_info.reference is not None and is_detected == (task == "detection")
    task_kind = "retrieval" if task.endswith("retrieval") else task
    if {task_kind, dataset_info.kind} & {*CAPTIONED_KINDS, *SAME_IMAGES_KINDS}:
        return task_kind == dataset_info.kind
    return task == "zero_shot" or {"train", "validation"} <= set(dataset_info.splits)


def format_score_heading(dataset: str, score: str) -> str:
    """Return the heading of a column of one score of a data set, or of a mean."""
    parts = score.split(".")
    if parts[0] == "composition":
        return f"{dataset} {parts[1]}"
    if parts[0] == "fewshot":
        return f"{dataset} {parts[1]} {'shot' if parts[1] == '1' else 'shots'}"
    if parts[0] == "knn":
        return f"{dataset} neighbors"
    return f"{dataset} R@{parts[2][1:]}" if parts[0] == "retrieval" else dataset
