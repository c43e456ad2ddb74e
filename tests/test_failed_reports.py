"""A report that cannot be made neither loses nor hides a finished training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import sysid
from sysid.commands.training import train_by_config
from sysid.experiment import evaluation
from sysid.experiment.comparison import compare_runs
from sysid.experiment.config import parse_config
from sysid.experiment.directory import RunError
from sysid.experiment.run import train_config

CONFIG = {
    "name": "small",
    "data": {"source": "system", "name": "linear", "samples": 300},
    "model": {"kind": "narx", "na": 2, "nb": 2, "hidden_sizes": [2]},
    "training": {"loss": "one_step", "max_epochs": 1},
}


def failing(*_: object, **__: object) -> None:
    raise IndexError("index 61 is out of bounds")


@pytest.mark.parametrize(
    ("part", "missing"),
    [
        ("advice", "the advice on the data"),
        ("write_report", "report.html"),
        ("figure", "simulation.png"),
        ("compare", "metrics.json"),
    ],
)
def test_a_training_is_finished_whatever_fails_in_what_describes_it(
    part: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, part, failing)
    out = tmp_path / "run"
    run = train_config(parse_config(CONFIG), out, progress=False)
    assert run is not None
    assert run.failures == (f"{missing} could not be made: IndexError: index 61 is out of bounds",)
    assert not (out / "checkpoint.pt").exists()
    assert sysid.load(out / "model.safetensors").fitted
    assert (out / "metrics.json").is_file()
    assert (out / "report.html").exists() == (part in ("advice", "figure"))
    with pytest.raises(ValueError, match="which is finished"):
        train_config(parse_config(CONFIG), out, progress=False, resume=True)


def test_the_command_says_in_a_line_what_failed_and_where_the_model_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluation, "write_report", failing)
    config = tmp_path / "c.yaml"
    config.write_text(parse_config(CONFIG).to_yaml())
    train_by_config(config, [], tmp_path / "run", None, None, None, False)
    told = capsys.readouterr()
    (warning,) = told.err.strip().splitlines()
    assert warning.startswith("sysid: warning: report.html could not be made: IndexError")
    assert str(tmp_path / "run" / "model.safetensors") in warning
    assert "report:" not in told.out
    assert "linear ARX" in told.out
    train_by_config(config, [], tmp_path / "again", None, None, None, True)
    document = json.loads(capsys.readouterr().out)
    assert len(document["failures"]) == 1
    assert "report" not in document["files"]


def test_a_disk_that_is_full_is_an_error_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluation, "write_report", full)
    with pytest.raises(RunError, match="go on with: sysid train --resume"):
        train_config(parse_config(CONFIG), tmp_path / "run", progress=False)


def test_a_comparison_stands_without_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_config(parse_config(CONFIG), tmp_path / "run", progress=False)
    found = compare_runs([str(tmp_path / "run")], None, (1,), out=tmp_path / "compared")
    assert found.report is not None
    monkeypatch.setattr(evaluation, "write_report", failing)
    monkeypatch.setattr("sysid.experiment.comparison.write_report", failing)
    found = compare_runs([str(tmp_path / "run")], None, (1,), out=tmp_path / "compared")
    assert len(found.scores) == 3
    assert found.report is None
    assert "report.html could not be made" in found.notes[-1]


def test_an_input_that_is_constant_up_to_rounding_is_trained_on_and_reported(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    steering, speed = rng.standard_normal(400), 0.4 + 5.6e-17 * rng.standard_normal(400)
    speed[1::2] = np.nextafter(0.4, 1)
    y = np.convolve(steering, [0, 0.5, 0.3])[:400]
    sysid.write(sysid.Record(np.column_stack([steering, speed]), y, 0.1), tmp_path / "car.csv")
    config = CONFIG | {
        "data": {"source": "files", "train": [str(tmp_path / "car.csv")], "valid": None}
    }
    run = train_config(parse_config(config), tmp_path / "run", progress=False)
    assert run is not None
    assert run.failures == ()
    assert (tmp_path / "run" / "report.html").is_file()
