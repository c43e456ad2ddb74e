"""Delay from an input to an output: the first lag that acts, and whether the record can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sysid.analysis.excitation import frequencies
from sysid.analysis.regression import Nested, f_test, lagged
from sysid.data.records import Array

_LAGS = 10  # of the output, beside which the input's lags are tested
_COLUMNS = 400  # lags of all inputs together in one regression
_ALPHA = 1e-4  # level of the tests for one pair of channels
_SURE = 3.0  # standard errors within which an effect may be hidden
_TOLD = 0.003  # share of a lag that later lags must leave, to say when it acts
_FEW = 2.5  # frequencies, below which every delay is a phase
_WIDE = 2  # samples that two bounds of a delay may differ by


@dataclass(frozen=True)
class Delay:
    """Samples before an input acts on an output.

    Lags below ``lag`` do not act, as far as the data tell; at ``latest`` it acts at the latest.
    ``p_value`` is that of the influence; ``known`` is whether the bounds are near each other.
    """

    lag: int
    latest: int
    p_value: float
    known: bool


def horizon(rows: int, inputs: int) -> int:
    """Return the longest lag that so many rows can tell of so many inputs."""
    return max(1, min(rows // (8 * max(inputs, 1)), _COLUMNS // max(inputs, 1)))


def delay(y: Array, inputs: Sequence[Array], source: int, own: int = _LAGS) -> Delay | None:
    """Estimate the delay from one of the inputs to an output; ``None`` where it does not act.

    One QR of ``[1, y lags, lags of other inputs, u(k-L), ..., u(k-1), u(k)]``: each later column
    is tested beside those before it, so the first lag that acts is the last that matters. Below
    it, the coefficients and their errors say which effects cannot be hidden there.

    Args:
        y: output, ``(N,)``, scaled.
        inputs: inputs, ``(N,)`` each, scaled.
        source: position of the input.
        own: lags of the output.
    """
    longest = horizon(int(np.isfinite(y).sum()), len(inputs))
    best = None
    for reach in (longest, longest // 5):  # lags cost rows at the start, where a step may be
        found = _within(y, inputs, source, own, reach) if reach else None
        if found is not None and found.known:
            return found
        best = best or found
    return best


def _within(y: Array, inputs: Sequence[Array], source: int, own: int, longest: int) -> Delay | None:
    others = [u for i, u in enumerate(inputs) if i != source]
    parts = [(y, range(1, own + 1)), *((u, range(longest + 1)) for u in others)]
    phi, target, _ = lagged(y, [*parts, (inputs[source], range(longest, -1, -1))])
    if len(phi) < phi.shape[1] + 20:
        return None
    fit = Nested.of(phi, target)
    base = phi.shape[1] - longest - 1
    tested = ~fit.dependent[base:]
    full, none = fit.loss(phi.shape[1]), fit.loss(base)
    p_value = f_test(none, full, int(tested.sum()), fit.free)
    first, earliest = _by_lags(fit, base)
    if not tested.any() or (p_value > _ALPHA and first is None):
        return None
    smooth = not _mostly_held(inputs[source])
    sines = smooth and frequencies(inputs[source]) < _FEW
    if first is not None and first - earliest <= _WIDE and not sines:
        return Delay(earliest, first, p_value, True)
    if not own or not smooth:  # a held input jumps: what its lags do not tell, nothing does
        return Delay(earliest, longest if first is None else first, p_value, False)
    low, high = _by_shifts(fit, base)
    if first is not None:  # it acts by then: the test is exact where the short numerator is not
        low, high = min(low, first), min(high, first) if first >= low else first
    if sines or high - low > max(_WIDE, low // 10):
        return Delay(min(low, earliest), high, p_value, False)
    return Delay(low, high, p_value, True)


def _by_lags(fit: Nested, base: int) -> tuple[int | None, int]:
    """Return the first lag that acts, and the first that may act half as much unseen."""
    from scipy.stats import chi2

    own = np.abs(np.diag(fit.triangle))[base:][::-1]  # lag 0 first
    share = np.abs(fit.share[base:])[::-1]
    told = own > _TOLD
    error = np.sqrt(fit.variance)
    found = told & (share > error * np.sqrt(chi2.isf(_ALPHA / len(own), 1)))
    if not found.any():
        return None, 0
    first = int(np.flatnonzero(found)[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        hidden = np.where(told, (share + _SURE * error) / own, np.inf)
    hidden[own < 0.5 * own[first]] = np.inf  # later lags tell what these would
    earliest = first
    while earliest > 0 and hidden[earliest - 1] > 0.5 * share[first] / own[first]:
        earliest -= 1
    return first, earliest


def _by_shifts(fit: Nested, base: int) -> tuple[int, int]:
    """Return the delays between which a numerator of three lags is as likely as the best."""
    block, share = fit.triangle[base:, base:], fit.share[base:]
    width = len(share)
    losses = np.empty(max(width - 2, 1))
    start = fit.loss(base)
    for shift in range(len(losses)):
        last = width - shift
        some = block[:, max(last - 3, 0) : last]
        theta = np.linalg.lstsq(some, share, rcond=1e-7)[0]
        gone = float(share @ share - np.sum((share - some @ theta) ** 2))
        losses[shift] = max(start - gone, fit.loss(base + width))
    near = np.flatnonzero(fit.count * np.log(losses / losses.min()) < 10)
    return int(near[0]), int(near[-1])


def _mostly_held(u: Array) -> bool:
    return float(np.mean(np.diff(u[np.isfinite(u)]) == 0)) > 0.5
