"""Small systems with known answers, that the tests share."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from sysid.data.records import Record


def linear_record(n: int = 400, seed: int = 0, name: str = "linear") -> Record:
    """``y(k) = 1.2 y(k-1) - 0.5 y(k-2) + 0.5 u(k-1) + 0.2 u(k-2)`` in odd units."""
    u = np.random.default_rng(seed).standard_normal(n)
    y = lfilter([0, 0.5, 0.2], [1, -1.2, 0.5], u)
    return Record(3 + 2 * u, 7 + 4 * y, sampling_time=0.1, name=name)


def two_by_two(n: int = 300, seed: int = 0) -> Record:
    """Two inputs, two coupled outputs of very different size."""
    u = np.random.default_rng(seed).standard_normal((n, 2))
    y = np.zeros((n, 2))
    for k in range(1, n):
        y[k, 0] = 0.7 * y[k - 1, 0] + 0.3 * np.tanh(y[k - 1, 1]) + u[k - 1, 0]
        y[k, 1] = 0.5 * y[k - 1, 1] + 0.2 * u[k, 1]
    return Record(u, y * [1.0, 1000.0], sampling_time=0.1, name="two")
