"""Test samples on which two arms disagree most, with their pictures, captions and both outcomes."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from analysis.frames.sweep import (
    choose_compared_arms,
    compare_outcomes,
    load_primary_outcomes,
)
from analysis.results.results import Results
from uniclip.errors import UserError
from uniclip.frames.store_frames import StoreFrames, TestImages
from uniclip.store import Store, get_score_kind_traits

MAX_PAIRS, MAX_SAMPLES = 6, 12
"""Pairs of arms, and samples of each pair, that are shown."""
MAX_CAPTIONS = 3


@dataclass(frozen=True, kw_only=True)
class DisagreementSample:
    """A test sample on which two arms disagree."""

    title: str
    image: str
    """PNG as base64; empty if the data are not on this machine."""
    captions: tuple[str, ...]
    outcomes: tuple[tuple[str, str], ...]
    """(label of the arm, its outcome) of both arms."""


@dataclass(frozen=True, kw_only=True)
class ArmDisagreement:
    """The samples on which two arms disagree most."""

    labels: tuple[str, str]
    score: str
    num_different: int
    """Samples of different outcomes."""
    num_samples: int
    samples: tuple[DisagreementSample, ...]
    note: str
    """Why there are no pictures; empty if there are."""


def collect_disagreements(store: Store, results: Results) -> list[ArmDisagreement]:
    """Return the disagreements on the first primary score of arms that contrasts compare.

    Pairs without saved outcomes, of different test samples, or that agree on every sample, are left
    out.
    """
    frames = StoreFrames(store)
    groups = results.item_groups[results.primary_score]
    outcomes_by_arm = {
        arm: outcomes
        for group in groups
        for outcomes in [load_primary_outcomes(frames, results, group)]
        for arm in group
    }
    disagreements = []
    for first, second in _list_pairs(results)[:MAX_PAIRS]:
        if not any({first, second} <= set(group) for group in groups):
            continue
        frame = compare_outcomes(outcomes_by_arm[first], first, second)
        different = frame[frame["difference"] != 0]
        if len(different):
            disagreements.append(_describe(frames, results, (first, second), frame))
    return disagreements


def _list_pairs(results: Results) -> list[tuple[str, str]]:
    """Return pairs of arms, the one that a reader compares first at the front."""
    pairs = [choose_compared_arms(results)]
    for contrast in results.plan.contrasts:
        positive, negative = contrast.arms_by_sign
        if len(positive) == len(negative) == 1 and contrast.kind != "noise":
            pairs.append((positive[0], negative[0]))
    return [pair for pair in dict.fromkeys(pairs) if pair[0] != pair[1]]


def _describe(
    frames: StoreFrames, results: Results, arms: tuple[str, str], frame: pd.DataFrame
) -> ArmDisagreement:
    shown = frame[frame["difference"] != 0].head(MAX_SAMPLES)
    rows = [int(row) for row in shown.index.get_level_values("image")]
    test_images, note = None, ""
    try:
        test_images = frames.load_images(results.plan.sweep_id, rows, arms[0])
    except (UserError, OSError) as error:
        note = f"No pictures: {error}."
    labels = results.get_arm_label(arms[0]), results.get_arm_label(arms[1])
    kind = results.sweep_data.get_score_kind(*results.primary_score)
    is_share = get_score_kind_traits(kind).is_percent
    return ArmDisagreement(
        labels=labels,
        score=results.format_heading(results.primary_score),
        num_different=int((frame["difference"] != 0).sum()),
        num_samples=len(frame),
        samples=format_samples(shown, test_images, labels, is_share=is_share),
        note=note,
    )


def format_samples(
    frame: pd.DataFrame,
    test_images: TestImages | None,
    labels: tuple[str, str],
    *,
    is_share: bool,
) -> tuple[DisagreementSample, ...]:
    """Return the samples as they are shown.

    Args:
        frame: rows of `tabulate_disagreements`.
        test_images: their pictures, in the same order; None without any.
        labels: labels of the two arms.
        is_share: whether an outcome is 1 (right) or 0 (wrong) for each seed.
    """
    samples = []
    for i, (item, row) in enumerate(zip(frame.index.get_level_values("item"), frame.itertuples())):
        captions: Sequence[str] = test_images.captions[i] if test_images else ()
        name = test_images.names[i] if test_images and test_images.names else ""
        outcomes = [
            format_outcome(float(value), int(row.num_seeds), is_share=is_share)
            for value in (row.first, row.second)
        ]
        samples.append(
            DisagreementSample(
                title=name or f"test sample {item}",
                image=encode_png(test_images.images[i]) if test_images else "",
                captions=tuple(captions[:MAX_CAPTIONS]),
                outcomes=tuple(zip(labels, outcomes)),
            )
        )
    return tuple(samples)


def format_outcome(value: float, num_seeds: int, *, is_share: bool) -> str:
    """Return a mean outcome as text: "right in 2 of 3 seeds"."""
    num_right = value * num_seeds
    if not is_share or abs(num_right - round(num_right)) > 1e-6:
        return f"{value:.3g}"
    if num_seeds == 1:
        return "right" if num_right else "wrong"
    return f"right in {round(num_right)} of {num_seeds} seeds"


def encode_png(image: NDArray[np.uint8]) -> str:
    """Return an RGB image (3, height, width) as a PNG in base64."""
    stream = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(stream, "PNG")
    return b64encode(stream.getvalue()).decode()
