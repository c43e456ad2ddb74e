"""Figures of merit against NumPy and the benchmark's own functions."""

from __future__ import annotations

import numpy as np
import pytest
from nonlinear_benchmarks import error_metrics
from numpy.testing import assert_allclose

from sysid.metrics import all_metrics, fit_index, mae, nrmse, r2, rmse, vaf

RNG = np.random.default_rng(0)
Y = RNG.standard_normal((200, 2)) * [1.0, 50.0]
Y_HAT = Y + RNG.standard_normal((200, 2)) * [0.1, 20.0] + 0.05


def test_formulas() -> None:
    e = Y - Y_HAT
    assert_allclose(rmse(Y, Y_HAT), error_metrics.RMSE(Y, Y_HAT), rtol=1e-12)
    assert_allclose(nrmse(Y, Y_HAT), error_metrics.NRMSE(Y, Y_HAT), rtol=1e-12)
    assert_allclose(mae(Y, Y_HAT), np.abs(e).mean(0))
    assert_allclose(r2(Y, Y_HAT), 1 - (e**2).sum(0) / ((Y - Y.mean(0)) ** 2).sum(0))
    assert_allclose(vaf(Y, Y_HAT), 100 * (1 - e.var(0) / Y.var(0)))


def test_dynonet_fit_index_of_two_outputs() -> None:
    expected = [
        100 * (1 - np.linalg.norm(Y[:, i] - Y_HAT[:, i]) / np.linalg.norm(Y[:, i] - Y[:, i].mean()))
        for i in range(2)
    ]
    assert_allclose(fit_index(Y, Y_HAT), expected)


def test_tsfast_nrmse_does_not_depend_on_the_unit() -> None:
    assert_allclose(nrmse(1e3 * Y, 1e3 * Y_HAT), nrmse(Y, Y_HAT))
    assert_allclose(nrmse(Y + 100, Y_HAT + 100), nrmse(Y, Y_HAT))


def test_sysidentpy_nrmse_is_not_by_range() -> None:
    y = np.array([0.0, 0.0, 0.0, 10.0])
    assert_allclose(nrmse(y, y + 1), 1 / y.std())


def test_vaf_alone_does_not_see_an_offset_and_fit_index_does() -> None:
    y = np.sin(np.arange(1000.0)) * 9.7
    assert_allclose(vaf(y, y + 5), 100)
    assert fit_index(y, y + 5)[0] < 30


def test_missing_samples_do_not_count() -> None:
    y, y_hat = Y.copy(), Y_HAT.copy()
    y[3, 0], y_hat[5, 0] = np.nan, np.nan
    keep = np.delete(np.arange(200), [3, 5])
    for name, value in all_metrics(y, y_hat).items():
        assert_allclose(value[0], all_metrics(Y[keep], Y_HAT[keep])[name][0], err_msg=name)
        assert_allclose(value[1], all_metrics(Y, Y_HAT)[name][1], err_msg=name)


def test_edges() -> None:
    constant = all_metrics(np.ones(5), np.zeros(5))
    assert constant["rmse"] == 1
    assert all(np.isnan(constant[k]) for k in ("nrmse", "fit_index", "r2", "vaf"))
    assert all(np.isnan(v) for v in all_metrics([np.nan, 1.0], [1.0, np.nan]).values())
    exploded = all_metrics([0.0, 1.0], [np.inf, 0.0])
    assert exploded["rmse"] == np.inf
    assert exploded["fit_index"] == exploded["vaf"] == -np.inf
    with pytest.raises(ValueError, match="must have the same shape"):
        rmse(Y, Y[:5])


def test_an_output_that_cannot_be_scored_hides_none_after_it() -> None:
    for y_first, y_hat_first in ((np.nan, 0.0), (0.0, np.inf)):
        y, y_hat = Y.copy(), Y_HAT.copy()
        y[:, 0], y_hat[:, 0] = y_first, y_hat_first
        for name, value in all_metrics(y, y_hat).items():
            assert_allclose(value[1], all_metrics(Y, Y_HAT)[name][1], err_msg=name)


def test_small_integers_do_not_overflow() -> None:
    y, y_hat = np.array([100, -100], np.int8), np.array([-100, 100], np.int8)
    for name, value in all_metrics(y, y_hat).items():
        assert_allclose(value, all_metrics(y.astype(float), y_hat.astype(float))[name])
    assert rmse(y, y_hat) == 200


def test_a_simulation_about_to_explode_is_scored_without_a_warning() -> None:
    scores = all_metrics([1.0, 2.0, 3.0], [1e300, -1e300, 1e308])
    assert scores["rmse"] == scores["nrmse"] == np.inf
    assert scores["mae"] > 1e307
    assert scores["fit_index"] == scores["r2"] == -np.inf
