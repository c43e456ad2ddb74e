"""Resampling: signals brought to another sampling time, or from uneven time stamps to a grid.

Inputs are held between their samples, so a new sample is the mean of the held input over the new
step: a plant that does not see its frequencies answers to the mean alone. Outputs are filtered
without delay by a low-pass below half the lower of both sampling rates, and taken at the new
instants. What was not measured stays missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sysid.data.slow_outputs import slow, spacing

Array = NDArray[Any]

JITTER = 0.25  # of a step, by which time stamps may lie beside the grid that they belong to
_GAP = 3.0  # usual steps; further apart, nothing is known between two samples
_WIDER = 1.5  # usual steps; the next sample comes within them, unless it is missing
_REGULAR = 0.8  # share of such steps, from which on a channel counts as sampled regularly
_RATIO = 10_000  # largest numerator and denominator of new step over old
_HALF = 20  # periods of the lower rate that the filter reaches to each side
_WINDOW = ("kaiser", 8.6)  # 90 dB


@dataclass(frozen=True)
class Resampled:
    """Inputs and outputs on a grid of ``step`` seconds, and in words what was done for it."""

    u: Array
    y: Array
    step: float
    said: str


def checked_step(value: str | float) -> float | None:
    """Return a step in seconds, or ``None`` for ``"auto"``.

    Raises:
        ValueError: for anything else.
    """
    if value == "auto":
        return None
    try:
        step = float(value)
    except ValueError:
        step = 0.0
    if not 0 < step < np.inf:
        raise ValueError(
            f'resample is "auto" or a step in seconds, more than 0, but {value!r} was given'
        )
    return step


def resampled(u: Array, y: Array, old: float, new: float) -> tuple[Array, Array]:
    """Resample signals that are uniformly sampled.

    Args:
        u: inputs ``(N, nu)``, NaN where missing.
        y: outputs ``(N, ny)``, NaN where missing.
        old: their sampling time.
        new: the sampling time that they shall have.

    Raises:
        ValueError: if the step becomes more than 10 000 times longer or shorter.
    """
    if not 1 / _RATIO <= new / old <= _RATIO:
        raise ValueError(
            f"a step of {old:g} s cannot become one of {new:g} s, more than {_RATIO} times "
            "longer or shorter"
        )
    t = np.arange(len(y)) * old
    # A sample is new where rounding puts it a hair behind the last one.
    tau = np.arange(int(np.floor(t[-1] / new * (1 + 1e-12) + 1e-9)) + 1) * new
    ratio = Fraction(new / old).limit_denominator(_RATIO)
    out = np.full((len(tau), y.shape[1]), np.nan)
    for i, distance in enumerate(spacing(y)):
        if distance > 1:
            out[:, i] = _at(t, y[:, i], tau, new)
        else:
            _fill_uniform(out[:, i], y[:, i], ratio, new / old)
    return _held_means(t, u, old, tau, new), out


def on_grid(t: Array, u: Array, y: Array, step: float | None = None) -> Resampled:
    """Put signals with uneven time stamps on a grid.

    Stamps that lie within a quarter of a step beside a grid are put on it, with their samples as
    they are. Else outputs are interpolated, by cubics through their samples; an output that has
    fewer samples than the grid keeps their number, each at the row that is nearest.

    Args:
        t: seconds, increasing.
        u: inputs ``(N, nu)``, NaN where there is no sample.
        y: outputs ``(N, ny)``, NaN where there is no sample.
        step: the grid's step; ``None`` for the usual one of the channel that is sampled fastest.
    """
    found = _grid_of(t)
    usual = _usual_steps(t, np.hstack([u, y]))
    if found is not None and usual.min() < _WIDER * found[0]:
        own, rows, off = found
        blocks = [np.full((rows[-1] + 1, x.shape[1]), np.nan) for x in (u, y)]
        for block, x in zip(blocks, (u, y), strict=True):
            block[rows] = x
        said = f"time stamps up to {100 * off:.2g} % of a step of {own:g} s beside their grid"
        out_u, out_y = blocks
        out_u = held(out_u)
        if step is not None and abs(step - own) > 1e-6 * own:
            out_u, out_y = resampled(out_u, out_y, own, step)
            said += f", resampled to {step:g} s"
        return Resampled(out_u, out_y, step or own, said + _gaps(out_u, out_y))
    step = step or float(f"{usual.min():.2g}")
    tau = t[0] + np.arange(int((t[-1] - t[0]) / step + 1e-9) + 1) * step
    whole = _open(np.diff(t), float(np.median(np.diff(t))))
    out_u = np.column_stack(
        [np.empty((len(tau), 0)), *(_held_on_grid(t, x, tau, step, whole) for x in u.T)]
    )
    out_y = np.column_stack([np.empty((len(tau), 0)), *(_at(t, x, tau, step) for x in y.T)])
    steps = np.diff(t)
    said = (
        f"time stamps {steps.min():.3g} to {steps.max():.3g} s apart, resampled at {step:g} s, "
        "inputs held and outputs interpolated"
    )
    return Resampled(out_u, out_y, step, said + _gaps(out_u, out_y))


def held(u: Array) -> Array:
    """Return inputs with those held between their samples that have one at every so many rows.

    Args:
        u: ``(N, nu)``, NaN where there is no sample.
    """
    k = np.arange(len(u), dtype=np.float64)
    whole = np.ones(max(len(u) - 1, 0), dtype=bool)
    out = u
    for i in np.flatnonzero(slow(u)):
        out = out.copy() if out is u else out
        out[:, i] = _held_on_grid(k, u[:, i], k, 1.0, whole)
    return out


def _gaps(u: Array, y: Array) -> str:
    """Return how many rows hold nothing, in words."""
    empty = np.isnan(np.hstack([u, y])).all(axis=1)
    if not empty.any():
        return ""
    count = int((np.diff(empty.astype(int), prepend=0) > 0).sum())
    return f"; {int(empty.sum())} rows in {count} gap{'s' * (count > 1)} are missing"


def _grid_of(t: Array) -> tuple[float, NDArray[np.int64], float] | None:
    """Return step and rows of a grid near which all stamps lie, and how far they are off it."""
    step = float(np.median(np.diff(t)))
    rows = np.cumsum(np.concatenate([[0], np.maximum(np.rint(np.diff(t) / step), 1)]))
    for _ in range(2):
        step, start = np.polyfit(rows, t, 1)
        if not step > 0:
            return None
        rows = np.rint((t - start) / step)
    off = float(np.max(np.abs(t - start - rows * step))) / step
    if off > JITTER or (np.diff(rows) < 1).any():
        return None
    rows = (rows - rows[0]).astype(np.int64)
    for digits in range(1, 6):  # the plainest number that keeps all stamps where they are
        plain = float(f"{step:.{digits}g}")
        if abs(plain - step) * rows[-1] <= 0.05 * step:
            return plain, rows, off
    return float(step), rows, off


def _usual_steps(t: Array, x: Array) -> Array:
    """Return the median time between two samples of each channel."""
    rows = [t[~np.isnan(c)] for c in x.T]
    return np.array([np.median(np.diff(r)) for r in rows if len(r) > 1] or [np.median(np.diff(t))])


def _open(steps: Array, usual: float) -> NDArray[np.bool_]:
    """Return between which samples a signal is known, from their distance alone."""
    return steps <= _GAP * usual


def _runs(t: Array, x: Array) -> tuple[Array, Array, Array, float]:
    """Return the samples of a channel, after which of them it is not known on, and its usual step.

    It is not known on after a long step, or where a row without its sample shows one missing.
    """
    rows = np.flatnonzero(~np.isnan(x))
    times, steps = t[rows], np.diff(t[rows])
    usual = float(np.median(steps)) if len(steps) else np.inf
    skipped = np.diff(rows) > 1
    broken = ~_open(steps, usual) | (skipped & (steps > _WIDER * usual))
    return times, x[rows], np.flatnonzero(broken).astype(np.float64), usual


def _at(t: Array, x: Array, tau: Array, step: float) -> Array:
    """Return an output at the instants of a grid.

    One that has samples as often as the grid, or more often, is filtered where it has more, and is
    there where it is known; one that has fewer is there in the row nearest to each of them.
    """
    times, values, broken, usual = _runs(t, x)
    out = np.full(len(tau), np.nan)
    ends = [*(broken.astype(int) + 1).tolist(), len(times)]
    for a, b in zip([0, *ends[:-1]], ends, strict=True):
        own_t, own_x = times[a:b] - tau[0], values[a:b]
        if not len(own_t):
            continue
        if len(own_t) == 1 or usual > _WIDER * step:
            nearest = np.unique(np.rint(own_t / step).astype(int))
            nearest = nearest[(nearest >= 0) & (nearest < len(tau))]
            out[nearest] = _interpolated(own_t, own_x, nearest * step)
            continue
        # At most as many instants as samples, but for those of the grid: filtered down to it.
        parts = max(int(np.ceil(step / usual - 0.5)), 1)
        fine = step / parts
        first, last = (int(np.ceil(own_t[0] / fine - 1e-9)), int(own_t[-1] / fine + 1e-9))
        if last < first:
            continue
        at = np.arange(first, last + 1) * fine
        margin = max(step - usual, 0) / fine
        margins = (margin * (a > 0), margin * (b < len(times)))
        _place(out, _interpolated(own_t, own_x, at), first, Fraction(parts), margins)
    return out


def _interpolated(t: Array, x: Array, at: Array) -> Array:
    """Return a signal between its samples, held beyond them.

    By cubics that turn with the samples around them alone: those of a spline would swing where two
    noisy samples lie close together.
    """
    from scipy.interpolate import Akima1DInterpolator

    if len(t) < 2:
        return np.full(len(at), x[0])
    cubics = Akima1DInterpolator(t, x, method="makima")
    return np.asarray(cubics(np.clip(at, t[0], t[-1])))


def _fill_uniform(out: Array, x: Array, ratio: Fraction, exact: float) -> None:
    """Resample each complete stretch of a uniformly sampled output into its place."""
    known = ~np.isnan(x)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    margin = max(exact - 1, 0)  # within a new step of a missing sample
    for a, b in edges.reshape(-1, 2):
        _place(out, x[a:b], int(a), ratio, (margin * (a > 0), margin * (b < len(x))))


def _place(out: Array, x: Array, start: int, ratio: Fraction, margins: tuple[float, float]) -> None:
    """Put a stretch that begins at sample ``start`` where it belongs, ``ratio`` samples a row.

    Args:
        out: what is written to, a row each new sample.
        x: samples.
        start: the place of the first.
        ratio: old samples from one new sample to the next.
        margins: old samples at both ends that the new ones keep away from.
    """
    up, down = ratio.denominator, ratio.numerator
    rows, values = _polyphase(x, start, up, down)
    at = rows * (down / up)
    good = (at >= start + margins[0] - 1e-9) & (at <= start + len(x) - 1 - margins[1] + 1e-9)
    good &= (rows >= 0) & (rows < len(out))
    out[rows[good]] = values[good]


def _polyphase(x: Array, start: int, up: int, down: int) -> tuple[NDArray[np.int64], Array]:
    """Return new samples of a stretch and their rows, filtered without delay.

    Beyond its ends the stretch goes on as its own point reflection, which keeps value and slope.
    """
    from scipy.signal import firwin, resample_poly

    if up == down:
        return np.arange(start, start + len(x)), x
    half = _HALF * max(up, down)
    reach = -(-half // up) + 1
    first = (start - reach) // down * down  # which is that of a new sample, too
    before = start - first
    middle = float(x[len(x) // 2])
    mode = {"mode": "reflect", "reflect_type": "odd"} if len(x) > 1 else {"mode": "edge"}
    padded = np.pad(x - middle, (before, reach), **mode)  # type: ignore[call-overload]
    filter_ = firwin(2 * half + 1, 1 / max(up, down), window=_WINDOW)
    values = cast(Any, resample_poly)(padded, up, down, window=filter_)
    rows = first // down * up + np.arange(len(values))
    return rows, values + middle


def _held_on_grid(t: Array, x: Array, tau: Array, step: float, whole: NDArray[np.bool_]) -> Array:
    """Return the means of a held input over the steps of a grid.

    One that is sampled regularly is held for one usual step before a gap; one that is written when
    it changes is held until the next change, or a gap of the whole table.
    """
    times, values, broken, usual = _runs(t, x)
    steps = np.diff(times)
    if not len(steps) or (steps <= _WIDER * usual).mean() < _REGULAR:
        before = np.concatenate([[0], np.cumsum(~whole)])  # gaps of the table before each row
        rows = np.flatnonzero(~np.isnan(x))
        broken = np.flatnonzero(np.diff(before[rows]) > 0).astype(np.float64)
        usual = float(np.median(np.diff(t)))
    ends = (broken + 1).astype(int)
    # A missing stretch begins one usual step after the last sample before it.
    held = np.insert(times, ends, times[ends - 1] + usual)
    known = np.insert(values, ends, np.nan)
    out: Array = _held_means(held, known[:, None], usual, tau, step)[:, 0]
    return out


def _held_means(t: Array, x: Array, last: float, tau: Array, step: float) -> Array:
    """Return the means over ``[tau, tau + step)`` of signals that are held from sample to sample.

    Args:
        t: the instants of the samples, in seconds.
        x: ``(N, channels)``; NaN where a signal is missing until the next sample.
        last: seconds that the last sample is held.
        tau: the beginnings of the new steps.
        step: their length.
    """
    edges = np.append(t, t[-1] + last)
    out = np.full((len(tau), x.shape[1]), np.nan)
    begin, end = tau, np.minimum(tau + step, edges[-1])
    tiny = 1e-6 * step
    first = np.searchsorted(edges, begin + tiny, side="right") - 1
    final = np.searchsorted(edges, end - tiny, side="right") - 1
    inside = (first >= 0) & (final < len(t)) & (end - begin > tiny)
    for i in range(x.shape[1]):
        values = x[:, i]
        missing = np.concatenate([[0], np.cumsum(np.isnan(values))])
        moves = np.concatenate([[0], np.cumsum(values[1:] != values[:-1])])
        offset = float(np.nanmean(values)) if not np.isnan(values).all() else 0.0
        area = np.concatenate([[0], np.cumsum(np.nan_to_num(values - offset) * np.diff(edges))])
        k = np.flatnonzero(inside)
        k = k[missing[final[k] + 1] == missing[first[k]]]
        over = np.interp(end[k], edges, area) - np.interp(begin[k], edges, area)
        out[k, i] = offset + over / (end[k] - begin[k])
        still = k[moves[final[k]] == moves[first[k]]]
        out[still, i] = values[first[still]]  # to the bit
    return out
