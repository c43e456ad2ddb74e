"""Record: what it keeps, what it refuses, and that nothing changes it."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sysid.data import records
from sysid.data.records import Record, as_records, same_sampling_time

FULL = Record(
    np.arange(20.0).reshape(10, 2),
    np.arange(10.0),
    0.5,
    name="a",
    u_names=["p", "q"],
    y_names=["z"],
    u_units=["V", "A"],
    y_units=["m"],
    n_init=3,
)
METADATA = ("name", "u_names", "y_names", "u_units", "y_units", "n_init", "sampling_time")


def test_nonlinear_benchmarks_slicing_keeps_metadata() -> None:
    part = FULL[2:6]
    assert_array_equal(part.u, FULL.u[2:6])
    assert [getattr(part, m) for m in METADATA] == [getattr(FULL, m) for m in METADATA]
    assert FULL[::2].sampling_time == 1.0
    assert np.shares_memory(part.u, FULL.u)


def test_a_record_is_the_users_copy_and_cannot_be_written() -> None:
    u = np.arange(3.0)
    record = Record(u, u)
    u[0] = 99
    assert record.u[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        record.y[0] = 1
    with pytest.raises(AttributeError):
        record.y = u  # type: ignore[misc]


def test_equality_pickling_and_replace() -> None:
    again = pickle.loads(pickle.dumps(FULL))
    assert again == FULL
    assert not again.u.flags.writeable
    assert FULL.replace(name="b") != FULL
    assert FULL.replace(u=None, u_names=None, u_units=None).nu == 0
    assert FULL != 3
    holes = FULL.replace(y=np.where(FULL.y > 5, np.nan, FULL.y))
    assert holes == pickle.loads(pickle.dumps(holes))
    assert holes != FULL


def test_columns_side_by_side_in_memory_become_rows() -> None:
    record = Record(np.asfortranarray(FULL.u), None)
    assert record.u.flags.c_contiguous
    assert_array_equal(record.u, FULL.u)


def test_a_memory_map_stays_on_disk(tmp_path) -> None:  # type: ignore[no-untyped-def]
    data = np.memmap(tmp_path / "u", dtype=np.float32, mode="w+", shape=(8, 1))
    record = Record(data, None)
    assert isinstance(record.u, np.memmap)
    assert record[2:4].on_disk
    with pytest.raises(TypeError, match="must be float32 or float64, got int16"):
        Record(np.memmap(tmp_path / "i", dtype=np.int16, mode="w+", shape=(8, 1)), None)


def test_frames_round_trip() -> None:
    frame = FULL.to_frame()
    assert list(frame.columns) == ["t", "p", "q", "z"]
    again = Record.from_frame(
        frame, ["p", "q"], "z", time="t", name="a", u_units=["V", "A"], y_units=["m"], n_init=3
    )
    assert again == FULL
    assert list(Record(None, [1.0]).to_frame().columns) == ["k", "y1"]
    stamps = pd.date_range("2026-01-01", periods=4, freq="250ms")
    dated = pd.DataFrame({"t": stamps, "y": [1, 2, 3, 4]})
    assert Record.from_frame(dated, y="y", time="t").sampling_time == 0.25


def test_missing_samples_are_marked() -> None:
    record = Record([0.0, np.nan, 2.0], [[1.0, 1.0], [1.0, 1.0], [1.0, np.nan]])
    assert_array_equal(record.complete(), [True, False, False])


FRAME = pd.DataFrame({"t": [0.0, 1.0, 2.0], "u1": [1, 2, 3], "y": ["1", "x", "3"]})


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: Record(None, None), "record must have u or y"),
        (lambda: Record([], []), "at least one sample"),
        (lambda: Record([1.0], [1.0, 2.0]), "equal lengths, got 1 and 2"),
        (lambda: Record([[[1.0]]], None), "got 3 dimensions"),
        (lambda: Record(["a"], None), "u must be numbers"),
        (lambda: Record([0.0, -np.inf], None), "u1 must be finite, got -inf in row 1"),
        (lambda: Record(None, [np.inf], y_names=["level"]), "level must be finite"),
        (lambda: Record([1.0], None, u_names=["a", "b"]), "u_names must name 1 channels"),
        (lambda: Record(None, [1.0], -1), "sampling_time must be positive"),
        (lambda: Record(None, [1.0], 0), "sampling_time must be positive seconds, got 0"),
        (lambda: Record(None, [1.0], n_init=-1), "n_init must be a whole number"),
        (lambda: Record(None, [1.0], y_names=["a", "b"]), "y_names must name 1 channels"),
        (lambda: Record(None, [1.0], y_names="a"), "y_names must be a list"),
        (lambda: Record(None, [[1.0, 2.0]], y_names=["a", "a"]), "must differ"),
        (lambda: Record([1.0], [1.0], u_names=["a"], y_names=["a"]), "channel names must differ"),
        (lambda: FULL[3], "index must be a slice"),
        (lambda: FULL[5:5], "at least one sample"),
        (lambda: FULL[::-1], "step must be at least 1"),
        (lambda: list(FULL), "a record is not iterable"),
        (lambda: FULL.replace(colour=1), "replace must name fields"),
        (
            lambda: Record.from_frame(FRAME, "u1", "y"),
            r"column 'y' must hold numbers, got 'x' in row 1",
        ),
        (lambda: Record.from_frame(FRAME, "u"), "did you mean 'u1'"),
        (lambda: Record.from_frame(FRAME, "u1", time="t", sampling_time=1), "must not both"),
        (lambda: Record.from_frame(FRAME[:1], "u1", time="t"), "at least 2 rows"),
        (lambda: Record.from_frame(FRAME.assign(t=[0, 1, 1]), "u1", time="t"), "increase.*row 2"),
        (lambda: Record.from_frame(FRAME.assign(t=[0, 1, 3]), "u1", time="t"), "uniformly spaced"),
        (lambda: Record.from_frame(FRAME.assign(u1=[0, 1, np.inf]), "u1"), "got inf in row 2"),
        (lambda: as_records([]), "at least one record"),
        (lambda: as_records([1]), "must be sysid.Record, got int"),
        (lambda: as_records([FULL, Record([1.0], [1.0])]), "same channels"),
        (lambda: as_records([FULL, FULL.replace(sampling_time=1.0)]), "same sampling time"),
    ],
)
def test_what_is_wrong_is_refused(build, match: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((ValueError, TypeError), match=match):
        build()


def test_a_record_shows_its_size_its_step_and_its_start() -> None:
    assert repr(FULL) == "Record('a', N=10, nu=2, ny=1, sampling_time=0.5, n_init=3)"
    assert repr(Record(None, [1.0, 2.0])) == "Record('', N=2, nu=0, ny=1)"


@pytest.mark.parametrize("field", ["u_names", "y_names", "u_units", "y_units"])
def test_labels_that_are_too_many_are_called_by_their_field(field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} must "):
        Record([1.0], [2.0], **{field: ["a", "b"]})


def test_sampling_times_agree_to_a_thousandth() -> None:
    """Of the larger one; the numbers are exact in binary."""
    assert same_sampling_time(1000.0, 1001.0)
    assert not same_sampling_time(1000.0, 1002.0)
    assert same_sampling_time(None, 1.0)
    assert same_sampling_time(1.0, None)


def test_both_blocks_of_a_memory_map_are_let_go_of(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    released: list[Any] = []
    monkeypatch.setattr(records, "release", released.append)
    assert [len(piece) for piece in FULL.pieces(5)] == [5, 5]
    assert [id(block) for block in released] == 2 * [id(FULL.u), id(FULL.y)]


@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_pieces_overlap_and_lose_nothing(overlap: int) -> None:
    record = Record(np.arange(10.0), np.arange(10.0) ** 2, n_init=1)
    pieces = list(record.pieces(4, overlap))
    for i, piece in enumerate(pieces):
        assert piece == record[4 * i : 4 * i + 4 + overlap]
    assert len(record) == sum(len(piece) - overlap for piece in pieces) + overlap


def test_a_record_holds_float64_and_shares_what_nobody_can_write() -> None:
    given = np.arange(5.0)
    given.flags.writeable = False
    half = given.astype(np.float32)
    half.flags.writeable = False
    assert np.shares_memory(Record(None, given).y, given)
    for other in (half, np.arange(5), np.arange(5.0)):
        record = Record(None, other)
        assert record.y.dtype == np.float64
        assert_array_equal(record.y[:, 0], given)
        assert not np.shares_memory(record.y, other)
