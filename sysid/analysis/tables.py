"""Tables: fit, coverage, data and training as the page of a report shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sysid.analysis import plots
from sysid.analysis.compare import over_records
from sysid.analysis.contents import Contents
from sysid.analysis.gallery import Drawing, drawing
from sysid.analysis.uncertainty import coverage as conformal_coverage
from sysid.data.records import Record

_CARDS = 6
_RECORDS = 4  # that have a card each

_FORMATS = {
    "fit_index": ".2f",
    "rmse": ".4g",
    "nrmse": ".4f",
    "r2": ".4f",
    "mae": ".4g",
    "vaf": ".2f",
}
HEADS = {
    "fit_index": "fit_index (%)",
    "vaf": "vaf (%)",
    "relative_width": "width / std",
}


def subtitle(contents: Contents) -> str:
    """Return in a line which models were judged on what."""
    models = ", ".join(
        f"{name} ({model.kind.upper()}, {sum(p.numel() for p in model.parameters()):,} weights)"
        for name, model in contents.models.items()
    )
    samples = sum(len(r) for r in contents.records)
    count = len(contents.records)
    return f"{models} on {count} {contents.part} record{'s' * (count > 1)}, {samples:,} samples"


def cards(contents: Contents) -> list[dict[str, Any]]:
    """Say in words what the free runs are worth: of each output over all records, then of each.

    Of many records there is none by itself, and of many outputs the first few are said; the
    table has them all.
    """
    runs = contents.free_runs()
    if len(contents.records) > 1:
        each = [] if len(contents.records) > _RECORDS else [runs]
        runs = pd.concat([over_records(runs), *each])
    found = (
        _card(contents, str(record), str(output), rows)
        for (record, output), rows in runs.groupby(["record", "output"], sort=False)
    )
    return [card for card in found if card][:_CARDS]


def _card(contents: Contents, record: str, output: str, rows: pd.DataFrame) -> dict[str, Any]:
    own = rows[rows["model"].isin(list(contents.models))]
    if own["rmse"].isna().all():
        return {}
    best = own.iloc[int(np.nanargmin(own["rmse"]))]
    lines = [f"free-run RMSE {best['rmse']:.4g} {best['unit']}".rstrip()]
    linear = rows[rows["model"].str.startswith("linear ARX(")]
    if not np.isfinite(best["rmse"]):
        lines = ["the free run exceeds all bounds"]
    elif len(linear) and best["rmse"] > 0 and np.isfinite(float(linear["rmse"].iloc[0])):
        ratio = float(linear["rmse"].iloc[0]) / best["rmse"]
        lines.append(
            f"{ratio:.3g} times less error than the {linear['model'].iloc[0]}"
            if ratio >= 1
            else f"the {linear['model'].iloc[0]} has {1 / ratio:.3g} times less error: "
            "no network is needed here"
        )
    fit, mean = best["fit_index"], ""
    if record.startswith("all "):
        lines.append(best["note"])
        mean = "mean "
    elif n_init := int(best["n_init"]):
        lines.append(f"started from {n_init} measured samples, which do not count")
    who = f"{best['model']} on " if len(contents.models) > 1 else ""
    return {
        "where": f"{who}{record}: {output}",
        "big": f"{mean}{fit:.4g} % fit" if math.isfinite(fit) else "fit undefined",
        "lines": [line for line in lines if line],
    }


def score_table(contents: Contents) -> dict[str, Any]:
    """Return the fit table, grouped by part, record and output; rows over all records first."""
    scores = pd.concat([over_records(contents.scores), contents.scores], ignore_index=True)
    keys = [c for c in ("part", "record", "output") if c in scores]
    groups = []
    for key, table in scores.groupby(keys, sort=False):
        own = table[table["model"].isin(list(contents.models))]
        best = {g.idxmin() for _, g in own.groupby("horizon")["rmse"] if g.notna().any()}
        rows, horizon = [], None
        for index, row in zip(table.index, table.to_dict(orient="records"), strict=True):
            classes = ["next"] if row["horizon"] != horizon else []
            if row["model"] not in contents.models:
                classes.append("baseline")
            elif index in best and len(contents.models) > 1:
                classes.append("best")
            fit = row["fit_index"]
            rows.append(
                {
                    "classes": " ".join(classes),
                    "horizon": "" if row["horizon"] == horizon else row["horizon"],
                    "model": row["model"],
                    "note": row["note"],
                    "bar": round(min(max(fit, 0), 100), 1) if math.isfinite(fit) else None,
                    "figures": {n: _shown(n, row[n], row["unit"]) for n in _FORMATS},
                    "samples": row["samples"],
                }
            )
            horizon = row["horizon"]
        *part, record, output = map(str, key)
        which = record if record.startswith("all ") else f"record '{record}'"
        title = " ".join([*part, f"{which}, output '{output}'"])
        if n_init := int(table["n_init"].iloc[0]):
            title += f"; runs start from the first {n_init} measured samples, which do not count"
        groups.append({"title": title, "rows": rows})
    return {"figure_names": list(_FORMATS), "scores": groups}


def _shown(name: str, value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "undefined"
    text = format(value, _FORMATS[name])
    if float(text) == 0:
        text = text.lstrip("-")
    return f"{text} {unit}".strip() if name in ("rmse", "mae") else text


def coverage(contents: Contents) -> dict[str, Any]:
    """Return how much of the records the bands hold, and what that means."""
    tables = [
        conformal_coverage(bands, contents.models[name], contents.records).assign(model=name)
        for name, bands in contents.bands.items()
    ]
    if not tables:
        return {"coverage": [], "band_words": ""}
    table = pd.concat(tables)
    table = table[["model", *(c for c in table.columns if c != "model")]]
    level = next(iter(contents.bands.values())).level
    words = (
        f"Half the width of a band is the error that {level:.0%} of the validation samples stay "
        f"below (split conformal). Coverage is the share of the samples that the band "
        "holds. As validation also chose the weights, bands can be a little narrow; where they "
        f"hold much less than {level:.0%}, these records differ from the validation data."
    )
    return {"coverage": table.to_dict("records"), "band_words": words}


def data(contents: Contents) -> list[dict[str, Any]]:
    """Return a row per record of training, validation and what the models are judged on."""
    return record_rows(
        {"train": contents.train, "valid": contents.valid, contents.part: contents.records}
    )


def record_rows(parts: Mapping[str, Sequence[Record]]) -> list[dict[str, Any]]:
    """Return a row per record of each part; a part without a name has no column."""
    rows = []
    for part, records in parts.items():
        for r in records:
            step = r.sampling_time
            rows.append(
                ({"part": part} if part else {})
                | {
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


def origins(contents: Contents) -> list[dict[str, Any]]:
    """Return how each model was trained, as far as it is known."""
    out: list[dict[str, Any]] = []
    for name in contents.models:
        origin = contents.origins.get(name)
        if origin is None:
            words = "A model file tells nothing of its training; a run directory does."
            out.append(
                {"name": name, "words": words, "figure": None, "config": "", "environment": {}}
            )
            continue
        facts = dict(origin.environment)
        words = (
            f"{facts.pop('epochs')} epochs, {facts.pop('seconds'):.1f} s with loading the data; "
            f"stopped because of {facts.pop('stopped_because')}; the weights are those of epoch "
            f"{facts.pop('best_epoch')}."
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
