"""Verdicts: the one place where a comparison is called anything.

There is one family and one correction: Holm's over the contrasts that the plan declares primary, on
all primary scores. Every other contrast is exploratory: it is not corrected, and its verdict is
marked. What compares two arms elsewhere (the sentence on the baselines, bold in the tables) uses
the verdict of the contrast of these two arms wherever the plan has one.

A verdict is made at the looks of the ablation (`looks`). Let I be the primary comparisons without
an effect. In Holm's procedure the first false verdict "helps" or "hurts" needs a p-value of I of at
most level / |I| at some look. There are |I| comparisons and the levels of the looks add up to 5 %,
so its probability is at most 5 %, also if comparisons reach their looks at different times. (With
joint levels, `sequential_t`, the p-value of the sequence is at most 5 % / |I|.)
"Practically nothing" is corrected in the same way, over the comparisons that have a margin and an
effect of at least that size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.statistics import looks as look_tests
from analysis.statistics.effects import (
    Effect,
    LookResult,
    Observations,
    compute_min_spread,
    estimate_effect,
)
from analysis.statistics.multiplicity import holm_adjust
from analysis.statistics.power import MinimumDetectableEffect
from uniclip.store import Contrast, Look

UNRESOLVED = "unresolved"
PRACTICALLY_NOTHING = "practically nothing"
MIXED = "mixed"
EXACTLY_ZERO = "exactly 0"
NO_VERDICT = "no verdict"
TOO_FEW_SEEDS = "too few seeds"
NO_DATA = "no data"
ALL_DIVERGED = "every seed diverged"
EXPLORATORY_MARK = "*"
SIGNIFICANT_VERDICTS = {
    "main": {1: "helps", -1: "hurts"},
    "difference": {1: "helps", -1: "hurts"},
    "shapley": {1: "helps", -1: "hurts"},
    "trend": {1: "helps", -1: "hurts"},
    "scale": {1: "rises", -1: "falls"},
    "interaction": {1: "synergy", -1: "antagonism"},
    "noise": {1: "differs", -1: "differs"},
}
"""Kind of contrast -> sign of a significant effect -> verdict."""
SHORT_WORDS = {PRACTICALLY_NOTHING: "pract. nothing", ALL_DIVERGED: "all diverged"}
"""Verdict -> how the terminal shows it."""
ScoreKey = tuple[str, str]
"""(data set, score)."""
WeightKey = tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class PrimaryScore:
    """A score on which contrasts are tested."""

    key: ScoreKey
    observations: Observations
    margin: float | None = None
    """Largest effect that is practically nothing; None if none is declared."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is claimed of one contrast on one score."""

    word: str
    """Such as "helps" or "unresolved"."""
    sign: int = 0
    """+1 or -1 if an effect is shown, else 0."""
    is_exploratory: bool = False
    """Whether it was not corrected for multiple contrasts."""
    kind: str = "difference"
    """Kind of the contrast."""
    metric: str = ""
    """The score."""
    num_seeds: int | None = None
    """Seeds of the look at which it was made; None if no look was reached, or needed."""
    first_look: int | None = None
    """Seeds of the first look, if it was not reached."""

    @property
    def is_claim(self) -> bool:
        """Whether something is claimed of the effect by a test."""
        return bool(self.sign) or self.word == PRACTICALLY_NOTHING

    @property
    def mark(self) -> str:
        """`*` if it claims something without correction."""
        return EXPLORATORY_MARK if self.is_claim and self.is_exploratory else ""

    @property
    def text(self) -> str:
        """The word with its mark, and the seeds of its look: "helps* at 5 seeds"."""
        if self.first_look is not None:
            return f"{self.word} before {self.first_look} seeds"
        at_text = "" if self.num_seeds is None else f" at {self.num_seeds} seeds"
        return f"{self.word}{self.mark}{at_text}"

    @property
    def short_text(self) -> str:
        """The word for the terminal, with its mark."""
        return SHORT_WORDS.get(self.word, self.word) + self.mark

    def name_score(self, label: str) -> str:
        """Return the text with the score: "helps on R@1 at 5 seeds"."""
        if self.num_seeds is None:
            return f"{self.text} on {label}"
        return f"{self.word}{self.mark} on {label} at {self.num_seeds} seeds"


def judge(effect: Effect, contrast: Contrast) -> Verdict:
    """Return the verdict on the effect of a contrast on the score that was tested.

    Scores that are equal in a few seeds may be so by chance (with 20 test samples they often are),
    so "exactly 0" needs a look that was reached and as many seeds as its test.
    """
    look = effect.look
    is_corrected = look is not None and look.is_corrected
    verdict = Verdict(
        word=NO_DATA,
        is_exploratory=not is_corrected and not contrast.primary,
        kind=contrast.kind,
        metric=look.metric if look is not None else "",
    )
    if not effect.values:
        every_seed_diverged = effect.num_diverged and not effect.num_missing
        return replace(verdict, word=ALL_DIVERGED if every_seed_diverged else NO_DATA)
    if look is None:
        return replace(verdict, word=EXACTLY_ZERO if effect.is_exactly_zero else NO_VERDICT)
    if look.reached is None:
        return replace(verdict, word=NO_VERDICT, first_look=look.looks[0].num_seeds)
    if effect.is_exactly_zero and look.sign is not None:
        return replace(verdict, word=EXACTLY_ZERO)
    verdict = replace(verdict, num_seeds=look.reached.num_seeds)
    if look.sign is None:
        return replace(verdict, word=TOO_FEW_SEEDS)
    if look.sign:
        return replace(verdict, word=SIGNIFICANT_VERDICTS[contrast.kind][look.sign], sign=look.sign)
    return replace(verdict, word=PRACTICALLY_NOTHING if look.is_equivalent else UNRESOLVED)


def combine_verdicts(verdicts: Mapping[str, Verdict]) -> str:
    """Return one text for the verdicts on a contrast on several scores; at least one.

    It is their common word, "mixed" for opposite signs, and else the words in their order, each
    with its score.

    Args:
        verdicts: label of the score -> verdict.
    """
    words = list(dict.fromkeys(v.word + v.mark for v in verdicts.values()))
    if len(words) == 1:
        return words[0]
    if {1, -1} <= {v.sign for v in verdicts.values()}:
        return MIXED
    return "; ".join(f"{v.word}{v.mark} on {label}" for label, v in verdicts.items())


def estimate_contrasts(
    contrasts: Sequence[Contrast], scores: Sequence[PrimaryScore], looks: Sequence[Look]
) -> dict[ScoreKey, dict[str, Effect]]:
    """Return score -> contrast -> effect, with the result of the last look that was reached.

    The primary contrasts on all of these scores are one family for Holm's correction. A contrast
    that cannot be tested (yet) counts with p = 1, so results that arrive later never make another
    verdict weaker at its look. A score that no run has, though runs have another one, does not
    exist for these data and is not counted. Contrasts that compare the same arms with the same
    weights are one comparison: it is counted once, and all of them have its p-values.
    """
    groups: dict[WeightKey, list[Contrast]] = {}
    for contrast in contrasts:
        groups.setdefault(normalize_weights(contrast.weights), []).append(contrast)
    representatives = {
        key: next((c for c in same if c.primary), same[0]) for key, same in groups.items()
    }
    existing = {s.key for s in scores if any(s.observations.values.values())}
    counted = existing or {s.key for s in scores}
    family_size = len(counted) * sum(c.primary for c in representatives.values())
    tested = {
        (score.key, key): _test_contrast(contrast, score, looks, family_size)
        for score in scores
        for key, contrast in representatives.items()
    }
    tested |= _correct_family(
        {k: e for k, e in tested.items() if k[0] in counted and representatives[k[1]].primary}
    )
    return {
        score.key: {
            c.name: _share_result(c, representatives[key], score, tested[score.key, key])
            for c in contrasts
            for key in [normalize_weights(c.weights)]
        }
        for score in scores
    }


def _test_contrast(
    contrast: Contrast, score: PrimaryScore, looks: Sequence[Look], family_size: int
) -> Effect:
    """Return an effect with the result of its last look, before Holm's correction."""
    effect = estimate_effect(contrast.weights, score.observations)
    size = family_size if contrast.primary else 1
    min_spread = compute_min_spread(contrast.weights, score.observations)
    result = look_tests.run_look(
        effect,
        looks,
        score.key,
        margin=score.margin,
        min_spread=min_spread,
        first_seed=score.observations.first_seed,
    )
    planning_look = look_tests.choose_planning_look(looks, result.reached)
    return replace(
        effect,
        look=replace(result, family_size=size),
        mde=look_tests.estimate_look_mde(effect, planning_look, looks, size),
    )


def _correct_family(
    effects: Mapping[tuple[ScoreKey, WeightKey], Effect],
) -> dict[tuple[ScoreKey, WeightKey], Effect]:
    """Return the effects of a family with Holm's correction of both of their p-values.

    Equivalence is tested only where a margin is declared: the others are not counted there.
    """
    results = [e.look for e in effects.values() if e.look is not None]
    p_values = holm_adjust([1.0 if r.p is None else r.p for r in results])
    with_margin = [i for i, result in enumerate(results) if result.margin is not None]
    equivalence_p_values = [results[i].p_equivalence for i in with_margin]
    adjusted = holm_adjust([1.0 if p is None else p for p in equivalence_p_values])
    adjusted_by_index = dict(zip(with_margin, adjusted))
    equivalence = [adjusted_by_index.get(i, 1.0) for i in range(len(results))]
    return {
        key: replace(
            effect,
            look=replace(
                result,
                is_corrected=True,
                p=None if result.p is None else p,
                p_equivalence=None if result.p_equivalence is None else p_equivalence,
            ),
        )
        for (key, effect), result, p, p_equivalence in zip(
            effects.items(), results, p_values, equivalence
        )
    }


def _share_result(
    contrast: Contrast, representative: Contrast, score: PrimaryScore, tested: Effect
) -> Effect:
    """Return the effect of a contrast with the result of the comparison that it is equal to."""
    if contrast.weights == representative.weights:
        return tested
    effect = estimate_effect(contrast.weights, score.observations)
    scale = (effect.mean or 0.0) / tested.mean if tested.mean else 1.0
    return replace(
        effect, look=_scale_look(tested.look, scale), mde=_scale_mde(tested.mde, abs(scale))
    )


def _scale_look(look: LookResult | None, scale: float) -> LookResult | None:
    if look is None or look.mean is None:
        return look
    return replace(look, mean=look.mean * scale)


def _scale_mde(mde: MinimumDetectableEffect | None, scale: float) -> MinimumDetectableEffect | None:
    if mde is None:
        return None
    return replace(mde, value=mde.value * scale, low=mde.low * scale, high=mde.high * scale)


def normalize_weights(weights: Mapping[str, float]) -> WeightKey:
    """Return a key that contrasts share if they are equal up to a factor."""
    used = sorted((arm, weight) for arm, weight in weights.items() if weight)
    return tuple((arm, round(weight / used[0][1], 9)) for arm, weight in used) if used else ()


@dataclass(frozen=True)
class DeclaredComparison:
    """The verdict on two arms that a contrast of the plan compares."""

    contrast: Contrast
    effect: Effect
    """First arm minus second arm, up to a factor."""

    @property
    def verdict(self) -> Verdict:
        """The verdict of the contrast, as it is everywhere in the report."""
        return judge(self.effect, self.contrast)


def collect_declared_comparisons(
    contrasts: Sequence[Contrast], effects: Mapping[str, Effect]
) -> dict[tuple[str, str], DeclaredComparison]:
    """Return (arm, other arm) -> comparison, for every pair of arms that a contrast compares.

    Each pair is there both ways; a primary contrast precedes an exploratory one.
    """
    comparisons: dict[tuple[str, str], DeclaredComparison] = {}
    for contrast in sorted(contrasts, key=lambda c: not c.primary):
        positive_arms, negative_arms = contrast.arms_by_sign
        if len(positive_arms) == len(negative_arms) == 1:
            pair, effect = (positive_arms[0], negative_arms[0]), effects[contrast.name]
            if pair not in comparisons:
                comparisons[pair] = DeclaredComparison(contrast, effect)
                comparisons[pair[::-1]] = DeclaredComparison(contrast, negate(effect))
    return comparisons


def negate(effect: Effect) -> Effect:
    """Return the effect of the contrast with all weights negated."""
    low, high, mean = effect.low, effect.high, effect.mean
    worst = effect.worst_case_mean
    return replace(
        effect,
        values=tuple(-v for v in effect.values),
        mean=None if mean is None else -mean,
        low=None if high is None else -high,
        high=None if low is None else -low,
        worst_case_mean=None if worst is None else -worst,
        look=_scale_look(effect.look, -1.0),
    )
