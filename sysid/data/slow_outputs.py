"""Outputs sampled more slowly than the inputs: their spacing, and where a simulation can start."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sysid.data.records import Array, Record

_WIDER = 1.5  # times its usual spacing that two samples of a slow output may lie apart


def spacing(y: Array) -> Array:
    """Return the usual distance in rows between two samples of each output, ``(ny,)``.

    It is the median: 1 for an output with a gap here and there, 10 for one that is measured at
    every tenth row, infinite for one with fewer than two samples.

    Args:
        y: ``(N, ny)``, NaN where an output was not measured.
    """
    out = np.ones(y.shape[1])
    for i in range(y.shape[1]):
        rows = np.flatnonzero(~np.isnan(y[:, i]))
        if len(rows) < len(y):
            out[i] = np.median(np.diff(rows)) if len(rows) > 1 else np.inf
    return out


def slow(y: Array) -> NDArray[np.bool_]:
    """Return which outputs are measured at regular rows with others between them, ``(ny,)``."""
    distance = spacing(y)
    return (distance > 1) & np.isfinite(distance)


def usable_starts(y: Array, rows: int) -> NDArray[np.bool_]:
    """Return whether a simulation can start from the outputs of ``rows`` samples, ``(M,)``.

    Entry ``k`` is about the samples ``k ... k+rows-1``. A slow output needs a sample among them
    as often as it usually has one; any other has to be complete there.

    Args:
        y: ``(N, ny)``, NaN where an output was not measured.
        rows: samples that the simulation starts from; 0 if it needs none.
    """
    count = max(len(y) - rows + 1, 0)
    good = np.ones(count, dtype=bool)
    if rows == 0 or count == 0:
        return good
    for i, distance in enumerate(spacing(y)):
        needed = rows if distance <= 1 else max(int(rows / (_WIDER * distance)), 1)
        seen = _counts(~np.isnan(y[:, i]))
        good &= seen[rows:] - seen[:count] >= needed
    return good


def first_start(record: Record, least: int) -> int:
    """Return ``least``, or the first row before which each slow output was measured once.

    Args:
        record: the experiment.
        least: rows from which a simulation starts where all outputs are measured there.
    """
    y = record.y
    if not np.isnan(y[:least]).any():
        return least
    measured = [int(np.flatnonzero(~np.isnan(y[:, i]))[0]) for i in np.flatnonzero(slow(y))]
    return max([least, *(row + 1 for row in measured)])


def window_runs(record: Record, length: int, start: int) -> NDArray[np.int64]:
    """Return stretches in which windows can lie that may miss outputs, ``(runs, 2)``.

    The inputs of a window are complete, a simulation can start from its first outputs, and some
    output is measured after them.

    Args:
        record: the experiment.
        length: samples of a window.
        start: samples at its start that a simulation starts from.
    """
    count = len(record) - length + 1
    if count < 1:
        return np.empty((0, 2), dtype=np.int64)
    complete = _counts(~np.isnan(record.u).any(axis=1))
    seen = _counts(~np.isnan(record.y).all(axis=1))
    first = np.arange(count)
    good = complete[first + length] - complete[first] == length
    good &= seen[first + length] > seen[first + start]
    good &= usable_starts(record.y, start)[:count]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
    runs = edges.astype(np.int64).reshape(-1, 2)
    runs[:, 1] += length - 1
    return runs


def measured_numbers(y: Array, starts: NDArray[np.int64], length: int, first: int) -> int:
    """Return how many outputs of windows are measured, those before ``first`` left out.

    Args:
        y: ``(N, ny)``, NaN where an output was not measured.
        starts: the first sample of each window.
        length: samples of a window.
        first: samples at its start that do not count.
    """
    seen = _counts((~np.isnan(y)).sum(axis=1))
    return int((seen[starts + length] - seen[starts + first]).sum())


def _counts(values: Any) -> NDArray[np.int64]:
    """Return how many there are before each row, one entry more than rows."""
    return np.concatenate([[0], np.cumsum(values, dtype=np.int64)])


def between_samples(y: Array) -> Array:
    """Return outputs with slow ones interpolated between their samples; other gaps stay.

    Args:
        y: ``(N, ny)``, NaN where an output was not measured.
    """
    out = y
    distance = spacing(y)
    for i in np.flatnonzero(slow(y)):
        out = out.copy() if out is y else out
        rows = np.flatnonzero(~np.isnan(y[:, i]))
        k = np.arange(rows[0], rows[-1] + 1)
        after = np.searchsorted(rows, k)
        near = rows[after] - rows[np.maximum(after - 1, 0)] <= _WIDER * distance[i]
        inside = np.isin(k, rows) | near
        out[k[inside], i] = np.interp(k[inside], rows, y[rows, i])
    return out


def with_stand_ins(y: Tensor, rows: int, between: bool) -> Tensor:
    """Return outputs with the missing ones among the first ``rows`` filled in, to start from.

    Args:
        y: ``(batch, T, ny)``, NaN where an output was not measured.
        rows: samples that a simulation starts from.
        between: whether a value lies on the line between the two that were measured around it;
            else the last measured one is held, as for a simulation that knows no later ones.
            Before the first measured sample, that one stands in.
    """
    seen = ~y.isnan()
    last = y.shape[1]
    index = torch.arange(last, device=y.device)[None, :, None]
    before = torch.where(seen, index, -1).cummax(1).values[:, :rows]
    after = torch.where(seen, index, last).flip(1).cummin(1).values.flip(1)[:, :rows]
    before, after = torch.where(before < 0, after, before), torch.where(after < last, after, before)
    low = y.gather(1, before.clamp(max=last - 1)).nan_to_num()
    if between:
        high = y.gather(1, after.clamp(0, last - 1)).nan_to_num()
        share = (index[:, :rows] - before).to(y.dtype) / (after - before).clamp(min=1)
        low = low + share.clamp(min=0) * (high - low)
    filled = torch.where(seen[:, :rows], y[:, :rows], low)
    return torch.cat([filled, y[:, rows:]], dim=1)
