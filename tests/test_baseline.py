"""The linear model beside every network."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from systems import linear_record, two_by_two

import sysid
from sysid.data.records import Array, Record
from sysid.models.baseline import Baseline, fit_baseline
from sysid.models.lags import Lags, regression, settled

RNG = np.random.default_rng(0)


def delayed(*delays: int, samples: int = 3000, noise: float = 0.02, hold: int = 1) -> Record:
    """Return ``y(k) = 0.9 y(k-1) + 0.1 sum_j u_j(k - d_j)``, with noise on the output."""
    rng = np.random.default_rng(sum(delays))
    u = np.repeat(rng.uniform(-1, 1, (samples // hold + 1, len(delays))), hold, axis=0)[:samples]
    y = np.zeros(samples)
    for k in range(1, samples):
        y[k] = 0.9 * y[k - 1] + 0.1 * sum(u[k - d, j] for j, d in enumerate(delays) if k >= d)
    return Record(u, y + noise * y.std() * rng.standard_normal(samples), 1.0)


def free_run_fit(baseline: Baseline, record: Record, start: int = 60) -> float:
    y_hat = baseline.simulate(record.replace(n_init=start))
    return float(sysid.fit_index(record.y[start:], y_hat[start:])[0])


@pytest.mark.parametrize("hold", [1, 10])
@pytest.mark.parametrize("delays", [(1,), (20,), (45,), (3, 25), (45, 2), (1, 12, 30)])
def test_plants_with_dead_times_have_a_baseline_that_knows_them(
    delays: tuple[int, ...], hold: int
) -> None:
    record = delayed(*delays, hold=hold)
    fitted = fit_baseline([record[:2200]])
    assert free_run_fit(fitted, record[2200:]) > 97  # 2 % of the output is noise


def test_without_noise_a_linear_plant_is_met_exactly() -> None:
    record = delayed(20, noise=0)
    assert free_run_fit(fit_baseline([record[:2200]]), record[2200:]) > 99.99


def test_its_weights_are_the_least_squares_solution_over_all_records_in_their_units() -> None:
    records = [two_by_two(270), two_by_two(190, seed=1)]
    fitted = fit_baseline(records)
    assert fitted.weight is not None
    na, nb, nk = fitted.orders
    phi, target = sysid.narx_regressors(records, na, nb, nk)
    rows = np.hstack([phi, np.ones((len(phi), 1))])
    for i in range(2):  # a lag that an output does without has the weight zero
        used = np.append(fitted.weight[i] != 0, True)
        theta = np.linalg.lstsq(rows[:, used], target[:, i], rcond=None)[0]
        expected = rows[:, used] @ theta
        got = phi @ fitted.weight[i] + fitted.constant[i]
        # Its own regression has the rows that reach back less far, too.
        assert_allclose(got, expected, atol=2e-2 * target[:, i].std())


def test_what_is_held_out_for_the_choice_is_of_the_training_records_alone() -> None:
    record = delayed(5)
    whole = fit_baseline([record[:2000]])
    changed = Record(record.u, np.where(np.arange(3000)[:, None] < 2000, record.y, 1e3), 1.0)
    assert fit_baseline([changed[:2000]]).same(whole)


@pytest.mark.parametrize("pole", [1.0, 1.00001, 0.99999])
def test_it_is_stable_where_the_plant_integrates(pole: float) -> None:
    rng = np.random.default_rng(1)
    u = np.repeat(rng.uniform(-1, 1, 300), 10)
    y = np.zeros(3000)
    for k in range(1, 3000):
        y[k] = pole * y[k - 1] + 0.01 * u[k - 1]
    fitted = fit_baseline([Record(u, y + 0.01 * y.std() * rng.standard_normal(3000))])
    assert fitted.weight is not None
    own = fitted.weight[0, : fitted.orders[0]]
    assert np.abs(np.roots([1, *-own])).max(initial=0) < 1
    assert free_run_fit(fitted, Record(u, y)) > 90


def test_an_unstable_estimate_is_none_and_one_just_outside_is_an_integrator() -> None:
    assert settled(np.array([1.1, 0.5, 0.0]), 1) is None
    assert settled(np.array([np.nan, 0.5, 0.0]), 1) is None
    inside = settled(np.array([1.001, 0.5, 0.0]), 1)
    assert inside is not None
    assert 0.9999 < inside[0] < 1
    assert_array_equal(inside[1:], [0.5, 0.0])
    kept = np.array([0.5, 0.2, 1.0, 0.0])
    assert_array_equal(settled(kept, 2), kept)


def test_an_output_in_every_tenth_row_gets_an_impulse_response() -> None:
    record = delayed(3)
    y = np.where(np.arange(3000)[:, None] % 10 == 0, record.y, np.nan)
    fitted = fit_baseline([record.replace(y=y)[:2200]])
    assert free_run_fit(fitted, record[2200:]) > 94  # a tenth of the samples: noise weighs more


def test_it_survives_json_to_the_bit_and_says_when_there_is_too_little() -> None:
    fitted = fit_baseline([two_by_two(160)])
    again = Baseline.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again.same(fitted)
    assert_array_equal(again.weight, fitted.weight)
    short = fit_baseline([two_by_two(9)])
    assert short.arx() is None
    assert Baseline.from_json(short.to_json()).same(short)
    assert not short.same(fitted)
    with pytest.raises(ValueError, match="must have a linear model to run"):
        short.simulate(two_by_two(9))


def test_gaps_and_records_without_inputs() -> None:
    y = 0.9 ** np.arange(60.0)
    y[20:30] = np.nan
    fitted = fit_baseline([Record(None, 5 + y)])
    record = Record(None, 5 + 0.9 ** np.arange(60.0), n_init=fitted.orders[0])
    assert_allclose(fitted.simulate(record), record.y, atol=1e-8)


def test_it_starts_from_the_samples_of_the_record_and_from_no_other() -> None:
    record = delayed(5)
    fitted = fit_baseline([record])
    for start in (0, 3, 40):
        begun = record.replace(n_init=start)
        other = begun.replace(y=np.where(np.arange(3000)[:, None] < start, record.y, 7.0))
        assert_array_equal(fitted.simulate(other), fitted.simulate(begun))
        assert_array_equal(fitted.simulate(begun)[:start], record.y[:start])
    assert np.isfinite(fitted.predict(record.replace(n_init=40), 10)[40:]).all()


def test_missing_outputs_among_those_to_start_from_are_bridged() -> None:
    record = delayed(5)
    fitted = fit_baseline([record])
    y = np.where(np.arange(3000)[:, None] % 10 == 0, record.y, np.nan)
    multirate = record.replace(y=y, n_init=40)
    fit = sysid.fit_index(record.y[40:], fitted.simulate(multirate)[40:])[0]
    assert fit > 94
    assert np.isfinite(fitted.simulate(record.replace(y=y * np.nan, n_init=40))[40:]).all()


def test_regressors_stand_in_the_order_of_their_columns() -> None:
    lags = Lags(own=2, delays=(0, 3), width=2)
    u, y = RNG.standard_normal((9, 2)), RNG.standard_normal(9)
    assert lags.longest == 4
    k = 6
    expected = [y[5], y[4], u[6, 0], u[5, 0], u[3, 1], u[2, 1], 1, y[6]]
    assert_array_equal(regression(u, y, lags, 4)[k - 4], expected)


def degenerate() -> dict[str, tuple[Array | None, Array]]:
    u, y = RNG.standard_normal((300, 2)), RNG.standard_normal((300, 1))
    three = np.isin(np.arange(300), [1, 7, 9])[:, None]
    nearly = np.full((300, 1), 0.4) + 5.6e-17 * RNG.standard_normal((300, 1))
    return {
        "an input that is constant up to rounding": (np.hstack([u[:, :1], nearly]), y),
        "equal inputs": (u[:, [0, 0]], y),
        "an input that is the output": (y, y),
        "a constant output": (u, np.full((300, 1), 7.0)),
        "nothing but one change": (u * 0, (np.arange(300) == 150) * 1.0),
        "all missing but three": (u, np.where(three, y, np.nan)),
        "missing inputs": (np.where(u > 1, np.nan, u), y),
        "two samples": (u[:2], y[:2]),
        "many channels": (RNG.standard_normal((50, 2000)), y[:50]),
        "many outputs": (u[:50], RNG.standard_normal((50, 200))),
        "no input": (None, y),
        "large offsets": (u + 1e9, 1e-9 * y + 1e3),
    }  # fmt: skip


@pytest.mark.parametrize("what", degenerate())
def test_degenerate_records_have_a_stable_one_or_none(what: str) -> None:
    u, y = degenerate()[what]
    named = {
        k: [f"{k}{i}" for i in range(b.shape[-1])]
        for k, b in (("u", u), ("y", y))
        if b is not None and b.ndim > 1
    }
    record = Record(u, y, u_names=named.get("u"), y_names=named.get("y"))
    fitted = fit_baseline([record])
    if fitted.weight is not None and not np.isnan(record.u).any():
        assert np.isfinite(fitted.simulate(record)).all()


def test_it_takes_no_time_to_speak_of() -> None:
    """A training of the smallest network on these samples takes ten times as long."""
    record = delayed(20, samples=10_000)
    began = time.perf_counter()
    fit_baseline([record])
    assert time.perf_counter() - began < 5  # 0.3 s where nothing else runs


def test_a_model_file_with_a_baseline_of_given_orders_still_loads(tmp_path: Path) -> None:
    """Files of before have dense weights of one orders for all: these are read as they are."""
    record = linear_record(300)
    model = sysid.NARX(1, 1, 2, 2, hidden_sizes=())
    sysid.fit(model, record, loss="one_step", max_epochs=1)
    phi, target = sysid.narx_regressors(record, 2, 2, 0)
    rows = np.hstack([phi, np.ones((len(phi), 1))])
    theta = np.linalg.lstsq(rows, target, rcond=None)[0]
    model.baseline = Baseline((2, 2, 0), theta[:-1].T, theta[-1], record.y.mean(axis=0))
    model.save(tmp_path / "old.safetensors")
    table = sysid.compare({"old": sysid.load(tmp_path / "old.safetensors")}, record)
    assert "linear ARX(2, 2, 0)" in set(table["model"])
