"""Checks of one record: what is wrong with its channels, its excitation, its direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sysid.analysis import response as linear
from sysid.data.records import Array, Record


@dataclass(frozen=True)
class Finding:
    """One thing that was found, what it means and what to do."""

    level: str
    topic: str
    record: str
    channel: str
    found: str
    means: str
    do: str


def channels(record: Record) -> Iterator[tuple[str, Array]]:
    """Yield name and samples of each input and output."""
    for names, block in ((record.u_names, record.u), (record.y_names, record.y)):
        for i, name in enumerate(names):
            yield name, np.asarray(block[:, i], dtype=np.float64)


def varying(record: Record) -> bool:
    """Return whether there is an input and an output, and each changes."""
    alive = all(np.nanstd(x) > 0 for _, x in channels(record) if not np.isnan(x).all())
    return bool(record.nu and record.ny and alive) and not any(
        np.isnan(x).all() for _, x in channels(record)
    )


def _length(record: Record) -> Iterator[Finding]:
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


def _missing(record: Record) -> Iterator[Finding]:
    for name, x in channels(record):
        gone = np.isnan(x)
        if not gone.any():
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
            "Keep windows shorter than the stretches, or repair the measurement.",
        )


def _constant(record: Record) -> Iterator[Finding]:
    for name, x in channels(record):
        values = x[~np.isnan(x)]
        if len(values) and np.ptp(values) <= 1e-12 * np.abs(values).max():
            what = "input" if name in record.u_names else "output"
            yield Finding(
                "problem",
                "constant",
                record.name,
                name,
                f"the {what} is always {values[0]:.6g}",
                "Nothing can be learned about a channel that does not move.",
                "Leave it out, or check its sensor and the column.",
            )


def _clipped(record: Record) -> Iterator[Finding]:
    for name, x in channels(record):
        values, counts = np.unique(x[~np.isnan(x)], return_counts=True)
        if len(values) <= 20:  # a signal of a few levels is not clipped
            continue
        for end, next_to in ((-1, slice(-6, -1)), (0, slice(1, 6))):
            held = x == values[end]
            runs = int((held[2:] & held[1:-1] & held[:-2]).sum())
            if counts[end] >= 10 and runs >= 3 and counts[end] > 4 * counts[next_to].max():
                side = "above" if end == -1 else "below"
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


def _quantised(record: Record) -> Iterator[Finding]:
    for name, x in channels(record):
        seen = x[~np.isnan(x)]
        values = np.unique(seen)
        if not 20 < len(values) < 0.2 * len(seen):
            continue
        step = float(np.median(np.diff(values)))
        relative = step / float(seen.std())
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


def _outliers(record: Record) -> Iterator[Finding]:
    from scipy.ndimage import median_filter

    for name, x in channels(record):
        seen = x[~np.isnan(x)]
        if len(seen) < 50:
            continue
        off = np.abs(seen - median_filter(seen, 7, mode="nearest"))
        scale = float(np.percentile(off, 95))
        bad = np.flatnonzero(off > 8 * scale) if scale > 0 else np.empty(0, dtype=int)
        if 0 < len(bad) <= 0.005 * len(seen):
            where = int(np.flatnonzero(~np.isnan(x))[bad[0]])
            yield Finding(
                "warning",
                "outliers",
                record.name,
                name,
                f"{len(bad)} samples stand alone, the first at row {where}",
                "Squared errors let a few wild samples pull the whole model.",
                "Mark them missing (NaN) if they are faults.",
            )


def _repeated(record: Record) -> Iterator[Finding]:
    block = np.hstack([record.u, record.y])
    fine = [i for i in range(block.shape[1]) if len(np.unique(block[:2000, i])) > 20]
    if not fine:
        return
    same = (block[1:] == block[:-1]).all(axis=1)
    for i in fine:  # a channel that rests at its end of range repeats itself by right
        x = block[1:, i]
        same &= (x != np.nanmax(x)) & (x != np.nanmin(x))
    if same.mean() > 0.005:
        first = int(np.flatnonzero(same)[0]) + 1
        yield Finding(
            "problem",
            "repeated rows",
            record.name,
            "",
            f"{same.sum()} rows ({same.mean():.1%}) repeat the row before, the first is {first}",
            "Time seems to stand still there: the logger wrote rows twice or held old values.",
            "Drop the repeated rows if time went on without them, or mark them missing.",
        )


def _drift(record: Record) -> Iterator[Finding]:
    if not varying(record):
        return
    for i, name in enumerate(record.y_names):
        size, t = linear.trend(record, i)
        if abs(size) > 0.5 and abs(t) > 8:
            yield Finding(
                "warning",
                "drift",
                record.name,
                name,
                f"it moves by {size:+.2g} standard deviations over the record, beyond what the "
                "input explains",
                "A model without that cause will learn a wrong slow dynamic.",
                "Remove the trend, or measure what causes it and add it as an input.",
            )


def _excitation(record: Record) -> Iterator[Finding]:
    for i, name in enumerate(record.u_names):
        u = np.asarray(record.u[:, i], dtype=np.float64)
        if np.isnan(u).all() or not np.nanstd(u) > 0:
            continue
        count = linear.frequencies(u)
        low, high = linear.band(u)
        unit = 1.0 if record.sampling_time is None else 0.5 / record.sampling_time
        shown = "of Nyquist's frequency" if record.sampling_time is None else "Hz"
        cover = f"98 % of its power lies from {low * unit:.3g} to {high * unit:.3g} {shown}"
        if count < 10:
            yield Finding(
                "problem" if count < 2.5 else "warning",
                "excitation",
                record.name,
                name,
                f"it holds about {max(1, round(count))} frequencies; {cover}",
                f"It is persistently exciting of an order of about {2 * max(1, round(count))}: no "
                "more parameters of a linear model than that can be found from it.",
                "Excite with noise, a multisine of many lines or a PRBS.",
            )
        else:
            yield Finding(
                "note",
                "excitation",
                record.name,
                name,
                f"{cover}; it holds about {count:.0f} frequencies, so it is persistently exciting "
                f"of an order of about {2 * count:.0f}",
                "The model is only known at frequencies and amplitudes that were excited.",
                f"Use it within {np.nanmin(u):.4g} to {np.nanmax(u):.4g}.",
            )


def _amplitudes(record: Record) -> Iterator[Finding]:
    """Say which inner part of each channel's range holds 98 % of its samples."""
    shares = {}
    for name, x in channels(record):
        seen = x[~np.isnan(x)]
        if len(seen) and np.ptp(seen) > 0:
            low, high = np.quantile(seen, [0.01, 0.99])
            shares[name] = (low, high, float((high - low) / np.ptp(seen)))
    for name in record.u_names:
        if name in shares and shares[name][2] < 0.5:
            low, high, share = shares[name]
            others = [y for y in record.y_names if y in shares]
            outputs = ", ".join(f"{shares[y][2]:.0%} of that of {y}" for y in others)
            yield Finding(
                "note",
                "amplitude",
                record.name,
                name,
                f"98 % of its samples lie in {share:.0%} of its range, {low:.4g} to {high:.4g}"
                + (f"; of the outputs' in {outputs}" if others else ""),
                "Outside of that the model rests on a few samples.",
                "Visit large and small amplitudes as often as the ones between.",
            )


def _direction(record: Record) -> Iterator[Finding]:
    if not varying(record):
        return
    for i, y_name in enumerate(record.y_names):
        for j, u_name in enumerate(record.u_names):
            forwards, backwards = linear.granger(record, i, j)
            if backwards > 0.3 and forwards < 0.3 * backwards:
                yield Finding(
                    "problem",
                    "direction",
                    record.name,
                    f"{u_name}, {y_name}",
                    f"the past of {y_name} explains {backwards:.0%} of what is new in {u_name}, "
                    f"and the past of {u_name} {forwards:.0%} of what is new in {y_name}",
                    "Cause and effect look swapped.",
                    "Check which column is the input.",
                )
            elif backwards > 0.05:
                yield Finding(
                    "warning",
                    "feedback",
                    record.name,
                    f"{u_name}, {y_name}",
                    f"the past of {y_name} explains {backwards:.0%} of what is new in {u_name}",
                    "The input reacts to the output: a controller was closed. Impulse responses "
                    "by correlation are biased, and noise comes back through the input.",
                    "Use models with a noise path (NARX, one-step loss first), or add a dither.",
                )


def _delays(record: Record) -> Iterator[Finding]:
    if not varying(record):
        return
    for i, y_name in enumerate(record.y_names):
        for j, u_name in enumerate(record.u_names):
            found = linear.delay(record, i, j)
            if found is None:
                yield Finding(
                    "warning",
                    "delay",
                    record.name,
                    f"{u_name}, {y_name}",
                    f"no linear influence of {u_name} on {y_name} is seen",
                    "It does not act, acts later than 30 samples, or only nonlinearly.",
                    "Leave the input out if it has no reason to matter.",
                )
            elif found.latest > 1:
                between = f"{found.lag} to " if found.latest > found.lag else ""
                sure = f"F test: p = {found.p_value:.1g}"
                yield Finding(
                    "note",
                    "delay",
                    record.name,
                    f"{u_name}, {y_name}",
                    f"{u_name} acts after {between}{found.latest} samples "
                    f"({sure if found.p_value < 1e-4 else 'it is too smooth to tell'})",
                    "Input lags before the delay only add noise.",
                    f"Set nk to {found.lag}.",
                )


CHECKS: tuple[Callable[[Record], Iterator[Finding]], ...] = (
    _length,
    _missing,
    _constant,
    _clipped,
    _quantised,
    _outliers,
    _repeated,
    _drift,
    _excitation,
    _amplitudes,
    _direction,
    _delays,
)
