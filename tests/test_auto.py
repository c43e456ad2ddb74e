"""The automatic search: what it finds, that its config repeats it, what it does not look at."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from bad_data import BAD
from systems import two_by_two
from test_integrating import cart
from typer.testing import CliRunner

import sysid
from sysid.analysis.advice import Suggestion
from sysid.cli import app
from sysid.commands.training import train_automatically
from sysid.data.reading import Reading
from sysid.data.records import Record
from sysid.experiment.auto import Automatic, auto_sources
from sysid.experiment.candidates import Candidate, Candidates
from sysid.experiment.config import read_config
from sysid.experiment.run import train_config
from sysid.training.full_sequence import usable_stretches

TICK = 0.02  # seconds that each look at the clock takes


@pytest.fixture
def start_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Start a clock from zero that ticks when looked at: what is found is not the machine's."""

    def start() -> None:
        ticks = itertools.count()
        fake = SimpleNamespace(perf_counter=lambda: TICK * next(ticks))
        for module in ("auto", "search", "trial", "settling"):
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
    return auto_sources(train, [str(files / f"{test}.csv")], budget=0.15, out=out)


@pytest.mark.slow
def test_it_beats_linear_models_repeats_itself_and_never_looks_at_test_data(
    files: Path, tmp_path: Path, start_clock: Callable[[], None]
) -> None:
    start_clock()
    found = search(files, tmp_path / "run")
    tried = found.tried
    sound = tried[1:][~tried.verdict[1:].str.startswith("runs away")]
    assert list(sound.valid_rmse) == sorted(sound.valid_rmse), "the chosen one, then by error"
    assert tried.valid_rmse[0] <= 1.25 * sound.valid_rmse.min()
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
    for module in ("auto", "search", "trial", "settling"):
        monkeypatch.setattr(f"sysid.experiment.{module}.time", fake)
    found = auto_sources([str(files / "a.csv")], budget=1, out=tmp_path / "run")
    assert list(found.tried.candidate) == ["mean"]
    assert found.warning


@pytest.mark.slow
def test_the_command(files: Path, tmp_path: Path) -> None:
    arguments = ["train", "--auto", str(files / "a.csv"), "--budget", "0.2"]
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


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out figures and report, which take longer than these searches."""
    for name in ("write_figure", "write_run_report"):
        monkeypatch.setattr(f"sysid.experiment.evaluation.{name}", lambda *_: None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", BAD)
def test_bad_data_give_a_model_that_is_bounded_and_no_worse_than_linear_or_mean(
    name: str, tmp_path: Path, start_clock: Callable[[], None], no_report: None
) -> None:
    records = BAD[name]()
    start_clock()
    found = sysid.auto(records, budget=0.04, out=tmp_path / "run")
    assert found.model.bounded.growth != "unknown"
    for record in records:
        for piece in usable_stretches(record, 20):
            assert np.isfinite(found.model.simulate(piece.replace(n_init=20))).all()
    tried = found.tried.set_index("candidate")
    assert np.isfinite(tried.valid_rmse.iloc[0])
    assert found.warning or tried.valid_rmse.iloc[0] < tried.valid_rmse["mean"]
    sound = tried[tried.verdict.isin(["", "delivered"]) & tried.index.str.endswith("linear")]
    assert tried.valid_rmse.iloc[0] <= sound.valid_rmse.min() * (1 + 1e-9) or sound.empty
    assert sysid.load(tmp_path / "run" / "model.safetensors").kind == found.model.kind


def test_a_result_no_better_than_the_mean_ends_with_a_warning_and_exit_code_1(
    tmp_path: Path,
    start_clock: Callable[[], None],
    no_report: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The output is noise that the input has no part in."""
    random = np.random.default_rng(4)
    record = Record(random.standard_normal(600), random.standard_normal(600))
    record.to_frame().to_csv(tmp_path / "noise.csv", index=False)
    start_clock()
    with pytest.raises(SystemExit) as ended:
        train_automatically(
            [str(tmp_path / "noise.csv")], [], Reading(), None, 0.03, tmp_path / "run", None, False
        )
    assert ended.value.code == 1
    shown = capsys.readouterr()
    assert "do not trust the model" in shown.err
    assert "mean" in shown.out
    run = tmp_path / "run"
    tried = pd.read_csv(run / "tried.csv")
    assert tried.candidate[0] == "mean"
    assert "do not trust" in json.loads((run / "environment.json").read_text())["messages"][0]
    model = sysid.load(run / "model.safetensors")
    y_hat = model.simulate(record)
    np.testing.assert_allclose(y_hat, record.y.mean(), atol=1e-6 * record.y.std())


@pytest.mark.slow
def test_where_the_plant_integrates_half_decides_and_all_is_learned(
    tmp_path: Path, start_clock: Callable[[], None], no_report: None
) -> None:
    start_clock()
    found = sysid.auto(cart(600), budget=0.3, out=tmp_path / "run")
    assert "integration" in found.advice.topics
    assert found.config.data.valid is None
    assert found.run.result.history.valid_loss.isna().all()
    assert not found.warning
    assert found.tried.valid_rmse[0] < 0.2
    again = train_config(read_config(tmp_path / "run" / "config.yaml"), tmp_path / "again")
    assert again is not None
    for name, weight in found.model.state_dict().items():
        assert torch.equal(weight, again.result.model.state_dict()[name])
