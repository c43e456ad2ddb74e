"""The report: one HTML page that stands alone, of what was trained and how good it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sysid.analysis import plots, tables
from sysid.analysis.compare import SIMULATION
from sysid.analysis.contents import Contents
from sysid.analysis.gallery import comparison_drawings, drawing, model_drawings
from sysid.analysis.pages import render, script_data
from sysid.analysis.residuals import ResidualAnalysis, residual_analysis
from sysid.analysis.timeline import timeline
from sysid.analysis.uncertainty import Band
from sysid.data.atomic import write_text
from sysid.data.records import Array, Record

_POINTS = 400_000  # of all series on a page: 2.1 MB
_LINES = 36  # of all figures over time, for their printed copies
_TIMELINES = 6
_RECORDS = 4  # whose residuals are told one by one
_PAIRS = 100  # of input and output whose residuals are tested
_PAIR = ("test", "output", "input")
_STEPS = 200  # samples of a step response, where the data suggest nothing


def write_report(path: str | Path, contents: Contents) -> None:
    """Write a report that needs no network and no other file.

    Args:
        path: the ``.html`` file.
        contents: what it is about.
    """
    page = render(
        "report.html",
        title=contents.title,
        subtitle=tables.subtitle(contents),
        cards=tables.cards(contents),
        **tables.score_table(contents),
        **_simulations(contents),
        residuals=_residuals(contents),
        **tables.coverage(contents),
        data=tables.data(contents),
        advice=contents.advice,
        origins=tables.origins(contents),
        heads=tables.HEADS,
    )
    write_text(Path(path), page)


def _simulations(contents: Contents) -> dict[str, Any]:
    """Return the figures over time, and those of each model on the first record."""
    chosen, notes = _chosen(contents)
    runs = {
        i: {n: _drawable(m.simulate(contents.records[i])) for n, m in contents.models.items()}
        for i in {0, *(i for i, _ in chosen)}
    }
    series = 1 + len(contents.models)
    points = series * sum(len(contents.records[i]) for i, _ in chosen)
    timelines = []
    for number, (i, output) in enumerate(chosen):
        record = contents.records[i]
        room = max(1000, math.floor(len(record) * min(1.0, _POINTS / points)))
        timelines.append(_timeline(contents, f"timeline-{number}", record, output, runs[i], room))
    train = list(contents.train) or [contents.records[0]]
    suggestion = contents.advice.suggestion if contents.advice else None
    length = suggestion.length if suggestion else _STEPS
    first = contents.records[0]
    groups = []
    shared = comparison_drawings(
        contents.models, first, list(contents.train), list(contents.records)
    )
    for name, model in contents.models.items():
        band = _bands(contents, first, runs[0]).get(name)
        drawings = model_drawings(model, first, runs[0][name], band, train, length)
        groups.append({"title": name if len(contents.models) > 1 else "", "figures": drawings})
    if len(groups) == 1:
        groups[0]["figures"] = [*groups[0]["figures"], *shared]
    elif shared:
        groups.insert(0, {"title": "", "figures": shared})
    return {"timelines": timelines, "timeline_notes": notes, "figures": groups}


def _drawable(y_hat: Array) -> Array:
    """Leave out where a simulation exploded: no axis holds it, and neither does float32."""
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(y_hat) < 1e30, y_hat, np.nan)


def _chosen(contents: Contents) -> tuple[list[tuple[int, int]], list[str]]:
    """Return which outputs of which records are drawn over time: those that fit worst."""
    pairs = [(i, k) for i, r in enumerate(contents.records) for k in range(r.ny)]
    room = max(1, min(_TIMELINES, _LINES // (1 + 2 * len(contents.models))))
    if len(pairs) <= room:
        return pairs, []
    own = contents.free_runs()
    own = own[own["model"] == next(iter(contents.models))]
    fits = own["fit_index"].fillna(-math.inf).to_numpy()  # in the order of records and outputs
    worst = sorted(np.argsort(fits, kind="stable")[:room])
    note = f"Drawn are the {room} of {len(pairs)} outputs that fit worst; the table has them all."
    return [pairs[i] for i in worst], [note]


def _bands(contents: Contents, record: Record, runs: Mapping[str, Array]) -> dict[str, Band]:
    out = {}
    for name, bands in contents.bands.items():
        if SIMULATION in bands.widths:
            width = bands.widths[SIMULATION]
            out[name] = Band(runs[name], runs[name] - width, runs[name] + width)
    return out


def _timeline(
    contents: Contents, name: str, record: Record, output: int, runs: dict[str, Array], room: int
) -> dict[str, Any]:
    start = max(m.scoring_start(record) for m in contents.models.values())
    widths = {
        model: float(bands.widths[SIMULATION][output])
        for model, bands in contents.bands.items()
        if SIMULATION in bands.widths
    }
    data = timeline(name, record, output, runs, widths, start, room)
    one = record.replace(
        y=record.y[:, output], y_names=[record.y_names[output]], y_units=[record.y_units[output]]
    )
    band = None
    if len(runs) == 1:
        for b in _bands(contents, record, runs).values():
            band = Band(*(v[:, [output]] for v in (b.y_hat, b.lower, b.upper)))
    still = plots.simulation(one, {n: v[:, [output]] for n, v in runs.items()}, start, band=band)
    caption = f"{record.name or 'record'}: {record.y_names[output]}, {len(record):,} samples"
    if (size := data["samples_per_point"]) > 1:
        caption += f"; the page holds the smallest and the largest of every {2 * size} samples"
    return {
        "id": name,
        "caption": caption,
        "legend": _legend(data),
        "svg": drawing(still, caption).svg,
        "json": script_data(data),
        "height": data["height"],
        "worst": True,
    }


def _legend(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return label, colour and parts of each entry of a timeline's legend."""
    entries = [{"label": "measured", "color": plots.MEASURED, "parts": "measured", "band": False}]
    for i, model in enumerate(data["models"]):
        entry = {"label": model["name"], "color": model["color"], "band": False}
        entries.append({**entry, "parts": f"model-{i} residual-{i}"})
        if model["half_width"] is not None:
            label = f"{model['name']}, band"
            entries.append({**entry, "label": label, "parts": f"band-{i}", "band": True})
    return entries


def _residuals(contents: Contents) -> list[dict[str, Any]]:
    """Return what each model leaves: of few records one by one, of many how many pass."""
    out = []
    together = len(contents.records) > _RECORDS
    for name, model in contents.models.items():
        horizon = SIMULATION if model.output_error else 1
        kind = "free run" if model.output_error else "one step ahead"
        found, sections = [], []
        for record in contents.records:
            title = f"{name} on {record.name}, {kind}"
            section: dict[str, Any] = {"title": title, "rows": [], "figure": None}
            sections.append(section)
            if model.nu * model.ny > _PAIRS:
                section["note"] = f"Not tested: more than {_PAIRS} pairs of input and output."
                continue
            try:
                analysis = residual_analysis(model, record, horizon)
            except ValueError as error:
                section["note"] = f"Not tested: {error}"
                continue
            found.append((record.name, analysis, len(sections) - 1))
            section["note"] = analysis.note
            verdicts = analysis.verdicts.to_dict("records")
            section["rows"] = [_verdict(v, analysis.correlations) for v in verdicts]
        if together:
            title = f"{name} on {len(contents.records)} records, {kind}"
            sections = [
                {
                    "title": title,
                    "note": "",
                    "rows": _merged([(n, a) for n, a, _ in found]),
                    "figure": None,
                }
            ]
        drawn = [(n, a, at) for n, a, at in found if len(a.correlations)]
        if drawn:
            # The worst of many; of few the first, beside its verdicts.
            worst = min(drawn, key=lambda one: float(one[1].verdicts["p_value"].min()))
            where, shown, at = worst if together else drawn[0]
            caption = f"Correlations over the lag, {where}. Of 100 right models 99 stay within the "
            sections[0 if together else at]["figure"] = drawing(
                plots.residual_correlation(shown), caption + "shaded band.", broad=True
            )
        out += sections
    return out


def _merged(found: list[tuple[str, ResidualAnalysis]]) -> list[dict[str, Any]]:
    """Return one verdict for each test of all records: that of the worst, and how many pass."""
    of_each: dict[tuple[Any, ...], list[tuple[str, dict[str, Any]]]] = {}
    for name, analysis in found:
        for v in analysis.verdicts.to_dict("records"):
            row = {**_verdict(v, analysis.correlations), "p": v["p_value"]}
            of_each.setdefault(tuple(v[c] for c in _PAIR), []).append((name, row))
    rows = []
    for verdicts in of_each.values():
        tested = [(n, row) for n, row in verdicts if math.isfinite(row["p"])] or verdicts
        name, worst = min(tested, key=lambda pair: pair[1]["p"])
        passed = sum(row["passed"] for _, row in tested)
        size = f"{passed} of {len(tested)} records pass; the farthest from it is {name}. "
        rows.append({**worst, "size": size + worst["size"]})
    return rows


def _verdict(row: Mapping[Any, Any], correlations: pd.DataFrame) -> dict[str, Any]:
    """Return a verdict as the page shows it, with the size of what was found."""
    if not math.isfinite(row["p_value"]):
        return {**row, "mark": "untested", "pair": row["output"], "size": ""}
    kept = correlations[
        (correlations["test"] == row["test"])
        & (correlations["output"] == row["output"])
        & (correlations["input"] == row["input"])
    ]
    largest = kept.loc[kept["value"].abs().idxmax()]
    p = f"p = {row['p_value']:.2g}" if row["p_value"] > 1e-16 else "p < 1e-16"
    size = (
        f"Largest correlation {largest['value']:+.3f} at lag {largest['lag']}, "
        f"band ±{largest['band']:.3f}; {p}."
    )
    mark = "passed" if row["passed"] else "failed"
    return {**row, "mark": mark, "pair": plots.pair(*(row[c] for c in _PAIR)), "size": size}
