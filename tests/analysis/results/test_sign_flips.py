"""Signs that depend on a setting: found where one effect is significant, and never among noise."""

from __future__ import annotations

import pytest

from analysis.results.sign_flips import find_sign_flips
from analysis.statistics.effects import Effect, LookResult
from uniclip.store import Contrast, Look


def build_contrast(name: str, setting: str | None, component: str | None = "c") -> Contrast:
    return Contrast(
        name=name,
        label=name,
        kind="difference",
        weights={name: 1.0, f"no {name}": -1.0},
        primary=setting is None,
        component=component,
        setting=setting,
    )


def build_effect(mean: float, p: float) -> Effect:
    look = Look(num_seeds=3, level=0.05)
    result = LookResult(
        dataset="set", metric="score", looks=(look,), num_finished=3, reached=look, num_tested=3,
        mean=mean, p=p,
    )  # fmt: skip
    return Effect(seeds=(0, 1, 2), values=(mean,) * 3, mean=mean, p=p, look=result)


CONTRASTS = [build_contrast("default", None), build_contrast("other", "s")]


@pytest.mark.parametrize(
    ("default", "other", "expected"),
    [
        ((0.1, 0.01), (-0.1, 0.01), [True]),
        ((-0.1, 0.01), (0.1, 0.01), [True]),
        ((0.1, 0.01), (-0.01, 0.8), [False]),
        ((0.01, 0.8), (-0.1, 0.01), [False]),
        ((0.01, 0.8), (-0.01, 0.8), []),
        ((0.1, 0.01), (0.1, 0.01), []),
        ((0.1, 0.01), (0.01, 0.8), []),
    ],
)
def test_opposite_signs_are_found_if_one_is_significant(
    default: tuple[float, float], other: tuple[float, float], expected: list[bool]
) -> None:
    effects = {"default": build_effect(*default), "other": build_effect(*other)}
    flips = list(find_sign_flips(CONTRASTS, effects))
    assert [f.is_significant for f in flips] == expected
    assert all((f.default.name, f.in_setting.name) == ("default", "other") for f in flips)


def test_a_setting_is_compared_with_its_own_component() -> None:
    contrasts = [*CONTRASTS, build_contrast("of d", None, "d"), build_contrast("no c", "s", None)]
    effects = {c.name: build_effect(-0.1 if c.name == "of d" else 0.1, 0.01) for c in contrasts}
    assert list(find_sign_flips(contrasts, effects)) == []


def test_without_data_there_is_no_sign() -> None:
    nothing = Effect(seeds=(), values=(), mean=None, num_missing=3)
    effects = {"default": build_effect(0.1, 0.01), "other": nothing}
    assert list(find_sign_flips(CONTRASTS, effects)) == []
