"""What linear regressions say of a plant before training: orders, memory, fit, drift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sysid.analysis.regression import Nested, Part, lagged
from sysid.data.records import Array

_HIGHEST = 15  # order that is looked at
_ORDERS = (1, 2, 3, 5)  # of output-error models, beside that of the least BIC
_STEPS = 8  # of the iteration by Steiglitz and McBride
_FREE_ROWS = 20_000  # samples that are enough for a free run
_UNIT_ROOT = -3.96  # Dickey and Fuller's 1 % point, with an intercept and a line
_SLOWER = 10  # time constants per record, below which a plant may integrate
_SURE = 3.0  # standard errors


@dataclass(frozen=True)
class Response:
    """What one output does after its inputs.

    ``order`` is that of the ARX model with the least BIC, ``one_step`` the share of variance
    that it predicts a sample ahead. ``pole`` is its pole near one, ``integrates`` whether it
    cannot be told from one. ``free_order`` and ``fit`` are of the linear model with the best free
    run: its order, and the share of the output's variance that it explains. ``settling`` is
    the lag after which its step responses stay within 2 % of their end.
    """

    order: int
    one_step: float
    pole: float
    integrates: bool
    free_order: int
    fit: float
    settling: int


def response(y: Array, inputs: Sequence[Array], delays: Sequence[int]) -> Response | None:
    """Estimate order and memory of the plant; ``None`` where the record is too short.

    Args:
        y: output, ``(N,)``, scaled.
        inputs: inputs, ``(N,)`` each, scaled.
        delays: samples before each input acts.
    """
    arx = _arx(y, inputs, delays)
    if arx is None:
        return None
    order, one_step, a = arx
    pole, integrates = _unit_root(y, inputs, delays, order)
    if not inputs:
        settling = _settling(a, np.array([[1.0]]))
        return Response(order, one_step, pole, integrates, order, float("nan"), settling)
    best = None
    for n in sorted({*(m for m in _ORDERS if m <= order), order}):
        found = _free_run(y, inputs, delays, n, a if n == order else None)
        if found is not None and (best is None or found[0] > best[1] + 1e-4):
            best = (n, *found)
        if best is not None and best[1] > 0.99999:
            break
    if best is None:
        return Response(order, one_step, pole, integrates, order, float("nan"), order)
    n, fit, a, b = best
    settling = _settling(a, b) + max(delays)
    return Response(order, one_step, pole, integrates, n, fit, settling)


def _arx(
    y: Array, inputs: Sequence[Array], delays: Sequence[int]
) -> tuple[int, float, Array] | None:
    """Return order, explained share a step ahead, and denominator of the ARX model of least BIC.

    All orders are leading parts of one regression, whose columns are sorted by lag.
    """
    highest = _HIGHEST
    width = 1 + len(inputs)
    rows = int(np.isfinite(y).sum())
    while highest > 1 and rows < 3 * (1 + width * (highest + 1)) + 10 + max([*delays, 0]):
        highest -= 1
    parts: list[Part] = [(u, [d]) for u, d in zip(inputs, delays, strict=True)]
    for n in range(1, highest + 1):
        parts.append((y, [n]))
        parts += [(u, [d + n]) for u, d in zip(inputs, delays, strict=True)]
    phi, target, _ = lagged(y, parts)
    if len(phi) < phi.shape[1] + 10:
        return None
    fit = Nested.of(phi, target)
    if not fit.total > 0:
        return None
    columns = [1 + len(inputs) + n * width for n in range(1, highest + 1)]
    bic = [fit.count * np.log(fit.loss(c)) + c * np.log(fit.count) for c in columns]
    n = int(np.argmin(bic)) + 1
    theta = fit.coefficients(columns[n - 1])
    a = np.concatenate([[1.0], -theta[1 + len(inputs) :: width]])
    return n, 1 - fit.loss(columns[n - 1]) / fit.total, a


def _unit_root(
    y: Array, inputs: Sequence[Array], delays: Sequence[int], order: int
) -> tuple[float, bool]:
    """Return the pole near one, and whether the plant integrates.

    It does if a pole at one is not rejected, and one whose time constant is a tenth of the record
    is, in favour of a slower one.

    Source: D. A. Dickey and W. A. Fuller, JASA 74(366), 1979, with the inputs beside.
    """
    slope, at_one = _root(y, inputs, delays, order, 1.0)
    _, slower = _root(y, inputs, delays, order, 1 - _SLOWER / len(y))
    return 1 + slope, bool(at_one >= _UNIT_ROOT and slower > _SURE)


def _root(
    y: Array, inputs: Sequence[Array], delays: Sequence[int], order: int, pole: float
) -> tuple[float, float]:
    """Return how far a pole is above one that is given, and the t-statistic of that."""
    change = np.concatenate([[np.nan], y[1:] - pole * y[:-1]])
    line = np.linspace(-0.5, 0.5, len(y))  # what drifts is no integrator
    parts: list[Part] = [(line, [0]), (change, range(1, order))]
    parts += [(u, range(d, d + order + 1)) for u, d in zip(inputs, delays, strict=True)]
    phi, target, _ = lagged(change, [*parts, (y, [1])])
    if len(phi) < phi.shape[1] + 10:
        return float("nan"), float("nan")
    fit = Nested.of(phi, target)
    if fit.dependent[-1]:
        return float("nan"), float("nan")
    theta = fit.coefficients(phi.shape[1])
    error = np.sqrt(fit.variance) / abs(fit.triangle[-1, -1]) / fit.norms[-1]
    others = 1 - float(theta[2 : order + 1].sum())  # the other poles' share of the coefficient
    return float(theta[-1] / (others or 1.0)), float(theta[-1] / error)


def _free_run(
    y: Array, inputs: Sequence[Array], delays: Sequence[int], n: int, a: Array | None
) -> tuple[float, Array, Array] | None:
    """Return fit, denominator and numerators of an output-error model of order ``n``.

    The iteration by Steiglitz and McBride (IEEE Trans. AC 10(4), 1965) from an ARX model: each
    regression is filtered by the last denominator. The samples before the first row are
    unknown; their effect is a free response, whose ``n`` coefficients are estimated as well.
    """
    piece = _longest(np.column_stack([y, *inputs]))
    y, inputs = y[piece], [u[piece] for u in inputs]
    start = max(delays) + n
    y_free = y[start : start + _FREE_ROWS]
    count = len(y_free)
    shifted = [
        u[start - d - i : start - d - i + count]
        for u, d in zip(inputs, delays, strict=True)
        for i in range(n + 1)
    ]
    if count < 10 * n + 5 * len(shifted) or not np.std(y_free) > 0:
        return None
    known = np.column_stack([*shifted, np.ones(count), np.eye(count, n)])
    best: tuple[float, Array, Array] | None = None
    a = _equation_error(y_free, known, n, np.array([1.0])) if a is None else a
    for _ in range(_STEPS):
        a = _stable(a)
        fit, b = _explained(y_free, known, a, len(shifted))
        if best is not None and fit < best[0] + 1e-5:
            break
        best = (fit, a, b.reshape(len(inputs), n + 1))
        if fit > 1 - 1e-9:
            break
        a = _equation_error(y_free, known, n, a)
    return best


def _equation_error(y: Array, known: Array, n: int, a: Array) -> Array:
    """Return the denominator by least squares after filtering by ``1/a``."""
    from scipy.signal import lfilter

    past = lfilter([1.0], a, y)
    rows = lfilter([1.0], a, known, axis=0)
    lags = np.column_stack([np.concatenate([np.zeros(i), past[:-i]]) for i in range(1, n + 1)])
    fit = Nested.of(np.column_stack([lags, rows]), past)
    return np.concatenate([[1.0], -fit.coefficients(fit.triangle.shape[1])[:n]])


def _explained(y: Array, known: Array, a: Array, inputs: int) -> tuple[float, Array]:
    """Return the share of variance and the numerators of the best free run with poles of ``a``."""
    from scipy.signal import lfilter

    rows = lfilter([1.0], a, known, axis=0)
    if not np.isfinite(rows).all():
        return float("-inf"), np.zeros(inputs)
    fit = Nested.of(rows, y)
    theta = fit.coefficients(rows.shape[1])
    share = 1 - float(np.var(y - rows @ theta)) / float(np.var(y))
    return share, theta[:inputs]


def _stable(a: Array) -> Array:
    """Return a denominator whose roots outside the unit circle are mirrored into it."""
    roots = np.roots(a)
    outside = np.abs(roots) > 1
    roots[outside] = 1 / roots[outside].conj()
    return np.real(np.poly(roots))


def _longest(block: Array) -> slice:
    """Return the longest stretch of rows without a missing value."""
    gone = np.flatnonzero(~np.isfinite(block).all(axis=1))
    edges = np.concatenate([[-1], gone, [len(block)]])
    longest = int(np.argmax(np.diff(edges)))
    return slice(int(edges[longest]) + 1, int(edges[longest + 1]))


def trend(
    y: Array, inputs: Sequence[Array], delays: Sequence[int], order: int
) -> tuple[float, float]:
    """Return how far an output drifts over the record, in its std, and the t-statistic.

    The coefficient of a line beside an ARX model, times the gain that its poles give it.
    """
    line = np.linspace(-0.5, 0.5, len(y))
    parts: list[Part] = [(y, range(1, order + 1))]
    parts += [(u, range(d, d + order + 1)) for u, d in zip(inputs, delays, strict=True)]
    phi, target, _ = lagged(y, [*parts, (line, [0])])
    if len(phi) < 2 * phi.shape[1] + 20:
        return 0.0, 0.0
    fit = Nested.of(phi, target)
    if fit.dependent[-1]:
        return 0.0, 0.0
    theta = fit.coefficients(phi.shape[1])
    slope = theta[-1]
    statistic = abs(fit.share[-1]) / np.sqrt(fit.variance)
    gain = 1 - float(theta[1 : order + 1].sum())
    if not gain > 0:
        return 0.0, 0.0
    return float(slope / gain), float(np.copysign(statistic, slope))


def _settling(a: Array, b: Array, longest: int = 5000) -> int:
    """Return the lag after which each step response stays within 2 % of its end."""
    from scipy.signal import lfilter

    step = np.ones(longest)
    last = 0
    for row in b:
        s = lfilter(row, a, step)
        if np.isfinite(s).all() and np.ptp(s) > 0:
            away = np.abs(s - s[-1]) > 0.02 * np.abs(s).max()
            last = max(last, int(np.flatnonzero(away)[-1]) + 1 if away.any() else 0)
    return last


def innovations(y: Array, inputs: Sequence[Array], delays: Sequence[int], order: int) -> Array:
    """Return what an ARX model leaves of the output, ``(N,)``, NaN where it cannot tell."""
    parts: list[Part] = [(y, range(1, order + 1))]
    parts += [(u, range(d, d + order + 1)) for u, d in zip(inputs, delays, strict=True)]
    phi, target, rows = lagged(y, parts)
    left = np.full(len(y), np.nan)
    if len(phi) > 2 * phi.shape[1]:
        left[rows] = target - phi @ np.linalg.lstsq(phi, target, rcond=None)[0]
    return left
