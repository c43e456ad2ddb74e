"""TimeSplit: cross-validation in the order of time, with a gap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


class TimeSplit:
    """Splits in time for ``GridSearchCV`` and ``cross_val_score``: the past trains, a gap, a test.

    The last ``n_splits`` blocks of equal length are tested in turn, each after a gap, on what is
    trained on everything before. Training samples are one stretch, so that no window and no
    regressor reaches over a seam, and none of them is within the gap of a tested one.

    Args:
        n_splits: tests.
        gap: samples left out before each test; at least the window or the largest lag.
        test_size: samples of a test; ``None``: all but the first test's training part, which
            gets as much as one test.

    Example:
        >>> [(len(train), len(test)) for train, test in TimeSplit(2, gap=5).split(np.zeros(60))]
        [(15, 20), (35, 20)]
    """

    def __init__(self, n_splits: int = 5, *, gap: int, test_size: int | None = None) -> None:
        self.n_splits, self.gap, self.test_size = n_splits, gap, test_size

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield the indices of training samples and of tested ones, a pair per split."""
        n = len(X)
        for name, least in (("n_splits", 1), ("gap", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or int(value) != value or value < least:
                raise ValueError(
                    f"{name} must be a whole number of at least {least}, got {value!r}"
                )
        size = n // (self.n_splits + 1) if self.test_size is None else self.test_size
        first = n - self.n_splits * size
        if size < 1 or first - self.gap < 1:
            raise ValueError(
                f"X must be long enough for {self.n_splits} tests of {max(size, 1)} samples after "
                f"gaps of {self.gap}, got {n} samples; use fewer or shorter ones"
            )
        for start in range(first, n, size)[: self.n_splits]:
            yield np.arange(start - self.gap), np.arange(start, start + size)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return how many splits there are."""
        return self.n_splits
