"""Numbers and verdicts in words, one spelling for tables, page, notebook and terminal."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.statistics.effects import ALPHA, MIN_SEEDS_FOR_INTERVAL, Effect
from uniclip.store import Contrast, Plan

MINUS, PLUS_MINUS = "\u2212", "\u00b1"
NOT_SIGNIFICANT = "cannot be told from 0"
VERDICT_WORDS = {
    "main": {1: "helps", -1: "hurts"},
    "difference": {1: "helps", -1: "hurts"},
    "interaction": {1: "more together", -1: "less together"},
    "noise": {1: "differs", -1: "differs"},
}
NUMBER_WORDS = {1: "one", 2: "two"}


def format_verdict(effect: Effect, kind: str) -> str:
    """What may be said of an effect: "helps", "hurts", "cannot be told from 0", ..."""
    num_seeds = len(effect.values)
    if not num_seeds:
        return (
            "every seed diverged"
            if effect.num_diverged and not effect.num_missing
            else "no data yet"
        )
    if effect.is_exactly_zero:
        return "exactly 0"
    if num_seeds < MIN_SEEDS_FOR_INTERVAL:
        return f"{NUMBER_WORDS[num_seeds]} seed{'s' * (num_seeds > 1)}: no claim"
    sign = effect.sign
    assert sign is not None, "three seeds can be judged"
    return VERDICT_WORDS[kind][sign] if sign else NOT_SIGNIFICANT


def format_seed_count(effect: Effect) -> str:
    """How many seeds stand behind an effect, and why not more."""
    total = len(effect.values) + effect.num_diverged + effect.num_missing
    exclusions = [f"{effect.num_diverged} diverged"] if effect.num_diverged else []
    exclusions += [f"{effect.num_missing} missing"] if effect.num_missing else []
    return (
        f"{len(effect.values)} of {total} ({', '.join(exclusions)})" if exclusions else str(total)
    )


def format_number(value: float | None, digits: int = 3) -> str:
    """A value such as a score; n/a for none."""
    return "n/a" if value is None or value != value else _format_minus(f"{value:.{digits}f}")


def format_signed(value: float | None, digits: int = 3) -> str:
    """A difference, with its sign; n/a for none."""
    if value is None or value != value:
        return "n/a"
    text = f"{value:+.{digits}f}"
    return "0" if float(text) == 0 and value == 0 else text.replace("-", MINUS)


def format_interval(effect: Effect) -> str:
    """`[low, high]`; empty below three seeds."""
    if effect.low is None or effect.high is None:
        return ""
    return f"[{format_signed(effect.low)}, {format_signed(effect.high)}]"


def format_p_value(p: float | None) -> str:
    """A p value to three digits; empty for none."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def format_forward_passes(
    plan: Plan, positive_arms: Iterable[str], negative_arms: Iterable[str]
) -> str:
    """What the two sides of a comparison cost: "3 against 1 image forwards"."""
    sides = [
        sorted({plan.forward_passes[a].get("image", 0.0) for a in arms if a in plan.forward_passes})
        for arms in (positive_arms, negative_arms)
    ]
    if not all(sides):
        return "not stated"
    left_text, right_text = (" or ".join(f"{x:g}" for x in side) for side in sides)
    return f"{left_text} against {right_text} image forwards"


def format_contrast_cost(plan: Plan, contrast: Contrast) -> str:
    """The costs of a contrast's two sides."""
    return format_forward_passes(plan, *contrast.arms_by_sign)


def format_score_label(name: str) -> str:
    """A score's name for readers: retrieval.i2t.r5 is "R@5 image to text"."""
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


def _format_minus(text: str) -> str:
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)


def format_confidence_level() -> str:
    """The level of intervals, as a reader writes it."""
    return f"{100 * (1 - ALPHA):.0f} %"
