"""Search spaces as Optuna's distributions: ranges, steps, logarithms, choices and conditions."""

from __future__ import annotations

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from sweeps.tuning import distributions
from sweeps.tuning.search_space import Dimension

SPACE = {
    "rate": Dimension(low=1e-4, high=1e-1, log=True),
    "warmup": Dimension(low=0.0, high=0.3, step=0.1),
    "width": Dimension(low=16, high=64, step=16),
    "depth": Dimension(low=1, high=32, log=True),
    "betas": Dimension(choices=([0.9, 0.98], [0.9, 0.999])),
    "precision": Dimension(choices=("fp32", "bf16")),
    "eps": Dimension(low=1e-8, high=1e-4, log=True, when={"precision": "bf16"}),
}
PARAMS = {"rate": 0.01, "warmup": 0.3, "width": 48, "depth": 4, "betas": [0.9, 0.999]}


def test_dimensions_are_distributions_of_optuna() -> None:
    assert distributions.build_distributions(SPACE, PARAMS, readable=True) == {
        "rate": FloatDistribution(1e-4, 1e-1, log=True),
        "warmup": FloatDistribution(0.0, 0.3, step=0.1),
        "width": IntDistribution(16, 64, step=16),
        "depth": IntDistribution(1, 32, log=True),
        "betas": CategoricalDistribution(("[0.9, 0.98]", "[0.9, 0.999]")),
    }
    encoded = distributions.encode_params(SPACE, PARAMS, readable=True)
    assert encoded == {**PARAMS, "betas": "[0.9, 0.999]"}


def test_samplers_see_choices_as_positions() -> None:
    space: dict[str, BaseDistribution] = distributions.build_distributions(SPACE, PARAMS)
    assert space["betas"] == CategoricalDistribution((0, 1))
    assert distributions.encode_params(SPACE, PARAMS)["betas"] == 1


def test_suggested_values_lie_in_the_space_and_conditional_keys_only_where_they_apply() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    suggestions = [distributions.suggest_params(study.ask(), SPACE) for _ in range(30)]
    for params in suggestions:
        assert all(SPACE[key].contains(value) for key, value in params.items())
        assert ("eps" in params) == (params["precision"] == "bf16")
    assert {params["width"] for params in suggestions} == {16, 32, 48, 64}
    assert {params["warmup"] for params in suggestions} == {0.0, 0.1, 0.2, 0.3}
    assert {"eps" in params for params in suggestions} == {True, False}
