"""Splits: nothing on both sides, nothing near both sides."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sysid.data.records import Record
from sysid.data.splitting import split_experiments, split_time


def test_skorch_no_window_of_validation_shares_a_sample_with_training() -> None:
    record = Record(None, np.arange(100.0), 0.5, name="a", y_units=["V"], n_init=3)
    (train,), (valid,) = split_time(record, 0.25, gap=10)
    assert_array_equal(train.y[:, 0], np.arange(65))
    assert_array_equal(valid.y[:, 0], np.arange(75, 100))
    for part in (train, valid):
        assert (part.name, part.sampling_time, part.y_units, part.n_init) == ("a", 0.5, ("V",), 3)


def test_each_record_is_split() -> None:
    train, valid = split_time([Record(None, np.arange(n)) for n in (50, 20)], 0.2, gap=0)
    assert [len(r) for r in (*train, *valid)] == [40, 16, 10, 4]


def test_by_experiment() -> None:
    records = [Record(None, [float(i)], name=f"r{i}") for i in range(4)]
    train, valid = split_experiments(records, ["r1", -1])
    assert [r.name for r in train] == ["r0", "r2"]
    assert [r.name for r in valid] == ["r1", "r3"]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda r: split_time(r, 0.0, 1), "fraction must be between"),
        (lambda r: split_time(r, 0.5, -1), "gap must be a whole number"),
        (lambda r: split_time(r, 0.5, 5), "must be long enough to split"),
        (lambda r: split_experiments([r], [0]), "hold out some records and leave some"),
        (lambda r: split_experiments([r], ["x"]), "valid must name one record"),
        (lambda r: split_experiments([r], [3]), "valid must be a position"),
    ],
)
def test_wrong_splits_are_refused(call, match: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=match):
        call(Record(None, np.arange(10.0), name="a"))
