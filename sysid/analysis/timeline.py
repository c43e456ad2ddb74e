"""Timelines: measured against simulated as a page draws it, down to single samples.

A timeline is a JSON document for ``page/timeline.js``: the empty Bokeh figures, and the series as
base64 of little-endian float32. The page draws the extremes of what is in view, pixel by pixel,
each time that the view changes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
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

from sysid.analysis.plots import MEASURED, RESIDUAL, SERIES
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
    models = []
    for i, (label, y_hat) in enumerate(outputs.items()):
        simulated, error = y_hat[:, output], y - y_hat[:, output]
        models.append(
            {
                "name": label,
                "color": SERIES[i % len(SERIES)],
                "y_hat": _encoded(simulated, per_point),
                "residual": _encoded(error, per_point),
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
        "measured": _encoded(y, per_point),
        "models": models,
        "item": json_item(_figures(name, record, output, models, n_init), name),
    }


def _encoded(values: Array, per_point: int) -> str:
    if per_point > 1:
        values = values[extremes(values, 2 * per_point).ravel()]
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


def _figures(
    name: str, record: Record, output: int, models: list[dict[str, Any]], n_init: int
) -> Any:
    """Return the figures with empty sources, named for the script that fills them."""
    step = record.sampling_time or 1.0
    end = len(record) * step
    margin = 0.02 * end
    x_range = Range1d(
        0, end, bounds=(-margin, end + margin), min_interval=4 * step, name=f"{name}-x"
    )
    unit = record.y_units[output]
    upper = _figure(x_range, f"{name}-upper", 320, f"{record.y_names[output]} {unit}".strip())
    lower = _figure(x_range, f"{name}-lower", 150, f"residual {unit}".strip())
    lower.xaxis.axis_label = "time (s)" if record.sampling_time else "sample k"
    upper.xaxis.visible = False
    for i, model in enumerate(models):
        if model["half_width"] is not None:
            source = ColumnDataSource({"x": [], "lower": [], "upper": []}, name=f"{name}-band-{i}")
            upper.varea(
                "x", "lower", "upper", source=source, fill_color=model["color"],
                fill_alpha=0.22, legend_label=f"{model['name']}, band",
            )  # fmt: skip
    lines = [_line(upper, f"{name}-measured", MEASURED, "measured", 1.8)]
    for i, model in enumerate(models):
        lines.append(_line(upper, f"{name}-model-{i}", model["color"], model["name"], 1.2))
        color = RESIDUAL if len(models) == 1 else model["color"]
        _line(lower, f"{name}-residual-{i}", color, None, 1.0)
    if n_init:
        for plot in (upper, lower):
            plot.vspan(x=[n_init * step], line_color=RESIDUAL, line_dash="dashed", line_alpha=0.8)
    upper.add_tools(
        HoverTool(
            renderers=lines, mode="vline", line_policy="nearest",
            tooltips="$name: @y{%.6g} at @x{%.6g}", formatters={"@x": "printf", "@y": "printf"},
        )
    )  # fmt: skip
    upper.legend.orientation = "horizontal"
    upper.legend.location = "top_right"
    upper.legend.click_policy = "hide"
    upper.add_layout(upper.legend[0], "above")
    return column(upper, lower, sizing_mode="stretch_width")


def _figure(x_range: Range1d, name: str, height: int, label: str) -> Any:
    wheel, drag = WheelZoomTool(dimensions="width"), PanTool(dimensions="width")
    plot = figure(
        name=name, height=height, sizing_mode="stretch_width", x_range=x_range,
        y_range=DataRange1d(only_visible=True, range_padding=0.06),
        tools=[wheel, drag], active_scroll=wheel, active_drag=drag, toolbar_location=None,
        min_border_left=_BORDER, min_border_right=12, y_axis_label=label,
    )  # fmt: skip
    plot.yaxis.axis_label_standoff = 6
    return plot


def _line(plot: Any, name: str, color: str, label: str | None, width: float) -> Any:
    source = ColumnDataSource({"x": [], "y": []}, name=name)
    legend = {} if label is None else {"legend_label": label, "name": label}
    return plot.line("x", "y", source=source, color=color, line_width=width, **legend)
