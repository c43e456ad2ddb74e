"""The impulse response from data, regularised to decay, and the linear system that has it."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.lib.stride_tricks import sliding_window_view

from sysid.data.records import Array

_DECAYS = (0.6, 0.75, 0.85, 0.9, 0.94, 0.97, 0.985, 0.995)
_CHUNK = 1 << 15  # rows of the regression that are in memory together


def estimate_impulse_response(
    blocks: list[tuple[Array, Array]], length: int, feedthrough: bool = True
) -> Array:
    """Estimate ``y(k) = sum_i g(i) u(k - i)`` by regularised least squares.

        g = argmin  ||y - X g||^2 + s^2 g' K^-1 g,    K(i, j) = c decay^max(i, j)

    The kernel says that the response is smooth and decays; its decay and size are those under
    which the data are most probable, for each output by itself.

    Args:
        blocks: ``(u, y)`` of each record, near zero mean. For each output, rows that miss it or
            an input in reach are left out.
        length: samples of the response.
        feedthrough: whether ``g(0)`` is estimated; else it is zero.

    Returns:
        ``(length, ny, nu)``.

    Raises:
        ValueError: if there are fewer complete rows than coefficients.

    Source:
        T. Chen, H. Ohlsson and L. Ljung, "On the estimation of transfer functions,
        regularizations and Gaussian processes - revisited", Automatica 48(8), 2012 (TC kernel).
    """
    nu, ny = blocks[0][0].shape[1], blocks[0][1].shape[1]
    first = 0 if feedthrough else 1
    lags = np.arange(first, length)
    out = np.zeros((length, ny, nu))
    for group in _measured_together(blocks):
        square, product, power, rows = _sums(blocks, group, length, first)
        if rows <= len(square):
            raise ValueError(
                f"records must have more than {len(square)} complete rows for an impulse response "
                f"of {length} samples, got {rows}"
            )
        for j, i in enumerate(group):
            g = _most_probable(square, product[:, j], float(power[j]), rows, lags, nu)
            out[first:, i] = g.reshape(nu, -1).T
    return out


def _measured_together(blocks: list[tuple[Array, Array]]) -> list[list[int]]:
    """Return outputs in groups that are measured at the same rows."""
    groups: dict[bytes, list[int]] = {}
    for i in range(blocks[0][1].shape[1]):
        seen = np.concatenate([np.isfinite(y[:, i]) for _, y in blocks])
        groups.setdefault(np.packbits(seen).tobytes(), []).append(i)
    return list(groups.values())


def _sums(
    blocks: list[tuple[Array, Array]], group: list[int], length: int, first: int
) -> tuple[Array, Array, Array, int]:
    """Return ``X'X``, ``X'y`` and ``y'y`` of some outputs, and how many rows they are over."""
    width = (length - first) * blocks[0][0].shape[1]
    square, product = np.zeros((width, width)), np.zeros((width, len(group)))
    power, rows = np.zeros(len(group)), 0
    for u, whole in blocks:
        y = whole[:, group]
        for start in range(length - 1, len(y), _CHUNK):
            part = y[start : start + _CHUNK]
            windows = sliding_window_view(
                u[start - length + 1 : start + len(part) - first], length - first, axis=0
            )
            good = np.isfinite(part).all(axis=1)
            x = windows[good][:, :, ::-1].reshape(-1, width)  # input by input, newest first
            complete = np.isfinite(x).all(axis=1)
            x, target = x[complete], part[good][complete]
            square += x.T @ x
            product += x.T @ target
            power += (target**2).sum(axis=0)
            rows += len(x)
    return square, product, power, rows


def _most_probable(
    square: Array, product: Array, power: float, rows: int, lags: np.ndarray, nu: int
) -> Array:
    """Return the response under the kernel that makes the data most probable."""
    ridge = 1e-8 * np.trace(square) / len(square) * np.eye(len(square))
    plain = scipy.linalg.solve(square + ridge, product, assume_a="pos")
    noise = max(power - float(product @ plain), 1e-12 * power) / (rows - len(product))
    size = max(float(np.abs(plain).max()) ** 2, 1e-300)
    best, found = np.inf, plain
    for decay in _DECAYS:
        kernel = scipy.linalg.block_diag(*[decay ** np.maximum.outer(lags, lags)] * nu)
        shape = scipy.linalg.cholesky(kernel + 1e-12 * np.eye(len(kernel)), lower=True)
        inner, seen = shape.T @ square @ shape, shape.T @ product
        for scale in size * 10.0 ** np.arange(-2, 3):
            # y ~ N(0, X K X' + noise): all that is needed are X'X, X'y and y'y.
            factor = scipy.linalg.cho_factor(np.eye(len(inner)) + scale / noise * inner)
            weights = scipy.linalg.cho_solve(factor, seen) * scale / noise
            surprise = 2 * np.log(np.diag(factor[0])).sum() - float(seen @ weights) / noise
            if surprise < best:
                best, found = surprise, shape @ weights
    return found


def balanced_realisation(response: Array, nx: int) -> tuple[Array, Array, Array, Array]:
    """Return ``A, B, C, D`` of order ``nx`` with an impulse response near the one given.

    The Hankel matrix of the response is the product of observability and controllability; its
    largest singular values are shared out evenly between them, and the shift gives ``A``.

    Args:
        response: ``(length, ny, nu)``.
        nx: order, at most half of the response's samples times the smaller of ``ny`` and ``nu``.

    Source:
        S. Y. Kung, "A new identification and model reduction algorithm via singular value
        decomposition", 12th Asilomar Conference, 1978.
    """
    length, ny, nu = response.shape
    half = length // 2
    index = 1 + np.add.outer(np.arange(half), np.arange(half - 1))
    hankel = response[index].transpose(0, 2, 1, 3).reshape(half * ny, (half - 1) * nu)
    left, singular, right = np.linalg.svd(hankel, full_matrices=False)
    root = np.sqrt(singular[:nx])
    observability, controllability = left[:, :nx] * root, root[:, None] * right[:nx]
    a = np.linalg.lstsq(observability[:-ny], observability[ny:], rcond=None)[0]
    return a, controllability[:, :nu], observability[:ny], response[0]
