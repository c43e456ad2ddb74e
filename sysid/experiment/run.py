"""From a config to a run directory: load, train, evaluate, write."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from sysid.experiment.config import Config
from sysid.experiment.data import Data, load_data
from sysid.experiment.tracking import Tracker, check_trackers, open_trackers
from sysid.models import Model
from sysid.models.files import load, save
from sysid.training.checkpoints import load_checkpoint, save_checkpoint
from sysid.training.fit import FitResult, run_to_end
from sysid.training.multistart import fit_starts
from sysid.training.trainer import Trainer

MODEL_FILE = "model.safetensors"
CHECKPOINT_FILE = "checkpoint.pt"


@dataclass(frozen=True)
class Run:
    """A finished run: where it is, how training ended, and the fit table."""

    directory: Path
    result: FitResult
    scores: pd.DataFrame
    seconds: float


def train_config(
    config: Config,
    out: Path | None = None,
    *,
    data_dir: str | None = None,
    progress: bool | None = None,
    resume: bool = False,
) -> Run:
    """Train what a config describes and leave a run directory.

    Nothing is written before config, data and model have been found to go together.

    Args:
        config: the config.
        out: the run directory; ``runs/NAME``, with a number where that exists, by default.
        data_dir: where benchmark files are looked for first.
        progress: whether to show a progress bar; ``None``: on a terminal.
        resume: go on from the checkpoint in ``out``.
    """
    started = time.perf_counter()
    if config.sweep is not None:
        raise ValueError(
            "config must have no sweep section to be trained, got one; use sysid sweep, or take "
            "the section out"
        )
    check_trackers(config.tracking)
    data = load_data(config, data_dir)
    model = config.build_model(data.train[0].nu, data.train[0].ny)
    trainer = Trainer(model, data.train, data.valid or None, config.settings())
    for record in data.test:
        model.check_record(record)
    directory = _directory(config, out, resume)
    if resume:
        trainer.load_state_dict(load_checkpoint(directory / CHECKPOINT_FILE))
    write_text(directory / "config.yaml", config.to_yaml())
    trackers = open_trackers(
        config.tracking, directory, config.to_yaml(), epochs_done=len(trainer.history)
    )
    last = [time.perf_counter()]

    def keep(trainer: Trainer) -> None:
        for tracker in trackers:
            tracker.epoch(trainer.history[-1])
        if time.perf_counter() - last[0] > 10 or len(trainer.history) == 1:
            save_checkpoint(trainer.state_dict(), directory / CHECKPOINT_FILE)
            last[0] = time.perf_counter()

    if config.training.starts > 1:
        model = config.build_model(data.train[0].nu, data.train[0].ny)
        result = fit_starts(model, data.train, data.valid or None, config.settings())
    else:
        result = run_to_end(trainer, progress, keep)
    seconds = time.perf_counter() - started
    scores = _finish(directory, config, data, result, seconds, trackers)
    if result.stopped_because != "interrupted":
        (directory / CHECKPOINT_FILE).unlink(missing_ok=True)
    return Run(directory, result, scores, seconds)


def _finish(
    directory: Path,
    config: Config,
    data: Data,
    result: FitResult,
    seconds: float,
    trackers: Sequence[Tracker],
) -> pd.DataFrame:
    """Evaluate and write what the run directory holds."""
    from sysid.analysis.contents import Origin
    from sysid.analysis.plots import learning_curve
    from sysid.experiment.evaluation import evaluate

    save(result.model, directory / MODEL_FILE)
    result.history.to_csv(directory / "history.csv", index=False)
    if result.starts:
        (directory / "starts").mkdir(exist_ok=True)
        for i, start in enumerate(result.starts):
            save(start.model, directory / "starts" / f"{i}.safetensors")
        result.spread.to_csv(directory / "starts.csv", index=False)
    environment = _environment(seconds, result)
    write_text(directory / "environment.json", json.dumps(environment, indent=2))
    origin = Origin(config.to_yaml(), environment, result.history)
    evaluation = evaluate(config, data, result.model, origin)
    write_text(
        directory / "metrics.json", json.dumps(evaluation.metrics, indent=2, allow_nan=False)
    )
    evaluation.write(directory)
    if trackers:
        figures = {
            "Measured against simulated": evaluation.figure(),
            "Learning curve": learning_curve(result.history),
        }
        for tracker in trackers:
            tracker.finish(evaluation.metrics, figures)
    return evaluation.scores


def open_model(run: str | Path) -> Model:
    """Return the model of a run directory or model file.

    Raises:
        FileNotFoundError: if there is nothing there.
        ValueError: if it is not a run directory.
    """
    path = Path(run)
    if path.is_dir():
        if not (path / MODEL_FILE).is_file():
            raise ValueError(
                f"run must be a run directory with a {MODEL_FILE}, got {path}; "
                "give what `sysid train --out` wrote"
            )
        path = path / MODEL_FILE
    return load(path)


def open_models(runs: Sequence[str]) -> dict[str, Model]:
    """Return the models of runs, named by the last part of each path that tells them apart."""
    if len(set(runs)) < len(runs):
        raise ValueError(f"runs must differ, got {list(runs)}")
    parts = [Path(r).resolve().parts for r in runs]
    depth = 1
    while len({p[-depth:] for p in parts}) < len(parts):
        depth += 1
    names = (str(Path(*p[-depth:])) for p in parts)
    return {name: open_model(r) for name, r in zip(names, runs, strict=True)}


def _directory(config: Config, out: Path | None, resume: bool) -> Path:
    """Return a new, writable run directory, or the one to go on in."""
    if resume:
        if out is None or not (out / CHECKPOINT_FILE).is_file():
            raise ValueError(
                f"resume must name a run directory with a {CHECKPOINT_FILE}, got {out}"
            )
        return out
    if out is None:
        out, number = Path("runs") / config.name, 2
        while out.exists():
            out, number = Path("runs") / f"{config.name}-{number}", number + 1
    return run_directory(out)


def run_directory(out: Path) -> Path:
    """Return a directory to write in, new or empty, after making it.

    Raises:
        ValueError: if it holds something, or cannot be written.
    """
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"out must be new or empty, got {out}; choose another directory")
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"out must be a directory that can be written, got {out}: {error.strerror}"
        ) from None
    return out


def write_text(path: Path, text: str) -> None:
    """Write a file; it is complete or the one before it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def _environment(seconds: float, result: FitResult) -> dict[str, Any]:
    packages = ("sysid", "torch", "numpy", "pandas", "scikit-learn", "scipy")
    return {
        "seconds": round(seconds, 3),
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "stopped_because": result.stopped_because,
        "device": str(result.model.device),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "versions": {p: metadata.version(p) for p in packages},
        "command": ["sysid", *sys.argv[1:]],
    }
