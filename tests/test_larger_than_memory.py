"""Data on a disk: nothing is read that is not asked for, and no order is listed."""

from __future__ import annotations

import threading

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from numpy.testing import assert_array_equal

import sysid
from sysid.data.ahead import ahead
from sysid.data.memory_maps import release
from sysid.data.parquet import map_parquet
from sysid.data.records import Record
from sysid.data.shuffling import shuffled_batches
from sysid.data.subsequences import Subsequences


def test_ahead_yields_the_same_items_and_draws_at_most_its_depth_early() -> None:
    drawn: list[int] = []

    def items():  # type: ignore[no-untyped-def]
        for i in range(20):
            drawn.append(i)
            yield i

    for i in ahead(items(), depth=2):
        assert len(drawn) <= i + 4  # the one in hand, two that wait, one that is being drawn
    assert drawn == list(range(20))


def test_ahead_raises_what_drawing_raised_in_its_place() -> None:
    def items():  # type: ignore[no-untyped-def]
        yield 1
        raise KeyError("gone")

    drawn = ahead(items())
    assert next(drawn) == 1
    with pytest.raises(KeyError, match="gone"):
        next(drawn)


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    for i in ahead(iter(range(1_000_000))):
        if i == 3:
            break
    del i
    assert threading.active_count() == before


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_a_shuffled_order_holds_every_item_once(n: int, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("sysid.data.shuffling._LISTED", 5)
    generator = torch.Generator().manual_seed(3)
    batches = list(shuffled_batches(n, 7, generator))
    assert all(len(b) == 7 for b in batches[:-1])
    assert torch.cat(batches).sort().values.tolist() == list(range(n))


def test_a_long_shuffled_order_looks_random_and_changes_from_epoch_to_epoch() -> None:
    n = 1 << 23
    generator = torch.Generator().manual_seed(0)
    first = next(shuffled_batches(n, 100_000, generator)).double()
    second = next(shuffled_batches(n, 100_000, generator)).double()
    # Mean and neighbours of uniform draws: five standard errors of each.
    assert abs(first.mean() / n - 0.5) < 5 * (1 / 12 / 100_000) ** 0.5
    for other in (first.roll(1), second):
        both = torch.stack([first, other])
        assert abs(torch.corrcoef(both)[0, 1]) < 5 / 100_000**0.5


def mapped(tmp_path, n: int) -> Record:  # type: ignore[no-untyped-def]
    blocks = []
    for name in "uy":
        out = np.memmap(tmp_path / name, np.float32, "w+", shape=(n, 1))
        out[:, 0] = np.arange(n)
        out.flush()
        blocks.append(np.memmap(tmp_path / name, np.float32, "r", shape=(n, 1)))
    return Record(*blocks)


def test_pages_that_were_read_are_let_go(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """100 MB are looked through; what stays resident is a fraction of it."""
    record = mapped(tmp_path, 12_500_000)
    process = psutil.Process()
    windows = Subsequences(record, 100, 100, dtype=torch.float32)
    before = process.memory_info().rss
    for places in windows.locate(torch.randperm(len(windows))).split(512):
        windows.gather(places)
    assert process.memory_info().rss - before < 20e6


def test_letting_go_loses_nothing_that_was_written(tmp_path) -> None:  # type: ignore[no-untyped-def]
    block = np.memmap(tmp_path / "x", np.float64, "w+", shape=(1000, 1))
    block[:, 0] = np.arange(1000)
    release(block)
    assert_array_equal(block[:, 0], np.arange(1000))
    private = np.memmap(tmp_path / "x", np.float64, "c", shape=(1000, 1))
    private[:] = 7
    release(private)
    assert (private == 7).all()


def test_stretches_are_found_across_pieces(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    y = np.arange(40.0)
    y[[0, 13, 20, 21, 39]] = np.nan
    whole = Subsequences(Record(None, y), 3).report()
    monkeypatch.setattr("sysid.data.subsequences.CHUNK", 7)
    monkeypatch.setattr(Record.pieces, "__defaults__", (7, 0))
    in_pieces = Subsequences(Record(None, y), 3)
    pd.testing.assert_frame_equal(in_pieces.report(), whole)
    starts = [int(in_pieces[i][1][0, 0]) for i in range(len(in_pieces))]
    assert starts == [*range(1, 11), *range(14, 18), *range(22, 37)]


def test_a_parquet_file_becomes_a_memory_mapped_record(tmp_path) -> None:  # type: ignore[no-untyped-def]
    record = sysid.generate("linear", 1000, noise=0.1)
    sysid.write(record, tmp_path / "plain.parquet")
    frame = pd.read_parquet(tmp_path / "plain.parquet")
    frame["t"] += 70.0  # the clock ran before
    frame.to_parquet(tmp_path / "groups.parquet", row_group_size=170)
    names = {"u": record.u_names, "y": record.y_names}
    again = map_parquet(tmp_path / "groups.parquet", tmp_path / "a", **names, time="t")
    assert again.on_disk
    assert_array_equal(again.u, record.u)
    assert_array_equal(again.y, record.y)
    assert (again.u_units, again.y_units) == (record.u_units, record.y_units)
    assert again.sampling_time == pytest.approx(record.sampling_time, rel=1e-9)
    stored = map_parquet(tmp_path / "plain.parquet", tmp_path / "b")
    assert stored.sampling_time == record.sampling_time
    assert_array_equal(stored.u, record.u)
    assert stored.replace(u=record.u, y=record.y) == record
    named = map_parquet(
        tmp_path / "plain.parquet", tmp_path / "d" / "e", u=record.y_names, y=record.u_names
    )
    assert (named.u_names, named.y_names) == (record.y_names, record.u_names)
    assert again.name == record.name
    with pytest.raises(ValueError, match="folder must be empty"):
        map_parquet(tmp_path / "plain.parquet", tmp_path / "b")
    with pytest.raises(ValueError, match=r"column must be one of .*, got 'pump'"):
        map_parquet(tmp_path / "groups.parquet", tmp_path / "c", u=["pump"])


def test_time_stamps_that_jump_between_row_groups_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    t = np.arange(100) * 0.1
    t[50:] += 5
    pd.DataFrame({"t": t, "y": t}).to_parquet(tmp_path / "x.parquet", row_group_size=50)
    with pytest.raises(ValueError, match="uniformly spaced"):
        map_parquet(tmp_path / "x.parquet", tmp_path / "a", y=["y"], time="t")
