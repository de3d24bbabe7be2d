"""Tables of single designs: aliases, Shapley values and doses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from analysis import formatting
from analysis.results.doses import DoseCurve, analyze_doses
from analysis.results.results import Results
from analysis.results.shapley import Gain, ShapleyDetails, analyze_shapley
from analysis.statistics.effects import Effect
from analysis.statistics.verdicts import ScoreKey
from analysis.tables.table import Table, TableCell, make_row
from uniclip.store import Alias, Contrast, FoldOver


def build_alias_table(results: Results) -> Table | None:
    """Return every aliased effect with all of its aliases; None without any."""
    contrasts = [c for c in results.plan.contrasts if c.aliases]
    if not contrasts:
        return None
    records = [
        {"contrast": c.name, "alias": alias.effect, "coefficient": alias.coefficient}
        for c in contrasts
        for alias in c.aliases
    ]
    return Table(
        name="aliases",
        title="Aliases",
        headings=("effect", "estimates the sum of"),
        rows=tuple(
            make_row(_format_effect(c.name.partition(":")[2]), " ".join(_format_terms(c)))
            for c in contrasts
        ),
        records=tuple(records),
        notes=(
            "The design has a part of all combinations: the estimate of an effect contains its "
            "aliases, times their coefficients. Which of them act cannot be told from these runs.",
            "Listed are aliases of up to three components; of partial ones, of up to two.",
            *_describe_fold_overs(results.plan.fold_overs),
        ),
        num_text_columns=2,
    )


def _describe_fold_overs(offers: Sequence[FoldOver]) -> list[str]:
    """Return the first fold-over that would help, and the number of others like it."""
    if not offers:
        return []
    first, others = offers[0], len(offers) - 1
    others_text = f" The {others} of the other components are alike." if others else ""
    return [
        f"fold_over=[{','.join(first.components)}] would separate {first.separates}; it adds "
        f"{first.num_arms} arms.{others_text}"
    ]


def _format_effect(effect: str) -> str:
    return effect.replace("*", " x ")


def _format_terms(contrast: Contrast) -> list[str]:
    effect = _format_effect(contrast.name.partition(":")[2])
    return [effect, *map(_format_alias, contrast.aliases)]


def _format_alias(alias: Alias) -> str:
    size = "" if abs(alias.coefficient) == 1 else f"{abs(alias.coefficient):.2g} "
    sign = "+" if alias.coefficient > 0 else formatting.MINUS
    return f"{sign} {size}{_format_effect(alias.effect)}"


def build_shapley_table(results: Results) -> Table | None:
    """Return the Shapley values, the error of sampled orders, and gains; None for other designs."""
    if not results.select_contrasts("shapley"):
        return None
    rows, records, notes = [], [], []
    for key in results.primary_scores:
        for details in analyze_shapley(results.plan, results.observations[key]):
            rows.append(_build_shapley_row(results, key, details))
            records.append(_build_shapley_record(results, key, details))
        notes += _describe_sums(results, key)
    notes += describe_sign_changes(results)
    orders = results.plan.orders
    return Table(
        name="shapley",
        title="Shapley values",
        headings=(
            "component",
            "score",
            "Shapley value",
            f"{formatting.format_confidence_level()} interval (seeds)",
            "SE of sampled orders",
            "interval (seeds and orders)",
            "least gain",
            "largest gain",
        ),
        rows=tuple(rows),
        records=tuple(records),
        notes=(
            "Shapley value: what a component adds, averaged over all orders of adding them"
            + (f", from a sample of {len(orders)} orders." if orders else "."),
            "Interval (seeds): for these orders and new seeds. SE of sampled orders: of the choice "
            "of orders alone; 0 where all are used, unknown below four orders. Gains: what the "
            "component adds to one set of others, mean over seeds.",
            *notes,
        ),
        num_text_columns=2,
    )


def _get_shapley_effect(results: Results, key: ScoreKey, component: str) -> Effect:
    return results.get_effects(key)[f"shapley:{component}"]


def _build_shapley_row(
    results: Results, key: ScoreKey, details: ShapleyDetails
) -> tuple[TableCell, ...]:
    effect = _get_shapley_effect(results, key, details.component)
    number_format = results.get_effect_format(effect, key)
    sample, gains = details.sample, details.gains
    total = ""
    if sample is not None and sample.low is not None and sample.high is not None:
        low, high = (number_format.format(x) for x in (sample.low, sample.high))
        total = f"[{low}, {high}]"
    return make_row(
        _get_label(results, details.component),
        results.format_heading(key),
        number_format.format_signed(effect.mean),
        number_format.format_interval(effect),
        number_format.format(_get_order_error(results, details)),
        total,
        number_format.format_signed(gains[0].mean) if gains else "",
        number_format.format_signed(gains[-1].mean) if gains else "",
    )


def _build_shapley_record(
    results: Results, key: ScoreKey, details: ShapleyDetails
) -> dict[str, object]:
    effect = _get_shapley_effect(results, key, details.component)
    sample, gains = details.sample, details.gains
    return {
        "component": details.component,
        "dataset": key[0],
        "score": key[1],
        "shapley_value": effect.mean,
        "ci_low": effect.low,
        "ci_high": effect.high,
        "num_orders": sample.num_orders if sample is not None else None,
        "order_se": _get_order_error(results, details),
        "seeds_and_orders_low": sample.low if sample is not None else None,
        "seeds_and_orders_high": sample.high if sample is not None else None,
        "least_gain": gains[0].mean if gains else None,
        "least_gain_after": " ".join(gains[0].before) if gains else "",
        "largest_gain": gains[-1].mean if gains else None,
        "largest_gain_after": " ".join(gains[-1].before) if gains else "",
        "sign_changes": details.sign_change is not None,
    }


def _get_order_error(results: Results, details: ShapleyDetails) -> float | None:
    """Return the standard error of the choice of orders: 0 if all are used, None if unknown."""
    if details.sample is not None:
        return details.sample.sampling_se
    return None if results.plan.orders else 0.0


def _get_label(results: Results, component: str) -> str:
    return next(c.label for c in results.plan.components if c.name == component)


def _describe_sums(results: Results, key: ScoreKey) -> list[str]:
    """Return that the Shapley values add up to the effect of all components."""
    effects = results.get_effects(key)
    means = [effects[c.name].mean for c in results.select_contrasts("shapley")]
    whole = effects.get("full - none")
    if whole is None or whole.mean is None or any(mean is None for mean in means):
        return []
    number_format = results.get_effect_format(whole, key)
    total = math.fsum(mean for mean in means if mean is not None)
    return [
        f"On {results.format_heading(key)} the values add up to "
        f"{number_format.format_signed(total)}, all components together bring "
        f"{number_format.format_signed(whole.mean)}."
    ]


def describe_sign_changes(results: Results) -> list[str]:
    """Return a warning for each component that helps in some combinations and hurts in others."""
    warnings = []
    for key in results.primary_scores:
        for details in analyze_shapley(results.plan, results.observations[key]):
            if details.sign_change is None:
                continue
            label = _get_label(results, details.component)
            number_format = results.get_score_format(key)
            below, above = (
                f"{number_format.format_signed(gain.mean)} {_describe_before(results, gain)}"
                for gain in details.sign_change
            )
            warnings.append(
                f"The sign of {label} changes on {results.format_heading(key)}: {below}, {above} "
                "(both shown, Holm-corrected over its combinations); its Shapley value is a mean "
                "of opposite effects."
            )
    return warnings


def _describe_before(results: Results, gain: Gain) -> str:
    labels = [_get_label(results, name) for name in gain.before]
    return f"with {', '.join(labels)}" if labels else "alone"


def build_dose_table(results: Results) -> Table | None:
    """Return the score of each dose and the monotone fit; None for other designs."""
    curves = {
        key: analyze_doses(results.plan, results.observations[key])
        for key in results.primary_scores
    }
    if not any(curves.values()):
        return None
    rows, records = [], []
    for key, key_curves in curves.items():
        for curve in key_curves:
            for i in range(len(curve.doses)):
                rows.append(_build_dose_row(results, key, curve, i))
                records.append(_build_dose_record(key, curve, i))
    return Table(
        name="doses",
        title="Doses",
        headings=("component", "score", "dose", "mean", "monotone fit"),
        rows=tuple(rows),
        records=tuple(records),
        notes=(
            "Means over the seeds that all doses completed; dose 0 is off. Monotone fit: the "
            "nearest curve that only rises or only falls (isotonic regression).",
            *(describe_trend(results, key, c) for key, cs in curves.items() for c in cs),
        ),
        num_text_columns=2,
    )


def describe_trend(results: Results, key: ScoreKey, curve: DoseCurve) -> str:
    """Return the direction of a dose curve, and the test of "no trend", in one sentence."""
    label = f"{_get_label(results, curve.component)} on {results.format_heading(key)}"
    if curve.trend is None:
        return f"{label}: no seed has every dose."
    direction = {True: "rises", False: "falls", None: "is constant"}[curve.trend.is_rising]
    fit = "" if curve.trend.is_monotone else "; the means are not monotone"
    if curve.trend.p is None:
        return f"{label}: the fit {direction}{fit}."
    p_text = formatting.format_p_value(curve.trend.p)
    return (
        f"{label}: the fit {direction}{fit}; no trend: p = {p_text} (Page's test over "
        f"{len(curve.seeds)} seeds, exploratory; the verdict is that of the linear trend)."
    ).replace("= <", "<")


def _build_dose_row(
    results: Results, key: ScoreKey, curve: DoseCurve, i: int
) -> tuple[TableCell, ...]:
    number_format = results.get_score_format(key)
    trend = curve.trend
    return make_row(
        _get_label(results, curve.component),
        results.format_heading(key),
        f"{curve.doses[i]:g}",
        number_format.format(trend.means[i]) if trend is not None else "",
        number_format.format(trend.fitted[i]) if trend is not None else "",
    )


def _build_dose_record(key: ScoreKey, curve: DoseCurve, i: int) -> dict[str, object]:
    trend = curve.trend
    return {
        "component": curve.component,
        "dataset": key[0],
        "score": key[1],
        "dose": curve.doses[i],
        "arm": curve.arms[i],
        "num_seeds": len(curve.seeds),
        "mean": trend.means[i] if trend is not None else None,
        "monotone_fit": trend.fitted[i] if trend is not None else None,
        "is_rising": trend.is_rising if trend is not None else None,
        "p_no_trend": trend.p if trend is not None else None,
    }
