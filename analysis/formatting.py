"""Numbers and verdicts as text: one spelling for tables, HTML page, notebook and terminal.

Scores are fractions in CSV files, and percent everywhere else, with the decimals that their
standard error supports (`analysis.statistics.precision`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from analysis.statistics.effects import ALPHA, Effect, Observations, estimate_effect
from analysis.statistics.power import MinimumDetectableEffect
from analysis.statistics.precision import MAX_DECIMALS, count_decimals
from analysis.statistics.verdicts import EXPLORATORY_MARK, Verdict
from uniclip.evaluate.scoring.score_names import CALIBRATION_ERROR, split_class_name
from uniclip.store import get_score_kind_traits

MINUS, PLUS_MINUS = "\u2212", "\u00b1"
MIN_PERCENT_DECIMALS, MAX_PERCENT_DECIMALS = 1, 2
"""Decimals of a percentage, as tables of the field have them."""
POINTS_NOTE = "pp: percentage points."

GOOD, BAD, MUTED = "good", "bad", "muted"
"""Tones of a text on the HTML page."""

MDE_LABEL = "MDE (80 % power)"
NOT_STATED = "not stated"
DIRECTION_LABELS = {
    "i2t": "image to text",
    "t2i": "text to image",
    "caption": "captions",
    "instance": "instances",
}
"""Second word of the name of a retrieval score -> what is retrieved."""
RETRIEVAL_WORDS = {
    "mrr": "MRR",
    "median_rank": "median rank",
    "log_rank": "mean log rank",
    "log_likelihood": "log likelihood",
    "temperature": "temperature",
}
"""Word of the name of a retrieval score that says what is scored -> label; r<k> is R@k."""
SCORE_LABELS = {
    "zeroshot": "zero-shot",
    "probe": "linear probe",
    "minimal": "minimal pair",
    "caption": "caption",
    "composition": "composition",
    "association": "association",
    "fewshot": "few shots",
    "finetune": "fine-tuned",
    "ood": "out of distribution",
    "shift": "shift",
    "knn": "nearest neighbors",
}
"""First word of the name of a score -> label."""
REPORT_ONLY_NOTE = "* after a score: reported only, not tested, and in no mean."
BOLD_NOTE = (
    "Bold: not significantly worse than the best arm. Two arms that a contrast compares on this "
    "score have the verdict of that contrast; all others: paired t over the seeds of the last "
    "look, Holm over the arms."
)
EXPLORATORY_NOTE = f"{EXPLORATORY_MARK} after a verdict: exploratory, not corrected."


@dataclass(frozen=True)
class NumberFormat:
    """How the values of a score are shown."""

    is_percent: bool = True
    decimals: int = 1
    plain_unit: str = ""
    """Unit of a number that is not in percent, such as nats."""

    @property
    def factor(self) -> float:
        """What a value is multiplied by."""
        return 100.0 if self.is_percent else 1.0

    @property
    def unit(self) -> str:
        """Unit of a value: "%", another one, or nothing."""
        return "%" if self.is_percent else self.plain_unit

    @property
    def difference_unit(self) -> str:
        """Unit of a difference: percentage points, another one, or nothing."""
        return "pp" if self.is_percent else self.plain_unit

    def format(self, value: float | None) -> str:
        """Return a value without its unit; n/a for None and NaN."""
        return format_number(_multiply(value, self.factor), self.decimals)

    def format_with_unit(self, value: float | None) -> str:
        """Return a value with its unit."""
        return append_unit(self.format(value), self.unit)

    def format_exact(self, value: float | None) -> str:
        """Return a value that is known exactly, such as chance: with at least two digits."""
        scaled = _multiply(value, self.factor)
        if scaled is None or not scaled or not math.isfinite(scaled):
            return format_number(scaled, self.decimals)
        needed_decimals = 1 - math.floor(math.log10(abs(scaled)))
        return format_number(scaled, min(max(self.decimals, needed_decimals), MAX_DECIMALS))

    def format_signed(self, value: float | None) -> str:
        """Return a difference with its sign and without its unit; n/a for None and NaN."""
        return format_signed(_multiply(value, self.factor), self.decimals)

    def format_interval(self, effect: Effect) -> str:
        """Return `[low, high]`; empty below three seeds."""
        return self.format_bounds(effect.low, effect.high)

    def format_bounds(self, low: float | None, high: float | None) -> str:
        """Return `[low, high]` of a difference; empty if there is no interval."""
        if low is None or high is None:
            return ""
        return f"[{self.format_signed(low)}, {self.format_signed(high)}]"

    def format_mde(self, mde: MinimumDetectableEffect | None) -> str:
        """Return an MDE with its interval: `2.1 (1.3 to 6.0)`; empty for None."""
        if mde is None:
            return ""
        return f"{self.format(mde.value)} ({self.format(mde.low)} to {self.format(mde.high)})"


def choose_score_format(kind: str, observations: Observations, arms: Iterable[str]) -> NumberFormat:
    """Return the format of one score for all arms: decimals by the median standard error."""
    errors = [estimate_effect({a: 1.0}, observations).standard_error for a in arms]
    known_errors = [e for e in errors if e is not None and e > 0]
    return make_number_format(kind, median(known_errors) if known_errors else None)


def choose_proportion_format(value: float | None, num_samples: int) -> NumberFormat:
    """Return the format of a single proportion of `num_samples` samples."""
    if value is None or num_samples < 1 or not 0 <= value <= 1:
        return NumberFormat()
    variance = max(value * (1 - value), 1 / (12 * num_samples))
    return make_number_format("accuracy", math.sqrt(variance / num_samples))


def make_number_format(kind: str, standard_error: float | None) -> NumberFormat:
    """Return the format of a number of this kind of score with this standard error."""
    traits = get_score_kind_traits(kind)
    is_percent = traits.is_percent
    factor = 100.0 if is_percent else 1.0
    decimals = count_decimals(_multiply(standard_error, factor))
    if is_percent:
        decimals = min(max(decimals, MIN_PERCENT_DECIMALS), MAX_PERCENT_DECIMALS)
    if not is_percent and not standard_error:
        decimals = 3
    return NumberFormat(is_percent, decimals, traits.unit)


def append_unit(text: str, unit: str) -> str:
    """Return a number with its unit."""
    return f"{text} {unit}" if unit and text and text != "n/a" else text


def _multiply(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def get_tone(verdict: Verdict) -> str:
    """Return the tone of a verdict: good, bad or muted; a noise contrast must not differ from 0."""
    if not verdict.sign:
        return MUTED
    return BAD if verdict.kind == "noise" or verdict.sign < 0 else GOOD


def format_exclusions(counts: Mapping[str, int]) -> str:
    """Return " (1 diverged, 2 missing)" for the counts above 0; empty without any."""
    texts = [f"{count} {reason}" for reason, count in counts.items() if count]
    return f" ({', '.join(texts)})" if texts else ""


def format_seed_count(effect: Effect) -> str:
    """Return the number of seeds behind an effect, with the reasons for the lost ones."""
    total = len(effect.values) + effect.num_diverged + effect.num_missing
    exclusions = format_exclusions({"diverged": effect.num_diverged, "missing": effect.num_missing})
    return f"{len(effect.values)} of {total}{exclusions}" if exclusions else str(total)


def format_number(value: float | None, digits: int = 3) -> str:
    """Return a value such as a score with `digits` decimals; n/a for None and NaN."""
    return "n/a" if value is None or value != value else _format_minus(f"{value:.{digits}f}")


def format_signed(value: float | None, digits: int = 3) -> str:
    """Return a difference with its sign; n/a for None and NaN."""
    if value is None or value != value:
        return "n/a"
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        return "0" if value == 0 else text.lstrip("+-")
    return text.replace("-", MINUS)


def format_p_value(p: float | None) -> str:
    """Return a p-value with three decimals; empty for None."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def format_forward_passes(
    forward_passes: Mapping[str, Mapping[str, float]],
    positive_arms: Iterable[str],
    negative_arms: Iterable[str],
) -> str:
    """Return the cost of the two sides of a contrast, such as "3 vs. 1 image forward passes".

    Args:
        forward_passes: arm -> encoder ("image", "text") -> forward passes per sample.
        positive_arms: arms with a positive weight.
        negative_arms: arms with a negative weight.
    """
    sides = [
        sorted({forward_passes[a].get("image", 0.0) for a in arms if a in forward_passes})
        for arms in (positive_arms, negative_arms)
    ]
    if not all(sides):
        return NOT_STATED
    left_text, right_text = (" or ".join(f"{x:g}" for x in side) for side in sides)
    return f"{left_text} vs. {right_text} image forward passes"


def format_score_label(name: str) -> str:
    """Return the label of a score: retrieval.i2t.r5 is "R@5 image to text".

    The class that a score is about follows a colon: zeroshot.label[cat] is "zero-shot label: cat".
    """
    base_name, class_name = split_class_name(name)
    if class_name is not None:
        return f"{_format_base_label(base_name)}: {class_name}"
    *parts, last_part = name.split(".")
    if last_part == CALIBRATION_ERROR:
        base_label = _format_base_label(".".join(parts)) if parts else ""
        return f"{base_label} calibration error".lstrip()
    return _format_base_label(name)


def _format_base_label(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "retrieval":
        return _format_retrieval_label(parts[1:])
    if parts[0] in SCORE_LABELS:
        words = [SCORE_LABELS[parts[0]], *(part.replace("_", " ") for part in parts[1:2])]
        suffix = f" ({parts[3]} vector)" if parts[2:3] == ["views"] and len(parts) > 3 else ""
        return " ".join(words) + suffix
    return name.replace("_", " ")


def _format_retrieval_label(parts: Sequence[str]) -> str:
    """Return the label of a retrieval score from the words after the first.

    i2t.r5 is "R@5 image to text", caption.t2i.mrr is "MRR captions, text to image".
    """
    is_recall = [p[0] == "r" and p[1:].isdecimal() for p in parts]
    position = next((i for i, p in enumerate(parts) if p in RETRIEVAL_WORDS or is_recall[i]), None)
    if position is None:
        return " ".join(["retrieval", *parts]).replace("_", " ")
    word, directions, rest = parts[position], parts[:position], parts[position + 1 :]
    label = f"R@{word[1:]}" if is_recall[position] else RETRIEVAL_WORDS[word]
    way = ", ".join(DIRECTION_LABELS.get(p, p) for p in directions) or "both ways"
    suffix = f" ({rest[1]} vector)" if rest[:1] == ["views"] and len(rest) > 1 else ""
    return f"{label} {way}{suffix}"


def format_confidence_level() -> str:
    """Return the level of the intervals as text."""
    return f"{100 * (1 - ALPHA):.0f} %"


def _format_minus(text: str) -> str:
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)
