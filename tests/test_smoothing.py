"""Smoothing: each output told from the others, and nothing of it used for prediction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from numpy.testing import assert_allclose, assert_array_equal
from systems import linear_record, two_by_two
from test_cli import SMALL, run
from test_models import make

import sysid


def smoother(record: sysid.Record, bidirectional: bool = True) -> sysid.Model:
    """Return a smoother with weights that were drawn, not trained."""
    torch.manual_seed(0)
    nu, ny = record.nu + 3 * record.ny, record.ny
    model = sysid.LSTM(nu, ny, 4, bidirectional=bidirectional).double()
    hidden = sysid.hide_outputs(record)
    model.scaling.fit_(hidden)
    model.describe(hidden[0])
    return model


def test_hidden_records_follow_their_equations() -> None:
    record = two_by_two(60)
    y = record.y.copy()
    y[7, 0] = np.nan
    (hidden,) = sysid.hide_outputs(record.replace(y=y), 0.3, seed=2)
    u, line, step, seen = np.split(hidden.u, 4, axis=1)
    assert_array_equal(u, record.u)
    told = ~np.isnan(hidden.y)
    assert 0.2 < told.mean() < 0.4
    assert not (told & (seen == 1)).any()
    assert_array_equal(told | (seen == 1), ~np.isnan(y))
    assert_array_equal(line[seen == 1], y[seen == 1])
    assert_allclose((line + hidden.y)[told], y[told], rtol=1e-12)
    for i in range(2):
        for k in range(60):
            before = [j for j in range(k + 1) if seen[j, i]]
            after = [j for j in range(k, 60) if seen[j, i]]
            if before and after and before[-1] < after[0]:
                a, b = before[-1], after[0]
                expected = y[a, i] + (y[b, i] - y[a, i]) * (k - a) / (b - a)
                assert line[k, i] == pytest.approx(expected, rel=1e-12)
            elif not before:
                assert line[k, i] == y[after[0], i]
            elif not after:
                assert line[k, i] == y[before[-1], i]
    assert_array_equal(step[1:], line[1:] - line[:-1])
    assert_array_equal(step[0], 0)


def test_a_hidden_output_is_in_no_input() -> None:
    record = linear_record(50)
    (hidden,) = sysid.hide_outputs(record, seed=1)
    told = ~np.isnan(hidden.y)
    (other,) = sysid.hide_outputs(record.replace(y=np.where(told, 1e6, record.y)), seed=1)
    assert_array_equal(other.u, hidden.u)


def test_pieces_and_copies() -> None:
    pieces = sysid.hide_outputs(linear_record(95), length=30, copies=2)
    assert [len(p) for p in pieces] == [30] * 8
    assert_array_equal(pieces[3].u[:, 0], linear_record(95).u[65:, 0])
    assert not np.array_equal(np.isnan(pieces[0].y), np.isnan(pieces[4].y))
    for name in ("length", "copies"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            sysid.hide_outputs(linear_record(95), **{name: 0})


@pytest.mark.parametrize("k", [0, 20, 49])
def test_an_output_is_told_from_the_others_alone(k: int) -> None:
    record = linear_record(50)
    model = smoother(record)
    before = sysid.smooth(model, record)
    y = record.y.copy()
    y[k] += 5.0
    after = sysid.smooth(model, record.replace(y=y))
    assert after[k] == before[k]
    assert not np.isclose(after, before).all()


@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_missing_output_is_told_from_both_sides_by_a_two_way_model(bidirectional: bool) -> None:
    record = two_by_two(60)
    model = smoother(record, bidirectional)
    y = record.y.copy()
    y[30:33] = np.nan
    full = sysid.smooth(model, record.replace(y=y))
    assert np.isfinite(full).all()
    y[40] *= 2.0  # later than the gap, and than the line through it
    changed = sysid.smooth(model, record.replace(y=y))
    assert np.array_equal(changed[31], full[31]) != bidirectional


def test_a_two_way_model_of_inputs_alone_smooths_what_it_simulates() -> None:
    model, record = make("lstm_both_ways"), two_by_two(40)
    assert_array_equal(sysid.smooth(model, record), model.simulate(record))


def test_a_trained_smoother_is_nearer_than_the_line() -> None:
    train = sysid.generate("duffing", 3000, seed=0, noise=0.02)
    past, last = sysid.split_time(train, 0.2, gap=100)
    torch.manual_seed(0)
    model = sysid.LSTM(4, 1, 12, bidirectional=True)
    sysid.fit(
        model,
        sysid.hide_outputs(past, length=100, copies=2),
        sysid.hide_outputs(last, seed=1),
        loss="full_sequence",
        batch_size=8,
        learning_rate=1e-2,
        max_epochs=25,
    )
    record = sysid.generate("duffing", 500, seed=1, noise=0.02)
    gone = np.random.default_rng(2).random(record.y.shape) < 0.2
    y_hat = sysid.smooth(model, record.replace(y=np.where(gone, np.nan, record.y)))
    k = np.arange(500)
    line = np.interp(k, k[~gone[:, 0]], record.y[~gone[:, 0], 0])[:, None]
    smoothed, straight = (np.abs(y - record.y)[gone].mean() for y in (y_hat, line))
    assert smoothed < 0.6 * straight


def test_a_smoother_is_refused_for_prediction(tmp_path: Path) -> None:
    record = linear_record(60)
    for model in (smoother(record), smoother(record, bidirectional=False)):
        for use in (model.simulate, model.predict):
            with pytest.raises(ValueError, match=r"must be smoothed, not simulated or predicted"):
                use(record)
        with pytest.raises(ValueError, match=r"model must .* to stream, got a (smoother|bidir)"):
            model.stream()
        with pytest.raises(ValueError, match=r"model must .* to export to C, got a (smoo|bidir)"):
            sysid.export(model, tmp_path / "plant.c")


def test_wrong_requests() -> None:
    record = linear_record(60)
    with pytest.raises(ValueError, match="share must be between 0 and 1, got 1"):
        sysid.hide_outputs(record, 1)
    with pytest.raises(ValueError, match="copies must be at least 1, got 0"):
        sysid.hide_outputs(record, copies=0)
    with pytest.raises(ValueError, match="records must have measured outputs to see and to hide"):
        sysid.hide_outputs(record.replace(y=np.full((60, 1), np.nan)))
    with pytest.raises(ValueError, match="model must be bidirectional or trained on"):
        sysid.smooth(make("lstm"), two_by_two(30))
    with pytest.raises(ValueError, match="folds must be at least 2, got 1"):
        sysid.smooth(smoother(record), record, folds=1)
    y = np.full((60, 1), np.nan)
    y[3] = 1.0
    with pytest.raises(ValueError, match="must have measured outputs in every channel"):
        sysid.smooth(smoother(record), record.replace(y=y))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a smoother's run, and a file of which outputs are missing."""
    path = tmp_path_factory.mktemp("smooth")
    frame = sysid.generate("linear", 400).to_frame()
    frame.columns = ["t", "pump", "level"]
    frame.to_csv(path / "a.csv", index=False)
    frame.loc[5:9, "level"] = np.nan
    frame.to_csv(path / "gaps.csv", index=False)
    data = {"source": "files", "train": ["a.csv"], "test": ["gaps.csv"]}
    config = {
        "name": "smoother",
        "data": data | {"u": ["pump"], "y": ["level"], "time": "t"},
        "model": {"kind": "gru", "hidden_size": 4, "bidirectional": True},
        "smoothing": {"length": 50, "copies": 1},
        "training": {"loss": "full_sequence", "batch_size": 4, "max_epochs": 2},
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    run("train", "config.yaml", "--out", "done", cwd=path)
    return path


def test_the_command_fills_a_file(folder: Path) -> None:
    said = run("smooth", "done", "gaps.csv", "-o", "y.csv", "--time", "t", cwd=folder).stdout
    assert "5 were missing" in said
    columns = {"u": ["pump"], "y": ["level"], "time": "t"}
    record = sysid.read(folder / "gaps.csv", **columns)
    model = sysid.load(folder / "done" / "model.safetensors")
    smoothed = sysid.read(folder / "y.csv", **columns)
    assert_array_equal(smoothed.y, sysid.smooth(model, record))
    out = run("smooth", "done", "gaps.csv", "-o", "z.csv", "--keep-measured", "--json", cwd=folder)
    assert json.loads(out.stdout)["missing"] == 5
    kept = sysid.read(folder / "z.csv", **columns)
    gone = np.isnan(record.y)
    assert_array_equal(kept.y[~gone], record.y[~gone])
    assert_array_equal(kept.y[gone], smoothed.y[gone])


def test_a_smoothers_run_says_so_when_it_is_simulated(folder: Path) -> None:
    request = ("simulate", "done", "a.csv", "-o", "s.csv", "--u", "pump", "--y", "level")
    assert "must be smoothed" in run(*request, cwd=folder, code=2).stderr


def test_a_config_that_cannot_smooth(tmp_path: Path) -> None:
    bad = SMALL | {"smoothing": {"share": 2}, "model": {"kind": "narx", "na": 1, "nb": 1}}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(bad))
    assert "smoothing.share must be right" in run("train", "bad.yaml", cwd=tmp_path, code=2).stderr
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(bad | {"smoothing": {}}))
    message = run("train", "bad.yaml", cwd=tmp_path, code=2).stderr
    for part in ("model.kind must be rnn, gru or lstm", "training.loss must be full_sequence"):
        assert part in message


def test_pieces_reach_from_the_first_sample_to_the_last_and_keep_what_they_are_of() -> None:
    record = sysid.Record(
        np.arange(23.0), np.arange(23.0), 0.5, name="tank", u_names=["pump"], y_names=["level"],
        u_units=["V"], y_units=["m"],
    )  # fmt: skip
    pieces = sysid.hide_outputs(record, length=10)
    assert [(p.u[0, 0], p.u[-1, 0]) for p in pieces] == [(0, 9), (10, 19), (13, 22)]
    for piece in pieces:
        assert (piece.name, piece.sampling_time) == ("tank", 0.5)
        assert piece.u_names == ("pump", "level line", "level step", "level seen")
        assert piece.y_names == ("level correction",)
        assert (piece.u_units, piece.y_units) == (("V", "m", "m", ""), ("m",))
