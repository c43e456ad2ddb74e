"""torchrun: the curve of one process, whatever the loss and the optimiser."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from numpy.testing import assert_allclose
from systems import linear_record
from test_cli import run

import sysid
from sysid.training.distributed import Group
from sysid.training.settings import TrainingSettings
from sysid.training.stages import make_loss

SHARED = {
    "name": "shared",
    "data": {"source": "system", "name": "linear", "samples": 500, "noise": 0.01},
    "model": {"kind": "gru", "hidden_size": 4},
    "training": {
        "length": 30,
        "stride": 7,
        "washout": 5,
        "batch_size": 16,
        "clip": 1.0,
        "schedule": "cosine",
        "max_epochs": 4,
        "dtype": "float64",
    },
}
# Sums over halves of a batch, added up in another order, through four epochs of Adam.
ROUNDING = 1e-12


def torchrun(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    done = subprocess.run(
        [*command, "-m", "sysid", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert (done.returncode != 0) == (code != 0), done.stderr
    return done


def history(run_directory: Path) -> np.ndarray:
    frame = pd.read_csv(run_directory / "history.csv")
    return frame[["train_loss", "valid_loss"]].to_numpy()


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["subsequence", "one_step"])
def test_two_processes_have_the_curve_of_one(loss: str, tmp_path: Path) -> None:
    config = dict(SHARED)
    if loss == "one_step":  # and an optimiser that searches along lines
        config["model"] = {"kind": "narx", "na": 2, "nb": 2, "hidden_sizes": [5]}
        config["training"] = {"loss": "one_step", "optimiser": "lbfgs", "max_epochs": 3}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    run("train", "config.yaml", "--out", "one", cwd=tmp_path)
    said = torchrun("train", "config.yaml", "--out", "two", cwd=tmp_path)
    difference = np.abs(history(tmp_path / "one") - history(tmp_path / "two")).max()
    print(f"largest difference of the curves: {difference:.1e}")
    # L-BFGS amplifies rounding by the curvature it estimates from differences of gradients.
    assert difference <= (ROUNDING if loss == "subsequence" else 1e-8)
    assert said.stdout.count("report:") == 1  # one process speaks
    names = {p.name for p in (tmp_path / "two").iterdir()}
    assert names == {p.name for p in (tmp_path / "one").iterdir()}


@pytest.mark.slow
def test_one_process_goes_on_with_what_two_began(tmp_path: Path) -> None:
    """Two processes are stopped by a limit of epochs; a checkpoint of theirs is gone on with."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SHARED))
    run("train", "config.yaml", "--out", "one", cwd=tmp_path)
    (tmp_path / "half").mkdir()
    script = tmp_path / "half.py"
    script.write_text(HALF)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    subprocess.run([*command, str(script)], cwd=tmp_path, check=True, capture_output=True)
    run("train", "config.yaml", "--resume", "half", cwd=tmp_path)
    difference = np.abs(history(tmp_path / "one") - history(tmp_path / "half")).max()
    assert difference <= ROUNDING


HALF = """
from pathlib import Path

from sysid.experiment.config import read_config
from sysid.experiment.data import load_data
from sysid.training.checkpoints import save_checkpoint
from sysid.training.distributed import joined_group
from sysid.training.trainer import Trainer

config = read_config("config.yaml")
with joined_group() as group:
    if group.size != 2:
        raise SystemExit("there must be two processes")
    data = load_data(config)
    trainer = Trainer(config.build_model(1, 1), data.train, data.valid, config.settings(), group)
    for epoch in trainer.epochs():
        if epoch.epoch == 2:
            break
    # Leaving the loop puts the best weights in; here they are the last.
    if group.leads:
        Path("half/config.yaml").write_text(config.to_yaml())
        state = {"data": data.digest(), **trainer.state_dict()}
        save_checkpoint(state, Path("half/checkpoint.pt"))
"""

LOSSES = {
    "one_step": (lambda: sysid.NARX(1, 1, 2, 2), {"loss": "one_step"}),
    "subsequence": (lambda: sysid.LSTM(1, 1, 4), {"length": 20, "washout": 4}),
    "full_sequence": (lambda: sysid.LSTM(1, 1, 4), {"loss": "full_sequence", "washout": 4}),
    "estimated": (lambda: sysid.StateSpace(1, 1, 2), {"loss": "full_sequence"}),
}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_dealt_parts_add_up_to_the_whole(name: str, size: int) -> None:
    torch.manual_seed(0)
    build, options = LOSSES[name]
    model = build().double()
    records = [linear_record(n, seed) for seed, n in enumerate((60, 45, 71, 52))]
    y = records[1].y.copy()
    y[30:33] = np.nan  # a missing sample weighs nothing, in a share either
    records[1] = records[1].replace(y=y)
    model.scaling.fit_(records)
    settings = TrainingSettings(**options, batch_size=None)
    loss = make_loss(model, records, settings)
    (whole,) = loss.objectives(torch.Generator())
    dealt = [whole.dealt(rank, size) for rank in range(size)]
    total = sum(weight * float(part.value()) for part, weight in dealt if part is not None)
    assert sum(weight for _, weight in dealt) == pytest.approx(1, rel=1e-12)
    assert total == pytest.approx(float(whole.value()), rel=1e-12)


def test_a_process_may_get_nothing() -> None:
    model = sysid.LSTM(1, 1, 2)
    loss = make_loss(model, [linear_record(40)], TrainingSettings(loss="full_sequence"))
    (whole,) = loss.objectives(torch.Generator())
    assert whole.dealt(1, 2) == (None, 0.0)
    assert whole.dealt(0, 2)[1] == 1


def test_one_process_shares_with_nobody() -> None:
    model = sysid.LSTM(1, 1, 2)
    loss = make_loss(model, [linear_record(40)], TrainingSettings(loss="full_sequence"))
    (whole,) = loss.objectives(torch.Generator())
    assert Group().share(whole, list(model.parameters())) is whole
    assert Group().agree(3) == 3


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"batch_size": 33}, "training.batch_size must divide among 2 processes, got 33"),
        ({"loss": "full_sequence", "truncate": 20}, "training.truncate must be null with 2"),
        ({"starts": 3}, "training.starts must be 1 with 2 processes, got 3"),
    ],
)
def test_what_cannot_be_shared_is_refused(settings: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Group(0, 2).check(TrainingSettings(**settings))


def test_a_wrong_request_gets_one_line_from_one_process(tmp_path: Path) -> None:
    training = SHARED["training"] | {"batch_size": 33}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SHARED | {"training": training}))
    done = torchrun("train", "config.yaml", "--out", "two", cwd=tmp_path, code=2)
    assert done.stderr.count("sysid: training.batch_size must divide among 2 processes") == 1
    assert "exitcode  : 2" in done.stderr
    assert not (tmp_path / "two").exists()


@pytest.mark.slow
def test_normal_equations_of_two_processes_add_up(tmp_path: Path) -> None:
    """Levenberg-Marquardt, with initial states of the records' own."""
    for seed in range(3):
        sysid.write(linear_record(80 + 9 * seed, seed), tmp_path / f"{seed}.csv")
    config = SHARED | {
        "data": {"source": "files", "train": [f"{i}.csv" for i in range(3)], "valid": None},
        "model": {"kind": "state_space", "nx": 2, "hidden_sizes": [3]},
        "training": {"loss": "full_sequence", "optimiser": "lm", "max_epochs": 4},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    run("train", "config.yaml", "--out", "one", cwd=tmp_path)
    torchrun("train", "config.yaml", "--out", "two", cwd=tmp_path)
    one, two = (history(tmp_path / d)[:, 0] for d in ("one", "two"))
    # The fit of a linear system is exact: losses fall to rounding, and are compared above it.
    assert_allclose(one, two, rtol=1e-6, atol=1e-15)
