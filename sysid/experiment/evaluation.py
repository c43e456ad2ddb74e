"""Evaluation: what a run directory, or several, say of their models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sysid.analysis import plots
from sysid.analysis.advice import advice
from sysid.analysis.compare import SIMULATION, compare, scores_to_dict
from sysid.analysis.contents import Contents, Origin
from sysid.analysis.report import write_report
from sysid.analysis.uncertainty import ConformalBands, conformal_bands
from sysid.data.atomic import replacing
from sysid.data.records import Record
from sysid.experiment.config import Config, read_config
from sysid.experiment.data import Data, load_data
from sysid.models import Model
from sysid.training.full_sequence import usable_stretches

BAND_HORIZONS = (1, 10, SIMULATION)


@dataclass(frozen=True)
class Evaluation:
    """The fit table, ``metrics.json`` as a dictionary, and what the report is about."""

    scores: pd.DataFrame
    metrics: dict[str, Any]
    contents: Contents

    def figure(self) -> Figure:
        """Draw measured against simulated of the first record."""
        model = next(iter(self.contents.models.values()))
        record = self.contents.records[0]
        y_hat, start = model.simulate(record), model.scoring_start(record)
        return plots.simulation(record, y_hat, start, record.name)

    def write(self, directory: Path) -> None:
        """Write the figure and the report of a run."""
        with replacing(directory / "simulation.png") as partial:
            self.figure().savefig(partial, dpi=120, format="png")
        write_report(directory / "report.html", self.contents)


def evaluate(config: Config, data: Data, model: Model, origin: Origin) -> Evaluation:
    """Score a trained model on its test and validation records, or on those of its training.

    Args:
        config: what it was trained by.
        data: its records.
        model: the model.
        origin: how it came about.
    """
    parts = {"test": data.test, "valid": data.valid}
    if not (data.test or data.valid):
        # A simulation ends where an input is missing.
        parts["train"] = [p for r in data.train for p in usable_stretches(r, model.n_memory)]
    parts = {part: records for part, records in parts.items() if records}
    tables = {
        part: compare({model.kind: model}, records, (1, SIMULATION))
        for part, records in parts.items()
    }
    metrics = {part: scores_to_dict(t[t.model == model.kind]) for part, t in tables.items()}
    scores = pd.concat([t.assign(part=part) for part, t in tables.items()], ignore_index=True)
    scores = scores[["part", *(c for c in scores.columns if c != "part")]]
    part = next(iter(parts))
    contents = Contents(
        title=config.name,
        models={model.kind: model},
        records=parts[part],
        scores=scores,
        part=part,
        train=data.train,
        valid=data.valid if part != "valid" else [],
        bands=bands({model.kind: model}, {model.kind: data}) if part == "test" else {},
        origins={model.kind: origin},
        advice=advice(data.train, data.test),
    )
    return Evaluation(scores, metrics, contents)


def bands(models: dict[str, Model], data: dict[str, Data]) -> dict[str, ConformalBands]:
    """Return the bands of those models whose validation records can tell them."""
    out = {}
    for name, model in models.items():
        if name not in data or not data[name].valid:
            continue
        horizons = (SIMULATION,) if model.output_error else BAND_HORIZONS
        try:
            found = conformal_bands(model, data[name].valid, horizons=horizons)
        except ValueError:  # too few samples for the level
            continue
        if all(np.isfinite(w).all() for w in found.widths.values()):
            out[name] = found
    return out


def read_origin(run: Path) -> Origin | None:
    """Return how the model of a run directory came about; ``None`` for a model file."""
    files = [run / name for name in ("config.yaml", "environment.json", "history.csv")]
    if not all(f.is_file() for f in files):
        return None
    config, environment, history = files
    return Origin(
        config.read_text(encoding="utf-8"),
        json.loads(environment.read_text(encoding="utf-8")),
        pd.read_csv(history),
    )


def read_data(run: Path, data_dir: str | None) -> Data | None:
    """Return the records of a run directory; ``None`` where they are no longer to be had."""
    if not (run / "config.yaml").is_file():
        return None
    try:
        return load_data(read_config(run / "config.yaml"), data_dir)
    except (ValueError, OSError, ImportError):
        return None


def compare_contents(
    runs: dict[str, Path], models: dict[str, Model], records: list[Record], scores: pd.DataFrame,
    data_dir: str | None,
) -> Contents:  # fmt: skip
    """Return what the report of several runs is about.

    Args:
        runs: name and run directory or model file.
        models: the models of the same names.
        records: what they are compared on.
        scores: the fit table.
        data_dir: where benchmark files are looked for first.
    """
    data = {n: d for n, run in runs.items() if (d := read_data(run, data_dir)) is not None}
    origins = {n: o for n, run in runs.items() if (o := read_origin(run)) is not None}
    train = next((d.train for d in data.values()), [])
    return Contents(
        title=f"Comparison of {', '.join(models)}",
        models=models,
        records=records,
        scores=scores,
        part="data",
        train=train,
        bands=bands(models, data),
        origins=origins,
        advice=advice(train, records) if train else advice(records),
    )
