"""Figures, one function each, made without any global state of matplotlib.

Each returns a ``Figure``, which a notebook shows and ``savefig`` writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sysid.analysis.compare import SIMULATION
from sysid.analysis.residuals import ResidualAnalysis, longest_complete, worst_stretch
from sysid.analysis.thinning import extremes
from sysid.analysis.uncertainty import Band
from sysid.data.records import Array, Record, as_records
from sysid.models import Model

MEASURED, SIMULATED, RESIDUAL = "#4c78a8", "#f58518", "#8a8f98"
SERIES = (SIMULATED, "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9d755d")

_PIXELS = 1500  # pairs of points a line keeps
_LEVELS = (0.05, 0.25, 0.75, 0.95)
_MOST = 12  # channels of a figure: of more, the first are drawn
_STEPPED = 6  # inputs and outputs of step responses


def simulation(
    record: Record,
    y_hat: Array | Mapping[str, Array],
    n_init: int = 0,
    title: str = "",
    band: Band | None = None,
) -> Figure:
    """Draw measured against simulated for each output, the residual below.

    Args:
        record: the measured record.
        y_hat: ``(N, ny)``, in physical units; or that of several models, by name.
        n_init: samples at the start that do not count; they are shaded.
        title: above the figure.
        band: shaded around the simulation, where there is one.

    Raises:
        ValueError: if ``y_hat`` has another shape than the measured outputs.
    """
    outputs = y_hat if isinstance(y_hat, Mapping) else {"simulated": y_hat}
    for values in outputs.values():
        _check(record, values)
    return _over_time(record, outputs, slice(0, len(record)), n_init, title, band)


def zoom(
    record: Record,
    y_hat: Array,
    n_init: int = 0,
    length: int = 200,
    title: str = "",
    band: Band | None = None,
) -> Figure:
    """Draw the stretch of ``length`` samples where a simulation is worst; see ``simulation``.

    It is the one with the largest squared residual, outputs weighted by their variance.
    """
    _check(record, y_hat)
    spread = [float(np.std(v[np.isfinite(v)])) if np.isfinite(v).any() else 0 for v in record.y.T]
    residual = np.array(record.y - y_hat) / [s if s > 0 else 1.0 for s in spread]
    residual[:n_init] = np.nan
    part = worst_stretch(residual, length)
    return _over_time(record, {"simulated": y_hat}, part, n_init, title, band)


def fit_against_horizon(scores: pd.DataFrame) -> Figure:
    """Draw the fit index of each model over the prediction horizon, the free run as a line.

    Args:
        scores: a table of ``compare``; the mean is left out, and several records are averaged.
    """
    shown = scores[~scores["model"].str.fullmatch("mean( of .*)?")]
    outputs = list(dict.fromkeys(shown["output"]))[:_MOST]
    figure = Figure(figsize=(6, 3.2 * len(outputs) + 0.2), layout="constrained")
    for axes, output in zip(_column(figure, len(outputs)), outputs, strict=True):
        for i, (model, rows) in enumerate(
            shown[shown["output"] == output].groupby("model", sort=False)
        ):
            fits = rows.groupby("horizon")["fit_index"].mean()
            free = fits.pop(SIMULATION) if SIMULATION in fits else np.nan
            fits.index = fits.index.astype(int)
            fits = fits.sort_index()
            color = SERIES[i % len(SERIES)]
            axes.plot(fits.index, fits.to_numpy(), "o-", color=color, label=str(model), ms=4)
            if np.isfinite(free):
                axes.axhline(float(free), color=color, lw=1, ls="--")
        axes.set_xscale("log")
        axes.set_xlabel("steps ahead (dashed: free run)")
        axes.set_ylabel(f"fit of {output} (%)")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def residual_correlation(analysis: ResidualAnalysis) -> Figure:
    """Draw each correlation of a residual analysis over the lag, with its band."""
    table = analysis.correlations
    groups = list(table.groupby(["test", "output", "input"], sort=False))[: 2 * _MOST]
    rows = max(1, -(-len(groups) // 2))
    height = 2.3 * rows + 0.2
    # Margins in inches: to measure the text of many axes takes seconds.
    figure = Figure(figsize=(9, height))
    figure.subplots_adjust(
        0.08, 0.55 / height, 0.98, 1 - 0.35 / height, wspace=0.2, hspace=0.95 / 1.35
    )
    grid = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes, (key, group) in zip(grid, groups, strict=False):
        lag, value, band = (group[c].to_numpy(float) for c in ("lag", "value", "band"))
        axes.axhspan(-band[0], band[0], color=MEASURED, alpha=0.2, lw=0)
        inside = np.abs(value) <= band
        for part, color in ((inside, MEASURED), (~inside, "#e45756")):
            axes.vlines(lag[part], 0, value[part], color=color, lw=2)
        axes.set_title(pair(*map(str, key)), fontsize="medium")
        axes.set_xlabel("lag (samples)")
        reach = 1.15 * max(float(np.abs(value).max()), float(band[0]))
        axes.set_ylim(-reach, reach)
        axes.grid(alpha=0.3)
    for axes in grid[len(groups) :]:
        axes.set_axis_off()
    return figure


def learning_curve(history: pd.DataFrame) -> Figure:
    """Draw training and validation loss over epochs, the best epoch marked."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
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


def scatter(record: Record, y_hat: Array, n_init: int = 0) -> Figure:
    """Draw simulated over measured; many samples as a density, a perfect model as the line."""
    _check(record, y_hat)
    shown = min(record.ny, _MOST)
    figure = Figure(figsize=(6, 4 * shown + 0.2), layout="constrained")
    for i, axes in enumerate(_column(figure, shown)):
        pair = np.stack([record.y[n_init:, i], y_hat[n_init:, i]])
        y, model = pair[:, np.isfinite(pair).all(axis=0)]
        if len(y) > 2000:
            axes.hexbin(y, model, gridsize=(80, 50), bins="log", mincnt=1, cmap="viridis", lw=0)
        else:
            axes.plot(y, model, ".", color=SIMULATED, ms=3)
        if len(y):
            ends = [float(y.min()), float(y.max())]
            axes.plot(ends, ends, color=RESIDUAL, lw=1)
        axes.set_xlabel(f"measured {_label(record, i)}")
        axes.set_ylabel(f"simulated {_label(record, i)}")
        axes.grid(alpha=0.3)
    return figure


def spectra(record: Record, y_hat: Array, n_init: int = 0) -> Figure:
    """Draw the power spectral densities of ``y``, ``y_hat`` and the residual (Welch).

    They are those of the longest complete stretch after ``n_init``.
    """
    from scipy.signal import welch

    _check(record, y_hat)
    shown = min(record.ny, _MOST)
    figure = Figure(figsize=(6, 3.2 * shown + 0.2), layout="constrained")
    for i, axes in enumerate(_column(figure, shown)):
        block = np.stack([record.y[n_init:, i], y_hat[n_init:, i]], axis=1)
        block = block[longest_complete(block)]
        lines = ((block[:, 0], MEASURED, "measured"), (block[:, 1], SIMULATED, "simulated"))
        for values, color, label in (*lines, (block[:, 0] - block[:, 1], RESIDUAL, "residual")):
            if len(values) < 16:
                continue
            size = min(1024, len(values) // 2)
            f, power = welch(values, 1 / (record.sampling_time or 1.0), nperseg=size)
            if (power[1:] > 0).any():
                axes.semilogy(f[1:], power[1:], color=color, lw=1.2, label=label)
        axes.set_xlabel("frequency (Hz)" if record.sampling_time else "frequency (1 / sample)")
        axes.set_ylabel(f"density of {record.y_names[i]}")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(frameon=False)
    return figure


def histograms(train: Record | Iterable[Record], test: Iterable[Record] | Record = ()) -> Figure:
    """Draw how often each input and output takes which value, training against test.

    Args:
        train: training records, or all there are.
        test: test records; without them there is nothing to tell apart, and no legend.
    """
    first = as_records(train)
    groups = [("training", MEASURED, first)]
    if others := [test] if isinstance(test, Record) else list(test):
        groups.append(("test", SIMULATED, as_records(others)))
    # Outputs first where not all have room.
    names = (*first[0].u_names, *first[0].y_names)
    order = range(len(names)) if len(names) <= _MOST else range(-first[0].ny, first[0].nu)
    order = order[:_MOST]
    parts = [np.concatenate([np.hstack([r.u, r.y]) for r in rs]) for _, _, rs in groups]
    figure = Figure(figsize=(6, 2.2 * len(order) + 0.2), layout="constrained")
    for i, axes in zip(order, _column(figure, len(order)), strict=True):
        columns = [part[np.isfinite(part[:, i]), i] for part in parts]
        seen = np.concatenate(columns)
        span = _span(seen) if len(seen) else None
        for values, (label, color, _) in zip(columns, groups, strict=True):
            if len(values):
                axes.hist(
                    values, 60, range=span, density=True, histtype="stepfilled",
                    color=color, alpha=0.5, label=label,
                )  # fmt: skip
        axes.set_xlabel(channel(names[i], (*first[0].u_units, *first[0].y_units)[i]))
        axes.set_yticks([])
        if len(seen) and len(groups) > 1:
            axes.legend(frameon=False)
    return figure


def _span(values: Array) -> tuple[float, float]:
    """Return the range of values, made so wide where they are constant that it has bins."""
    low, high = float(values.min()), float(values.max())
    size = max(abs(low), abs(high))
    if high - low > 1e-12 * size:
        return low, high
    margin = 1e-6 * size if size else 1.0
    return low - margin, high + margin


def step_responses(
    model: Model,
    records: Record | Iterable[Record],
    samples: int = 200,
    levels: Sequence[float] = _LEVELS,
) -> Figure:
    """Draw what a model answers to steps of each input, from its median to several levels.

    The other inputs rest at their medians. The model runs for ``samples`` before the step, so
    that it has settled if that is long enough; responses of a linear plant are copies of each
    other, scaled by the step.

    Args:
        model: the model.
        records: where the levels are taken from; best the training records.
        samples: how long to wait before and after the step.
        levels: quantiles of the input to step to.

    Raises:
        ValueError: if the model has no input.
    """
    if model.nu == 0:
        raise ValueError("model must have an input to step, got none")
    known = as_records(records)
    u = np.concatenate([r.u for r in known])
    y = np.concatenate([r.y for r in known])
    middle, start = np.nanmedian(u, axis=0), np.nanmean(y, axis=0)
    step = known[0].sampling_time or 1.0
    shown = slice(samples - max(samples // 10, 1), None)
    time = np.arange(-samples, samples)[shown] * step
    nu, ny = min(model.nu, _STEPPED), min(model.ny, _STEPPED)
    figure = Figure(figsize=(6 * nu, 3.2 * ny + 0.2), layout="constrained")
    grid = figure.subplots(ny, nu, squeeze=False, sharex=True)
    for j in range(nu):
        for i, level in enumerate(np.nanquantile(u[:, j], levels)):
            inputs = np.tile(middle, (2 * samples, 1))
            inputs[samples:, j] = level
            rest = np.tile(start, (2 * samples, 1))
            y_hat = model.simulate(known[0].replace(u=inputs, y=rest, n_init=0))
            color = SERIES[i % len(SERIES)]
            for k in range(ny):
                axes = grid[k, j]
                axes.plot(time, y_hat[shown, k], color=color, label=f"to {level:.3g}")
                axes.set_ylabel(channel(model.y_names[k], model.y_units[k]))
                axes.grid(alpha=0.3)
        unit = channel(model.u_names[j], model.u_units[j])
        grid[0, j].set_title(f"{unit} from {middle[j]:.3g}", fontsize="medium")
        grid[0, j].legend(frameon=False)
        grid[-1, j].set_xlabel("time (s)" if known[0].sampling_time else "samples")
    return figure


def _over_time(
    record: Record,
    outputs: Mapping[str, Array],
    part: slice,
    n_init: int,
    title: str,
    band: Band | None,
) -> Figure:
    step = record.sampling_time or 1.0
    time: Array = np.arange(part.start, part.stop, dtype=np.float64) * step
    ny = min(record.ny, _MOST)
    figure = Figure(figsize=(9, 3.2 * ny + 0.6), layout="constrained")
    grid = figure.subplots(2 * ny, 1, sharex=True, squeeze=False, height_ratios=[3, 1] * ny)
    for i in range(ny):
        upper, lower = grid[2 * i, 0], grid[2 * i + 1, 0]
        y = record.y[part, i]
        if band is not None:
            _shade(upper, time, band.lower[part, i], band.upper[part, i])
        line(upper, time, y, MEASURED, "measured", 1.6)
        for number, (name, y_hat) in enumerate(outputs.items()):
            color = SERIES[number % len(SERIES)]
            line(upper, time, y_hat[part, i], color, name, 1.0)
            line(
                lower, time, y - y_hat[part, i], RESIDUAL if len(outputs) == 1 else color, None, 0.8
            )
        upper.set_ylabel(_label(record, i))
        lower.set_ylabel(channel("residual", record.y_units[i]))
        upper.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)
        for axes in (upper, lower):
            axes.grid(alpha=0.3)
            axes.margins(x=0)
            if part.start < n_init:
                axes.axvspan(part.start * step, n_init * step, color="#888888", alpha=0.15, lw=0)
    grid[-1, 0].set_xlabel("time (s)" if record.sampling_time else "sample k")
    if title:
        figure.suptitle(title)
    return figure


def line(
    axes: Axes, time: Array, values: Array, color: str, label: str | None, width: float
) -> None:
    """Draw a line, thinned to the extremes of each pixel so that peaks stay."""
    if len(values) > 4 * _PIXELS:
        keep = np.unique(extremes(values, -(-len(values) // _PIXELS)))
        time, values = time[keep], values[keep]
    axes.plot(time, values, color=color, label=label, lw=width)


def _shade(axes: Axes, time: Array, lower: Array, upper: Array) -> None:
    if len(time) > 4 * _PIXELS:
        size = -(-len(time) // _PIXELS)
        keep = np.unique([extremes(lower, size), extremes(upper, size)])
        time, lower, upper = time[keep], lower[keep], upper[keep]
    axes.fill_between(time, lower, upper, color=SIMULATED, alpha=0.25, lw=0, label="band")


def _check(record: Record, y_hat: Array) -> None:
    if y_hat.shape != record.y.shape:
        raise ValueError(f"y_hat must have shape {record.y.shape}, got {y_hat.shape}")


def _column(figure: Figure, rows: int) -> list[Axes]:
    return list(figure.subplots(rows, 1, squeeze=False)[:, 0])


def _label(record: Record, i: int) -> str:
    return channel(record.y_names[i], record.y_units[i])


def channel(name: str, unit: str) -> str:
    """Return what an axis of a channel is called."""
    return f"{name} ({unit})" if unit else name


def pair(test: str, output: str, source: str) -> str:
    """Return in words what a residual test correlates."""
    return {
        "whiteness": f"residual of {output} with its own past",
        "input": f"residual of {output} with past {source}",
        "input squared": f"residual of {output} with past {source}²",
        "squared": f"residual² of {output} with past {source}²",
        "product": f"residual of {output} with past residual * {source}",
    }[test]
