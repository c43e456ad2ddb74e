"""Checks of one channel: missing, constant, clipped, coarse, stuck or faulty samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from sysid.analysis.findings import Finding
from sysid.analysis.plant import measured_every
from sysid.analysis.regression import constant, grid, scaled
from sysid.data.records import Array, Record

Mask = NDArray[np.bool_]

_CODES = (999.0, 9999.0, 99999.0, 32767.0, 32768.0, 65535.0, 2147483647.0)  # with either sign
_CHANCE = 1e-4  # false alarms per channel that the tests of single samples allow
_STUCK = 20  # equal samples below which nothing is said of a sensor


def channels(record: Record) -> Iterator[tuple[str, Array]]:
    """Yield name and samples of each input and output."""
    for names, block in ((record.u_names, record.u), (record.y_names, record.y)):
        for i, name in enumerate(names):
            yield name, np.asarray(block[:, i], dtype=np.float64)


def length(record: Record) -> Iterator[Finding]:
    """Warn of few samples."""
    if len(record) < 500:
        yield Finding(
            "warning",
            "length",
            record.name,
            "",
            f"it has {len(record)} samples",
            "A network with hundreds of weights will not be determined by so few.",
            "Measure longer, or take a small model and a linear one beside it.",
        )


def missing(record: Record) -> Iterator[Finding]:
    """Name missing samples, and channels that are measured at every few samples alone."""
    for name, x in channels(record):
        gone = ~np.isfinite(x)
        if not gone.any():
            continue
        if gone.all():
            yield Finding(
                "problem",
                "missing",
                record.name,
                name,
                "it has no samples",
                "Nothing can be learned about a channel that was not measured.",
                "Leave it out, or check the column.",
            )
            continue
        every = measured_every(x)
        if every > 1:
            yield _slower(record, name, f"it is measured every {every} samples")
            continue
        share = float(gone.mean())
        edges = np.flatnonzero(np.diff(np.concatenate([[True], gone, [True]]).astype(int)))
        whole = int(np.diff(edges.reshape(-1, 2), axis=1).max(initial=0))
        yield Finding(
            "problem" if share > 0.2 else "warning",
            "missing",
            record.name,
            name,
            f"{share:.1%} of the samples are missing, the longest complete stretch has {whole}",
            "Windows and regressors that reach a missing sample are left out.",
            f"Keep windows shorter than {whole} samples, or repair the measurement."
            if whole >= 20
            else "Train on the free run of a state space or a recurrent network, whose loss "
            "takes the samples that were measured, or repair the measurement.",
        )


def _slower(record: Record, name: str, found: str) -> Finding:
    return Finding(
        "warning",
        "multi-rate",
        record.name,
        name,
        found,
        "Its sensor is slower than the record: between two values nothing was measured.",
        "Train a state space or a recurrent network on the free run, whose loss takes the measured "
        "samples alone (mark values that are only held as missing), or resample all channels to "
        "the slower rate. A model that feeds back the last outputs (NARX) has no complete rows.",
    )


def held(record: Record) -> Iterator[tuple[Finding, int, Mask]]:
    """Yield outputs that change at every few samples alone, and the samples between."""
    inputs = [_changes_every(np.asarray(u)) for u in record.u.T[:50] if not constant(u)]
    for i, name in enumerate(record.y_names):
        x = np.asarray(record.y[:, i], dtype=np.float64)
        every = _changes_every(x)
        if every == 1:
            continue
        between = np.concatenate([[False], x[1:] == x[:-1]])
        first = int(np.argmax(~between[1:])) + 1
        between = np.arange(len(x)) % every != first % every
        if any(u % every for u in inputs) or not inputs:
            finding = _slower(record, name, f"it changes every {every} samples and is held between")
        else:
            finding = Finding(
                "warning",
                "multi-rate",
                record.name,
                name,
                f"it and all inputs change every {every} samples alone",
                "The record has more rows than there were measurements.",
                f"Keep every {every}th row, from row {first % every}.",
            )
        yield finding, record.nu + i, between


def _changes_every(x: Array) -> int:
    """Return the spacing of all changes of a channel; 1 where they have none in common."""
    at = np.flatnonzero(np.diff(x[np.isfinite(x)]) != 0)
    return int(np.gcd.reduce(np.diff(at))) if len(at) >= 20 else 1


def still(record: Record) -> Iterator[Finding]:
    """Name channels that never change, and inputs that are equal."""
    for name, x in channels(record):
        seen = x[np.isfinite(x)]
        if len(seen) and constant(x):
            what = "input" if name in record.u_names else "output"
            yield Finding(
                "problem",
                "constant",
                record.name,
                name,
                f"the {what} is always {seen[0]:.6g}",
                "Nothing can be learned about a channel that does not move.",
                "Leave it out, or check its sensor and the column.",
            )
    first: dict[bytes, str] = {}
    for i, name in enumerate(record.u_names):
        u = np.asarray(record.u[:, i], dtype=np.float64)
        if constant(u):
            continue
        same = first.setdefault(u.tobytes(), name)
        if same != name:
            yield Finding(
                "warning",
                "equal inputs",
                record.name,
                name,
                f"it equals {same} in every sample",
                "What either of them does cannot be told apart.",
                "Leave one of them out.",
            )


def codes(record: Record) -> Iterator[tuple[Finding, int, Mask]]:
    """Yield codes for "no value": a number far from all others, with its channel and samples."""
    for column, (name, x) in enumerate(channels(record)):
        for value, at in _codes(x, name in record.y_names):
            rest = x[np.isfinite(x) & ~at]
            times = "once" if at.sum() == 1 else f"in {at.sum()} samples ({at.mean():.1%})"
            finding = Finding(
                "problem",
                "code",
                record.name,
                name,
                f"it is {value:.10g} {times}, the first at row {np.argmax(at)}; all other samples "
                f"lie from {rest.min():.6g} to {rest.max():.6g}",
                "A logger writes such a number where it had no value: it was not measured.",
                "Mark these samples missing (NaN).",
            )
            yield finding, column, at


def _codes(x: Array, output: bool) -> Iterator[tuple[float, Mask]]:
    """Yield values that stand far beyond all others, as no plant that moves between would."""
    for _ in range(2):  # one at each end
        values, counts = np.unique(x[np.isfinite(x)], return_counts=True)
        if len(values) < 20:
            return
        for end, rest in ((0, values[1:]), (-1, values[:-1])):
            value, spread = values[end], float(np.ptp(rest))
            gap = float(np.abs(rest - value).min())
            known = value in (0.0, -1.0) or abs(value) in _CODES
            times = 2 if known or output else 1000
            far = gap > (0.5 if known else 3) * spread and (counts[end] >= times or known)
            at = x == value
            rests = abs(value) not in _CODES and bool(at[0] or at[-1])  # where it started or ended
            if far and counts[end] <= 0.3 * len(x) and (output or known) and not rests:
                yield float(value), at
                x = np.where(at, np.nan, x)
                break
        else:
            return


def clipped(record: Record) -> Iterator[Finding]:
    """Name channels that run into a limit: they come there moving, and stop at once."""
    for name, x in channels(record):
        values, at = np.unique(x[np.isfinite(x)], return_inverse=True)
        if len(values) <= 20:  # a signal of a few levels is not clipped
            continue
        entries = np.concatenate([[True], np.diff(at) != 0])
        visits = np.bincount(at[entries], minlength=len(values))
        counts = np.bincount(at, minlength=len(values))
        for end, next_to in ((len(values) - 1, slice(-6, -1)), (0, slice(1, 6))):
            runs = int(((at[2:] == end) & (at[1:-1] == end) & (at[:-2] == end)).sum())
            often = counts[end] >= 10 and runs >= 3 and counts[end] > 4 * counts[next_to].max()
            if not often:
                continue
            if name in record.u_names and visits[end] <= 2 * visits[next_to].max():
                continue  # it is held there as it is held elsewhere
            if name in record.y_names and not _abrupt(x[np.isfinite(x)], values[end]):
                continue  # it comes to rest there
            side = "above" if end else "below"
            yield Finding(
                "warning",
                "clipped",
                record.name,
                name,
                f"{counts[end]} samples ({counts[end] / len(x):.1%}) stand at "
                f"{values[end]:.6g} with nothing {side}",
                "The sensor or the plant saturates; what happens beyond is not in the data.",
                "If it is the sensor, lower the amplitude or mark these samples missing.",
            )


def _abrupt(x: Array, limit: float) -> bool:
    """Return whether a channel reaches a value at speed, where one that settles slows down."""
    starts = [a for a, b in _runs(x) if x[a] == limit and b - a >= 3 and a >= 2]
    steps = np.abs(np.diff(x))
    usual = max(2.5 * grid(x), 0.2 * float(np.median(steps[steps > 0])))
    return len(starts) >= 2 and float(np.median([steps[a - 2] for a in starts])) > usual


def _runs(x: Array) -> list[tuple[int, int]]:
    """Return starts and ends of stretches of equal samples."""
    edges = np.flatnonzero(np.concatenate([[True], x[1:] != x[:-1], [True]]))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def quantised(record: Record) -> Iterator[Finding]:
    """Name outputs on a coarse grid."""
    for i, name in enumerate(record.y_names):
        x = np.asarray(record.y[:, i], dtype=np.float64)
        step = grid(x)
        relative = grid(scaled(x)) if step else 0.0
        if relative > 0.002:
            yield Finding(
                "warning" if relative > 0.05 else "note",
                "quantised",
                record.name,
                name,
                f"steps of {step:.4g}, {relative:.1%} of its standard deviation",
                f"No model can be nearer than about {step / np.sqrt(12):.3g}.",
                "Use a finer converter range if that matters.",
            )


def outliers(record: Record) -> Iterator[tuple[Finding, int, Mask]]:
    """Yield samples that stand alone, with their channel."""
    for column, (name, x) in enumerate(channels(record)):
        bad = _alone(x)
        if bad.any():
            many = "1 sample stands" if bad.sum() == 1 else f"{bad.sum()} samples stand"
            finding = Finding(
                "warning",
                "outliers",
                record.name,
                name,
                f"{many} alone, the first at row {np.argmax(bad)}",
                "Squared errors let a few wild samples pull the whole model.",
                "Mark them missing (NaN) if they are faults.",
            )
            yield finding, column, bad


def _alone(x: Array) -> Mask:
    """Return which samples stand out from both neighbours, farther than chance.

    Peaks over a threshold: above their 90th percentile the heights are taken for exponential, whose
    tail is longer than that of Gaussian noise.
    """
    step = np.diff(x)
    height = np.zeros(len(x))
    up, down = step[:-1], -step[1:]
    peak = np.sign(up) == np.sign(down)
    height[1:-1] = np.where(peak, np.minimum(np.abs(up), np.abs(down)), 0.0)
    height = np.nan_to_num(height)
    heights = np.sort(height[height > 0])
    none = np.zeros(len(x), dtype=bool)
    if len(heights) < 20:
        return none
    q50, q90 = np.quantile(heights, [0.5, 0.9])
    scale = max(float(q90 - q50) / np.log(5), 1e-300)
    limit = q90 + scale * np.log(0.1 * len(heights) / _CHANCE)
    bad: Mask = height > max(limit, 1.0 * float(np.nanstd(x[height <= limit])))
    return bad if bad.sum() <= 0.005 * len(x) else none


def repeated(record: Record) -> Iterator[Finding]:
    """Name rows that were written twice: nothing moves there, but does before and after.

    A sensor's steps make a channel stand still as often as they move it by one; rows that
    repeat while a channel moves by many steps before and after must be more than that.
    """
    from scipy.stats import binom

    block = np.hstack([record.u, record.y])
    if len(block) < 100:
        return
    same = (block[1:] == block[:-1]).all(axis=1)
    for name, x in channels(record):
        if name not in record.y_names or len(np.unique(x)) < min(0.2 * len(x), 500):
            continue
        step = np.abs(np.diff(x))
        one = max(grid(x), 1e-9 * float(np.nanstd(x)))
        moving = (step[:-2] >= 5 * one) & (step[2:] >= 5 * one)
        still = int((same[1:-1] & moving).sum())
        by_one = int(((step[1:-1] > 0) & (step[1:-1] < 1.5 * one) & moving).sum())
        p_value = float(binom.sf(still - 1, still + by_one, 0.5))
        if still > 0.005 * len(x) and p_value < _CHANCE:
            first = int(np.flatnonzero(same[1:-1] & moving)[0]) + 2
            yield Finding(
                "problem",
                "repeated rows",
                record.name,
                "",
                f"{same.sum()} rows ({same.mean():.1%}) repeat the row before in every channel, "
                f"while {name} moves in the rows around them; the first is {first}",
                "The logger wrote rows twice or held old values: time stands still there.",
                "If their time stamps repeat as well, the rows were written twice and can go. If "
                "time went on, mark them missing (NaN).",
            )
            return


def stuck(record: Record) -> Iterator[tuple[Finding, int, Mask]]:
    """Yield outputs that hold one value for long while the inputs move as ever."""
    for i, name in enumerate(record.y_names):
        x = np.asarray(record.y[:, i], dtype=np.float64)
        run = _stuck(x, np.asarray(record.u, dtype=np.float64))
        if run is None:
            continue
        a, b = run
        at = np.zeros(len(x), dtype=bool)
        at[a + 1 : b] = True
        finding = Finding(
            "problem",
            "stuck",
            record.name,
            name,
            f"it stays at {x[a]:.6g} for {b - a} samples from row {a}, and moves in all others",
            "The sensor or the logger held an old value there: it is no measurement.",
            "Mark these samples missing (NaN); do not drop the rows, as time went on.",
        )
        yield finding, record.nu + i, at


def _stuck(x: Array, u: Array) -> tuple[int, int] | None:
    """Return start and end of a run that is no rest of the plant, if there is one."""
    if len(x) < 4 * _STUCK or not u.shape[1] or constant(x):
        return None
    runs = sorted(_runs(x), key=lambda r: r[0] - r[1])
    (a, b), others = runs[0], [end - start for start, end in runs[1:]]
    if b - a < _STUCK or a == 0 or b == len(x) or x[a] in (np.nanmin(x), np.nanmax(x)):
        return None
    # Elsewhere it never rests for long, so that it is no coarse sensor, no friction.
    if 10 * max(others, default=0) > b - a:
        return None
    inside, whole = np.nanstd(u[a:b], axis=0), np.nanstd(u, axis=0)
    moves = bool((inside > 0.3 * whole)[whole > 0].any())
    frozen = bool((inside == 0).all()) and bool((np.diff(u, axis=0) != 0).any(axis=1).mean() > 0.5)
    return (a, b) if moves or (frozen and not (u[a] == 0).all()) else None


CHECKS: tuple[Callable[[Record], Iterator[Finding]], ...] = (length, missing, still)
FAULTS: tuple[Callable[[Record], Iterator[tuple[Finding, int, Mask]]], ...] = (
    codes,
    held,
    stuck,
    outliers,
)
AFTER: tuple[Callable[[Record], Iterator[Finding]], ...] = (clipped, quantised, repeated)
