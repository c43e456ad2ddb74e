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
    offset = float(np.nanmean(y)) if np.isfinite(y).any() else 0.0
    models = []
    for i, (label, y_hat) in enumerate(outputs.items()):
        simulated, error = y_hat[:, output], y - y_hat[:, output]
        models.append(
            {
                "name": label,
                "color": SERIES[i % len(SERIES)],
                "y_hat": _encoded(simulated - offset, per_point),
                # The page takes the difference, unless extremes of both were kept.
                "residual": _encoded(error, per_point) if per_point > 1 else None,
                "half_width": widths.get(label),
            }
        )
    first = next(iter(outputs.values()))
    error = np.array(record.y[:, [output]] - first[:, [output]])
    error[:n_init] = np.nan
    worst = worst_stretch(error, max(200, len(y) // 200))
    return {
        "id": name,
        "samples": len(y),
        "samples_per_point": per_point,
        "step": record.sampling_time or 1.0,
        "worst": [worst.start, worst.stop],
        "offset": offset,
        "measured": _encoded(y - offset, per_point),
        "models": models,
        "item": json_item(_figures(name, record, output, models, n_init), ID(name)),
    }


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
    end = len(record) * step
    ends = [0.0, end]  # until the page fills in the samples
    margin = 0.02 * end
    x_range = Range1d(
        start=0.0, end=end, bounds=(-margin, end + margin), min_interval=4 * step, name=f"{name}-x"
    )
    unit = record.y_units[output]
    upper = _figure(x_range, f"{name}-upper", 320, channel(record.y_names[output], unit))
    lower = _figure(x_range, f"{name}-lower", 150, channel("residual", unit))
    lower.xaxis.axis_label = "time (s)" if record.sampling_time else "sample k"
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
    upper.add_tools(
        HoverTool(
            renderers=lines, mode="vline", line_policy="nearest",
            tooltips="$name: @y{%.6g} at @x{%.6g}", formatters={"@x": "printf", "@y": "printf"},
        )
    )  # fmt: skip
    return column(upper, lower, sizing_mode="stretch_width")


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
