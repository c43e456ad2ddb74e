"""The automatic search: what it finds, that its config repeats it, what it does not look at."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from systems import two_by_two
from test_integrating import cart
from typer.testing import CliRunner

import sysid
from sysid.analysis.advice import Suggestion
from sysid.cli import app
from sysid.data.records import Record
from sysid.experiment.auto import Automatic, _config, auto_sources
from sysid.experiment.candidates import Candidate, Candidates
from sysid.experiment.config import read_config
from sysid.experiment.run import train_config
from sysid.experiment.search import Search, Trial
from sysid.experiment.straying import strays
from sysid.models import MODELS

TICK = 0.02  # seconds that each look at the clock takes


@pytest.fixture
def start_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Start a clock from zero that ticks when looked at: what is found is not the machine's."""

    def start() -> None:
        ticks = itertools.count()
        fake = SimpleNamespace(perf_counter=lambda: TICK * next(ticks))
        for module in ("auto", "search"):
            monkeypatch.setattr(f"sysid.experiment.{module}.time", fake)

    return start


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("auto")
    for name, seed in (("a", 1), ("b", 2), ("test", 3)):
        frame = sysid.generate("duffing", 500, seed=seed, noise=0.01).to_frame()
        frame.columns = ["t", "u", "y"]
        frame.to_csv(folder / f"{name}.csv", index=False)
    frame = pd.read_csv(folder / "test.csv")
    frame["y"] = 1e3 * np.random.default_rng(0).standard_normal(len(frame))
    frame.to_csv(folder / "poison.csv", index=False)
    return folder


def search(files: Path, out: Path, test: str = "test") -> Automatic:
    train = [str(files / "a.csv"), str(files / "b.csv")]
    return auto_sources(train, [str(files / f"{test}.csv")], budget=0.3, out=out)


@pytest.mark.slow
def test_it_beats_linear_models_repeats_itself_and_never_looks_at_test_data(
    files: Path, tmp_path: Path, start_clock: Callable[[], None]
) -> None:
    start_clock()
    found = search(files, tmp_path / "run")
    tried = found.tried
    rest = list(tried.valid_rmse[1:])
    assert rest == sorted(rest), "the best come first, after the chosen one"
    assert tried.valid_rmse[0] <= 1.05 * tried.valid_rmse.min()
    linear = tried[tried.candidate.str.endswith("linear")].valid_rmse.min()
    assert tried.valid_rmse[0] < 0.5 * linear
    assert {c.split()[0] for c in tried.candidate} >= {"state_space", "narx"}
    assert len(pd.read_csv(tmp_path / "run" / "tried.csv")) == len(tried)

    again = train_config(read_config(tmp_path / "run" / "config.yaml"), tmp_path / "again")
    start_clock()
    poisoned = search(files, tmp_path / "poisoned", "poison")
    assert again is not None
    for other in (again.result.model, poisoned.model):
        weights, same = found.model.state_dict(), other.state_dict()
        assert all(torch.equal(weights[key], same[key]) for key in weights)
    figures = [
        json.loads((tmp_path / name / "metrics.json").read_text())
        for name in ("run", "again", "poisoned")
    ]
    assert figures[0] == figures[1]
    assert list(found.tried.valid_rmse) == list(poisoned.tried.valid_rmse)
    test, poison = figures[0]["test"]["test"], figures[2]["test"]["poison"]
    wrong = poison["y"]["simulation"]["rmse"]  # none where the free run exceeds all bounds
    assert wrong is None or wrong > 100 * test["y"]["simulation"]["rmse"]
    pd.testing.assert_frame_equal(tried, poisoned.tried)


@pytest.mark.slow
def test_several_inputs_and_outputs_in_memory(
    tmp_path: Path, start_clock: Callable[[], None]
) -> None:
    start_clock()
    records = [two_by_two(300, seed=0), two_by_two(200, seed=1)]
    rows: list[dict[str, object]] = []
    found = sysid.auto(
        records, test=two_by_two(100, seed=2), budget=0.04, out=tmp_path / "run", tell=rows.append
    )
    assert (found.model.nu, found.model.ny) == (2, 2)
    assert set(rows[0]) == set(found.tried)
    assert len(rows) >= len(found.tried)
    assert sysid.load(tmp_path / "run" / "model.safetensors").kind == found.config.model["kind"]
    assert len(list((tmp_path / "run-data").glob("*.npz"))) == 3


def test_the_time_is_kept(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the deadline nothing is begun, once there is a model at all."""
    now = itertools.chain([0.0], itertools.repeat(1e9))
    fake = SimpleNamespace(perf_counter=lambda: next(now))
    for module in ("auto", "search"):
        monkeypatch.setattr(f"sysid.experiment.{module}.time", fake)
    found = auto_sources([str(files / "a.csv")], budget=1, out=tmp_path / "run")
    assert len(found.tried) == 1
    assert found.tried.epochs[0] == 1


@pytest.mark.slow
def test_the_command(files: Path, tmp_path: Path) -> None:
    arguments = ["train", "--auto", str(files / "a.csv"), "--budget", "0.02"]
    shown = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "one")])
    assert shown.exit_code == 0, shown.output
    assert "state_space nx=1 linear" in shown.output
    assert "candidates" in shown.output
    printed = CliRunner().invoke(app, [*arguments, "--json", "--out", str(tmp_path / "two")])
    document = json.loads(printed.stdout)
    assert document["tried"][0]["candidate"]
    assert Path(document["files"]["model"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--auto"], "DATA must be given with --auto"),
        (["--auto", "a.csv", "--set", "seed=1"], "must be left out with --auto"),
        (["a.yaml", "--budget", "1", "--u", "x"], "--budget, --u must come with --auto"),
        (["a.yaml", "b.yaml"], "CONFIG must be one file"),
        (["--auto", "a.csv", "--budget", "0", "--out", "r"], "budget must be more than 0 minutes"),
        (["--auto", "emps", "a.csv", "--out", "r"], "DATA must be one benchmark by itself"),
    ],
)
def test_wrong_requests(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["train", *arguments])
    assert message in str(result.exception)


def test_candidates_fit_the_records() -> None:
    short = Candidates([Record(np.zeros(60), np.zeros(60))], None, 5)
    assert [c.name for c in short.linear()] == [
        "state_space nx=1 linear",
        "state_space nx=2 linear",
        "state_space nx=3 linear",
        "narx na=2 nb=2 linear",
    ]
    free = Candidates([Record(None, np.zeros(400))], None, 5)
    assert {c.model["kind"] for c in free.linear()} == {"narx"}, "a state space needs an input"
    assert all(c.model["nb"] == 0 for c in free.linear())
    suggestion = Suggestion(nk=2, na=4, nb=6, length=100, washout=30)
    long = Candidates([Record(np.zeros(5000), np.zeros(5000))], suggestion, 50)
    ranked = list(long.linear())
    names = [c.name for c in long.nonlinear(ranked)]
    assert "narx na=4 nb=6 nk=2 hidden=20" in names
    assert "ffn hidden=8x8 tanh" in names
    assert not any("sinh" in name for name in names), "its free run may explode on other data"
    assert names[-1] == "gru hidden_size=24"
    best = Candidate({"kind": "narx", "na": 4, "nb": 6, "nk": 2, "hidden_sizes": [10]}, {})
    assert "narx na=5 nb=7 nk=2 hidden=10" in [c.name for c in long.near(best)]
    grown = Candidate(
        best.model, {"horizons": [1, 10], "horizon_epochs": 6, "loss": "full_sequence"}
    )
    at_once = {"loss": "full_sequence", "horizons": []}
    assert at_once in [c.training for c in long.near(grown)]


@pytest.mark.parametrize("integrates", [False, True])
def test_what_differs_has_another_name(integrates: bool) -> None:
    suggestion = Suggestion(nk=2, na=4, nb=6, length=100, washout=30)
    found = Candidates([Record(np.zeros(5000), np.zeros(5000))], suggestion, 50, integrates)
    ranked = list(found.linear())
    tried = [*ranked, *found.nonlinear(ranked)]
    tried += [near for candidate in tried for near in found.near(candidate)]
    names: dict[str, Candidate] = {}
    for candidate in tried:
        assert names.setdefault(candidate.name, candidate) == candidate, "one is never tried"


def test_a_linear_model_has_one_seed() -> None:
    found = Candidates([Record(np.zeros(400), np.zeros(400))], None, 5)
    for candidate in found.linear():
        assert {near.seed for near in found.near(candidate)} == {0}


def test_a_plant_that_integrates_is_offered_models_that_do() -> None:
    records = [Record(np.zeros(5000), np.zeros((5000, 2)))]
    found = Candidates(records, None, 20, integrates=True)
    ranked = list(found.linear())
    networks = list(found.nonlinear(ranked))
    states = [*ranked, *networks]
    assert {c.model["kind"] for c in states} == {"state_space"}, "what drifts is right by luck"
    assert {c.model["nx"] for c in states} == {3, 4, 5}, "something must act on two sums"
    for candidate in states:
        assert candidate.training["state_samples"] == 20
        model = MODELS["state_space"](
            1, 2, **{k: v for k, v in candidate.model.items() if k != "kind"}
        )
        assert model.integrating
        assert model.linear_input
    near = list(found.near(states[0]))
    assert min(c.model["nx"] for c in near) == 3
    assert not any(c.training.get("weight_decay") for c in near), "sums cannot decay"


def test_of_errors_that_are_alike_the_smallest_model_is_chosen() -> None:
    found = Search(None, None, None, 0.0, None)  # type: ignore[arg-type]
    sizes = {
        "large": (1.0, 90),
        "small": (1.1, 20),
        "as small": (1.08, 20),
        "less": (1.2, 9),
    }
    for name, (loss, weights) in sizes.items():
        found.trials[name] = SimpleNamespace(counts=loss, weights=weights)  # type: ignore[assignment]
    assert found.best is found.trials["large"]
    assert found.chosen is found.trials["as small"]


def test_with_several_draws_the_worst_seed_counts() -> None:
    small = Candidate({"kind": "state_space", "nx": 2, "hidden_sizes": [2]}, {})
    large = Candidate({"kind": "state_space", "nx": 2, "hidden_sizes": [9]}, {})
    lucky = Candidate({"kind": "state_space", "nx": 2, "hidden_sizes": [5]}, {})
    linear = Candidate({"kind": "state_space", "nx": 2, "hidden_sizes": []}, {})
    losses = [(linear, [4.0]), (small, [2.1, 2.2, 2.0]), (large, [1.0, 3.0, 1.5]), (lucky, [0.5])]
    for draws, expected in ((1, "hidden=5"), (3, "hidden=2 seed=2")):
        found = Search(None, None, None, 0.0, None, draws=draws)  # type: ignore[arg-type]
        for candidate, seeds in losses:
            for seed, loss in enumerate(seeds):
                drawn = replace(candidate, seed=seed)
                found.trials[drawn.name] = SimpleNamespace(  # type: ignore[assignment]
                    candidate=drawn,
                    loss=loss,
                    counts=loss,
                    reason="",
                    weights=sum(drawn.model["hidden_sizes"]),
                )
        assert found.chosen.candidate.name == f"state_space nx=2 {expected}"
    found.trials = {"linear": found.trials["state_space nx=2 linear"]}
    assert found.chosen is found.trials["linear"], "it has no seed"


def test_a_trial_that_fails_later_keeps_what_it_had_reached() -> None:
    record = sysid.generate("linear", 200, seed=1)
    candidate = Candidate(
        {"kind": "state_space", "nx": 2, "hidden_sizes": []},
        {"loss": "full_sequence", "optimiser": "lm"},
    )
    config = _config({"source": "files", "train": ["a.csv"]}, candidate, 0)
    trial = Trial(candidate, config, lambda config: [([record[:150]], [record[150:]])])
    trial.go_on(0.0, math.inf)
    reached = trial.loss
    assert math.isfinite(reached)

    def fail() -> Iterator[Any]:
        raise FloatingPointError("the loss is not a number")
        yield

    trial.trainers[0].epochs = fail  # type: ignore[method-assign]
    trial.go_on(1.0, math.inf)
    assert trial.reason == "the loss is not a number"
    assert trial.loss == reached
    assert trial.finished_config().training.max_epochs == 1


def test_a_model_that_strays_counts_by_twice_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    record = sysid.generate("linear", 400, seed=1, noise=0.01)
    candidate = Candidate(
        {"kind": "state_space", "nx": 2, "hidden_sizes": []},
        {"loss": "full_sequence", "optimiser": "lm"},
    )
    config = _config({"source": "files", "train": ["a.csv"]}, candidate, 0)
    for stray, factor in ((False, 1.0), (True, 4.0)):
        monkeypatch.setattr("sysid.experiment.search.strays", lambda *_, stray=stray: stray)
        trial = Trial(candidate, config, lambda config: [([record[:300]], [record[300:]])])
        assert trial.counts == math.inf
        trial.go_on(0.0, math.inf)
        assert trial.counts == factor * trial.loss < math.inf
        assert trial.row()["strays"] == stray
        assert trial.row()["valid_rmse"] == math.sqrt(trial.loss)


@pytest.mark.parametrize("n_init", [0, 7])
def test_it_strays_where_outputs_leave_the_range_on_other_inputs(n_init: int) -> None:
    """The inputs come in other orders, none lost, after samples that a simulation starts from."""
    rng = np.random.default_rng(0)
    u = rng.standard_normal((500, 2))
    u[40, 1] = np.nan
    record = Record(u, np.where(np.isnan(u[:, :1]), 0, u[:, :1]), name="a")
    start = Record(u[200:250], u[200:250, :1], n_init=n_init)
    seen = []

    def simulate(mixed: Record, gain: float) -> np.ndarray:
        seen.append(mixed)
        assert np.isnan(mixed.y[n_init:]).all()
        return gain * mixed.u[:, :1]

    for gain, expected in ((1.0, False), (1.4, False), (1.6, True), (np.inf, True)):
        seen.clear()
        model = SimpleNamespace(
            scoring_start=lambda record: record.n_init,
            simulate=lambda mixed, gain=gain: simulate(mixed, gain),
        )
        assert strays(model, [record], start) == expected  # type: ignore[arg-type]
        assert len(seen) == (1 if expected else 12)
    finite = u[np.isfinite(u).all(axis=1)]
    np.testing.assert_array_equal(seen[0].u[:n_init], start.u[:n_init])
    np.testing.assert_array_equal(np.sort(seen[0].u[n_init:], axis=0), np.sort(finite, axis=0))
    assert not np.array_equal(seen[0].u[n_init:], finite)


def test_a_part_that_hardly_moves_does_not_count_for_most() -> None:
    record = sysid.generate("linear", 400, seed=1, noise=0.01)
    still = record.y.copy()
    still[200:] /= 100
    record = record.replace(y=still)
    halves = [record[:200], record[200:]]
    candidate = Candidate(
        {"kind": "state_space", "nx": 2, "hidden_sizes": []},
        {"loss": "full_sequence", "optimiser": "lm"},
    )
    config = _config({"source": "files", "train": ["a.csv"]}, candidate, 0)
    trial = Trial(candidate, config, lambda config: [([a], [b]) for a, b in (halves, halves[::-1])])
    trial.go_on(0.0, math.inf)
    variances = [half.y.var() for half in halves]
    squares = [
        trainer.history[0].valid_loss * variance
        for trainer, variance in zip(trial.trainers, variances, strict=True)
    ]
    assert trial.loss == pytest.approx(np.mean(squares) / np.mean(variances))
    assert trial.loss < 0.01 * trial.trainers[1].history[0].valid_loss


@pytest.mark.parametrize("noise", [0.01, None])
def test_a_model_that_is_worse_than_the_mean_is_not_to_be_trusted(
    noise: float | None,
    tmp_path: Path,
    start_clock: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    record = sysid.generate("linear", 300, seed=1, noise=noise or 0.0)
    if noise is None:
        record = record.replace(y=np.random.default_rng(0).standard_normal((300, 1)))
    start_clock()
    sysid.auto(record, budget=0.02, out=tmp_path / "run")
    assert ("do not trust the model" in caplog.text) == (noise is None)


@pytest.mark.slow
def test_where_the_plant_integrates_half_decides_and_all_is_learned(
    tmp_path: Path, start_clock: Callable[[], None]
) -> None:
    start_clock()
    found = sysid.auto(cart(600), budget=0.1, out=tmp_path / "run")
    assert "integration" in found.advice.topics
    assert found.config.data.valid is None
    assert found.run.result.history.valid_loss.isna().all()
    assert np.isfinite(found.tried.valid_rmse[0])
    assert np.isfinite(found.model.simulate(cart(600))).all()
    again = train_config(read_config(tmp_path / "run" / "config.yaml"), tmp_path / "again")
    assert again is not None
    for name, weight in found.model.state_dict().items():
        assert torch.equal(weight, again.result.model.state_dict()[name])
