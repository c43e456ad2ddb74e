"""Which channel is the cause: swapped columns, and controllers that compute an input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sysid.analysis.regression import Nested, Part, f_test, grid, lagged
from sysid.data.records import Array

_OWN = 60  # past samples of a series that its own forecast may use
_OTHER = 10  # past samples of another series that may help
_LEVEL = 1e-4  # of the F test
_HELD = 0.5  # share of samples that repeat the last one, above which an input is held
_EXACT = 1e-4  # share of what is new in an input that a rule may leave
_ROUNDED = 0.05  # the same where the file was rounded


def forwards(y: Array, u: Array, delay: int) -> float:
    """Return the share of what is new in ``y`` that the past of ``u`` explains.

    Source: C. W. J. Granger, Econometrica 37(3), 1969.
    """
    own: Part = (y, range(1, _own(y) + 1))
    return _helped(y, [own], [(u, range(1, delay + _OTHER + 1))])


def backwards(y: Array, e: Array, u: Array) -> float:
    """Return the share of what is new in an input that the outputs' past explains; 0 if none.

    ``e`` is what a model leaves of ``y``: in open loop it is independent of all of ``u``, however
    that is made, where the past of ``y`` itself is a longer memory of ``u``. Of an input that is
    held, only the samples at which it changes are looked at: how long it has been held tells
    when it may change. A periodic input repeats what the plant bends; so the same samples in
    another order of time (rotated by parts of the record) must explain much less.
    """
    share = _reaction(y, e, u)
    if not share:
        return 0.0
    turns = [len(y) * part // 5 for part in range(1, 5)]
    chance = max(_reaction(np.roll(y, turn), np.roll(e, turn), u) for turn in turns)
    return share if share > 3 * chance else 0.0


def _reaction(y: Array, e: Array, u: Array) -> float:
    changes = np.flatnonzero(np.diff(u) != 0) + 1
    if len(changes) < (1 - _HELD) * np.isfinite(u).sum():
        return _levels(y, u, changes)
    own: Part = (u, range(1, _own(e + u) + 1))
    return _helped(u, [own], [(e, range(1, _OTHER + 1))])


def _own(x: Array) -> int:
    """Return how many past samples of a series its own forecast uses."""
    return max(min(_OWN, int(np.isfinite(x).sum()) // 8), 1)


def _levels(y: Array, u: Array, changes: NDArray[np.intp]) -> float:
    """Return the share of what is new in an input's levels that the output before explains."""
    changes = changes[changes > 3]
    levels = u[changes]
    before: list[Part] = [(levels, range(1, min(5, len(levels) // 10) + 1))]
    past: list[Part] = [(y[changes - lag], [0]) for lag in (1, 2, 3)]
    return _helped(levels, before, past)


def rule(outputs: Sequence[Array], u: Array) -> str:
    """Return the words for how an input is computed from outputs ``{}``, or nothing.

    Laws to which nothing is added: proportional, from the same sample or one before, and those that
    also sum the outputs up, as a PI or PID controller does.
    """
    new = _new(u)
    if not new > 1e-6:  # it is known beforehand, whatever the outputs do
        return ""
    for lag in range(_OTHER + 1):
        if _follows(u, [(y, [lag]) for y in outputs], new):
            return f"proportional to {_when(lag)}"
    change = np.concatenate([[np.nan], np.diff(u)])
    for lag in range(_OTHER + 1):
        if _follows(change, [(y, range(lag, lag + 3)) for y in outputs], new):
            return f"a PI or PID law of {_when(lag)}"
    return ""


def _when(lag: int) -> str:
    if not lag:
        return "{} at the same sample"
    return "{} " + ("one sample" if lag == 1 else f"{lag} samples") + " before"


def _follows(x: Array, parts: list[Part], new: float) -> bool:
    """Return whether a channel is the same linear combination at each sample, but for rounding."""
    phi, target, _ = lagged(x, parts)
    if len(phi) < 3 * phi.shape[1] + 10:
        return False
    theta = np.linalg.lstsq(phi, target, rcond=1e-9)[0]
    left = float(np.max(np.abs(target - phi @ theta)))
    steps = np.array([grid(y) for y, lags in parts for _ in lags])
    rounding = 2 * (grid(x) + float(np.abs(theta[1:]) @ steps))
    return left < max(_EXACT * new, min(rounding, _ROUNDED * new))


def _new(u: Array) -> float:
    """Return the standard deviation of what an input's own past does not tell."""
    phi, target, _ = lagged(u, [(u, range(1, _OTHER + 1))])
    if len(phi) < 3 * phi.shape[1]:
        return 0.0
    return float(np.sqrt(Nested.of(phi, target).rest / len(phi)))


def _helped(x: Array, own: list[Part], other: list[Part]) -> float:
    """Return the share of what a series' own past leaves that others explain; 0 if by chance."""
    phi, target, _ = lagged(x, [*own, *other])
    if len(phi) < 4 * phi.shape[1]:
        return 0.0
    fit = Nested.of(phi, target)
    base = 1 + sum(len(lags) for _, lags in own)
    alone, both = fit.loss(base), fit.loss(phi.shape[1])
    # It predicts itself, but for rounding, which its coefficients amplify: no help is needed.
    rounding = grid(x) ** 2 / 12 * (1 + float(np.sum(fit.coefficients(base)[1:] ** 2)))
    if not alone > max(1e-9, 4 * rounding) * len(target):
        return 0.0
    share = 1 - both / alone
    extra = phi.shape[1] - base
    return share if f_test(alone, both, extra, fit.free) < _LEVEL else 0.0
