"""The linear model beside every network."""

from __future__ import annotations

import json

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from systems import linear_record, two_by_two

from sysid.data.records import Record
from sysid.data.regressors import narx_regressors
from sysid.models import arx
from sysid.models.baseline import Baseline, fit_baseline


def test_it_is_the_least_squares_solution_over_several_records(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(arx, "CHUNK", 50)  # several chunks
    records = [two_by_two(170), two_by_two(90, seed=1)]
    fitted = fit_baseline(records, 3, 2, 1)
    phi, target = narx_regressors(records, 3, 2, 1)
    rows = np.hstack([phi, np.ones((len(phi), 1))])
    expected = np.linalg.lstsq(rows, target, rcond=None)[0].T
    assert fitted.weight is not None
    predicted = phi @ fitted.weight.T + fitted.constant  # outputs differ in size by 1000
    assert_allclose(predicted / target.std(0), rows @ expected.T / target.std(0), atol=1e-9)
    assert_allclose(fitted.mean, np.mean(np.concatenate([r.y for r in records]), axis=0))


def test_a_linear_plant_is_found_in_odd_units() -> None:
    record = linear_record(300)
    arx = fit_baseline([record], 2, 2, 0).arx()
    assert arx is not None
    assert_allclose(arx.simulate(record), record.y, atol=1e-9)  # free of noise


def test_it_survives_json_to_the_bit_and_says_when_there_is_too_little() -> None:
    fitted = fit_baseline([two_by_two(60)], 2, 2, 0)
    again = Baseline.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again.same(fitted)
    assert_array_equal(again.weight, fitted.weight)
    short = fit_baseline([two_by_two(9)], 4, 4, 0)
    assert short.arx() is None
    assert Baseline.from_json(short.to_json()).same(short)
    assert not short.same(fitted)


def test_gaps_and_records_without_inputs() -> None:
    y = 0.9 ** np.arange(60.0)
    y[20:30] = np.nan
    arx = fit_baseline([Record(None, 5 + y)], 1, 0).arx()
    assert arx is not None
    record = Record(None, 5 + 0.9 ** np.arange(60.0))
    assert_allclose(arx.simulate(record), record.y, atol=1e-10)
