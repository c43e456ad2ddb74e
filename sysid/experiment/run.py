"""From a config to a run directory: load, train, evaluate, write."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sysid.data.atomic import replacing, write_text
from sysid.data.errors import one_line
from sysid.experiment.config import Config, differences, read_config
from sysid.experiment.data import Data, load_data
from sysid.experiment.directory import (
    CHECKPOINT_FILE,
    CONFIG_FILE,
    MODEL_FILE,
    RunError,
    is_begun,
    run_directory,
    write_json,
)
from sysid.experiment.tracking import Tracker, check_trackers, open_trackers
from sysid.models import Model
from sysid.models.files import load, save
from sysid.training.checkpoints import load_checkpoint, save_checkpoint
from sysid.training.distributed import joined_group
from sysid.training.fit import FitResult, run_to_end
from sysid.training.multistart import fit_starts
from sysid.training.trainer import Trainer

if TYPE_CHECKING:
    from sysid.analysis.contents import Origin


@dataclass(frozen=True)
class Run:
    """A finished run: where it is, how training ended, and the fit table.

    ``failures`` says what could not be made of what describes the model: the fit table is then
    empty, or the report is not there. The model is.
    """

    directory: Path
    result: FitResult
    scores: pd.DataFrame
    seconds: float
    failures: tuple[str, ...] = ()


def train_config(
    config: Config,
    out: Path | None = None,
    *,
    data_dir: str | None = None,
    progress: bool | None = None,
    resume: bool = False,
    state: dict[str, Any] | None = None,
) -> Run | None:
    """Train what a config describes and leave a run directory.

    Nothing is written before config, data and model have been found to go together. A run that
    was killed goes on with ``resume`` as if nothing had happened. Started by torchrun, the
    processes share the training, and the leading one alone writes.

    Args:
        config: the config.
        out: the run directory; ``runs/NAME``, with a number where that exists, by default.
        data_dir: where benchmark files are looked for first.
        progress: whether to show a progress bar; ``None``: on a terminal.
        resume: go on from the checkpoint in ``out``.
        state: of a trainer with the same config and data, to go on from.

    Returns:
        The run; ``None`` in a process that does not lead.

    Raises:
        ValueError: if config, data, model and directory do not go together.
        RunError: if the directory cannot be written any more; the checkpoint in it is whole.
    """
    started = time.perf_counter()
    if config.sweep is not None:
        raise ValueError(
            "config must have no sweep section to be trained, got one; use sysid sweep, or take "
            "the section out"
        )
    check_trackers(config.tracking)
    with joined_group() as group:
        data = load_data(config, data_dir)
        model = config.build_model(data.train[0].nu, data.train[0].ny)
        # Of several starts this is one; the others are made beside it.
        one = config.settings().model_copy(update={"starts": 1, "combine": "best"})
        trainer = Trainer(model, data.train, data.valid or None, one, group)
        if state is not None:
            trainer.load_state_dict(state)
        for record in data.test:
            model.check_record(record)
        if group.leads:
            return _lead(trainer, config, data, out, resume, progress, started)
        if (begun := group.agree(None)) is not None:
            trainer.load_state_dict(begun)
        run_to_end(trainer, progress=False)
        return None


def _lead(
    trainer: Trainer,
    config: Config,
    data: Data,
    out: Path | None,
    resume: bool,
    progress: bool | None,
    started: float,
) -> Run:
    """Train, evaluate and write."""
    with run_directory(out, config.name, resume) as directory:
        digest = data.digest()
        if resume:
            _go_on(trainer, directory, config, digest)
        trainer.group.agree(trainer.state_dict() if resume else None)
        try:
            write_text(directory / CONFIG_FILE, config.to_yaml())
            trackers = open_trackers(
                config.tracking, directory, config.to_yaml(), epochs_done=len(trainer.history)
            )
            result = _train(trainer, directory, config, digest, trackers, progress)
            seconds = time.perf_counter() - started
            failures: list[str] = []
            scores = _finish(directory, config, data, result, seconds, trackers, failures)
            if result.stopped_because != "interrupted":
                (directory / CHECKPOINT_FILE).unlink(missing_ok=True)
        except OSError as error:
            hint = "and begin again"
            if is_begun(directory):
                hint = f"and go on with: sysid train --resume {directory}"
            raise RunError(
                f"run directory must be writable to the end, {directory} is not: "
                f"{error.strerror or error}; make room {hint}"
            ) from error
    return Run(directory, result, scores, seconds, tuple(failures))


def _train(
    trainer: Trainer,
    directory: Path,
    config: Config,
    digest: str,
    trackers: Sequence[Tracker],
    progress: bool | None,
) -> FitResult:
    """Train to the end, with a checkpoint from the start on."""
    period = config.checkpoint
    path = directory / CHECKPOINT_FILE
    last = time.perf_counter()

    def save_state(trainer: Trainer) -> None:
        nonlocal last
        save_checkpoint({"data": digest, **trainer.state_dict()}, path)
        last = time.perf_counter()

    def after_epoch(trainer: Trainer) -> None:
        for tracker in trackers:
            tracker.epoch(trainer.history[-1])
        due = period.epochs is not None and len(trainer.history) % period.epochs == 0
        if due or (period.seconds is not None and time.perf_counter() - last > period.seconds):
            save_state(trainer)

    save_state(trainer)
    if config.training.starts > 1:
        # Begun again after a kill: the starts end together, and in the same bits.
        return fit_starts(
            trainer.model.fresh(config.seed),
            trainer.train,
            trainer.valid or None,
            config.settings(),
        )
    result = run_to_end(trainer, progress, after_epoch)
    # Whoever sent a signal may not wait for the evaluation.
    save_state(trainer)
    return result


def _go_on(trainer: Trainer, directory: Path, config: Config, digest: str) -> None:
    """Put a trainer where the run in a directory was, if it is the same run."""
    if (directory / CONFIG_FILE).is_file():
        before = read_config(directory / CONFIG_FILE)
        if changed := differences(before.model_dump(), config.resolved().model_dump()):
            raise ValueError(
                f"config must be that of {directory}, got another {', '.join(changed)}; "
                "leave the config out to go on, or train into another directory"
            )
    if not is_begun(directory):
        return
    state = load_checkpoint(directory / CHECKPOINT_FILE)
    if state.pop("data", None) != digest:
        raise ValueError(
            f"data must be as they were when {directory} was begun, got others; "
            "train into another directory"
        )
    try:
        trainer.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(
            f"checkpoint must be of this config, got that of {directory}: {one_line(error)}; "
            "train into another directory"
        ) from None


def _finish(
    directory: Path,
    config: Config,
    data: Data,
    result: FitResult,
    seconds: float,
    trackers: Sequence[Tracker],
    failures: list[str],
) -> pd.DataFrame:
    """Write what the run directory holds: the model first, and then what describes it."""
    from sysid.analysis.contents import Origin

    for model in (result.model, *(start.model for start in result.starts)):
        model.data_n_init = data.n_init
    save(result.model, directory / MODEL_FILE)
    with replacing(directory / "history.csv") as partial:
        result.history.to_csv(partial, index=False)
    if result.starts:
        (directory / "starts").mkdir(exist_ok=True)
        for i, start in enumerate(result.starts):
            save(start.model, directory / "starts" / f"{i}.safetensors")
        with replacing(directory / "starts.csv") as partial:
            result.spread.to_csv(partial, index=False)
    environment = _environment(seconds, result)
    write_json(directory / "environment.json", environment)
    origin = Origin(config.to_yaml(), environment, result.history)
    return _describe(directory, config, data, result, origin, trackers, failures)


def _describe(
    directory: Path,
    config: Config,
    data: Data,
    result: FitResult,
    origin: Origin,
    trackers: Sequence[Tracker],
    failures: list[str],
) -> pd.DataFrame:
    """Evaluate, draw and report; what fails of it does not make a training undone."""
    from sysid.analysis.plots import learning_curve
    from sysid.experiment.evaluation import (
        Evaluation,
        evaluate,
        figure,
        going_on,
        write_figure,
        write_run_report,
    )

    model = result.model
    evaluation = Evaluation(pd.DataFrame(), {}, "")
    figures = {}
    with going_on("metrics.json", failures):
        evaluation = evaluate(data, model)
    write_json(directory / "metrics.json", evaluation.metrics)
    with going_on("simulation.png", failures):
        figures["Measured against simulated"] = drawn = figure(data, model)
        write_figure(directory, drawn)
    if evaluation.part:
        with going_on("report.html", failures):
            write_run_report(directory, config, data, model, origin, evaluation, failures)
    if trackers:
        figures["Learning curve"] = learning_curve(result.history)
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


def _environment(seconds: float, result: FitResult) -> dict[str, Any]:
    packages = ("sysid", "torch", "numpy", "pandas", "scikit-learn", "scipy")
    return {
        "seconds": round(seconds, 3),
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "stopped_because": result.stopped_because,
        "messages": list(result.messages),
        "device": str(result.model.device),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "versions": {p: metadata.version(p) for p in packages},
        "command": ["sysid", *sys.argv[1:]],
    }
