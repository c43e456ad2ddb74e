"""Trackers hold what the run directory holds: history, config and final figures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
import yaml
from numpy.testing import assert_allclose
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_cli import run

from sysid.experiment import tracking
from sysid.experiment.config import read_config
from sysid.experiment.run import train_config

TRACKED = {
    "name": "tracked",
    "data": {"source": "system", "name": "linear", "samples": 300},
    "model": {"kind": "narx", "na": 1, "nb": 1},
    "training": {"loss": "one_step", "max_epochs": 3},
    "tracking": ["tensorboard", "mlflow"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tracked run, and MLflow's database beside it."""
    path = tmp_path_factory.mktemp("tracked")
    (path / "config.yaml").write_text(yaml.safe_dump(TRACKED))
    run("train", "config.yaml", "--out", "done", cwd=path)
    return path


def test_tensorboard_has_the_history_the_config_and_the_figures(folder: Path) -> None:
    events = EventAccumulator(str(folder / "done" / "tensorboard"), {"images": 0}).Reload()
    history = pd.read_csv(folder / "done" / "history.csv")
    for column in ("train_loss", "valid_loss", "learning_rate", "seconds"):
        scalars = events.Scalars(column)
        assert [s.step for s in scalars] == [1, 2, 3]
        # Event files hold float32.
        assert_allclose([s.value for s in scalars], history[column], rtol=1e-6)
    metrics = json.loads((folder / "done" / "metrics.json").read_text())
    for name, value in tracking.flat(metrics).items():
        assert events.Scalars(f"final/{name}")[0].value == pytest.approx(value, rel=1e-6)
    config = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert (folder / "done" / "config.yaml").read_text().strip() in config
    assert len(events.Tags()["images"]) == 2  # the simulation and the learning curve


def test_mlflow_has_the_history_the_config_and_the_figures(folder: Path) -> None:
    with tracking._quiet():
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        tracked = client.get_run((folder / "done" / "mlflow_run_id").read_text())
        steps = client.get_metric_history(tracked.info.run_id, "valid_loss")
        files = {f.path for f in client.list_artifacts(tracked.info.run_id)}
    history = pd.read_csv(folder / "done" / "history.csv")
    assert [m.step for m in steps] == [1, 2, 3]
    assert_allclose([m.value for m in steps], history["valid_loss"], rtol=1e-12)
    assert tracked.info.status == "FINISHED"
    assert tracked.info.run_name == "done"
    metrics = json.loads((folder / "done" / "metrics.json").read_text())
    for name, value in tracking.flat(metrics).items():
        assert tracked.data.metrics[f"final/{name}"] == pytest.approx(value, rel=1e-12)
    assert {"config.yaml", "Learning curve.png"} < files


def test_a_resumed_training_goes_on_in_the_same_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sysid.experiment.data import load_data
    from sysid.training.checkpoints import save_checkpoint
    from sysid.training.trainer import Trainer

    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(TRACKED))
    config = read_config(tmp_path / "config.yaml")
    data = load_data(config)
    trainer = Trainer(config.build_model(1, 1), data.train, data.valid, config.settings())
    half = tmp_path / "half"
    half.mkdir()
    trackers = tracking.open_trackers(config.tracking, half, config.to_yaml())
    for epoch in trainer.epochs():
        for tracker in trackers:
            tracker.epoch(epoch)
        if epoch.epoch == 2:
            break
    save_checkpoint({"data": data.digest(), **trainer.state_dict()}, half / "checkpoint.pt")
    first = (half / "mlflow_run_id").read_text()
    train_config(config, half, resume=True, progress=False)
    assert (half / "mlflow_run_id").read_text() == first
    events = EventAccumulator(str(half / "tensorboard")).Reload()
    assert [s.step for s in events.Scalars("train_loss")] == [1, 2, 3]
    with tracking._quiet():
        steps = trackers[1].client.get_metric_history(first, "train_loss")  # type: ignore[attr-defined]
    assert [m.step for m in steps] == [1, 2, 3]


def test_without_trackers_nothing_of_them_is_written(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(TRACKED | {"tracking": []}))
    run("train", "config.yaml", "--out", "done", cwd=tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["config.yaml", "done"]
    assert not (tmp_path / "done" / "tensorboard").exists()


def test_a_tracker_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"mlflow must be installed .* 'sysid\[tracking\]'"):
        tracking.check_trackers(["mlflow"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(TRACKED | {"tracking": ["wandb"]}))
    with pytest.raises(ValueError, match=r"tracking.0 must be right: .*'tensorboard' or 'mlflow'"):
        read_config(tmp_path / "config.yaml")
