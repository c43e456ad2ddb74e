"""Timelines: measured against simulated as a page draws it, down to single samples.

A timeline is a JSON document for ``page/timeline.js``: the empty Bokeh figures, and the series as
base64 of little-endian float32, less an offset that would cost digits. The page draws the extremes
of what is in view, pixel by pixel, each time that the view changes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.core.types import ID
from bokeh.embed import json_item
from bokeh.layouts import column
from bokeh.models import (
    ColumnDataSource,
    DataRange1d,
    HoverTool,
    PanTool,
    Range1d,
    WheelZoomTool,
)
from bokeh.plotting import figure

from sysid.analysis.plots import MEASURED, RESIDUAL, SERIES, channel
from sysid.analysis.residuals import worst_stretch
from sysid.analysis.thinning import extremes
from sysid.data.records import Array, Record

_UPPER, _LOWER, _CHANNEL = 320, 150, 150  # pixels, heights of the figures
_BORDER = 72  # pixels for the labels on the left, so that both figures stand in line


def timeline(
    name: str,
    record: Record,
    output: int,
    outputs: Mapping[str, Array],
    widths: Mapping[str, float],
    n_init: int,
    room: int,
) -> dict[str, Any]:
    """Return what the page needs to draw one output of a record and its models.

    Args:
        name: id of the element that the figures go into.
        record: the measured record.
        output: position of the output.
        outputs: model and its ``(N, ny)`` output, in physical units.
        widths: model and the half width of its band, for those that have one.
        n_init: samples at the start that do not count.
        room: how many samples a series may hold. A longer one is cut to the smallest and the
            largest value of blocks of samples; ``samples_per_point`` then says so.
    """
    y = np.asarray(record.y[:, output], dtype=np.float64)
    per_point = max(1, -(-len(y) // room))
    offset = _offset(y)
    series = [_series("measured", y, offset, per_point)]
    models, bands = [], []
    for i, (label, y_hat) in enumerate(outputs.items()):
        simulated, error = y_hat[:, output], y - y_hat[:, output]
        half = widths.get(label)
        models.append({"name": label, "color": SERIES[i % len(SERIES)], "half_width": half})
        series.append(_series(f"model-{i}", simulated, offset, per_point))
        # The page takes the difference, unless extremes of both were kept.
        values = _encoded(error, per_point) if per_point > 1 else None
        minus = ["measured", f"model-{i}"]
        series.append({"part": f"residual-{i}", "values": values, "offset": 0.0, "minus": minus})
        if half is not None:
            bands.append({"part": f"band-{i}", "around": f"model-{i}", "half": half})
    first = next(iter(outputs.values()))
    error = np.array(record.y[:, [output]] - first[:, [output]])
    error[:n_init] = np.nan
    worst = worst_stretch(error, max(200, len(y) // 200))
    item = json_item(_figures(name, record, output, models, n_init), ID(name))
    return {
        **_document(name, record, per_point, ["upper", "lower"], series, item),
        "height": _UPPER + _LOWER,
        "worst": [worst.start, worst.stop],
        "models": models,
        "bands": bands,
    }


def channels_timeline(name: str, record: Record, room: int) -> dict[str, Any]:
    """Return what the page needs to draw each channel of a record below the one before.

    Args:
        name: id of the element that the figures go into.
        record: the measured record; inputs come first.
        room: how many samples a series may hold, as for ``timeline``.
    """
    per_point = max(1, -(-len(record) // room))
    step = record.sampling_time or 1.0
    x_range = _x_range(name, record)
    names = [*zip(record.u_names, record.u_units, strict=True)]
    names += zip(record.y_names, record.y_units, strict=True)
    plots, series = [], []
    for i, ((label, unit), x) in enumerate(zip(names, [*record.u.T, *record.y.T], strict=True)):
        color = MEASURED if i >= record.nu else RESIDUAL
        plot = _figure(x_range, f"{name}-plot-{i}", _CHANNEL, channel(label, unit))
        plot.xaxis.visible = i == len(names) - 1
        line = _line(plot, [0.0, len(record) * step], f"{name}-channel-{i}", color, label, 1.4)
        _add_hover(plot, [line])
        plots.append(plot)
        values = np.asarray(x, dtype=np.float64)
        series.append(_series(f"channel-{i}", values, _offset(values), per_point))
    plots[-1].xaxis.axis_label = _time_label(record)
    item = json_item(column(*plots, sizing_mode="stretch_width"), ID(name))
    parts = [f"plot-{i}" for i in range(len(plots))]
    document = _document(name, record, per_point, parts, series, item)
    return {**document, "height": _CHANNEL * len(plots), "bands": []}


def _document(
    name: str,
    record: Record,
    per_point: int,
    plots: list[str],
    series: list[dict[str, Any]],
    item: Any,
) -> dict[str, Any]:
    return {
        "id": name,
        "samples": len(record),
        "samples_per_point": per_point,
        "step": record.sampling_time or 1.0,
        "plots": plots,
        "series": series,
        "item": item,
    }


def _series(part: str, values: Array, offset: float, per_point: int) -> dict[str, Any]:
    return {"part": part, "values": _encoded(values - offset, per_point), "offset": offset}


def _offset(values: Array) -> float:
    """Return the mean, which would cost float32 its digits."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def _encoded(values: Array, per_point: int) -> str:
    if per_point > 1:
        values = values[extremes(values, 2 * per_point).ravel()]
    with np.errstate(over="ignore"):  # a simulation that explodes leaves the range of float32
        return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


def _figures(
    name: str, record: Record, output: int, models: list[dict[str, Any]], n_init: int
) -> Any:
    """Return the figures with empty sources, named for the script that fills them."""
    step = record.sampling_time or 1.0
    ends = [0.0, len(record) * step]  # until the page fills in the samples
    x_range = _x_range(name, record)
    unit = record.y_units[output]
    upper = _figure(x_range, f"{name}-upper", _UPPER, channel(record.y_names[output], unit))
    lower = _figure(x_range, f"{name}-lower", _LOWER, channel("residual", unit))
    lower.xaxis.axis_label = _time_label(record)
    upper.xaxis.visible = False
    for i, model in enumerate(models):
        if model["half_width"] is not None:
            source = ColumnDataSource(
                {"x": ends, "lower": [0, 0], "upper": [0, 0]}, name=f"{name}-band-{i}"
            )
            upper.varea(
                "x", "lower", "upper", source=source, fill_color=model["color"],
                fill_alpha=0.22,
            )  # fmt: skip
    lines = [_line(upper, ends, f"{name}-measured", MEASURED, "measured", 1.8)]
    for i, model in enumerate(models):
        lines.append(_line(upper, ends, f"{name}-model-{i}", model["color"], model["name"], 1.2))
        color = RESIDUAL if len(models) == 1 else model["color"]
        _line(lower, ends, f"{name}-residual-{i}", color, None, 1.0)
    if n_init:
        for plot in (upper, lower):
            plot.vspan(x=[n_init * step], line_color=RESIDUAL, line_dash="dashed", line_alpha=0.8)
    _add_hover(upper, lines)
    return column(upper, lower, sizing_mode="stretch_width")


def _x_range(name: str, record: Record) -> Range1d:
    step = record.sampling_time or 1.0
    end = len(record) * step
    margin = 0.02 * end
    return Range1d(
        start=0.0, end=end, bounds=(-margin, end + margin), min_interval=4 * step, name=f"{name}-x"
    )


def _time_label(record: Record) -> str:
    return "time (s)" if record.sampling_time else "sample k"


def _add_hover(plot: Any, lines: list[Any]) -> None:
    plot.add_tools(
        HoverTool(
            renderers=lines, mode="vline", line_policy="nearest",
            tooltips="$name: @y{%.6g} at @x{%.6g}", formatters={"@x": "printf", "@y": "printf"},
        )
    )  # fmt: skip


def _figure(x_range: Range1d, name: str, height: int, label: str) -> Any:
    wheel, drag = WheelZoomTool(dimensions="width"), PanTool(dimensions="width")
    plot = figure(
        name=name, height=height, sizing_mode="stretch_width", x_range=x_range,
        y_range=DataRange1d(only_visible=True, range_padding=0.06),
        tools=[wheel, drag], active_scroll=wheel, active_drag=drag, toolbar_location=None,
        # The page shines through. Bokeh 3.9 strokes old ticks again with an outline.
        background_fill_color=None, border_fill_color=None, outline_line_color=None,
        min_border_left=_BORDER, min_border_right=12, y_axis_label=label,
    )  # fmt: skip
    plot.axis.axis_label_text_font_style = "normal"
    plot.axis.minor_tick_line_color = None
    return plot


def _line(
    plot: Any, ends: list[float], name: str, color: str, label: str | None, width: float
) -> Any:
    source = ColumnDataSource({"x": ends, "y": [0, 0]}, name=name)
    return plot.line("x", "y", source=source, color=color, line_width=width, name=label)
