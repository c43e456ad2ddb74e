"""Evaluation: what a run directory, or several, say of their models."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sysid.analysis import plots
from sysid.analysis.advice import Advice, advice
from sysid.analysis.compare import SIMULATION, compare, scores_to_dict
from sysid.analysis.contents import Contents, Origin
from sysid.analysis.report import write_report
from sysid.analysis.uncertainty import ConformalBands, conformal_bands
from sysid.data.atomic import replacing
from sysid.data.errors import one_line
from sysid.data.records import Record
from sysid.experiment.config import Config, read_config
from sysid.experiment.data import Data, load_data
from sysid.models import Model
from sysid.training.full_sequence import usable_stretches

BAND_HORIZONS = (1, 10, SIMULATION)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """The fit table, ``metrics.json`` as a dictionary, and the part that the report is about."""

    scores: pd.DataFrame
    metrics: dict[str, Any]
    part: str


def evaluate(data: Data, model: Model) -> Evaluation:
    """Score a trained model on its test and validation records, or on those of its training.

    Args:
        data: the records.
        model: the model.
    """
    parts = {"test": data.test, "valid": data.valid}
    if not (data.test or data.valid):
        # A simulation ends where an input is missing.
        n_init = model.data_n_init
        parts["train"] = [
            p.replace(n_init=n_init or p.n_init)
            for r in data.train
            for p in usable_stretches(r, max(model.n_memory, n_init))
        ]
    parts = {part: records for part, records in parts.items() if records}
    tables = {
        part: compare({model.kind: model}, records, (1, SIMULATION))
        for part, records in parts.items()
    }
    metrics = {part: scores_to_dict(t[t.model == model.kind]) for part, t in tables.items()}
    scores = pd.concat([t.assign(part=part) for part, t in tables.items()], ignore_index=True)
    scores = scores[["part", *(c for c in scores.columns if c != "part")]]
    return Evaluation(scores, metrics, next(iter(parts)))


def figure(data: Data, model: Model) -> Figure:
    """Draw measured against simulated of the first record that the model is judged on."""
    record = (data.test or data.valid or data.train)[0]
    y_hat, start = model.simulate(record), model.scoring_start(record)
    return plots.simulation(record, y_hat, start, record.name)


def write_figure(directory: Path, drawn: Figure) -> None:
    """Write the figure of a run."""
    with replacing(directory / "simulation.png") as partial:
        drawn.savefig(partial, dpi=120, format="png")


def write_run_report(
    directory: Path,
    config: Config,
    data: Data,
    model: Model,
    origin: Origin,
    evaluation: Evaluation,
    failures: list[str],
) -> None:
    """Write the report of a run.

    Args:
        directory: the run directory.
        config: what the model was trained by.
        data: its records.
        model: the model.
        origin: how it came about.
        evaluation: its scores.
        failures: gets a line for a part that could not be made.
    """
    part = evaluation.part
    found: Advice | None = None
    with going_on("the advice on the data", failures):
        found = advice(data.train, data.test)
    contents = Contents(
        title=config.name,
        models={model.kind: model},
        records={"test": data.test, "valid": data.valid, "train": data.train}[part],
        scores=evaluation.scores,
        part=part,
        train=data.train,
        valid=data.valid if part != "valid" else [],
        bands=bands({model.kind: model}, {model.kind: data}) if part == "test" else {},
        origins={model.kind: origin},
        advice=found,
    )
    write_report(directory / "report.html", contents)


@contextmanager
def going_on(what: str, failures: list[str]) -> Iterator[None]:
    """Go on where what is said of a finished model cannot be made, with a line that says so.

    A directory that cannot be written is an error still.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        _LOG.debug("%s failed", what, exc_info=True)
        failures.append(f"{what} could not be made: {type(error).__name__}: {one_line(error)}")


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
    data_dir: str | None, failures: list[str],
) -> Contents:  # fmt: skip
    """Return what the report of several runs is about.

    Args:
        runs: name and run directory or model file.
        models: the models of the same names.
        records: what they are compared on.
        scores: the fit table.
        data_dir: where benchmark files are looked for first.
        failures: gets a line for a part that could not be made.
    """
    data = {n: d for n, run in runs.items() if (d := read_data(run, data_dir)) is not None}
    origins = {n: o for n, run in runs.items() if (o := read_origin(run)) is not None}
    train = next((d.train for d in data.values()), [])
    found: Advice | None = None
    with going_on("the advice on the data", failures):
        found = advice(train, records) if train else advice(records)
    return Contents(
        title=f"Comparison of {', '.join(models)}",
        models=models,
        records=records,
        scores=scores,
        part="data",
        train=train,
        bands=bands(models, data),
        origins=origins,
        advice=found,
    )
