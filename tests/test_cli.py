"""The command line as a user meets it: a real subprocess, its exit code and its words."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import sysid
from sysid import cli
from sysid.data.reading import Reading

ROOT = Path(__file__).parents[1]

SMALL = {
    "name": "small",
    "seed": 3,
    "data": {"source": "files", "train": ["a.csv"], "test": ["b.csv"], "u": ["u1"], "y": ["y1"]},
    "model": {"kind": "lstm", "hidden_size": 4},
    "training": {"length": 30, "washout": 5, "batch_size": 16, "max_epochs": 2},
}


def run(*arguments: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "sysid", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def config(folder: Path, **changes: object) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(SMALL | changes))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two records and a finished run."""
    path = tmp_path_factory.mktemp("cli")
    for name in ("a", "b"):
        frame = sysid.generate("linear", 300, seed=ord(name)).to_frame()
        frame.columns = ["t", "u1", "y1"]
        frame.to_csv(path / f"{name}.csv", index=False)
    run("train", config(path), "--out", "done", cwd=path)
    return path


@pytest.mark.slow
def test_several_starts_are_kept_and_compared(folder: Path) -> None:
    changes = ("--set", "training.starts=2", "--set", "training.optimiser=auto")
    done = run("train", folder / "config.yaml", *changes, "--out", "many", cwd=folder)
    assert "optimiser: adam, because batch_size is set" in done.stdout
    reached = pd.read_csv(folder / "many" / "starts.csv")
    record = sysid.read(folder / "b.csv")
    models = [sysid.load(folder / "many" / "starts" / f"{i}.safetensors") for i in range(2)]
    best = models[int(reached.best_loss.argmin())]
    kept = sysid.load(folder / "many" / "model.safetensors")
    assert (kept.simulate(record) == best.simulate(record)).all()
    assert (models[0].simulate(record) != models[1].simulate(record)).any()


def test_a_run_directory_holds_what_was_promised(folder: Path) -> None:
    names = {p.name for p in (folder / "done").iterdir()}
    assert names == {
        "config.yaml",
        "model.safetensors",
        "history.csv",
        "metrics.json",
        "report.html",
        "environment.json",
        "simulation.png",
    }
    metrics = json.loads((folder / "done" / "metrics.json").read_text())
    assert set(metrics) == {"test", "valid"}
    assert set(metrics["test"]["b"]["y1"]) == {"one_step", "simulation"}
    assert set(metrics["test"]["b"]["y1"]["simulation"]) == {"rmse", "nrmse", "fit_index", "r2"}
    model = sysid.load(folder / "done" / "model.safetensors")
    record = sysid.read(folder / "b.csv")
    rmse = sysid.rmse(record.y, model.simulate(record))[0]
    assert metrics["test"]["b"]["y1"]["simulation"]["rmse"] == pytest.approx(rmse, rel=1e-12)


def test_the_resolved_config_runs_again_to_the_same_bits(folder: Path) -> None:
    run("train", "done/config.yaml", "--out", "again", cwd=folder)
    models = [sysid.load(folder / d / "model.safetensors") for d in ("done", "again")]
    for name, p in models[0].state_dict().items():
        assert torch.equal(p, models[1].state_dict()[name]), name


def test_train_prints_one_json_document(folder: Path) -> None:
    out = run("train", "config.yaml", "--out", "json", "--json", cwd=folder).stdout
    document = json.loads(out)
    assert document["stopped_because"] == "max_epochs"
    assert Path(folder / document["files"]["model"]).is_file()


def test_set_overrides_and_numbers_are_numbers(folder: Path) -> None:
    run("train", "config.yaml", "--set", "training.learning_rate=1e-4", "--out", "set", cwd=folder)
    written = yaml.safe_load((folder / "set" / "config.yaml").read_text())
    assert written["training"]["learning_rate"] == 1e-4


def test_evaluate(folder: Path) -> None:
    text = run("evaluate", "done", "b.csv", "--horizons", "1,10", cwd=folder).stdout
    assert "simulation" in text
    out = run("evaluate", "done", "b.csv", "a.csv", "--json", cwd=folder).stdout
    rows = json.loads(out)["scores"]
    models = ("done", "mean", sysid.load(folder / "done" / "model.safetensors").baseline.name)
    assert [(r["record"], r["horizon"], r["model"]) for r in rows] == [
        (record, horizon, model)
        for record in ("b", "a")
        for horizon in ("1", "simulation")
        for model in models
    ]


def test_compare_leaves_a_report_of_what_it_prints(folder: Path) -> None:
    arguments = (
        "compare",
        "done",
        "done/model.safetensors",
        "--out",
        "compared",
        "--horizons",
        "1",
    )
    text = run(*arguments, cwd=folder).stdout
    assert "linear ARX(" in text
    assert "report: compared/report.html" in text
    rows = run(*arguments, "--data", "a.csv", "--json", cwd=folder).stdout
    document = json.loads(rows)
    assert {r["model"] for r in document["scores"]} == {
        "done",
        "model.safetensors",
        "mean",
        sysid.load(folder / "done" / "model.safetensors").baseline.name,
    }
    page = (folder / document["report"]).read_text()
    assert "Comparison of done, model.safetensors" in page
    assert "done, band" in page  # calibrated on the run's validation data
    assert "2 epochs" in page
    assert "A model file tells nothing of its training" in page


def test_simulate_writes_what_python_simulates(folder: Path) -> None:
    run("simulate", "done/model.safetensors", "b.csv", "-o", "y.csv", cwd=folder)
    record = sysid.read(folder / "b.csv")
    expected = sysid.load(folder / "done" / "model.safetensors").simulate(record)
    np.testing.assert_array_equal(sysid.read(folder / "y.csv").y, expected)
    out = run("simulate", "done", "b.csv", "-o", "y.npz", "--json", cwd=folder).stdout
    assert json.loads(out)["samples"] == 300


def test_summary(folder: Path) -> None:
    assert "Total params: 117" in run("summary", "config.yaml", cwd=folder).stdout
    document = json.loads(run("summary", "done", "--json", cwd=folder).stdout)
    assert document["parameters"] == 117


def test_generate(folder: Path) -> None:
    run("generate", "cascaded_tanks", "-o", "tanks.csv", "--samples", "50", cwd=folder)
    assert len(sysid.read(folder / "tanks.csv", u=["pump"], y=["level"])) == 50
    out = run("generate", "linear", "-o", "l.mat", "--noise", "0.1", "--json", cwd=folder).stdout
    assert json.loads(out)["samples"] == len(sysid.read(folder / "l.mat"))


@pytest.mark.parametrize(
    "command",
    [
        "train",
        "evaluate",
        "compare",
        "advice",
        "simulate",
        "summary",
        "generate",
        "export",
        "smooth",
        "sweep",
    ],
)
def test_help_shows_an_example(command: str, folder: Path) -> None:
    assert f"Example: sysid {command}" in run(command, "--help", cwd=folder).stdout


def test_help_imports_no_torch(folder: Path) -> None:
    code = "import sys; sys.argv = ['sysid', '--help']; from sysid.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += "sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
        == 0
    )


@pytest.mark.slow
def test_an_interrupted_training_goes_on(folder: Path) -> None:
    from sysid.experiment.config import read_config
    from sysid.experiment.data import load_data
    from sysid.training.checkpoints import save_checkpoint
    from sysid.training.trainer import Trainer

    parsed = read_config(folder / "config.yaml", ["training.max_epochs=4"])
    data = load_data(parsed)
    trainer = Trainer(parsed.build_model(1, 1), data.train, data.valid, parsed.settings())
    for epoch in trainer.epochs():
        if epoch.epoch == 2:
            break
    half = folder / "half"
    half.mkdir()
    (half / "config.yaml").write_text(parsed.to_yaml())
    state = {"data": data.digest(), **trainer.state_dict()}
    save_checkpoint(state, half / "checkpoint.pt")
    run("train", "half/config.yaml", "--resume", "half", cwd=folder)
    assert not (half / "checkpoint.pt").exists()
    run("train", "half/config.yaml", "--out", "straight", cwd=folder)
    one, two = (sysid.load(folder / d / "model.safetensors") for d in ("half", "straight"))
    for name, p in one.state_dict().items():
        assert torch.equal(p, two.state_dict()[name])


def test_sigterm_keeps_what_there_is_and_says_how_to_go_on(folder: Path) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "sysid", "train", "config.yaml", "--out", "terminated"),
            *("--set", "training.max_epochs=100000", "--set", "checkpoint.epochs=1"),
        ],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    checkpoint = folder / "terminated" / "checkpoint.pt"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    first = checkpoint.stat().st_mtime_ns
    while checkpoint.stat().st_mtime_ns == first and process.poll() is None:  # one epoch more
        time.sleep(0.01)
    process.terminate()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "interrupted after epoch" in said
    assert said.rstrip().endswith("go on with: sysid train --resume terminated")
    assert (folder / "terminated" / "model.safetensors").is_file()
    refused = run("train", "config.yaml", "--resume", "terminated", cwd=folder, code=2).stderr
    assert "got another training.max_epochs, checkpoint.epochs" in refused


def data(**changes: object) -> dict[str, object]:
    return {"data": {**SMALL["data"], **changes}}  # type: ignore[dict-item]


BAD = {
    "missing file": (data(train=["none.csv"]), "file must exist, got .*none.csv"),
    "empty file": (data(train=["empty.csv"]), r"empty.csv.* is empty"),
    "text in a column": (
        data(train=["text.csv"]),
        r"column 'y1' must hold numbers, got 'oops' in row 3",
    ),
    "infinity in a column": (
        data(train=["inf.csv"]),
        r"column 'u1' must be finite, got inf in row 2",
    ),
    "unequal lengths": (
        data(train=["unequal.npz"]),
        "unequal.npz.*must have equal lengths, got 19 samples of 'y1'.*20",
    ),
    "unknown column": (data(u=["u11"]), r"got 'u11'; did you mean 'u1'"),
    "no such suffix": (data(train=["a.xls"]), "save it as .xlsx or .csv"),
    "window too long": (
        {"training": {"length": 4000}},
        "training.length must be at most the longest record.*300",
    ),
    "orders too long": (
        {"model": {"kind": "narx", "na": 4000, "nb": 1}, "training": {}},
        "largest lag or window must be less than the longest record.*got 4000",
    ),
    "unknown key": ({"training": {"lenght": 3}}, "training.lenght is not a key"),
    "unknown model key": (
        {"model": {"kind": "lstm", "hidden": 3}},
        "model.hidden is not a key.*allowed",
    ),
    "key of a model that is no name": (
        {"model": {"kind": "lstm", 3: 4}},
        "model.3.*must be right: input should be a valid string",
    ),
    "unknown kind": ({"model": {"kind": "tcn"}}, "model.kind must be one of ffn, narx, rnn"),
    "wrong type": ({"training": {"length": "long"}}, "training.length must be right.*got 'long'"),
    "impossible": ({"training": {"loss": "one_step"}}, "training.loss must be one of subsequence"),
    "bad name": ({"name": "a/b"}, "name must be right"),
    "bad value": (
        {"model": {"kind": "lstm", "hidden_size": 0}},
        "model.hidden_size must be at least 1",
    ),
    "no cuda": ({"training": {"device": "cuda", "length": 30}}, "device must be there, got cuda"),
    "unknown system": ({"data": {"source": "system", "name": "tank"}}, "cascaded_tanks"),
    "unknown benchmark": (
        {"data": {"source": "benchmark", "name": "wh"}},
        "benchmark must be one of wiener_hammerstein",
    ),
    "split too long": (data(valid={"fraction": 0.95}), "must be long enough to split"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_config_gets_one_clear_line_and_writes_nothing(case: str, folder: Path) -> None:
    if case == "no cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    changes, match = BAD[case]
    (folder / "empty.csv").touch()
    (folder / "a.xls").write_text("x")
    (folder / "text.csv").write_text("u1,y1\n1,2\n1,2\n1,2\n1,oops\n")
    (folder / "inf.csv").write_text("u1,y1\n1,2\n1,2\ninf,2\n1,1\n")
    np.savez(folder / "unequal.npz", u1=np.ones(20), y1=np.ones(19))
    path = folder / "bad.yaml"
    path.write_text(yaml.safe_dump(SMALL | changes))
    before = set(folder.rglob("*"))
    message = run("train", path, "--out", "new", cwd=folder, code=2).stderr
    assert re.search(match, message.replace("\n", " ")), message
    assert "Traceback" not in message
    assert message.startswith("sysid: ")
    assert set(folder.rglob("*")) == before


def test_all_that_is_wrong_with_a_config_is_said_at_once(folder: Path) -> None:
    path = folder / "worse.yaml"
    worse = {"model": {"kind": "lstm", "hidden": 1}, "training": {"length": -1, "epochs": 2}}
    path.write_text(yaml.safe_dump(SMALL | worse))
    message = run("train", path, cwd=folder, code=2).stderr
    for part in ("model.hidden", "model.hidden_size", "training.length", "training.epochs"):
        assert part in message


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("train", "nothing.yaml"), "config must be a file"),
        (("train",), "CONFIG must be given, unless --resume names a run directory"),
        (("train", "--resume", "nowhere"), "config must be a file, got nowhere/config.yaml"),
        (("train", "a.csv"), "config must be"),
        (("train", "config.yaml", "--set", "training"), "--set must be section.key=value"),
        (("train", "config.yaml", "--out", "done"), "out must be new or empty"),
        (("train", "config.yaml", "--out", "a.csv/x"), "out must be a directory that can be"),
        (("train", "config.yaml", "--resume", "done"), "resume must name a run directory"),
        (("evaluate", ".", "b.csv"), "run must be a run directory"),
        (("evaluate", "done", "none.csv"), "file must exist"),
        (
            ("evaluate", "done", "wide.csv", "--u", "u1,u2", "--y", "y1"),
            "must have 1 inputs, got 2",
        ),
        (
            ("simulate", "done", "wide.csv", "--u", "u1,u2", "-o", "y.csv"),
            "must have 1 inputs, got 2",
        ),
        (("evaluate", "done", "b.csv", "--horizons", "two"), "horizons must be whole numbers"),
        (("evaluate", "done", "b.csv", "--horizons", "0"), "horizon must be at least 1"),
        (("simulate", "done", "b.csv", "-o", "y.xls"), "file must end in"),
        (("simulate", "none", "b.csv", "-o", "y.csv"), "model file must exist"),
        (("summary", "a.csv"), "model file must be whole"),
        (("generate", "tanks", "-o", "t.csv"), "cascaded_tanks"),
        (("generate", "linear", "-o", "no/t.csv"), "file must be writable"),
    ],
)
def test_a_wrong_request_gets_one_clear_line(
    arguments: tuple[str, ...], match: str, folder: Path
) -> None:
    (folder / "wide.csv").write_text("u1,u2,y1\n" + "1,2,3\n" * 20)
    before = set(folder.rglob("*"))
    message = run(*arguments, cwd=folder, code=2).stderr
    assert match in message
    assert "Traceback" not in message
    assert set(folder.rglob("*")) == before


def test_debug_shows_where(folder: Path) -> None:
    assert "Traceback" in run("--debug", "evaluate", ".", "b.csv", cwd=folder, code=1).stderr


def test_a_diverged_training_exits_with_one(folder: Path) -> None:
    path = folder / "diverge.yaml"
    training = {"loss": "one_step", "optimiser": "sgd", "learning_rate": 1e9, "max_epochs": 50}
    model = {"kind": "narx", "na": 1, "nb": 1}
    path.write_text(yaml.safe_dump(SMALL | {"model": model, "training": training}))
    message = run("train", path, "--out", "diverged", cwd=folder, code=1).stderr
    assert "training diverged" in message
    assert (folder / "diverged" / "model.safetensors").is_file()


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_config_is_valid_and_opens_with_a_comment(path: Path) -> None:
    from sysid.experiment.config import read_config

    assert path.read_text().startswith("# ")
    parsed = read_config(path)
    if parsed.data.source == "system":
        sysid.generate(parsed.data.name, 60)


def test_options_of_files_take_all_that_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell turns ``--test test*.csv`` into several words: none of them is a training file."""
    monkeypatch.chdir(tmp_path)
    given: dict[str, object] = {}
    monkeypatch.setattr(
        "sysid.commands.training.train_automatically",
        lambda sources, tests, reading, *rest: given.update(
            sources=sources, tests=tests, reading=reading
        ),
    )
    words = ["train", "--auto", "a.csv", "--test", "b.csv", "c.csv", "--u", "p, q", "--u", "r"]
    monkeypatch.setattr("sys.argv", ["sysid", *words])
    with pytest.raises(SystemExit):
        cli.main()
    assert given["sources"] == ["a.csv"]
    assert given["tests"] == ["b.csv", "c.csv"]
    assert given["reading"] == Reading(u=["p, q", "r"])


def test_a_column_may_have_a_comma_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text('"Pressure, bar",flow,y\n1,2,3\n4,5,6\n')
    record = sysid.read(path, u="Pressure, bar", y="y", sampling_time=1.0)
    assert record.u_names == ("Pressure, bar",)
    assert sysid.read(path, u="flow,y", sampling_time=1.0).u_names == ("flow", "y")


@pytest.fixture(scope="module")
def away_from_rest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose test record starts far from rest, judged from its first 40 samples."""
    path = tmp_path_factory.mktemp("away")
    record = sysid.generate("linear", 900, seed=3, noise=0.01)
    for name, first in (("train", 0), ("test", 600)):
        frame = record[first : first + 600].to_frame()
        frame.columns = ["t", "pump", "level"]
        frame["level"] += 50
        frame.to_csv(path / f"{name}.csv", index=False)
    (path / "config.yaml").write_text(
        "data: {source: files, train: [train.csv], valid: {fraction: 0.2}, test: [test.csv],\n"
        "       u: [pump], y: [level], n_init: 40}\n"
        "model: {kind: state_space, nx: 2, hidden_sizes: []}\n"
        "training: {loss: subsequence, length: 60, washout: 40, max_epochs: 2}\n"
    )
    run("train", "config.yaml", "--out", "done", cwd=path)
    return path


@pytest.mark.parametrize("target", ["done", "done/model.safetensors"])
def test_a_file_is_judged_from_as_many_samples_as_in_training(
    away_from_rest: Path, target: str
) -> None:
    metrics = json.loads((away_from_rest / "done" / "metrics.json").read_text())
    expected = metrics["test"]["test"]["level"]["simulation"]["rmse"]
    out = run("evaluate", target, "test.csv", "--json", cwd=away_from_rest).stdout
    compared = run("compare", target, "--data", "test.csv", "--json", cwd=away_from_rest).stdout
    for text in (out, compared):
        rows = [r for r in json.loads(text)["scores"] if r["horizon"] == "simulation"]
        assert rows[0]["rmse"] == pytest.approx(expected, rel=1e-12)
        assert {r["n_init"] for r in rows} == {40}
        assert {r["samples"] for r in rows} == {260}  # those of the baselines, too
    words = run("evaluate", target, "test.csv", cwd=away_from_rest).stdout
    assert "Runs start from the first 40 measured samples, which are not scored." in words
    none = run("evaluate", target, "test.csv", "--n-init", "0", "--json", cwd=away_from_rest).stdout
    assert {r["n_init"] for r in json.loads(none)["scores"]} == {0}


def test_a_simulation_starts_as_in_training(away_from_rest: Path) -> None:
    told = run("simulate", "done", "test.csv", "-o", "y.csv", cwd=away_from_rest).stdout
    assert "starts from the first 40 measured samples" in told
    model = sysid.load(away_from_rest / "done" / "model.safetensors")
    record = sysid.read(away_from_rest / "test.csv", u=["pump"], y=["level"])
    expected = model.simulate(record.replace(n_init=40))
    written = sysid.read(away_from_rest / "y.csv", u=["pump"], y=["level"])
    np.testing.assert_allclose(written.y, expected, rtol=1e-6)


def test_other_names_and_an_unknown_sampling_time_are_said(away_from_rest: Path) -> None:
    frame = pd.read_csv(away_from_rest / "test.csv").drop(columns="t")
    frame.columns = ["u", "y"]
    frame.to_csv(away_from_rest / "other.csv", index=False)
    for arguments in (
        ("evaluate", "done", "other.csv"),
        ("compare", "done", "--data", "other.csv"),
        ("simulate", "done", "other.csv", "-o", "other_y.csv"),
    ):
        done = run(*arguments, cwd=away_from_rest)
        assert "'other': the inputs are called u, those of the training pump" in done.stderr
        assert "'other': the outputs are called y, those of the training level" in done.stderr
        assert "'other': the sampling time is not known" in done.stderr
        notes = json.loads(run(*arguments, "--json", cwd=away_from_rest).stdout)["notes"]
        assert len(notes) == 3
        assert "they are taken in this order" in notes[0]
    same = run("evaluate", "done", "test.csv", cwd=away_from_rest)
    assert "note" not in same.stderr
    run("evaluate", "done", "other.csv", "--sampling-time", "7", cwd=away_from_rest, code=2)
