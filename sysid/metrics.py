"""Figures of merit: how near a model output is to the measured one, per output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def rmse(y: ArrayLike, y_hat: ArrayLike) -> Array:
    """Return ``sqrt(mean((y - y_hat)^2))`` for each output, in its unit.

    Args:
        y: measured, ``(N, ny)`` or ``(N,)``; samples that are NaN do not count.
        y_hat: model output, of the same shape; rows that are NaN (no prediction) do not count.

    Returns:
        ``(ny,)``; NaN where nothing is left to compare.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> rmse([0.0, 2.0], [0.0, 0.0]).round(4)
        array([1.4142])
    """
    return _each(y, y_hat, lambda a, b: _rms(a - b))


def mae(y: ArrayLike, y_hat: ArrayLike) -> Array:
    """Return ``mean(|y - y_hat|)`` for each output; arguments as for ``rmse``.

    Args:
        y: measured, ``(N, ny)`` or ``(N,)``; samples that are NaN do not count.
        y_hat: model output, of the same shape; rows that are NaN do not count.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> mae([0.0, 2.0], [0.0, 1.0])
        array([0.5])
    """
    return _each(y, y_hat, lambda a, b: float(np.mean(np.abs(a - b))))


def nrmse(y: ArrayLike, y_hat: ArrayLike) -> Array:
    """Return ``rmse / std(y)`` for each output, never by range; NaN for a constant ``y``.

    Args:
        y: measured, ``(N, ny)`` or ``(N,)``; samples that are NaN do not count.
        y_hat: model output, of the same shape; rows that are NaN do not count.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> nrmse([0.0, 2.0], [0.0, 1.0]).round(4)
        array([0.7071])
    """
    return _each(y, y_hat, lambda a, b: _over(_rms(a - b), np.std(a)))


def fit_index(y: ArrayLike, y_hat: ArrayLike) -> Array:
    """Return ``100 (1 - ||y - y_hat|| / ||y - mean(y)||)`` percent for each output.

    100 is perfect, 0 no better than the mean; NaN for a constant ``y``.

    Args:
        y: measured, ``(N, ny)`` or ``(N,)``; samples that are NaN do not count.
        y_hat: model output, of the same shape; rows that are NaN do not count.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> fit_index([0.0, 2.0], [0.0, 1.0]).round(2)
        array([29.29])

    Source: L. Ljung, System Identification Toolbox, ``compare``.
    """
    return 100 * (1 - nrmse(y, y_hat))


def r2(y: ArrayLike, y_hat: ArrayLike) -> Array:
    """Return ``1 - sum((y - y_hat)^2) / sum((y - mean(y))^2)`` for each output.

    Args:
        y: measured, ``(N, ny)`` or ``(N,)``; samples that are NaN do not count.
        y_hat: model output, of the same shape; rows that are NaN do not count.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> r2([0.0, 2.0], [0.0, 1.0]).round(4)
        array([0.5])
    """
    return 1 - nrmse(y, y_hat) ** 2


def vaf(y: ArrayLike, y_hat: ArrayLike) -> Array:
    """Return ``100 (1 - var(y - y_hat) / var(y))`` percent for each output.

    It does not see a constant offset: read it beside ``fit_index``.

    Args:
        y: measured, ``(N, ny)`` or ``(N,)``; samples that are NaN do not count.
        y_hat: model output, of the same shape; rows that are NaN do not count.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> vaf([0.0, 2.0], [5.0, 7.0]), fit_index([0.0, 2.0], [5.0, 7.0])
        (array([100.]), array([-400.]))
    """
    unexplained = _each(y, y_hat, lambda a, b: _over(np.var(a - b), np.var(a)))
    return 100 * (1 - unexplained)


METRICS: dict[str, Callable[[ArrayLike, ArrayLike], Array]] = {
    f.__name__: f for f in (rmse, nrmse, fit_index, r2, mae, vaf)
}


def all_metrics(y: ArrayLike, y_hat: ArrayLike) -> dict[str, Array]:
    """Return every figure of merit by name."""
    return {name: f(y, y_hat) for name, f in METRICS.items()}


def _each(y: ArrayLike, y_hat: ArrayLike, figure: Callable[[Array, Array], float]) -> Array:
    """Apply a figure to each output over the samples that both have."""
    a, b = (_columns(v) for v in (y, y_hat))
    if a.shape != b.shape:
        raise ValueError(f"y and y_hat must have the same shape, got {a.shape} and {b.shape}")
    out = np.full(a.shape[1], np.nan)
    for i in range(a.shape[1]):
        seen = ~(np.isnan(a[:, i]) | np.isnan(b[:, i]))
        if not seen.any():
            continue
        if np.isinf(b[seen, i]).any():  # a simulation that exploded
            out[i] = np.inf
            continue
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            out[i] = figure(a[seen, i], b[seen, i])
    return out


def _columns(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    return array[:, None] if array.ndim == 1 else array


def _rms(error: Array) -> float:
    return float(np.sqrt(np.mean(np.square(error))))


def _over(top: Any, bottom: Any) -> float:
    """Divide by a spread; NaN where there is none but rounding."""
    return float(top / bottom) if bottom > 0 else float("nan")
