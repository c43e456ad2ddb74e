"""Fit tables: models beside the mean and a linear model, on the same samples."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_allclose
from systems import linear_record, two_by_two
from test_models import make

import sysid
from sysid.analysis.compare import compare, over_records, scores_to_dict
from sysid.data.records import Record
from sysid.models.baseline import fit_baseline


def test_it_scores_what_is_not_used_to_start() -> None:
    model, record = make("narx"), two_by_two(60).replace(n_init=9, y_units=["V", "m"])
    table = compare({"narx": model}, [record, record.replace(name="b")], (1, 4, "simulation"))
    assert len(table) == 2 * 3 * 2
    row = table.query("record == 'two' and output == 'y2' and horizon == 'simulation'").iloc[0]
    error = (model.simulate(record) - record.y)[9:, 1]
    assert_allclose(row["rmse"], np.sqrt(np.mean(error**2)), rtol=1e-12)
    assert row["unit"] == "m"
    assert row["samples"] == 51


def test_every_model_and_baseline_is_scored_on_the_same_samples() -> None:
    record = linear_record(200)
    models = {"short": sysid.NARX(1, 1, 1, 1), "long": sysid.NARX(1, 1, 7, 7)}
    for model in models.values():
        model.baseline = fit_baseline([record])
    table = compare(models, record, (1, 5, "simulation"))
    assert list(table["model"].unique()) == ["short", "long", "mean", model.baseline.name]
    assert (table.groupby("horizon")["samples"].nunique() == 1).all()
    mean = table.query("model == 'mean' and horizon == '5'").iloc[0]
    y = record.y[7 + 4 :]  # the longest lag, and four more until five steps ahead are known
    assert_allclose(mean["rmse"], np.sqrt(np.mean((y - record.y.mean()) ** 2)), rtol=1e-12)
    arx = table[table["model"] == model.baseline.name]
    assert (arx["fit_index"] > 99.99).all()  # the plant is linear
    assert set(table["n_init"]) == {7}


def test_two_models_of_other_data_each_bring_their_baselines() -> None:
    record, other = linear_record(200), linear_record(200, seed=1)
    models = {"a": sysid.NARX(1, 1, 1, 1), "b": sysid.NARX(1, 1, 1, 1)}
    for model, data in zip(models.values(), (record, other), strict=True):
        model.baseline = fit_baseline([data])
    names = list(compare(models, record, (1,))["model"])
    first, second = (model.baseline.name for model in models.values())
    second = f"{second} of b" if second == first else second
    assert names == ["a", "b", "mean", first, "mean of b", second]


def test_a_plain_recurrent_prediction_is_said_to_be_the_simulation() -> None:
    table = compare({"lstm": make("lstm")}, two_by_two(60), (1, "simulation"))
    notes = dict(zip(table["horizon"], table["note"], strict=True))
    assert notes == {"1": "equals the simulation", "simulation": ""}
    assert table.groupby("output")["rmse"].nunique().eq(1).all()


def test_names_that_clash_stay_apart_and_json_is_strict() -> None:
    model, record = make("narx"), two_by_two(60)
    flat = record.replace(name="", y=record.y * 0 + 1)
    table = compare({"narx": model}, [record, record, flat], (1, "simulation"))
    document = scores_to_dict(table)
    assert list(document) == ["two", "two#2", "#3"]
    assert set(document["two"]["y1"]) == {"one_step", "simulation"}
    assert document["#3"]["y1"]["simulation"]["fit_index"] is None


def test_what_has_no_fit_is_said_in_a_note() -> None:
    record = two_by_two(60)
    y = record.y.copy()
    y[:, 0], y[30:40, 1] = 1.0, np.nan
    table = compare({"m": make("rnn")}, record.replace(y=y), ("simulation",)).set_index("output")
    assert "the output is constant: its fit is undefined" in table.loc["y1", "note"]
    assert np.isnan(table.loc["y1", "fit_index"])
    assert "10 missing samples left out" in table.loc["y2", "note"]
    assert np.isfinite(table.loc["y2", "fit_index"])
    short = compare({"m": make("narx")}, two_by_two(5), (10,))
    assert set(short["note"]) == {"no samples to compare"}
    assert short["fit_index"].isna().all()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda m: compare(m, Record(two_by_two(9).u, None, name="x")),
            "record 'x' must have measured outputs to compare with",
        ),
        (
            lambda m: compare(m, two_by_two(9), ("free",)),
            "horizon must be a number or \"simulation\", got 'free'",
        ),
        (lambda m: compare(m, two_by_two(9), (0,)), "horizon must be at least 1, got 0"),
        (lambda m: compare({}, two_by_two(9)), "models must hold at least one model"),
        (lambda m: compare(m, linear_record(50)), "must have 2 inputs, got 1"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, match: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=match):
        call({"lstm": make("lstm")})


def test_the_simulation_rmse_is_that_of_the_benchmarks_own_package() -> None:
    if not os.environ.get("SYSID_DATA"):
        pytest.skip("SYSID_DATA does not name a folder with the benchmark files")
    from nonlinear_benchmarks.error_metrics import RMSE

    benchmark = sysid.load_benchmark("silverbox")
    model = sysid.NARX(1, 1, 2, 2, hidden_sizes=())
    sysid.fit(model, [benchmark.train[0][:3000]], loss="one_step", max_epochs=1, progress=False)
    table = compare({"narx": model}, benchmark.test, ("simulation",)).set_index(["model", "record"])
    for record in benchmark.test:
        n = record.n_init
        expected = RMSE(record.y[n:], model.simulate(record)[n:])
        assert abs(table.loc[("narx", record.name), "rmse"] - expected) < 1e-12


def fastest(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def test_predicting_a_whole_record_takes_a_few_simulations() -> None:
    """Ten steps ahead of each of 20 000 samples is ten times the work, and the encoder's."""
    model = sysid.LSTM(1, 1, 32, initial_state="encoder", n_init=20)
    u, y = np.random.default_rng(0).standard_normal((2, 20_000))
    record = Record(u, y)
    assert fastest(lambda: model.predict(record, 10)) < 40 * fastest(lambda: model.simulate(record))


def test_a_row_over_all_records_is_of_all_their_samples() -> None:
    model = make("narx")
    records = [two_by_two(60).replace(name="a"), two_by_two(90, seed=1).replace(name="b")]
    scores = compare({"narx": model}, records, (1, "simulation"))
    table = over_records(scores)
    assert list(table.columns) == list(scores.columns)
    assert list(zip(table["output"], table["horizon"], strict=True)) == [
        ("y1", "1"), ("y1", "simulation"), ("y2", "1"), ("y2", "simulation")
    ]  # fmt: skip
    errors = [(model.simulate(r) - r.y)[model.n_memory :, 1] for r in records]
    row = table.iloc[3]
    assert_allclose(row["rmse"], np.sqrt(np.mean(np.concatenate(errors) ** 2)), rtol=1e-12)
    each = scores.query("output == 'y2' and horizon == 'simulation'")
    assert_allclose(row["fit_index"], each["fit_index"].mean(), rtol=1e-12)
    assert row["record"] == "all 2 records"
    assert "(a)" in row["note"]
    assert over_records(compare({"narx": model}, records[:1])).empty
