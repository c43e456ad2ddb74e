"""Gallery: the still figures of a report, as SVG that takes the page's colours."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from sysid.analysis import plots
from sysid.analysis.compare import SIMULATION, compare
from sysid.analysis.uncertainty import Band
from sysid.data.records import Array, Record
from sysid.models import Model

_HORIZONS = (1, 2, 3, 5, 10, 20, 50, 100)
_SAMPLES = 10_000  # of a record that k-step predictions are drawn from


@dataclass(frozen=True)
class Drawing:
    """A figure as SVG, with what is to be said below it."""

    svg: Markup
    caption: str
    broad: bool = False


def drawing(figure: Figure, caption: str, broad: bool = False) -> Drawing:
    """Return a figure for a page; black becomes the page's ink, white is left out."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):  # text stays text: small, and can be searched
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)  # ids that would stand twice on the page
    text = re.sub(r' d="[^"]*"', _rounded, text)
    text = text.replace("#000000", "var(--ink)").replace("#b0b0b0", "var(--line)")
    label = html.escape(caption, quote=True)
    return Drawing(
        Markup(text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)), caption, broad
    )


def _rounded(path: re.Match[str]) -> str:
    """Cut the coordinates of a path to hundredths of a point, which halves a long line."""
    return re.sub(r"(\d\.\d\d)\d+", r"\1", path[0])


def model_drawings(
    model: Model, record: Record, y_hat: Array, band: Band | None, train: list[Record], length: int
) -> list[Drawing]:
    """Return what one model does on one record.

    Args:
        model: the model.
        record: a measured record.
        y_hat: its free run, ``(N, ny)``.
        band: around the free run, where there is one.
        train: where the levels of the step responses are taken from.
        length: samples of the zoom and of the step responses.
    """
    start, name = model.scoring_start(record), record.name
    out = [
        drawing(
            plots.zoom(record, y_hat, start, max(200, length), band=band),
            f"Where the free run is worst on {name}.",
            broad=True,
        ),
        drawing(
            plots.scatter(record, y_hat, start), f"Simulated over measured, {name}; a perfect "
            "model lies on the line. Brighter: more samples.",
        ),
        drawing(
            plots.spectra(record, y_hat, start), f"Spectra on {name}: where the residual comes "
            "near the measured output, the model does not know that frequency.",
        ),
    ]  # fmt: skip
    if model.nu:
        figure = plots.step_responses(model, train, length)
        words = (
            "Steps of the input from its median to levels within the training range: "
            "responses of a linear plant differ by a factor alone."
        )
        out.append(drawing(figure, words))
    return out


def comparison_drawings(
    models: Mapping[str, Model], record: Record, train: list[Record], test: list[Record]
) -> list[Drawing]:
    """Return what all models share: fit against horizon, and the ranges of the data."""
    out = []
    part = record[:_SAMPLES]
    if not all(m.output_error for m in models.values()):
        longest = (len(part) - max(m.scoring_start(part) for m in models.values())) // 4
        horizons = [h for h in _HORIZONS if h <= longest]
        figure = plots.fit_against_horizon(compare(models, part, (*horizons, SIMULATION)))
        words = f"Fit of predictions over the steps ahead, {record.name}"
        words += f", first {len(part)} samples." if len(part) < len(record) else "."
        out.append(drawing(figure, words))
    if train and test:
        words = "How often each channel takes which value. What training never saw is guesswork."
        out.append(drawing(plots.histograms(train, test), words))
    return out
