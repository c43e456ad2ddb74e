"""The regressors by scikit-learn's own checks, and at the work they are there for."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import lfilter
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from systems import linear_record, two_by_two

import sysid
from sysid.estimators import (
    FFNRegressor,
    GRURegressor,
    LSTMRegressor,
    NARXFeatures,
    NARXRegressor,
    RNNRegressor,
    TimeSplit,
)

SMALL = {"hidden_size": 6, "max_epochs": 60, "learning_rate": 5e-2, "stride": 20}
REGRESSORS = [
    FFNRegressor(max_epochs=60),
    NARXRegressor(max_epochs=30),
    RNNRegressor(**SMALL),
    GRURegressor(**SMALL),
    LSTMRegressor(**SMALL),
]
DYNAMIC = [NARXRegressor, RNNRegressor, GRURegressor, LSTMRegressor]


def expected_failures(estimator: Any) -> dict[str, str]:
    """Name the checks that a model with a memory cannot pass."""
    if not isinstance(estimator, tuple(DYNAMIC)):
        return {}
    return {
        "check_methods_sample_order_invariance": "rows are samples in time: their order is data",
        "check_methods_subset_invariance": "a row's prediction rests on the rows before it",
    }


@parametrize_with_checks(REGRESSORS, expected_failed_checks=expected_failures)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@parametrize_with_checks(
    [NARXFeatures(start="hold")],
    expected_failed_checks=lambda _: {
        "check_methods_sample_order_invariance": "rows are samples in time: their order is data",
        "check_methods_subset_invariance": "a row holds values of the rows before it",
    },
)
def test_scikit_learns_checks_of_the_transformer(estimator: Any, check: Any) -> None:
    check(estimator)


def second_order(n: int = 600, noise: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Return ``y(k) = 1.5 y(k-1) - 0.7 y(k-2) + u(k-1) + 0.5 u(k-2) + 0.4 u(k-3) + e(k)``.

    The noise enters the equation, as the model has it.
    """
    rng = np.random.default_rng(0)
    u, e = rng.standard_normal(n), noise * rng.standard_normal(n)
    a = [1, -1.5, 0.7]
    return u[:, None], lfilter([0, 1, 0.5, 0.4], a, u) + lfilter([1], a, e)


def simplest_of_the_best(results: dict[str, Any]) -> int:
    """Return the fewest lags whose score is within one standard error of the best.

    More lags than the truth has fit as well, up to noise.
    """
    table = pd.DataFrame(results)
    best = table.loc[table["mean_test_score"].idxmax()]
    near = table["mean_test_score"] >= best["mean_test_score"] - best["std_test_score"] / 3**0.5
    return int((table["param_na"] + table["param_nb"])[near].idxmin())


def test_a_grid_search_finds_the_true_orders() -> None:
    X, y = second_order()
    linear = NARXRegressor(hidden_sizes=(), linear=False, optimiser="lbfgs", learning_rate=1.0)
    linear.set_params(max_epochs=20, random_state=0)
    grid = {"na": [1, 2, 3, 4], "nb": [1, 2, 3, 4]}
    search = GridSearchCV(linear, grid, cv=TimeSplit(3, gap=4), refit=simplest_of_the_best)
    assert search.fit(X, y).best_params_ == {"na": 2, "nb": 3}
    assert search.score(X, y) > 0.999


def test_a_pipeline_with_a_scaler_says_the_same() -> None:
    X, y = second_order(300)
    regressor = NARXRegressor(max_epochs=20, random_state=0, dtype="float64")
    piped = make_pipeline(StandardScaler(), clone(regressor)).fit(100 + 30 * X, y)
    plain = regressor.fit(X, y)
    # The model scales its inputs itself: what is before it changes rounding alone.
    assert_allclose(piped.predict(100 + 30 * X), plain.predict(X), rtol=1e-6, atol=1e-6)
    assert piped.score(100 + 30 * X, y) == pytest.approx(plain.score(X, y), abs=1e-6)


@pytest.mark.parametrize("regressor", REGRESSORS, ids=lambda r: type(r).__name__)
def test_arrays_and_records_are_the_same_data(regressor: Any) -> None:
    record = two_by_two(80)
    regressor = clone(regressor).set_params(max_epochs=3, random_state=1)
    one = clone(regressor).fit(record.u, record.y)
    two = clone(regressor).fit([record])
    assert one.model_.kind == type(regressor).__name__.removesuffix("Regressor").lower()
    for name, p in one.model_.state_dict().items():
        assert torch.equal(p, two.model_.state_dict()[name])
    n = one.model_.n_memory
    (expected,) = two.simulate([record])
    assert_array_equal(one.simulate(record.u, record.y[:n] if n else None), expected)
    assert_array_equal(one.predict(record.u, record.y), two.predict([record])[0])
    score = r2_score(record.y[n:], expected[n:])
    assert one.score(record.u, record.y) == two.score([record]) == pytest.approx(score)


@pytest.mark.parametrize("regressor", REGRESSORS, ids=lambda r: type(r).__name__)
def test_pickled_it_predicts_the_same(regressor: Any) -> None:
    X, y = second_order(60)
    fitted = clone(regressor).set_params(max_epochs=2).fit(X, y)
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))


def test_a_data_frame_names_the_channels() -> None:
    X, y = second_order(60)
    frame = pd.DataFrame(X, columns=["pump"])
    fitted = LSTMRegressor(max_epochs=1).fit(frame, y)
    assert fitted.model_.u_names == ("pump",)
    assert_array_equal(fitted.predict(frame), fitted.simulate(frame))
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame.rename(columns={"pump": "valve"}))


def test_records_go_through_cross_validation() -> None:
    records = [linear_record(120, seed, str(seed)) for seed in range(4)]
    regressor = NARXRegressor(hidden_sizes=(), optimiser="lbfgs", learning_rate=1.0, max_epochs=5)
    scores = cross_val_score(regressor, records, cv=4)
    assert (scores > 0.999).all()


def test_a_validation_part_chooses_the_weights() -> None:
    X, y = second_order(300)
    fitted = LSTMRegressor(max_epochs=4, length=20, validation_fraction=0.2).fit(X, y)
    assert fitted.history_["valid_loss"].notna().all()
    assert fitted.best_epoch_ == fitted.history_["valid_loss"].idxmin() + 1


def test_without_measured_outputs_a_free_run_starts_from_the_mean() -> None:
    X, y = second_order(100)
    fitted = NARXRegressor(max_epochs=2, random_state=0, dtype="float64").fit(X, 5 + y)
    held = np.concatenate([np.repeat(X[:1], 2, axis=0), X])
    start = np.full((102, 1), (5 + y).mean())
    expected = fitted.model_.simulate(sysid.Record(held, start))[2:, 0]
    assert_allclose(fitted.predict(X), expected, rtol=1e-12)


def test_time_split_never_trains_on_the_future() -> None:
    for n_splits, gap, size in ((1, 0, 10), (3, 7, None), (4, 2, 5)):
        splits = list(TimeSplit(n_splits, gap=gap, test_size=size).split(np.zeros(60)))
        assert len(splits) == n_splits == TimeSplit(n_splits, gap=gap).get_n_splits()
        assert splits[-1][1][-1] == 59
        for train, test in splits:
            assert_array_equal(train, np.arange(len(train)))
            assert_array_equal(np.diff(test), 1)
            assert test[0] - train[-1] == gap + 1


def test_features_are_regressors() -> None:
    record = two_by_two(30)
    frame = pd.DataFrame(np.hstack([record.u, record.y]), columns=["a", "b", "p", "q"])
    features = NARXFeatures(2, 3, 1, y=["p", "q"]).set_output(transform="pandas")
    out = features.fit_transform(frame)
    phi, _ = sysid.narx_regressors(record, 2, 3, 1)
    names = sysid.regressor_names(2, 3, 1, ["a", "b"], ["p", "q"])
    assert list(out.columns) == names
    assert out.index.equals(frame.index)
    assert_array_equal(out.to_numpy()[3:], phi)
    assert out.to_numpy()[:3].shape == (3, len(names))
    assert np.isnan(out.to_numpy()[:3]).any(axis=1).all()


def test_features_before_the_first_sample_hold_it() -> None:
    X = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    out = NARXFeatures(1, 1, start="hold").fit_transform(X)
    assert_array_equal(out, [[10, 1, 1], [10, 2, 1], [20, 3, 2]])


def test_any_regressor_becomes_a_narx_with_the_features() -> None:
    u, y = second_order(400, noise=0.001)
    X = np.column_stack([u, y])
    linear = make_pipeline(NARXFeatures(2, 3, start="hold"), LinearRegression()).fit(
        X[:300], y[:300]
    )
    assert r2_score(y[300:], linear.predict(X)[300:]) > 0.9999
    trees = make_pipeline(NARXFeatures(2, 3), HistGradientBoostingRegressor(max_iter=50))
    assert trees.fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.8  # it takes NaN as it is


def test_wrong_requests() -> None:
    X, y = second_order(60)
    record = linear_record(40)
    fitted = NARXRegressor(max_epochs=1).fit(X, y)
    for call, match in (
        (lambda: NARXRegressor().fit([record], y), "y must be None where X is records"),
        (lambda: NARXRegressor(na=-1).fit(X, y), "na must be at least 0, got -1"),
        (lambda: NARXRegressor(loss="other").fit(X, y), "loss must be right"),
        (lambda: LSTMRegressor(length=300).fit(X, y), "length must be at most"),
        (lambda: fitted.predict(X, y[:-1]), "y must have 1 outputs of 60 samples"),
        (lambda: fitted.score([record], sample_weight=[1.0]), "sample_weight must be None"),
        (lambda: list(TimeSplit(5, gap=20).split(X)), "X must be long enough for 5 tests of 10"),
        (
            lambda: list(TimeSplit(0, gap=1).split(X)),
            "n_splits must be a whole",
        ),
        (lambda: NARXFeatures(y=["z"]).fit(pd.DataFrame(X, columns=["u"])), "y must name columns"),
        (lambda: NARXFeatures(y=[3]).fit(X), "y must name columns"),
        (lambda: NARXFeatures(start="no").fit(X), "start must be one of nan, hold"),
    ):
        with pytest.raises(ValueError, match=match):
            call()
