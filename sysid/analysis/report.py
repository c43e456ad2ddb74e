"""The report: one HTML page that stands alone, of what was trained and how good it is."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from sysid.analysis import plots
from sysid.analysis.advice import Advice
from sysid.analysis.compare import FIGURES, SIMULATION
from sysid.analysis.gallery import Drawing, comparison_drawings, drawing, model_drawings
from sysid.analysis.residuals import residual_analysis
from sysid.analysis.timeline import timeline
from sysid.analysis.uncertainty import Band, ConformalBands, coverage
from sysid.data.records import Array, Record
from sysid.models import Model

_POINTS = 500_000  # of all series on a page: 2.7 MB
_LINES = 36  # of all figures over time, for their printed copies
_TIMELINES = 6
_STEPS = 200  # samples of a step response, where the data suggest nothing


@dataclass(frozen=True)
class Origin:
    """How a model came about: config as YAML, what it was made with, its history."""

    config: str
    environment: Mapping[str, Any]
    history: pd.DataFrame


@dataclass(frozen=True)
class Contents:
    """What a report is about.

    Args:
        title: the heading.
        models: name and model.
        records: the measured records that the models are judged on, and their ``part``.
        scores: a table of ``compare`` with these models; with a column ``part``, if it has one.
        part: what the records are called, such as ``test``.
        train: what the models were trained on, as far as known.
        valid: what chose their weights.
        bands: of the models that have some.
        origins: of the models that come from a run directory.
        advice: on the data.
    """

    title: str
    models: Mapping[str, Model]
    records: Sequence[Record]
    scores: pd.DataFrame
    part: str = "test"
    train: Sequence[Record] = ()
    valid: Sequence[Record] = ()
    bands: Mapping[str, ConformalBands] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    advice: Advice | None = None


def write_report(path: str | Path, contents: Contents) -> None:
    """Write a report that needs no network and no other file.

    Args:
        path: the ``.html`` file.
        contents: what it is about.
    """
    page = _template().render(
        title=contents.title,
        subtitle=_subtitle(contents),
        cards=_cards(contents),
        **_score_table(contents),
        **_simulations(contents),
        residuals=_residuals(contents),
        **_coverage(contents),
        data=_data(contents),
        advice=contents.advice,
        origins=_origins(contents),
        heads=_HEADS,
        infinity=math.inf,
        css=_asset("report.css"),
        js=_asset("timeline.js"),
        bokeh=_bokeh(),
    )
    partial = Path(f"{path}.partial")
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, path)


_HEADS = {
    "fit_index": "fit_index (%)",
    "vaf": "vaf (%)",
    "relative_width": "width / std",
    "coverage": "coverage",
}


def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sysid.analysis", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["capitalize_first"] = lambda s: s[:1].upper() + s[1:]
    return environment.get_template("report.html")


def _asset(name: str) -> Markup:
    text = (resources.files("sysid.analysis") / "page" / name).read_text(encoding="utf-8")
    return Markup(text)


def _bokeh() -> Markup:
    from bokeh.resources import Resources

    return Markup("\n".join(Resources(mode="inline", components=["bokeh"]).js_raw))


def _subtitle(contents: Contents) -> str:
    models = ", ".join(
        f"{name} ({model.kind.upper()}, {sum(p.numel() for p in model.parameters()):,} weights)"
        for name, model in contents.models.items()
    )
    samples = sum(len(r) for r in contents.records)
    count = len(contents.records)
    return f"{models} on {count} {contents.part} record{'s' * (count > 1)}, {samples:,} samples"


def _free_runs(contents: Contents) -> pd.DataFrame:
    scores = contents.scores
    kept = scores["horizon"] == SIMULATION
    if "part" in scores:
        kept &= scores["part"] == contents.part
    return scores[kept]


def _cards(contents: Contents) -> list[dict[str, Any]]:
    """Say in words what the free runs are worth, for each record and output."""
    cards = []
    groups = _free_runs(contents).groupby(["record", "output"], sort=False)
    for (record, output), rows in list(groups)[:_TIMELINES]:
        own = rows[rows["model"].isin(list(contents.models))]
        if own["rmse"].isna().all():
            continue
        best = own.loc[own["rmse"].idxmin()]
        lines = [f"free-run RMSE {best['rmse']:.4g} {best['unit']}".rstrip()]
        linear = rows[rows["model"].str.startswith("ARX(")]
        if len(linear) and best["rmse"] > 0 and np.isfinite(float(linear["rmse"].iloc[0])):
            ratio = float(linear["rmse"].iloc[0]) / best["rmse"]
            lines.append(
                f"{ratio:.3g} times nearer than the linear {linear['model'].iloc[0]}"
                if ratio >= 1
                else f"the linear {linear['model'].iloc[0]} is {1 / ratio:.3g} times nearer: "
                "do not use this network"
            )
        fit = best["fit_index"]
        who = f"{best['model']} on " if len(contents.models) > 1 else ""
        cards.append(
            {
                "where": f"{who}{record}, {output}",
                "big": f"{fit:.4g} % fit" if math.isfinite(fit) else "fit undefined",
                "lines": lines,
            }
        )
    return cards


def _score_table(contents: Contents) -> dict[str, Any]:
    scores = contents.scores
    columns = [c for c in ("part", "record", "output", "horizon", "model") if c in scores]
    columns += [*FIGURES, "unit", "samples"]
    columns += ["note"] if (scores["note"] != "").any() else []
    keys = [c for c in columns if c in ("part", "record", "output", "horizon")]
    own = scores[scores["model"].isin(list(contents.models))]
    best = set(own.groupby(keys, sort=False)["rmse"].idxmin().dropna())
    rows, before = [], None
    for index, row in zip(scores.index, scores.to_dict(orient="records"), strict=True):
        key = tuple(row[k] for k in keys)
        classes = ["first"] if key != before else []
        if row["model"] not in contents.models:
            classes.append("baseline")
        elif index in best and len(contents.models) > 1:
            classes.append("best")
        fit = row["fit_index"]
        cells = {c: "" if key == before and c in keys else row[c] for c in columns}
        bar = round(min(max(fit, 0), 100), 1) if math.isfinite(fit) else None
        rows.append({"classes": " ".join(classes), "cells": cells, "bar": bar})
        before = key
    return {
        "score_columns": columns,
        "numbers": {*FIGURES, "samples"},
        "scores": rows,
    }


def _simulations(contents: Contents) -> dict[str, Any]:
    """Return the figures over time, and those of each model on the first record."""
    chosen, notes = _chosen(contents)
    runs = {
        i: {name: model.simulate(contents.records[i]) for name, model in contents.models.items()}
        for i in {0, *(i for i, _ in chosen)}
    }
    series = 1 + 2 * len(contents.models)
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


def _chosen(contents: Contents) -> tuple[list[tuple[int, int]], list[str]]:
    """Return which outputs of which records are drawn over time: those that fit worst."""
    pairs = [(i, k) for i, r in enumerate(contents.records) for k in range(r.ny)]
    room = max(1, min(_TIMELINES, _LINES // (1 + 2 * len(contents.models))))
    if len(pairs) <= room:
        return pairs, []
    own = _free_runs(contents)
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
        "svg": drawing(still, caption).svg,
        # A tag in a name must not end the script element.
        "json": Markup(json.dumps(data).replace("<", "\\u003c")),
    }


def _residuals(contents: Contents) -> list[dict[str, Any]]:
    out = []
    drawn: set[str] = set()
    for record in contents.records:
        for name, model in contents.models.items():
            horizon = SIMULATION if model.output_error else 1
            kind = "free run" if model.output_error else "one step ahead"
            section: dict[str, Any] = {
                "title": f"{name} on {record.name}, {kind}",
                "rows": [],
                "figure": None,
            }
            try:
                analysis = residual_analysis(model, record, horizon)
            except ValueError as error:
                out.append(section | {"note": f"Not tested: {error}"})
                continue
            section["note"] = analysis.note
            section["rows"] = [_verdict(v) for v in analysis.verdicts.to_dict("records")]
            if name not in drawn and len(analysis.correlations):
                drawn.add(name)
                section["figure"] = drawing(
                    plots.residual_correlation(analysis),
                    "Correlations over the lag. Of a right model 1 % leave the shaded band.",
                )
            out.append(section)
    return out


def _verdict(row: Mapping[Any, Any]) -> dict[str, Any]:
    tested = math.isfinite(row["p_value"])
    mark = "untested" if not tested else "passed" if row["passed"] else "failed"
    p = f"{row['p_value']:.2g}" if tested else ""
    return {**row, "mark": mark, "p": p}


def _coverage(contents: Contents) -> dict[str, Any]:
    tables = [
        coverage(bands, contents.models[name], contents.records).assign(model=name)
        for name, bands in contents.bands.items()
    ]
    if not tables:
        return {"coverage": [], "band_words": ""}
    table = pd.concat(tables)
    table = table[["model", *(c for c in table.columns if c != "model")]]
    level = next(iter(contents.bands.values())).level
    words = (
        f"Half the width of a band is the error that {level:.0%} of the validation samples stay "
        f"below (split conformal). Coverage is the share of {contents.part} samples that the band "
        "holds. As validation also chose the weights, bands can be a little narrow; where they "
        f"hold much less than {level:.0%}, these records differ from the validation data."
    )
    return {"coverage": table.to_dict("records"), "band_words": words}


def _data(contents: Contents) -> list[dict[str, Any]]:
    rows = []
    parts = (("train", contents.train), ("valid", contents.valid), (contents.part, contents.records))
    for part, records in parts:
        for r in records if part != "train" or contents.part != "train" else ():
            step = r.sampling_time
            rows.append(
                {
                    "part": part,
                    "record": r.name,
                    "samples": len(r),
                    "sampling time": "unknown" if step is None else f"{step:.6g} s",
                    "duration": "unknown" if step is None else f"{len(r) * step:.5g} s",
                    "inputs": ", ".join(r.u_names),
                    "outputs": ", ".join(r.y_names),
                    "missing": int(np.isnan(np.hstack([r.u, r.y])).sum()),
                    "start from": r.n_init,
                }
            )
    return rows


def _origins(contents: Contents) -> list[dict[str, Any]]:
    out = []
    for name in contents.models:
        origin = contents.origins.get(name)
        if origin is None:
            words = "A model file tells nothing of its training; a run directory does."
            out.append({"name": name, "words": words, "figure": None, "config": "", "environment": {}})
            continue
        facts = dict(origin.environment)
        words = (
            f"{facts.pop('epochs', len(origin.history))} epochs in {facts.pop('seconds', 0):.1f} s; "
            f"stopped because of {facts.pop('stopped_because', 'an unknown reason')}; the weights "
            f"are those of epoch {facts.pop('best_epoch', 'unknown')}."
        )
        figure: Drawing | None = None
        if len(origin.history):
            figure = drawing(plots.learning_curve(origin.history), "Learning curve.")
        shown = {k: _plain(v) for k, v in facts.items()}
        out.append(
            {
                "name": name,
                "words": words,
                "figure": figure,
                "config": origin.config,
                "environment": shown,
            }
        )
    return out


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
