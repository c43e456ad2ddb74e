"""Splits: nothing on both sides, nothing near both sides."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sysid.data.records import Record
from sysid.data.splitting import split_experiments, split_range, split_time


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


def test_the_end_of_each_of_several_blocks() -> None:
    train, valid = split_time(Record(None, np.arange(100.0)), 0.2, gap=3, blocks=2)
    assert [(r.y[0, 0], r.y[-1, 0]) for r in train] == [(0, 36), (53, 86)]
    assert [(r.y[0, 0], r.y[-1, 0]) for r in valid] == [(40, 49), (90, 99)]
    with pytest.raises(ValueError, match="in each of 30 blocks"):
        split_time(Record(None, np.arange(100.0)), 0.2, gap=3, blocks=30)
    with pytest.raises(ValueError, match="blocks must be a whole number"):
        split_time(Record(None, np.arange(100.0)), 0.2, gap=3, blocks=0)


def test_by_experiment() -> None:
    records = [Record(None, [float(i)], name=f"r{i}") for i in range(4)]
    train, valid = split_experiments(records, ["r1", -1])
    assert [r.name for r in train] == ["r0", "r2"]
    assert [r.name for r in valid] == ["r1", "r3"]


def test_by_range() -> None:
    y = np.column_stack([[10.0, 11, 9, 14, 10, 6, 12, 8, 10], [0.0, 0, 0, 0, 2, 0, 0, 0, -2]])
    first = Record(np.arange(9.0), y, 0.5, name="a", n_init=2)
    calm = Record([0.0, 1.0, 2.0], [[10.0, 0.0]] * 3, 0.5, name="calm")
    train, valid = split_range([first, calm], share=0.6, shortest=2)
    assert [(r.name, r.u[:, 0].tolist()) for r in train] == [
        ("a", [0, 1, 2]), ("a", [6, 7]), ("calm", [0, 1, 2]),
    ]  # fmt: skip
    (held,) = valid
    assert (held.name, held.n_init, held.sampling_time) == ("a", 2, 0.5)
    assert_array_equal(held.u, first.u)
    seen = [0, 1, 3, 4, 5, 8]
    assert_array_equal(held.y[seen], y[seen])
    assert np.isnan(np.delete(held.y, seen, axis=0)).all()


def test_by_range_a_missing_sample_is_beyond_nothing() -> None:
    y = [0.0, np.nan, 1.0, 4.0, -4.0, 0.0, 1.0]
    train, valid = split_range(Record(None, y), share=0.5, shortest=2)
    for part, expected in zip(train, (y[:3], y[5:]), strict=True):
        assert_array_equal(part.y[:, 0], expected)
    assert_array_equal(valid[0].y[3:5, 0], y[3:5])


def test_by_range_nothing_is_trained_on_that_is_held_out() -> None:
    rng = np.random.default_rng(0)
    record = Record(rng.normal(size=500), rng.normal(size=500), n_init=5)
    train, valid = split_range(record, share=0.4, shortest=4)
    there = {float(v) for r in train for v in r.y[:, 0]}
    held = valid[0].y[5:, 0]
    assert not there & {float(v) for v in held[np.isfinite(held)]}
    largest = np.abs(record.y - record.y.mean()).max()
    assert all(np.abs(r.y - record.y.mean()).max() <= 0.4 * largest for r in train)
    assert min(map(len, train)) == 4


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda r: split_time(r, 0.0, 1), "fraction must be between"),
        (lambda r: split_time(r, 1.0, 1), "fraction must be between 0 and 1, got 1.0"),
        (lambda r: split_time(r, 0.5, -1), "gap must be a whole number"),
        (lambda r: split_time(r, 0.01, 0), "must be long enough to split"),
        (lambda r: split_time(r, 0.5, 5), "must be long enough to split"),
        (lambda r: split_range(r, 1.0, 1), "share must be between 0 and 1, got 1.0"),
        (lambda r: split_range(r, 0.5, 7), "shortest must leave a stretch within the range, got 7"),
        (lambda r: split_experiments([r], [0]), "hold out some records and leave some"),
        (lambda r: split_experiments([r], ["x"]), "valid must name one record"),
        (lambda r: split_experiments([r], [3]), "valid must be a position"),
    ],
)
def test_wrong_splits_are_refused(call, match: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=match):
        call(Record(None, np.arange(10.0), name="a"))
