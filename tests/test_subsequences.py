"""Windows against a double loop, and what they add to memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from test_regressors import records_with_gaps

from sysid.data.records import Record
from sysid.data.scaling import Scaling
from sysid.data.subsequences import Subsequences


def by_loop(records: list[Record], length: int, stride: int) -> list[tuple[int, int]]:
    """(record, start) of each window: every stride samples within a complete stretch."""
    out = []
    for i, r in enumerate(records):
        complete = [not np.isnan([*r.u[k], *r.y[k]]).any() for k in range(len(r))]
        run_start = 0
        for k in range(len(r)):
            if not complete[k]:
                run_start = k + 1
            first = k - length + 1
            if complete[k] and first >= run_start and (first - run_start) % stride == 0:
                out.append((i, first))
    return out


@settings(max_examples=150, deadline=None)
@given(records_with_gaps(), st.integers(1, 8), st.integers(1, 5), st.booleans())
def test_windows_are_those_of_the_double_loop(
    records: list[Record], length: int, stride: int, convert: bool
) -> None:
    expected = by_loop(records, length, stride)
    if not expected:
        with pytest.raises(ValueError, match="length must be at most"):
            Subsequences(records, length, stride)
        return
    dtype = torch.float64 if convert else None
    windows = Subsequences(records, length, stride, dtype=dtype)
    assert len(windows) == len(expected)
    for j, (i, start) in enumerate(expected):
        u, y = windows[j]
        assert_array_equal(u.numpy(), records[i].u[start : start + length])
        assert_array_equal(y.numpy(), records[i].y[start : start + length])
    order = torch.randperm(len(expected))
    u, y = windows.batch(order)
    for row, j in enumerate(order.tolist()):
        i, start = expected[j]
        assert_array_equal(u[row].numpy(), records[i].u[start : start + length])
        assert_array_equal(y[row].numpy(), records[i].y[start : start + length])
    assert windows.report()["windows"].sum() == len(expected)


def test_neuromancer_windows_never_join_two_experiments() -> None:
    records = [Record(None, np.arange(10.0)), Record(None, np.arange(100.0, 107.0))]
    _, y = Subsequences(records, 4).batch(torch.arange(7 + 4))
    assert (y.diff(dim=1) == 1).all()


def test_the_report_accounts_for_what_was_dropped() -> None:
    y = np.arange(20.0)
    y[10] = np.nan
    report = Subsequences([Record(None, y, name="a"), Record(None, [1.0], name="b")], 5).report()
    assert report.to_dict("records") == [
        {"record": "a", "samples": 20, "windows": 11, "dropped_missing": 5, "too_short": False},
        {"record": "b", "samples": 1, "windows": 0, "dropped_missing": 0, "too_short": True},
    ]


def test_a_precision_alone_converts() -> None:
    u, y = Subsequences(Record(np.arange(9.0), np.arange(9.0)), 4, dtype=torch.float32)[2]
    assert u.dtype == y.dtype == torch.float32
    assert_array_equal(u[:, 0], [2, 3, 4, 5])


def test_windows_are_views() -> None:
    record = Record(np.arange(9.0), np.arange(9.0))
    u, _ = Subsequences(record, 4)[2]
    assert u.data_ptr() == record.u.ctypes.data + 2 * 8


@pytest.mark.parametrize("count", [1, 4])
def test_overlapping_windows_add_at_most_a_fifth_to_the_data(count: int) -> None:
    size = 1_000_000 // count
    records = [Record(np.arange(float(size)), np.arange(float(size))) for _ in range(count)]
    nbytes = sum(r.u.nbytes + r.y.nbytes for r in records)
    tracemalloc.start()
    windows = Subsequences(records, 200)
    added, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(windows) == count * (size - 199)
    assert added < 0.01 * nbytes
    assert peak < 0.2 * nbytes


def test_scaled_windows_in_memory_and_on_disk(tmp_path) -> None:  # type: ignore[no-untyped-def]
    record = Record(np.arange(50.0), 3 * np.arange(50.0) + 1)
    scaling = Scaling(1, 1).fit_([record])
    maps = [np.memmap(tmp_path / n, dtype=np.float64, mode="w+", shape=(50, 1)) for n in "uy"]
    maps[0][:], maps[1][:] = record.u, record.y
    batches = [
        Subsequences(r, 7, scaling=scaling, dtype=torch.float32).batch(torch.tensor([3, 0]))
        for r in (record, Record(*maps))
    ]
    expected = scaling.scale_y(torch.tensor(record.y)).float()
    for u, y in batches:
        assert u.dtype == torch.float32
        torch.testing.assert_close(y[0], expected[3:10], rtol=0, atol=0)


@pytest.mark.parametrize("index", [-1, 7])
def test_indices_out_of_range_are_refused(index: int) -> None:
    windows = Subsequences(Record(None, np.arange(10.0)), 4)
    with pytest.raises(IndexError, match="within 7 windows"):
        windows.batch(torch.tensor([0, index]))
    with pytest.raises(IndexError, match="within 7 windows"):
        windows[7]


@pytest.mark.parametrize(("length", "stride"), [(0, 1), (3, 0), (2.0, 1), (True, 1)])
def test_wrong_lengths_are_refused(length: int, stride: int) -> None:
    with pytest.raises((ValueError, TypeError), match="must be"):
        Subsequences(Record(None, np.arange(10.0)), length, stride)
