"""How many frequencies an input holds, and where its power lies."""

from __future__ import annotations

import numpy as np

from sysid.analysis.regression import constant, scaled
from sysid.data.records import Array


def frequencies(u: Array) -> float:
    """Return about how many frequencies an input holds: 1 for a sine, thousands for noise.

    ``(sum p)^2 / sum p^2`` over its periodogram, halved since a Hann window spreads a sine
    over that many lines. A sum of ``m`` sines is persistently exciting of order ``2 m``. It is
    0 for an input that never changes.
    """
    v = u[np.isfinite(u)]
    if constant(v):
        return 0.0
    p = np.abs(np.fft.rfft(scaled(v) * np.hanning(len(v)))) ** 2
    return float(p.sum() ** 2 / max(float((p**2).sum()), 1e-300) / 2)


def band(u: Array) -> tuple[float, float]:
    """Return the frequencies between which 98 % of an input's power lies, of Nyquist's."""
    from scipy.signal import welch

    v = u[np.isfinite(u)]
    if constant(v):
        return 0.0, 0.0
    f, power = welch(scaled(v), fs=2.0, nperseg=min(len(v), 2048))
    share = np.cumsum(power) / max(float(power.sum()), 1e-300)
    low, high = np.minimum(np.searchsorted(share, [0.01, 0.99]), len(f) - 1)
    return float(f[low]), float(f[high])
