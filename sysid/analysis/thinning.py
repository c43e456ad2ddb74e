"""Thinning: the extremes of a long series, so that what is drawn of it keeps its peaks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sysid.data.records import Array


def extremes(values: Array, size: int) -> NDArray[np.intp]:
    """Return where the smallest and the largest value of each block stand, in order of time.

    Args:
        values: ``(N,)``; NaN is passed over, unless a block holds nothing else.
        size: samples in a block; the last one may have fewer.

    Returns:
        ``(ceil(N / size), 2)`` positions.

    Example:
        >>> extremes(np.array([0.0, 5.0, 1.0, 2.0, -3.0, 2.0]), 3).tolist()
        [[0, 1], [3, 4]]
    """
    count = -(-len(values) // size)
    padded = np.full(count * size, np.nan)
    padded[: len(values)] = values
    rows = padded.reshape(count, size)
    low = np.argmin(np.where(np.isnan(rows), np.inf, rows), axis=1)
    high = np.argmax(np.where(np.isnan(rows), -np.inf, rows), axis=1)
    return np.sort(np.stack([low, high], axis=1), axis=1) + size * np.arange(count)[:, None]
