"""Least squares with an intercept over lagged channels, and the losses of nested regressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sysid.data.records import Array

Part = tuple[Array, Sequence[int]]  # a channel and the lags of it that are regressors

_EXACT = 1e-8  # a residual below this share of the target's std is rounding
_GAPS = 5  # between values, below which a grid may be chance
_DEPENDENT = 1e-7  # a column with a smaller share of its own direction repeats the others


def constant(x: Array) -> bool:
    """Return whether a channel never changes, or only by rounding, or has no samples."""
    seen = x[np.isfinite(x)]
    return not len(seen) or bool(np.ptp(seen) <= 1e-12 * np.abs(seen).max())


def scaled(x: Array) -> Array:
    """Return a channel less its mean, in units of its standard deviation."""
    out = np.asarray(x, dtype=np.float64)
    if constant(out):
        return np.where(np.isfinite(out), 0.0, np.nan)
    low, high = np.nanmin(out), np.nanmax(out)
    share = (out - low) / (high - low)  # so that squares neither overflow nor vanish
    middle: Array = (share - np.nanmean(share)) / np.nanstd(share)
    return middle


def grid(x: Array) -> float:
    """Return the step of the grid that all values lie on; 0 where they lie on none."""
    gaps = np.diff(np.unique(x[np.isfinite(x)]))
    gaps = gaps[gaps > 1e-12 * max(np.nanmax(np.abs(x), initial=0.0), 1e-300)]
    if len(gaps) < 2:
        return 0.0
    step = float(gaps.min())
    many = gaps / step
    off = np.abs(many - np.round(many))
    return step if bool((off < 0.02 + 1e-6 * many).all()) and len(gaps) >= _GAPS else 0.0


def lagged(target: Array, parts: Sequence[Part]) -> tuple[Array, Array, NDArray[np.intp]]:
    """Return a column of ones beside the lags of all parts, the target, and each row's sample.

    A row that would reach over the start or a missing sample is left out.
    """
    first = max((max(lags, default=0) for _, lags in parts), default=0)
    count = len(target)
    width = 1 + sum(len(lags) for _, lags in parts)
    if count <= first:
        return np.empty((0, width)), np.empty(0), np.empty(0, dtype=np.intp)
    shifted = [x[first - lag : count - lag] for x, lags in parts for lag in lags]
    phi = np.column_stack([np.ones(count - first), *shifted])
    keep = np.isfinite(phi).all(axis=1) & np.isfinite(target[first:])
    return phi[keep], target[first:][keep], first + np.flatnonzero(keep)


@dataclass(frozen=True)
class Nested:
    """Regressions on the first columns, the first two, ... of a matrix, by one QR.

    ``triangle`` is R with each column in its own norm, ``share`` what each column adds to the
    explained sum of squares, as a root with its sign, ``dependent`` which columns say nothing
    that those before do not, ``rest`` the sum of squares that all leave, ``count`` the rows.
    """

    triangle: Array
    norms: Array
    share: Array
    dependent: NDArray[np.bool_]
    rest: float
    total: float
    count: int

    @classmethod
    def of(cls, phi: Array, target: Array) -> Nested:
        """Factor ``phi`` beside ``target``."""
        norms = np.linalg.norm(phi, axis=0)
        norms[norms == 0] = 1.0
        r: Array = np.asarray(np.linalg.qr(np.column_stack([phi / norms, target]), mode="r"))
        width = phi.shape[1]
        triangle, share = r[:width, :width], r[:width, width]
        dependent = np.abs(np.diag(triangle)) < _DEPENDENT
        rest = float(np.sum(r[width:, width] ** 2))
        total = float(np.sum((target - target.mean()) ** 2))
        return cls(triangle, norms, share, dependent, rest, total, len(phi))

    @property
    def free(self) -> int:
        """Degrees of freedom of the residuals."""
        return max(self.count - int((~self.dependent).sum()), 1)

    @property
    def variance(self) -> float:
        """The variance of the residuals, at least what rounding leaves."""
        return max(self.rest / self.free, _EXACT**2 * self.total / self.count, 1e-300)

    def loss(self, width: int) -> float:
        """Return the sum of squares that the first columns leave, at least rounding's."""
        rest = self.rest + float(np.sum(self.share[width:] ** 2))
        return max(rest, _EXACT**2 * self.total, 1e-300)

    def coefficients(self, width: int) -> Array:
        """Return the coefficients of the regression on the first columns."""
        small = self.triangle[:width, :width]
        theta = np.linalg.lstsq(small, self.share[:width], rcond=_DEPENDENT)[0]
        out: Array = theta / self.norms[:width]
        return out


def f_test(small: float, full: float, extra: int, rest: int) -> float:
    """Return the p-value of what ``extra`` columns add to a regression."""
    from scipy.stats import f

    statistic = max(small - full, 0.0) / max(extra, 1) / max(full / max(rest, 1), 1e-300)
    return float(f.sf(statistic, max(extra, 1), max(rest, 1)))
