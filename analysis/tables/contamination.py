"""Tables of the scores and effects without contaminated test items."""

from __future__ import annotations

from typing import Any

from analysis import formatting
from analysis.results.contamination import ArmScore, ContaminatedScore, Contamination
from analysis.results.results import Results
from analysis.statistics.item_clusters import ItemUncertainty
from analysis.tables.alarms import LEAKAGE_UNCHECKED, count_copies
from analysis.tables.table import Table, TableCell, make_row
from uniclip.evaluate.checks.copy_search import CopyVerdicts
from uniclip.store import Contrast

NO_ITEM_LEFT = "no item is left"


def build_contamination_tables(results: Results) -> list[Table]:
    """Return the table of scores without contaminated items, and that of effects, if there are any.

    None without a data set that was, or should have been, searched for copies.
    """
    contamination = results.contamination
    if not (contamination.scores or contamination.clean or contamination.unchecked):
        return []
    tables = [_build_score_table(results, contamination)]
    if any(score.effects for score in contamination.scores):
        tables.append(_build_effect_table(results, contamination))
    return tables


def _build_score_table(results: Results, contamination: Contamination) -> Table:
    rows = [
        _build_score_row(results, score, arm, arm_score)
        for score in contamination.scores
        for arm, arm_score in score.arms.items()
    ]
    rows += [
        make_row(dataset, "", "", f"0 of {num_images:,} images", "", "", "")
        for dataset, num_images in contamination.clean.items()
    ]
    rows += [
        make_row(dataset, "", "", _mute(LEAKAGE_UNCHECKED), "", "", "")
        for dataset in contamination.unchecked
    ]
    return Table(
        name="contamination",
        title="Scores without contaminated test items",
        headings=(
            *("data set", "score", "arm", "contaminated items"),
            *("all items", "without them", "change"),
        ),
        rows=tuple(rows),
        records=tuple(_build_score_records(results, contamination)),
        num_text_columns=4,
        notes=(
            "An item (image, caption, pair of images, cue) is contaminated if one of its images is "
            "a near-duplicate of a training image, as in the table of data checks. Means over "
            "seeds.",
            *(
                _describe_search(dataset, copies)
                for dataset, copies in contamination.by_embedding.items()
            ),
            f"{LEAKAGE_UNCHECKED.capitalize()}: not searched for copies of training images. The "
            "training images of a starting checkpoint are not known.",
        ),
    )


def _describe_search(dataset: str, copies: CopyVerdicts) -> str:
    """Return what a search by embedding was made with, and what it finds."""
    calibration = copies.calibration
    return (
        f"{dataset}: searched by embedding, too ({copies.model}): {count_copies(copies):,} of "
        f"{len(copies.verdicts):,} images have a training image at a cosine similarity of at least "
        f"{calibration.similarity:.4f} and a correlation of thumbnails of at least "
        f"{calibration.correlation:.3f}. The recall on copies that were made of "
        f"{calibration.num_images} training images is {100 * calibration.recall:.0f} % for the "
        "kind of copy with the lowest; "
        f"{100 * calibration.similar_share:.2g} % of these images are taken for copies of other "
        "training images."
    )


def _build_score_row(results: Results, score: ContaminatedScore, arm: str, item: ArmScore) -> Any:
    number_format = results.get_score_format(score.key)
    change = None if item.value_without is None else item.value_without - item.value
    return make_row(
        score.key[0],
        formatting.format_score_label(score.key[1]),
        results.get_arm_label(arm),
        f"{item.num_contaminated:,} of {item.num_items:,} "
        f"({100 * item.num_contaminated / item.num_items:.2g} %)",
        number_format.format_with_unit(item.value),
        NO_ITEM_LEFT
        if item.value_without is None
        else number_format.format_with_unit(item.value_without),
        "" if change is None else number_format.format_signed(change),
    )


def _mute(text: str) -> TableCell:
    return TableCell(text=text, tone=formatting.MUTED)


def _build_score_records(results: Results, contamination: Contamination) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = [
        {
            "dataset": score.key[0],
            "score": score.key[1],
            "arm": arm,
            "num_items": item.num_items,
            "num_contaminated": item.num_contaminated,
            "value": item.value,
            "value_without": item.value_without,
            "runs": " ".join(results.run_by_cell[arm, seed] for seed in item.seeds),
        }
        for score in contamination.scores
        for arm, item in score.arms.items()
    ]
    records += [
        {"dataset": dataset, "num_items": num_images, "num_contaminated": 0}
        for dataset, num_images in contamination.clean.items()
    ]
    return [*records, *({"dataset": dataset} for dataset in contamination.unchecked)]


def _build_effect_table(results: Results, contamination: Contamination) -> Table:
    level = formatting.format_confidence_level()
    shown = results.primary_contrasts or results.plan.contrasts
    return Table(
        name="contamination_effects",
        title="Effects without contaminated test items",
        headings=(
            *("contrast", "data set", "score", "all items", f"{level} interval"),
            *("without contaminated items", f"{level} interval", "items"),
        ),
        rows=tuple(
            _build_effect_row(results, score, contrast)
            for score in contamination.scores
            for contrast in shown
            if contrast.name in score.effects
        ),
        records=tuple(
            _build_effect_record(score, name)
            for score in contamination.scores
            for name in score.effects
        ),
        num_text_columns=3,
        notes=(
            "Paired by seed and by test item; without the items that are contaminated for any arm "
            "of the contrast. Intervals are for new seeds and new clusters of items, from two "
            "seeds on. Exploratory: none of them makes a verdict.",
        ),
    )


def _build_effect_row(results: Results, score: ContaminatedScore, contrast: Contrast) -> Any:
    effects = score.effects[contrast.name]
    clean = effects[1]
    kind = results.sweep_data.get_score_kind(*score.key)
    cells = []
    for effect in effects:
        if effect is None:
            cells += ["", ""]
            continue
        number_format = formatting.make_number_format(kind, effect.total_se or effect.item_se)
        unit = number_format.difference_unit
        cells.append(formatting.append_unit(number_format.format_signed(effect.mean), unit))
        has_interval = effect.low is not None and effect.high is not None
        cells.append(number_format.format_bounds(effect.low, effect.high) if has_interval else "")
    return make_row(
        contrast.label,
        score.key[0],
        formatting.format_score_label(score.key[1]),
        *cells,
        NO_ITEM_LEFT if clean is None else f"{clean.num_samples:,}",
    )


def _build_effect_record(score: ContaminatedScore, contrast: str) -> dict[str, Any]:
    record: dict[str, Any] = {
        "contrast": contrast,
        "dataset": score.key[0],
        "score": score.key[1],
    }
    for suffix, effect in zip(("", "_without"), score.effects[contrast]):
        record |= _describe_effect(effect, suffix)
    return record


def _describe_effect(effect: ItemUncertainty | None, suffix: str) -> dict[str, Any]:
    names = {"effect": "mean", "low": "low", "high": "high", "num_items": "num_samples"}
    return {
        f"{name}{suffix}": None if effect is None else getattr(effect, attribute)
        for name, attribute in names.items()
    }
