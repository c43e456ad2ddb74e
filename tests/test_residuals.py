"""Residual tests against definitions, and on systems whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.signal import lfilter
from scipy.stats import binom

import sysid
from sysid.analysis.residuals import check_residuals, correlation, residual_analysis
from sysid.data.records import Record


def test_correlation_is_the_sum_of_its_definition() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 40))
    for lag, value in enumerate(correlation(a, b, 6)):
        expected = sum(a[k] * b[k - lag] for k in range(lag, 40))
        assert_allclose(value, expected / np.sqrt((a @ a) * (b @ b)), atol=1e-12)
    long = np.random.default_rng(0).standard_normal((2, 3000))  # by FFT
    assert_allclose(correlation(*long, 3)[1], long[0, 1:] @ long[1, :-1] / 3000, rtol=0.1)


def failures(seeds: range, confidence: float, missing: float = 0.0) -> dict[str, list[list[int]]]:
    """Lags named by failed tests, of residuals with ``missing u(k-3)`` in them."""
    out: dict[str, list[list[int]]] = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        u = lfilter([1], [1, -0.5], rng.standard_normal(600))
        e = rng.standard_normal(600) + missing * np.roll(u, 3)
        for row in check_residuals(e[:, None], u[:, None], 10, confidence).verdicts.itertuples():
            out.setdefault(row.test, [])
            if not row.passed:
                out[row.test].append(row.lags)
    return out


def test_the_truth_passes_at_the_nominal_rate() -> None:
    low, high = binom.interval(0.9999, 200, 0.1)  # five tests: 1 in 2000 would fail by chance
    rates = failures(range(200), 0.9)
    assert set(rates) == {"whiteness", "input", "input squared", "squared", "product"}
    for test, failed in rates.items():
        assert low <= len(failed) <= high, test


def test_a_missing_lag_is_caught_and_named() -> None:
    named = failures(range(40), 0.99, missing=0.4)["input"]
    assert len(named) >= 38
    assert sum(3 in lags for lags in named) >= 38


def test_a_square_and_a_cube_that_are_missed_are_seen_by_the_nonlinear_tests_alone() -> None:
    rng = np.random.default_rng(1)
    u, noise = rng.standard_normal((2, 4000))
    even = noise + 0.4 * (np.roll(u, 2) ** 2 - 1)
    verdicts = check_residuals(even[:, None], u[:, None], 10).verdicts.set_index("test")
    assert verdicts.loc["input", "passed"]
    assert verdicts.loc["input squared", "lags"] == [2]
    v = np.roll(u, 1)
    odd = noise + 0.6 * (v**3 - 3 * v)  # without a linear part
    verdicts = check_residuals(odd[:, None], u[:, None], 10).verdicts.set_index("test")
    assert verdicts.loc["input", "passed"]
    assert verdicts.loc["squared", "lags"] == [1]


def test_of_a_model() -> None:
    record = sysid.generate("linear", 800, noise=0.02)
    train, test = record[:500], record[500:]
    good = sysid.NARX(1, 1, 6, 6, hidden_sizes=())
    sysid.fit(good, train, loss="one_step", max_epochs=1, learning_rate=1e-6)
    wrong = sysid.NARX(1, 1, 1, 0, hidden_sizes=())
    sysid.fit(wrong, train, loss="one_step", max_epochs=1, learning_rate=1e-6)
    assert not residual_analysis(wrong, test).passed
    analysis = residual_analysis(good, test, "simulation", lags=20)
    assert "whiteness" not in set(analysis.verdicts["test"])  # of no meaning in free run
    assert analysis.residuals.shape == (300, 1)
    table = analysis.correlations
    assert list(table.columns) == ["test", "output", "input", "lag", "value", "band"]
    assert set(table.loc[table["test"] == "input", "lag"]) == set(range(21))


def test_gaps_are_left_out_and_said() -> None:
    e, u = np.random.default_rng(0).standard_normal((2, 300, 1))
    e[100] = np.nan
    analysis = check_residuals(e, u, 10)
    assert "199 samples" in analysis.note
    whole = check_residuals(e[101:], u[101:], 10)
    assert_allclose(analysis.correlations["value"], whole.correlations["value"])


def test_constant_channels_are_said_not_divided_by() -> None:
    e, u = np.random.default_rng(0).standard_normal((2, 300, 2))
    e[:, 0], u[:, 1] = 0, 3
    verdicts = check_residuals(e, u, 10).verdicts
    assert "the error is constant: there is nothing to test" in set(verdicts["words"])
    assert "the input is constant: it explains nothing" in set(verdicts["words"])
    two_level = np.where(u[:, :1] > 0, 1.0, -1.0)  # its square is constant
    tests = set(check_residuals(e[:, 1:], two_level, 10).verdicts["test"])
    assert tests == {"whiteness", "input", "product"}


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda e: check_residuals(e, e, 10), "lags must be at most a quarter .* got 10 for .* 30"),
        (lambda e: check_residuals(e * np.nan, e, 2), "a stretch of 0"),
        (lambda e: check_residuals(e, e, 0), "lags must be a whole number of at least 1, got 0"),
        (lambda e: check_residuals(e, e, 3, 1.0), r"confidence must be in \[0.5, 1\), got 1.0"),
        (
            lambda e: residual_analysis(sysid.LSTM(1, 1, 2), Record(e, None, name="a")),
            "record 'a' must have measured outputs",
        ),
    ],
)
def test_what_cannot_be_tested_is_refused(call, match: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=match):
        call(np.random.default_rng(0).standard_normal((30, 1)))


def test_no_test_passes_with_a_correlation_outside_its_band() -> None:
    """One lag of 26 that stands out is little to the joint statistic, which passes some."""
    rng = np.random.default_rng(5)
    outside = 0
    for share in np.linspace(0.05, 0.25, 40):
        u = rng.standard_normal((600, 1))
        found = check_residuals(rng.standard_normal((600, 1)) + share * np.roll(u, 3), u)
        for row in found.verdicts.itertuples():
            kept = found.correlations.query("test == @row.test")
            beyond = kept.loc[kept["value"].abs() > kept["band"], "lag"].tolist()
            assert beyond == row.lags
            assert not (beyond and row.passed)
            assert row.passed == (row.p_value >= 0.01)
            outside += bool(beyond)
    assert outside > 10
