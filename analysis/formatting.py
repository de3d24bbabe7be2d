"""Numbers and verdicts in words, one spelling for tables, page, notebook and terminal."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.statistics.effects import ALPHA, ENOUGH, Effect
from uniclip.store import Contrast, Plan

MINUS, PLUS_MINUS = "\u2212", "\u00b1"
UNTOLD = "cannot be told from 0"
CLAIMS = {
    "main": {1: "helps", -1: "hurts"},
    "difference": {1: "helps", -1: "hurts"},
    "interaction": {1: "more together", -1: "less together"},
    "noise": {1: "differs", -1: "differs"},
}
NUMBERS = {1: "one", 2: "two"}


def verdict(effect: Effect, kind: str) -> str:
    """What may be said of an effect: "helps", "hurts", "cannot be told from 0", ..."""
    n = len(effect.values)
    if not n:
        return "every seed diverged" if effect.diverged and not effect.missing else "no data yet"
    if effect.exact:
        return "exactly 0"
    if n < ENOUGH:
        return f"{NUMBERS[n]} seed{'s' * (n > 1)}: no claim"
    sign = effect.sign
    assert sign is not None, "three seeds can be judged"
    return CLAIMS[kind][sign] if sign else UNTOLD


def seeds(effect: Effect) -> str:
    """How many seeds stand behind an effect, and why not more."""
    total = len(effect.values) + effect.diverged + effect.missing
    lost = [f"{effect.diverged} diverged"] if effect.diverged else []
    lost += [f"{effect.missing} missing"] if effect.missing else []
    return f"{len(effect.values)} of {total} ({', '.join(lost)})" if lost else str(total)


def number(value: float | None, digits: int = 3) -> str:
    """A value such as a score; n/a for none."""
    return "n/a" if value is None or value != value else _signless(f"{value:.{digits}f}")


def signed(value: float | None, digits: int = 3) -> str:
    """A difference, with its sign; n/a for none."""
    if value is None or value != value:
        return "n/a"
    text = f"{value:+.{digits}f}"
    return "0" if float(text) == 0 and value == 0 else text.replace("-", MINUS)


def interval(effect: Effect) -> str:
    """`[low, high]`; empty below three seeds."""
    if effect.low is None or effect.high is None:
        return ""
    return f"[{signed(effect.low)}, {signed(effect.high)}]"


def probability(p: float | None) -> str:
    """A p value to three digits; empty for none."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def forwards(plan: Plan, plus: Iterable[str], minus: Iterable[str]) -> str:
    """What the two sides of a comparison cost: "3 against 1 image forwards"."""
    sides = [
        sorted({plan.forwards[a].get("image", 0.0) for a in arms if a in plan.forwards})
        for arms in (plus, minus)
    ]
    if not all(sides):
        return "not stated"
    left, right = (" or ".join(f"{x:g}" for x in side) for side in sides)
    return f"{left} against {right} image forwards"


def cost(plan: Plan, contrast: Contrast) -> str:
    """The costs of a contrast's two sides."""
    return forwards(plan, *contrast.sides)


def score_label(name: str) -> str:
    """A score's name for readers: retrieval.i2t.r5 is "R@5 image to text"."""
    parts = name.split(".")
    ways = {
        "i2t": "image to text",
        "t2i": "text to image",
        "caption": "captions",
        "instance": "instances",
    }
    words_ = {"zeroshot": "zero-shot", "probe": "linear probe", "minimal": "minimal pair"}
    if parts[0] == "retrieval" and parts[-1][:1] == "r":
        way = ways.get(parts[1], parts[1]) if len(parts) > 2 else "both ways"
        return f"R@{parts[-1][1:]} {way}"
    if parts[0] in words_ and len(parts) > 1:
        rest = f" ({parts[3]} vector)" if parts[2:3] == ["views"] and len(parts) > 3 else ""
        return f"{words_[parts[0]]} {parts[1].replace('_', ' ')}{rest}"
    return name.replace("_", " ")


def _signless(text: str) -> str:
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)


def confidence() -> str:
    """The level of intervals, as a reader writes it."""
    return f"{100 * (1 - ALPHA):.0f} %"
