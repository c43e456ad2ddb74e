"""Figures of records alone: each channel over time, and its spectrum."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from sysid.analysis.plots import MEASURED, RESIDUAL, channel, line
from sysid.analysis.residuals import longest_complete
from sysid.data.records import Record, as_records

_WELCH = 1024  # samples of a segment
_RECORDS = 12  # whose spectra are drawn, the longest first


def channels(record: Record) -> Figure:
    """Draw each input and output over time, inputs first; missing samples are gaps.

    Args:
        record: the record.
    """
    rows = record.nu + record.ny
    time = np.arange(len(record), dtype=np.float64) * (record.sampling_time or 1.0)
    figure = Figure(figsize=(9, 1.5 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    names = (*record.u_names, *record.y_names)
    units = (*record.u_units, *record.y_units)
    for i, (axes, x) in enumerate(zip(grid, [*record.u.T, *record.y.T], strict=True)):
        line(axes, time, x, MEASURED if i >= record.nu else RESIDUAL, None, 1.0)
        axes.set_ylabel(channel(names[i], units[i]))
        axes.grid(alpha=0.3)
        axes.margins(x=0)
    grid[-1].set_xlabel("time (s)" if record.sampling_time else "sample k")
    return figure


def channel_spectra(records: Record | Iterable[Record]) -> Figure:
    """Draw the power spectral density of each input and output (Welch), a line per record.

    The mean is taken off; of each record the longest stretch without a missing sample counts.

    Args:
        records: at least one; of many, the longest are drawn.
    """
    from scipy.signal import welch

    known = sorted(as_records(records), key=len, reverse=True)[:_RECORDS]
    first = known[0]
    names = (*first.u_names, *first.y_names)
    figure = Figure(figsize=(6, 2.2 * len(names) + 0.2), layout="constrained")
    grid = figure.subplots(len(names), 1, squeeze=False)[:, 0]
    for i, axes in enumerate(grid):
        for record in known:
            x = np.hstack([record.u, record.y])[:, [i]]
            x = x[longest_complete(x)][:, 0]
            if len(x) < 16:
                continue
            size = min(_WELCH, len(x) // 2)
            f, power = welch(x - x.mean(), 1 / (record.sampling_time or 1.0), nperseg=size)
            if (power[1:] > 0).any():
                axes.semilogy(f[1:], power[1:], color=MEASURED, lw=1.2, alpha=1 / len(known) ** 0.5)
        axes.set_ylabel(f"density of {names[i]}")
        axes.grid(alpha=0.3)
    grid[-1].set_xlabel("frequency (Hz)" if first.sampling_time else "frequency (1 / sample)")
    return figure
