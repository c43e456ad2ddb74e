"""A sweep: what it searches, what it survives, and what it refuses before it begins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import postgres
import psutil
import pytest
import yaml
from test_cli import run

from sysid.experiment.config import parse_config, read_config
from sysid.experiment.space import with_values
from sysid.experiment.study import Task, fail_abandoned, mark_begun
from sysid.experiment.sweep import run_sweep

SWEPT = {
    "name": "swept",
    "data": {"source": "system", "name": "linear", "samples": 500, "noise": 0.01},
    "model": {"kind": "narx", "na": 2, "nb": 2},
    "training": {"loss": "one_step", "batch_size": 32, "max_epochs": 3},
    "sweep": {
        "trials": 6,
        "heartbeat": 1,
        "space": {
            "model.hidden_sizes": {"choice": [[4], [6, 6]]},
            "model.na": {"int": [1, 3]},
            "training.learning_rate": {"float": [1e-4, 1e-1], "log": True},
        },
    },
}


def config(folder: Path, **changes: object) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(SWEPT | changes))
    return path


def reproduced(folder: Path, best: str) -> float:
    """Train the best config and return the figure that the sweep went by."""
    run("train", best, "--out", "best", cwd=folder)
    return float(pd.read_csv(folder / "best" / "history.csv")["valid_loss"].min())


def test_a_sweep_leaves_a_table_a_plot_and_a_config_that_says_the_same(tmp_path: Path) -> None:
    out = run("sweep", config(tmp_path), "--out", "found", "--json", cwd=tmp_path).stdout
    found = json.loads(out)
    names = {p.name for p in (tmp_path / "found").iterdir()}
    assert names == {
        "best.yaml",
        "parallel_coordinates.png",
        "study.db",
        "sweep.yaml",
        "trials.csv",
    }
    assert [t["trial"] for t in sorted(found["trials"], key=lambda t: t["trial"])] == list(range(6))
    assert found["complete"] + found["pruned"] == 6
    for trial in found["trials"]:
        assert trial["model.hidden_sizes"] in ([4], [6, 6])
        assert 1 <= trial["model.na"] <= 3
        assert 1e-4 <= trial["training.learning_rate"] <= 1e-1
    losses = [t["valid_loss"] for t in found["trials"] if t["state"] == "complete"]
    assert losses == sorted(losses)
    assert reproduced(tmp_path, found["best"]) == losses[0]
    again = run("sweep", config(tmp_path), "--out", "found", "--json", cwd=tmp_path).stdout
    assert json.loads(again)["trials"] == found["trials"]  # nothing was left to do


def test_the_same_seed_draws_the_same_trials(tmp_path: Path) -> None:
    parsed = read_config(config(tmp_path))
    one, two = (run_sweep(parsed, tmp_path / name).trials for name in ("one", "two"))
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), two.drop(columns="seconds"))


def test_an_interrupted_sweep_goes_on(tmp_path: Path) -> None:
    space = {"training.learning_rate": {"float": [1e-3, 1e-1]}}
    path = config(tmp_path, sweep={"trials": 8, "heartbeat": 1, "space": space})
    command = [sys.executable, "-m", "sysid", "sweep", str(path), "--out", "found"]
    found = tmp_path / "found"
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        wait_for_trials(process, f"sqlite:///{found / 'study.db'}", 2, found)
        process.kill()
    done = json.loads(run(*command[3:], "--json", cwd=tmp_path).stdout)
    assert sorted(t["trial"] for t in done["trials"]) == list(range(8))
    assert done["complete"] + done["pruned"] == 8


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_several_may_begin_a_sweep_at_once(tmp_path: Path) -> None:
    parsed = read_config(config(tmp_path))
    for number in range(5):
        url = f"sqlite:///{tmp_path / f'{number}.db'}"
        task = Task(parsed.to_yaml(), url, None, None)
        start = threading.Barrier(4)

        def begin(task: Task = task, start: threading.Barrier = start) -> int:
            start.wait()
            with task.study(create=True) as study:
                return len(study.trials)

        with ThreadPoolExecutor(4) as pool:
            begun = [pool.submit(begin) for _ in range(4)]
        assert [b.result() for b in begun] == [6] * 4


@contextmanager
def studied(url: str) -> Iterator[optuna.Study]:
    """Look into a sweep's database, and close it."""
    storage = optuna.storages.RDBStorage(url)
    try:
        yield optuna.load_study(study_name="swept-sweep", storage=storage)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def wait_for_trials(process: subprocess.Popen[str], url: str, count: int, found: Path) -> None:
    """Wait until a number of a sweep's trials has ended; end the sweep where that fails."""
    until = time.monotonic() + 300
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.5)
        if not (found / "sweep.yaml").exists():  # the database is being made
            continue
        with studied(url) as study:
            if sum(t.state.is_finished() for t in study.trials) >= count:
                return
    process.kill()
    raise TimeoutError(f"no {count} trials have ended: {process.communicate()[1]}")


def halt_in_trials(workers: list[psutil.Process], url: str) -> None:
    """Halt every worker at a moment at which each of them has a trial of its own."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for worker in workers:
            worker.suspend()
        time.sleep(0.1)  # what they had sent already is written
        with studied(url) as study:
            states = [t.state for t in study.trials]
        if states.count(optuna.trial.TrialState.RUNNING) == len(workers):
            return
        for worker in workers:
            worker.resume()
        time.sleep(0.05)
    raise TimeoutError("the workers never had a trial each")


@pytest.mark.slow
@pytest.mark.skipif(postgres.binaries() is None, reason="postgresql is not installed")
def test_workers_may_be_killed(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    training = {"loss": "one_step", "batch_size": 16, "max_epochs": 12}
    path = config(tmp_path, sweep=SWEPT["sweep"] | {"trials": 40}, training=training)
    with postgres.server() as url:
        command = [sys.executable, "-m", "sysid", "sweep", str(path), "--storage", url]
        process = subprocess.Popen(
            [*command, "--workers", "4", "--json"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        wait_for_trials(process, url, 10, tmp_path / "runs" / "swept-sweep")
        workers = [
            child
            for child in psutil.Process(process.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        assert len(workers) == 4
        halt_in_trials(workers, url)
        for worker in workers[:2]:
            worker.kill()
        for worker in workers[2:]:
            worker.resume()
        try:
            out, err = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            with studied(url) as study:
                states = [(t.number, t.state.name, t.user_attrs) for t in study.trials]
            raise TimeoutError(f"the sweep did not end: {states}, {err}") from None
        assert process.returncode == 0, err
        with studied(url) as study:
            trials = [t for t in study.trials if "slot" in t.user_attrs]
    assert all(t.state.is_finished() for t in trials)
    found = json.loads(out)
    assert sorted(t["trial"] for t in found["trials"]) == list(range(40))
    assert found["complete"] + found["pruned"] == 40
    assert found["restarts"] == len(trials) - 40 >= 2  # what the killed ones were at
    best = min(t.value for t in trials if t.value is not None)
    assert found["trials"][0]["valid_loss"] == best
    assert reproduced(tmp_path, found["best"]) == best


def test_a_trial_that_fails_says_why(tmp_path: Path) -> None:
    space = {"training.washout": {"choice": [0, 60]}, "training.length": {"choice": [50, 70]}}
    changes = {
        "model": {"kind": "rnn", "hidden_size": 2},
        "training": {"length": 70, "stride": 20, "max_epochs": 1},
        "sweep": {"trials": 12, "space": space},
    }
    trials = run_sweep(read_config(config(tmp_path, **changes)), tmp_path / "out").trials
    bad = (trials["training.washout"] == 60) & (trials["training.length"] == 50)
    assert bad.any()
    assert (trials[bad]["state"] == "failed").all()
    assert trials[bad]["reason"].str.contains("length must be more than the 60 samples").all()
    assert not (trials[~bad]["state"] == "failed").any()


def test_with_values_sets_nested_keys_and_takes_the_sweep_out() -> None:
    base = {"model": {"kind": "narx", "na": 1}, "sweep": {}}
    out = with_values(base, {"model.na": 3, "training.length": 5})
    assert out == {"model": {"kind": "narx", "na": 3}, "training": {"length": 5}}
    assert base["model"]["na"] == 1


def space(**dimensions: object) -> dict[str, object]:
    return {"sweep": {"space": {k.replace("__", "."): v for k, v in dimensions.items()}}}


@pytest.mark.parametrize(
    ("changes", "arguments", "match"),
    [
        ({"sweep": None}, (), "config must have a sweep section, got none"),
        (space(training__lenght={"int": [1, 2]}), (), "training.lenght is not a key"),
        (space(model__depth={"choice": [1]}), (), "model.depth is not a key"),
        (space(data__noise={"float": [0, 1]}), (), "must name keys of model or training"),
        (space(model__na={"int": [0, 4000]}), (), "model.na = 4000"),
        (space(model__na={"int": [3, 1]}), (), "first limit must be below the second"),
        (space(model__na={"int": [0, 3], "log": True}), (), "log needs int or float"),
        (space(model__na={"choice": [1], "int": [1, 2]}), (), "one of choice, int and float"),
        (space(model__na={"choose": [1]}), (), "choose is not a key"),
        (space(training__loss={"choice": ["mse"]}), (), "sweep.space.training.loss = 'mse'"),
        ({"data": SWEPT["data"] | {"valid": None}}, (), "data.valid must hold records"),
        (
            {"training": SWEPT["training"] | {"starts": 3}},
            (),
            "training.starts must be 1 in a sweep",
        ),
        ({}, ("--workers", "0"), "workers must be at least 1, got 0"),
        ({}, ("--storage", "nonsense"), "storage must be a database URL"),
        (
            {},
            ("--storage", "postgresql://me:secret@127.0.0.1:1/x"),
            "storage must be reachable, got postgresql://me:***@127.0.0.1:1/x",
        ),
    ],
)
def test_a_wrong_request_gets_one_clear_line_before_any_training(
    changes: dict[str, object], arguments: tuple[str, ...], match: str, tmp_path: Path
) -> None:
    message = run("sweep", config(tmp_path, **changes), *arguments, cwd=tmp_path, code=2).stderr
    assert match in message
    assert "secret" not in message
    assert "Traceback" not in message
    assert [p.name for p in tmp_path.iterdir()] == ["sweep.yaml"]


def test_another_sweeps_directory_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "sweep.yaml").write_text("name: other\n")
    message = run("sweep", config(tmp_path), "--out", "found", cwd=tmp_path, code=2).stderr
    assert "out must be new or hold the same sweep" in message


def test_a_config_with_a_sweep_is_not_trained(tmp_path: Path) -> None:
    message = run("train", config(tmp_path), cwd=tmp_path, code=2).stderr
    assert "config must have no sweep section to be trained" in message


def test_a_sweep_without_a_finished_trial_fails(tmp_path: Path) -> None:
    rate = {"training.learning_rate": {"float": [1e20, 1e30]}}
    training = SWEPT["training"] | {"optimiser": "sgd"}
    path = config(tmp_path, training=training, sweep={"trials": 2, "space": rate})
    assert "no trial was completed: " in run("sweep", path, cwd=tmp_path, code=1).stderr


def test_a_resolved_config_keeps_its_space() -> None:
    parsed = parse_config(SWEPT)
    assert parse_config(yaml.safe_load(parsed.to_yaml())) == parsed
    assert np.isclose(parsed.sweep.space["training.learning_rate"].examples(), [1e-4, 0.1]).all()


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # not by optimize: that is the point
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_trial_taken_by_a_worker_that_died_before_it_began_is_tried_again(tmp_path: Path) -> None:
    sweep = {"trials": 2, "heartbeat": 1, "space": SWEPT["sweep"]["space"]}
    parsed = read_config(config(tmp_path, sweep=sweep))
    (tmp_path / "found").mkdir()
    task = Task(parsed.to_yaml(), f"sqlite:///{tmp_path / 'found' / 'study.db'}", None, None)
    with task.study(create=True) as study:
        trial = study.ask()  # takes the first, and nothing is heard of it again
        fail_abandoned(study, heartbeat=1000)
        assert study.trials[trial.number].state.name == "RUNNING"
        time.sleep(1)
        fail_abandoned(study, heartbeat=0)
        assert study.trials[trial.number].state.name == "FAIL"
        slots = [t.user_attrs["slot"] for t in study.trials if t.state.name == "WAITING"]
        assert sorted(slots) == [0, 1]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_trial_whose_worker_died_before_its_heart_beat_is_tried_again(tmp_path: Path) -> None:
    sweep = {"trials": 1, "heartbeat": 1, "space": SWEPT["sweep"]["space"]}
    parsed = read_config(config(tmp_path, sweep=sweep))
    task = Task(parsed.to_yaml(), f"sqlite:///{tmp_path / 'study.db'}", None, None)
    with task.study(create=True) as study:
        trial = study.ask()
        mark_begun(trial)  # the thread that says that it lives was not there yet
        time.sleep(4)  # more than two heartbeats, as a database counts that has whole seconds
        fail_abandoned(study, heartbeat=1000)
        assert [t.state.name for t in study.trials] == ["FAIL", "WAITING"]
