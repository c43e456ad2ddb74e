"""Bands: the width is the quantile it should be, holds what it says, and grows with the horizon."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.signal import lfilter
from scipy.stats import binom, norm
from systems import linear_record, two_by_two
from test_models import make

import sysid
from sysid.data.records import Record
from sysid.models.baseline import Baseline


def noisy(n: int, seed: int) -> Record:
    """An ARX plant of one pole with process noise, which gathers over a free run."""
    rng = np.random.default_rng(seed)
    u, e = rng.standard_normal((2, n))
    return Record(u, lfilter([0, 1], [1, -0.95], u) + lfilter([1], [1, -0.95], 0.3 * e))


def truth() -> sysid.Model:
    """Return the plant itself: y(k) = 0.95 y(k-1) + u(k-1)."""
    arx = Baseline((1, 1, 1), np.array([[0.95, 1.0]]), np.zeros(1), np.zeros(1)).arx()
    assert arx is not None
    return arx


def test_the_half_width_is_the_quantile_of_split_conformal_prediction() -> None:
    model, record = make("narx"), two_by_two(60).replace(n_init=4)
    y = record.y.copy()
    y[20:27, 1] = np.nan
    record = record.replace(y=y)
    bands = sysid.conformal_bands(model, [record, record], 0.8, ("simulation", 3))
    for horizon in ("simulation", 3):
        y_hat = model.simulate(record) if horizon == "simulation" else model.predict(record, 3)
        for i in range(2):
            error = np.abs(record.y - y_hat)[4:, i]
            error = np.sort(np.tile(error[~np.isnan(error)], 2))
            expected = error[math.ceil((len(error) + 1) * 0.8) - 1]
            assert_allclose(bands.widths[horizon][i], expected)
            assert bands.samples[horizon][i] == len(error)


def test_white_errors_are_held_at_the_nominal_rate() -> None:
    rng = np.random.default_rng(0)
    model = sysid.FFN(1, (), 1).double()
    u = rng.standard_normal((40_000, 1))
    y = model.simulate(Record(u, None)) + rng.standard_normal((40_000, 1))
    whole = Record(u, y)
    bands = sysid.conformal_bands(model, whole[:20_000], 0.9)
    assert_allclose(bands.widths["simulation"], norm.ppf(0.95), rtol=0.03)
    row = sysid.coverage(bands, model, whole[20_000:]).iloc[0]
    low, high = binom.interval(0.999, 20_000, 0.9)
    assert low - 60 <= row["coverage"] * 20_000 <= high + 60  # the width is an estimate as well
    assert_allclose(row["relative_width"], row["width"] / np.std(y[20_000:]))
    assert row["samples"] == 20_000


def test_bands_grow_over_the_horizon_as_theory_has_it() -> None:
    model = truth()
    horizons = (1, 2, 5, 20, "simulation")
    bands = sysid.conformal_bands(model, noisy(40_000, 1), 0.9, horizons)
    widths = [float(bands.widths[h][0]) for h in horizons]
    assert widths == sorted(widths)
    # The error of a k-step prediction is sum_{i<k} 0.95^i e(t-i), of std 0.3 sqrt(...).
    stds = [0.3 * math.sqrt((1 - 0.95 ** (2 * h)) / (1 - 0.95**2)) for h in horizons[:-1]]
    stds.append(0.3 / math.sqrt(1 - 0.95**2))
    assert_allclose(widths, norm.ppf(0.95) * np.array(stds), rtol=0.05)
    table = sysid.coverage(bands, model, noisy(40_000, 2))
    assert list(table["horizon"]) == ["1", "2", "5", "20", "simulation"]
    assert table["coverage"].between(0.88, 0.92).all()


def test_a_band_stands_around_the_output_that_it_belongs_to() -> None:
    model = truth()
    bands = sysid.conformal_bands(model, noisy(3000, 1), 0.5, (1, "simulation"))
    record = noisy(50, 3)
    band = bands.band(model, record, 1)
    assert_allclose(band.y_hat, model.predict(record, 1))
    assert_allclose(
        band.upper - band.y_hat, np.where(np.isnan(band.y_hat), np.nan, bands.widths[1])
    )
    assert_allclose(band.lower + band.upper, 2 * band.y_hat)


def test_the_ensemble_is_wide_where_its_models_disagree() -> None:
    record = linear_record(50)
    models = [sysid.FFN(1, (4,), 1).double() for _ in range(3)]
    runs = np.stack([m.simulate(record) for m in models])
    band = sysid.ensemble_band(models, record, 0.95)
    assert_allclose(band.y_hat, runs.mean(axis=0))
    half = norm.ppf(0.975) * runs.std(axis=0, ddof=1)
    assert_allclose(band.upper, band.y_hat + half)
    assert_allclose(band.lower, band.y_hat - half)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m, r: sysid.conformal_bands(m, r, 1.0), "level must be between 0 and 1, got 1.0"),
        (lambda m, r: sysid.conformal_bands(m, r[:8], 0.9), "at least 9 samples .* 0.9, got 7"),
        (
            lambda m, r: sysid.conformal_bands(m, r).band(m, r, 7),
            "horizon must be one of those calibrated, simulation, got 7",
        ),
        (lambda m, r: sysid.ensemble_band([m], r), "models must be at least two, got 1"),
        (lambda m, r: sysid.ensemble_band([m, m], r, 0.0), "level must be between 0 and 1"),
    ],
)
def test_what_has_no_band_is_refused(call, match: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=match):
        call(truth(), noisy(100, 0))
