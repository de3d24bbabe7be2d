"""Moderated t tests: limma's formulas, and where they are not sound."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from analysis.statistics.moderated import fit_prior, run_moderated_tests
from tests.analysis.statistics.test_effects import make_rng


def test_the_prior_of_many_variances_is_found() -> None:
    g, prior_df, prior_variance, df = make_rng(30), 6.0, 0.04, 4
    true_variances = prior_df * prior_variance / g.chisquare(prior_df, 20_000)
    fitted_df, fitted_variance = fit_prior(true_variances * g.chisquare(df, 20_000) / df, df)
    assert fitted_df == pytest.approx(prior_df, rel=0.1)
    assert fitted_variance == pytest.approx(prior_variance, rel=0.03)
    assert fit_prior(np.full(5, 0.04), df)[0] == math.inf


def test_equal_variances_keep_the_stated_error_about() -> None:
    """Four variances of three seeds give a rough prior, so the error is not exact."""
    g, p_values = make_rng(31), []
    for _ in range(1500):
        tests = run_moderated_tests(g.normal(size=(4, 3)).tolist(), [1.0] * 4)
        assert tests is not None
        p_values.append(tests.p_values)
    assert 0.035 < np.mean(np.array(p_values) < 0.05) < 0.095


def test_the_statistic_by_hand() -> None:
    values = np.array([[1.0, 2.0, 3.0], [0.0, 4.0, 5.0], [2.0, 2.1, 2.3]])
    tests = run_moderated_tests(values.tolist(), [1.0] * 3)
    assert tests is not None
    variances = values.var(1, ddof=1)
    prior_df, prior_variance = fit_prior(variances, 2)
    assert tests.prior_df == prior_df < math.inf
    posterior = (prior_df * prior_variance + 2 * variances) / (prior_df + 2)
    t = values.mean(1) / np.sqrt(posterior / 3)
    assert tests.p_values == pytest.approx(2 * special.stdtr(prior_df + 2, -t))
    scaled = run_moderated_tests((2 * values).tolist(), [2.0] * 3)
    assert scaled is not None
    assert scaled.p_values == pytest.approx(tests.p_values)


def test_unequal_variances_are_seen_by_the_check() -> None:
    g = make_rng(32)
    tests = run_moderated_tests(
        (g.normal(size=(3, 8)) * np.array([[0.01], [1], [1]])).tolist(), [1.0] * 3
    )
    assert tests is not None
    assert tests.homogeneity_p < 0.01


def test_too_little_data_gives_no_test() -> None:
    assert run_moderated_tests([[1.0, 2.0, 3.0]] * 2, [1.0] * 2) is None
    assert run_moderated_tests([[1.0, 2.0]] * 3, [1.0] * 3) is None
    assert run_moderated_tests([[1.0, 1.0, 1.0]] * 3, [1.0] * 3) is None
