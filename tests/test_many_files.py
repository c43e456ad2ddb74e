"""Several files in one go, several experiments in a file, and which way round a block lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.testing import assert_array_equal
from typer.testing import CliRunner

import sysid
from sysid import Record
from sysid.cli import app
from sysid.data import many, memory
from sysid.estimators import LSTMRegressor, NARXRegressor
from sysid.experiment.config import read_config
from sysid.experiment.data import advise, load_data, read_all

RNG = np.random.default_rng(0)
U = RNG.standard_normal((600, 2))


def log(path: Path, n: int = 30, **columns: Any) -> Path:
    """Write a file of one experiment, whose first input is its number of samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    k = np.arange(n)
    u, y = RNG.standard_normal(n), RNG.standard_normal(n)
    u[0] = n
    pd.DataFrame({"t": 0.1 * k, "u": u, "y": y, **columns}).to_csv(path, index=False)
    return path


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the present one, with logs of three runs and a note."""
    monkeypatch.chdir(tmp_path)
    for run in (1, 2, 10):
        log(Path(f"logs/run{run}.csv"), 20 + run)
    Path("logs/notes.md").write_text("none of the data")
    return tmp_path


ORDERED = ["run1", "run2", "run10"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ("logs", ORDERED),
        ("logs/run*.csv", ORDERED),
        ("**/*.csv", ORDERED),
        (["logs/run?.csv", "logs/run10.csv"], ORDERED),
        ([Path("logs/run10.csv"), "logs/run1.csv"], ["run10", "run1"]),
        ("logs/run2.csv", ["run2"]),
        ("logs/run[12].csv", ["run1", "run2"]),
    ],
)
def test_what_paths_name(paths: Any, names: list[str], runs: Path) -> None:
    records = sysid.read_many(paths)
    assert [r.name for r in records] == names
    assert [r.u[0, 0] for r in records] == [20 + int(n.removeprefix("run")) for n in names]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("logs/trial*.csv", r"logs/trial\*\.csv must match at least one file"),
        (["logs/run1.csv", "none/*"], r"none/\* must match"),
        (".", "has none; it has the folders empty, logs, name one of them"),
        ("empty", "the folder empty must hold data files, it has none"),
        ([], "at least one file, got none"),
        (["logs", "logs/run1.csv"], "run1.csv is named twice, the second time by logs/run1.csv"),
        (["logs/run1.csv", "logs/*.csv"], r"named twice, the second time by logs/\*"),
    ],
)
def test_what_names_nothing_or_a_file_twice(paths: Any, message: str, runs: Path) -> None:
    Path("empty").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        sysid.read_many(paths)


def test_a_file_named_twice_counts_twice(runs: Path) -> None:
    records = sysid.read_many(["logs/run1.csv", "logs/run1.csv"])
    assert [r.name for r in records] == ["logs/run1 (1)", "logs/run1 (2)"]


def test_two_files_of_a_folder_with_one_stem_are_in_doubt(runs: Path) -> None:
    sysid.write(sysid.read("logs/run1.csv"), "logs/run1.parquet")
    with pytest.raises(ValueError, match=r"may be the same experiment; name the files by a glob"):
        sysid.read_many("logs")


def test_files_of_one_name_are_called_by_their_folders(tmp_path: Path) -> None:
    for day in ("monday", "tuesday"):
        log(tmp_path / day / "run.csv")
    records = sysid.read_many(tmp_path / "*" / "run.csv")
    assert [r.name for r in records] == ["monday/run", "tuesday/run"]


def test_channels_are_in_one_order(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("u1,u2,y\n1,2,3\n1,2,3\n")
    (tmp_path / "b.csv").write_text("u2,u1,y\n2,1,3\n2,1,3\n")
    for record in sysid.read_many(tmp_path / "*.csv"):
        assert record.u_names == ("u1", "u2")
        assert_array_equal(record.u, [[1, 2], [1, 2]])


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ("u1,y\n1,2\n", "u1,u2,y\n1,2,3\n", r"inputs, got u1 in .*a\.csv and u1, u2 in .*b\.csv"),
        ("u,y\n1,2\n", "u\n1\n2\n", r"same outputs, got y in .*a\.csv and none in .*b\.csv"),
        ("u,y\nV,m\n1,2\n2,3\n", "u,y\nmV,m\n1,2\n2,3\n", r"u must be in .*got V in .*and mV in"),
        ("u,y\n1,2\n", "u,y\n1,x\n", r"b\.csv: column 'y' must hold numbers"),
        ("u,y\n1,2\n", "v,w\n1,2\n", r"b\.csv: columns must be named with u and y"),
    ],
)
def test_files_that_do_not_go_together_are_named(
    a: str, b: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(a)
    (tmp_path / "b.csv").write_text(b)
    with pytest.raises(ValueError, match=message):
        sysid.read_many(tmp_path)


def test_records_of_other_sampling_times_are_named() -> None:
    slow, fast = Record(U, U, 1.0, name="slow"), Record(U, U, 0.1, name="fast")
    with pytest.raises(ValueError, match=r"record 1 .'slow'. and .* 2 .'fast'"):
        sysid.fit(sysid.NARX(2, 2, 1, 1), [slow, fast], max_epochs=1, progress=False)


def numbered(numbers: list[Any], **columns: Any) -> pd.DataFrame:
    n = len(numbers)
    return pd.DataFrame({"run": numbers, "u": np.arange(n), "y": -np.arange(n), **columns})


@pytest.mark.parametrize(
    ("numbers", "labels"),
    [
        ([1, 1, 1, 2, 2, 2], ["1", "2"]),
        ([2.0, 2.0, 1.0, 1.0], ["2", "1"]),
        (["cold", "cold", "warm", "warm"], ["cold", "warm"]),
        ([True, True, False, False], ["True", "False"]),
        ([7, 7, 7], ["7"]),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_a_column_numbers_the_experiments(
    numbers: list[Any], labels: list[str], suffix: str, tmp_path: Path
) -> None:
    frame, path = numbered(numbers), tmp_path / f"a{suffix}"
    write: dict[str, Callable[..., Any]] = {
        ".csv": lambda p: frame.to_csv(p, index=False),
        ".parquet": frame.to_parquet,
        ".json": frame.to_json,
    }
    write[suffix](path)
    records = sysid.read_many(path, experiment="run")
    assert [r.name for r in records] == [f"a {label}" for label in labels]
    assert_array_equal(np.concatenate([r.u for r in records])[:, 0], np.arange(len(numbers)))
    if len(labels) > 1:
        with pytest.raises(ValueError, match=f"holds {len(labels)} experiments, .*read_many"):
            sysid.read(path, experiment="run")
    assert sysid.read(f"{path}#{labels[-1]}", experiment="run") == records[-1]


def test_each_experiment_has_its_own_time(tmp_path: Path) -> None:
    t = [0.0, 0.5, 1.0, 0.0, 0.5, 1.0]
    numbered([1, 1, 1, 2, 2, 2], t=t).to_csv(tmp_path / "a.csv", index=False)
    assert [r.sampling_time for r in sysid.read_many(tmp_path, experiment="run")] == [0.5, 0.5]
    mixed = numbered([1, 2, 1, 2], t=[0.0, 0.0, 0.5, 0.5])
    mixed.to_csv(tmp_path / "a.csv", index=False)
    records = sysid.read_many(tmp_path, experiment="run", time="t")
    assert_array_equal(records[1].u[:, 0], [1, 3])


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([1, 1, None, 2], "must number every row, row 2 has no number"),
        ([1, 2, 3, 4], "must number experiments, got 4 different values in 4 rows"),
        ([1, 1, 2, 2, 1, 1], "experiment '1' must stand in one piece, it comes back in row 4"),
    ],
)
def test_a_column_that_numbers_no_experiments(
    numbers: list[Any], message: str, tmp_path: Path
) -> None:
    numbered(numbers).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ValueError, match=message):
        sysid.read_many(tmp_path, experiment="run")
    with pytest.raises(ValueError, match="got 'rum'; did you mean 'run'"):
        sysid.read_many(tmp_path, experiment="rum")


def test_processes_read_what_one_reads(runs: Path, caplog: Any) -> None:
    t = 0.1 * np.arange(40)
    np.savez("logs/wide.npz", x=np.vstack([np.sin(t), np.cos(t)]), u=t, y=t)
    files = ["logs/run1.csv", "logs/run2.csv", "logs/wide.npz"]
    alone = sysid.read_many(files, workers=1)
    caplog.clear()
    assert sysid.read_many(files, workers=2) == alone
    assert "logs/wide.npz: 'x' of the shape (2, 40) is read transposed" in caplog.text
    Path("logs/run3.csv").write_text("u,y\n1,x\n")
    with pytest.raises(ValueError, match=r"^logs/run3\.csv: column 'y' must hold numbers"):
        sysid.read_many("logs/run*", workers=2)


def test_records_that_do_not_fit_are_refused_early(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    monkeypatch.setattr(many, "_read_one", lambda *a: read.append(a) or ([Record(U, U)], []))
    monkeypatch.setattr(memory, "free_memory", lambda: 15_000)
    with pytest.raises(ValueError, match="records of the other 2 files must fit in memory"):
        sysid.read_many("logs")
    assert len(read) == 1


def test_a_bar_is_shown_on_a_terminal_and_not_in_a_pipe(
    runs: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "_SHOWN", 0)
    sysid.read_many("logs")
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich's sign of a terminal
    sysid.read_many("logs", progress=False)
    assert capfd.readouterr() == ("", "")
    sysid.read_many("logs")
    assert "reading 3 files" in capfd.readouterr().err


CONFIG = {
    "data": {"source": "files", "train": ["logs/run?.csv"], "test": ["tests"], "valid": None},
    "model": {"kind": "narx", "na": 1, "nb": 1},
}


def with_data(**changes: Any) -> Path:
    data = CONFIG["data"] | changes
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG | {"data": data}))
    return Path("config.yaml")


def test_globs_and_folders_in_configs(runs: Path) -> None:
    log(Path("tests/last.csv"))
    config = read_config(with_data(valid=["logs/run10*"]))
    folder = runs.resolve() / "logs"
    assert config.data.train == [str(folder / "run1.csv"), str(folder / "run2.csv")]
    data = load_data(config)
    assert [r.name for r in (*data.train, *data.valid, *data.test)] == [*ORDERED, "last"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": ["log/*.csv"]}, r"log/\*\.csv must match at least one file"),
        ({"test": ["logs/*10.mat"]}, r"\*10\.mat must match"),
        ({"test": ["logs"]}, "run1.csv must be for training or for testing, it is named for both"),
        ({"test": [], "valid": ["logs/run2.csv"]}, "run2.csv must be for training or for testing"),
        ({"test": ["void"]}, "the folder .*void must hold data files"),
    ],
)
def test_wrong_globs_in_configs(changes: dict[str, Any], message: str, runs: Path) -> None:
    Path("void").mkdir()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_data(read_config(with_data(**({"test": []} | changes))))


def test_experiments_of_a_file_in_a_config(runs: Path) -> None:
    numbered([1, 1, 1, 2, 2, 2]).to_csv("all.csv", index=False)
    config = read_config(with_data(train=["all.csv"], test=[], experiment="run"))
    assert [r.name for r in load_data(config).train] == ["all 1", "all 2"]


def test_quoted_globs_on_the_command_line(runs: Path) -> None:
    found = CliRunner().invoke(app, ["advice", "logs/run*.csv", "--json"])
    assert found.exit_code == 0, found.output
    records = {f["record"] for f in json.loads(found.stdout)["findings"]}
    assert records <= {*ORDERED, "all", ""}
    model = sysid.NARX(1, 1, 1, 1, hidden_sizes=())
    sysid.fit(model, sysid.read_many("logs"), loss="one_step", max_epochs=1, progress=False)
    assert [r.name for r in read_all([model], ["logs/run1*.csv"])] == ["run1", "run10"]
    with pytest.raises(ValueError, match="must be for training or for testing"):
        advise(["logs/*"], ["logs/run1.csv"])


WIDE: dict[str, tuple[Any, Any]] = {
    "a row each": (U[:, :1].T, U[:, 1:].T),
    "two rows and one": (U.T, U[:, :1].T),
    "rows and a vector": (U.T, U[:, 0]),
    "columns and a row": (U, U[:, :1].T),
    "a frame": (pd.DataFrame(U.T), None),
    "outputs alone": (None, U.T),
    "a short row": (np.zeros((1, 5)), np.zeros((1, 5))),
    "a tensor": (__import__("torch").tensor(U.T), U[:, 0]),
    "a list": (U.T.tolist(), U[:, :1].T.tolist()),
}


@pytest.mark.parametrize("name", WIDE)
def test_samples_in_columns_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"give it with samples in rows, [uy]\.T") as caught:
        Record(*WIDE[name])
    assert len(str(caught.value)) < 200


def test_wide_records_pass_where_every_channel_has_a_name() -> None:
    names = [f"node{i}" for i in range(40)]
    record = Record(np.zeros((3, 40)), np.zeros(3), u_names=names)
    assert record[:1].replace(name="x").nu == 40
    assert Record(np.zeros((2, 4)), np.zeros((2, 7))).ny == 7
    with pytest.raises(ValueError, match="would be 40 channels of 3 samples"):
        Record(np.zeros((3, 40)), np.zeros((40, 1)), u_names=names)


def test_three_dimensions_are_records() -> None:
    with pytest.raises(ValueError, match="make a record of each experiment, and a list"):
        Record(np.zeros((2, 30, 1)), np.zeros((2, 30, 1)))


def test_messages_do_not_list_hundreds_of_names() -> None:
    names = [f"u{i}" for i in range(600)]
    wide = Record(np.zeros((700, 600)), np.zeros(700), u_names=names)
    narrow = Record(U, U[:, 0])
    model = sysid.NARX(2, 1, 1, 1, hidden_sizes=())
    sysid.fit(model, narrow, loss="one_step", max_epochs=1, progress=False)
    for call in (
        lambda: model.simulate(wide),
        lambda: Record(np.zeros((700, 600)), None, u_names=names[1:]),
        lambda: Record(np.zeros((700, 600)), None, u_names=[*names[1:], "u1"]),
    ):
        with pytest.raises(ValueError, match="got") as caught:
            call()
        assert len(str(caught.value)) < 300


SEQUENCES: dict[str, tuple[Any, Any]] = {
    "three dimensions": (np.zeros((3, 30, 1)), np.zeros((3, 30, 1))),
    "three dimensions of inputs": (np.zeros((3, 30, 1)), np.zeros((3, 30))),
    "a list of matrices": ([np.zeros((n, 1)) for n in (20, 30)], [np.zeros(20), np.zeros(30)]),
    "a list of equal matrices": ([np.zeros((20, 1))] * 2, [np.zeros(20)] * 2),
    "a list of vectors": ([np.zeros(20), np.zeros(30)], [np.zeros(20), np.zeros(30)]),
    "a tuple of frames": ((pd.DataFrame(U[:20]), pd.DataFrame(U[:30])), (U[:20], U[:30])),
    "lists of lists": ([[1.0, 2.0], [3.0]], [[1.0, 2.0], [3.0]]),
}


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("regressor", [NARXRegressor(max_epochs=1), LSTMRegressor(max_epochs=1)])
def test_sequences_are_passed_as_records(name: str, regressor: Any) -> None:
    with pytest.raises(ValueError, match=r"as records, \[sysid\.Record\(u, y\) for u, y in zip"):
        regressor.fit(*SEQUENCES[name])


@pytest.mark.parametrize("shape", [(1, 600), (2, 600), (3, 12)])
def test_samples_in_columns_of_an_estimator(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"must have a row for each sample, .*; give X\.T"):
        NARXRegressor(max_epochs=1).fit(np.zeros(shape), np.zeros(shape[0]))
