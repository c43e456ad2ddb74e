"""Figures, one function each, made without any global state of matplotlib."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sysid.data.records import Array, Record

MEASURED, SIMULATED, RESIDUAL = "#4c78a8", "#f58518", "#999999"

_PIXELS = 2000  # pairs of points a line keeps


def simulation(record: Record, y_hat: Array, n_init: int = 0, title: str = "") -> Figure:
    """Draw measured against simulated for each output, the residual below.

    Args:
        record: the measured record.
        y_hat: ``(N, ny)``, in physical units.
        n_init: samples at the start that do not count; they are shaded.
        title: above the figure.

    Raises:
        ValueError: if ``y_hat`` has another shape than the measured outputs.
    """
    if y_hat.shape != record.y.shape:
        raise ValueError(f"y_hat must have shape {record.y.shape}, got {y_hat.shape}")
    step = record.sampling_time or 1.0
    time: Array = np.arange(len(record), dtype=np.float64) * step
    figure = Figure(figsize=(9, 3.2 * record.ny + 0.6), layout="constrained")
    grid = figure.subplots(
        2 * record.ny, 1, sharex=True, squeeze=False, height_ratios=[3, 1] * record.ny
    )
    for i, name in enumerate(record.y_names):
        upper, lower = grid[2 * i, 0], grid[2 * i + 1, 0]
        unit = f" ({record.y_units[i]})" if record.y_units[i] else ""
        _line(upper, time, record.y[:, i], MEASURED, "measured", 1.6)
        _line(upper, time, y_hat[:, i], SIMULATED, "simulated", 1.0)
        _line(lower, time, record.y[:, i] - y_hat[:, i], RESIDUAL, None, 0.8)
        upper.set_ylabel(name + unit)
        lower.set_ylabel("residual" + unit)
        upper.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
        for axes in (upper, lower):
            axes.grid(alpha=0.3)
            axes.margins(x=0)
            if n_init:
                axes.axvspan(0, n_init * step, color="#888888", alpha=0.15, lw=0)
    grid[-1, 0].set_xlabel("time (s)" if record.sampling_time else "sample k")
    if title:
        figure.suptitle(title)
    return figure


def learning_curve(history: pd.DataFrame) -> Figure:
    """Draw training and validation loss over epochs, the best epoch marked."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots()
    for column, label, color in (
        ("train_loss", "training", MEASURED),
        ("valid_loss", "validation, free run", SIMULATED),
    ):
        values = history[column].to_numpy(dtype=float)
        if np.isfinite(values).any():
            axes.plot(history["epoch"], np.sqrt(values), color=color, label=label)
    monitored = history["valid_loss"] if history["valid_loss"].notna().any() else None
    chosen = history["train_loss"] if monitored is None else monitored
    if chosen.notna().any():
        axes.axvline(
            float(history["epoch"].iloc[int(np.nanargmin(chosen.to_numpy()))]),
            color=RESIDUAL,
            lw=1,
            ls="--",
            label="best",
        )
    axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("RMS error (share of std)")
    axes.grid(alpha=0.3)
    if len(history):
        axes.legend(frameon=False)
    return figure


def _line(
    axes: Axes, time: Array, values: Array, color: str, label: str | None, width: float
) -> None:
    """Draw a line, thinned to the extremes of each pixel so that peaks stay."""
    n = len(values)
    if n > 4 * _PIXELS:
        size = -(-n // _PIXELS)
        padded = np.full(_PIXELS * size, np.nan)
        padded[:n] = values
        blocks = padded.reshape(_PIXELS, size)
        blocks = blocks[~np.isnan(blocks).all(axis=1)]
        starts = np.flatnonzero(~np.isnan(padded.reshape(_PIXELS, size)).all(axis=1)) * size
        low, high = np.nanargmin(blocks, axis=1), np.nanargmax(blocks, axis=1)
        keep = np.unique(np.concatenate([starts + low, starts + high]))
        time, values = time[keep], values[keep]
    axes.plot(time, values, color=color, label=label, lw=width)
