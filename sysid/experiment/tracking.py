"""Trackers: what a run reports to TensorBoard or MLflow while it trains and when it is done."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol

from sysid.training.progress import Epoch

TrackerName = Literal["tensorboard", "mlflow"]

Metrics = dict[str, Any]
"""What ``metrics.json`` holds: part, record, output, horizon, figure."""


class Tracker(Protocol):
    """Follows one run."""

    def epoch(self, epoch: Epoch) -> None:
        """Take what an epoch reached: a row of ``history.csv``."""
        ...

    def finish(self, metrics: Metrics, figures: dict[str, Any]) -> None:
        """Take the final figures, numbers and drawings, and close."""
        ...


class TensorBoard:
    """Writes event files into the run directory: ``tensorboard --logdir runs``."""

    def __init__(self, directory: Path, config_text: str, epochs_done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(
            str(directory / "tensorboard"), purge_step=epochs_done + 1 if epochs_done else None
        )
        if not epochs_done:
            self.writer.add_text("config", f"```yaml\n{config_text}\n```")

    def epoch(self, epoch: Epoch) -> None:
        """Write a scalar per column of the history."""
        for name, value in _columns(epoch).items():
            self.writer.add_scalar(name, value, epoch.epoch)
        self.writer.flush()

    def finish(self, metrics: Metrics, figures: dict[str, Any]) -> None:
        """Write final figures as scalars, and drawings as images."""
        for name, value in flat(metrics).items():
            self.writer.add_scalar(f"final/{name}", value)
        for title, figure in figures.items():
            self.writer.add_figure(title, figure, close=False)
        self.writer.close()


class MLflow:
    """Logs to ``MLFLOW_TRACKING_URI``, or to MLflow's local database where that is not set."""

    def __init__(self, directory: Path, config_text: str, epochs_done: int) -> None:
        with _quiet():
            from mlflow.tracking import MlflowClient

            self.client = MlflowClient()
            known = directory / "mlflow_run_id"
            if epochs_done and known.is_file():
                self.run_id = known.read_text(encoding="utf-8")
                return
            experiment = self.client.get_experiment_by_name("sysid")
            experiment_id = (
                self.client.create_experiment("sysid")
                if experiment is None
                else experiment.experiment_id
            )
            run = self.client.create_run(experiment_id, run_name=directory.name)
            self.run_id = run.info.run_id
            known.write_text(self.run_id, encoding="utf-8")  # for a resumed training
            self.client.log_text(self.run_id, config_text, "config.yaml")

    def epoch(self, epoch: Epoch) -> None:
        """Log a metric per column of the history."""
        with _quiet():
            for name, value in _columns(epoch).items():
                self.client.log_metric(self.run_id, name, value, step=epoch.epoch)

    def finish(self, metrics: Metrics, figures: dict[str, Any]) -> None:
        """Log final figures as metrics, and drawings as images."""
        with _quiet():
            for name, value in flat(metrics).items():
                self.client.log_metric(self.run_id, f"final/{_plain(name)}", value)
            for title, figure in figures.items():
                self.client.log_figure(self.run_id, figure, f"{_plain(title)}.png")
            self.client.set_terminated(self.run_id)


_TRACKERS: dict[str, type[TensorBoard] | type[MLflow]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
}


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Raise if a tracker is not installed.

    Raises:
        ImportError: naming what to install.
    """
    from importlib.util import find_spec

    for name in names:
        if find_spec(name) is None:
            raise ImportError(
                f"{name} must be installed to track with it, got none; pip install "
                "'sysid[tracking]'"
            )


def open_trackers(
    names: Sequence[TrackerName], directory: Path, config_text: str, epochs_done: int = 0
) -> list[Tracker]:
    """Return the trackers of a run.

    Args:
        names: of the trackers.
        directory: the run directory.
        config_text: the resolved config.
        epochs_done: of a training that is resumed; what was tracked before them stays.
    """
    return [_TRACKERS[name](directory, config_text, epochs_done) for name in names]


def flat(metrics: Metrics, prefix: str = "") -> dict[str, float]:
    """Return nested figures by their path, those that are numbers.

    Example:
        >>> flat({"test": {"run1": {"y1": {"simulation": {"rmse": 0.5, "r2": None}}}}})
        {'test/run1/y1/simulation/rmse': 0.5}
    """
    out: dict[str, float] = {}
    for key, value in metrics.items():
        if isinstance(value, dict):
            out |= flat(value, f"{prefix}{key}/")
        elif value is not None:
            out[f"{prefix}{key}"] = float(value)
    return out


def _columns(epoch: Epoch) -> dict[str, float]:
    """Return a row of the history without what is not a number."""
    return {
        k: float(v) for k, v in asdict(epoch).items() if k != "epoch" and not math.isnan(float(v))
    }


def _plain(name: str) -> str:
    """Return a name with nothing in it that MLflow refuses."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's notes on its own database, and its libraries' deprecations, to itself."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
