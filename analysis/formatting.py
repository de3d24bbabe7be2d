"""Numbers and verdicts as text: one spelling for tables, HTML page, notebook and terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from analysis.statistics.effects import ALPHA, MIN_SEEDS_FOR_INTERVAL, Effect

MINUS, PLUS_MINUS = "\u2212", "\u00b1"

NOT_SIGNIFICANT = "not significant"
EXACTLY_ZERO = "exactly 0"
TOO_FEW_SEEDS = "too few seeds"
NO_DATA = "no data"
ALL_DIVERGED = "every seed diverged"
SIGNIFICANT_VERDICTS = {
    "main": {1: "helps", -1: "hurts"},
    "difference": {1: "helps", -1: "hurts"},
    "interaction": {1: "synergy", -1: "antagonism"},
    "noise": {1: "differs", -1: "differs"},
}
"""Kind of contrast -> sign of a significant effect -> verdict."""

GOOD, BAD, MUTED = "good", "bad", "muted"
"""Tones of a text on the HTML page."""

MDE_LABEL = "MDE (80 % power)"
REPORT_ONLY_NOTE = "* reported only: not tested, and in no mean."
BOLD_NOTE = "Bold: not significantly worse than the best arm (paired t over seeds, Holm over arms)."


def format_verdict(effect: Effect, kind: str) -> str:
    """Return the verdict on an effect, such as "helps" or "not significant"."""
    num_seeds = len(effect.values)
    if not num_seeds:
        return ALL_DIVERGED if effect.num_diverged and not effect.num_missing else NO_DATA
    if effect.is_exactly_zero:
        return EXACTLY_ZERO
    if num_seeds < MIN_SEEDS_FOR_INTERVAL:
        return TOO_FEW_SEEDS
    sign = effect.sign
    assert sign is not None, "three seeds can be tested"
    return SIGNIFICANT_VERDICTS[kind][sign] if sign else NOT_SIGNIFICANT


def format_short_verdict(effect: Effect, kind: str) -> str:
    """Return the verdict for the terminal: "n.s. (Holm)" where it is not significant."""
    verdict = format_verdict(effect, kind)
    if verdict != NOT_SIGNIFICANT:
        return verdict
    return "n.s. (Holm)" if effect.p_adjusted is not None else "n.s."


def get_tone(effect: Effect, kind: str) -> str:
    """Return the tone of a verdict: good, bad or muted; a noise contrast must not differ from 0."""
    if not effect.sign:
        return MUTED
    return BAD if kind == "noise" or effect.sign < 0 else GOOD


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
    return "0" if float(text) == 0 and value == 0 else text.replace("-", MINUS)


def format_interval(effect: Effect) -> str:
    """Return `[low, high]`; empty below three seeds."""
    if effect.low is None or effect.high is None:
        return ""
    return f"[{format_signed(effect.low)}, {format_signed(effect.high)}]"


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
        return "not stated"
    left_text, right_text = (" or ".join(f"{x:g}" for x in side) for side in sides)
    return f"{left_text} vs. {right_text} image forward passes"


def format_score_label(name: str) -> str:
    """Return the label of a score: retrieval.i2t.r5 is "R@5 image to text"."""
    parts = name.split(".")
    direction_labels = {
        "i2t": "image to text",
        "t2i": "text to image",
        "caption": "captions",
        "instance": "instances",
    }
    prefix_labels = {"zeroshot": "zero-shot", "probe": "linear probe", "minimal": "minimal pair"}
    if parts[0] == "retrieval" and parts[-1][:1] == "r":
        direction = direction_labels.get(parts[1], parts[1]) if len(parts) > 2 else "both ways"
        return f"R@{parts[-1][1:]} {direction}"
    if parts[0] in prefix_labels and len(parts) > 1:
        suffix = f" ({parts[3]} vector)" if parts[2:3] == ["views"] and len(parts) > 3 else ""
        return f"{prefix_labels[parts[0]]} {parts[1].replace('_', ' ')}{suffix}"
    return name.replace("_", " ")


def format_confidence_level() -> str:
    """Return the level of the intervals as text."""
    return f"{100 * (1 - ALPHA):.0f} %"


def _format_minus(text: str) -> str:
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)
