"""ONNX graphs of every kind, run in onnxruntime, against simulate."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from systems import linear_record, two_by_two
from test_models import CAUSAL, EXAMPLES, make

import sysid
from sysid.deploy.export import export
from sysid.models import ffn

# Graphs work in float32, 24 bits, through a few hundred steps of a stable system.
SINGLE = 2e-5


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def batch(model: sysid.Model, records: list[sysid.Record]) -> dict[str, np.ndarray]:
    feed = {"u": np.stack([r.u for r in records]).astype(np.float32)}
    if model.n_memory:
        feed["y_start"] = np.stack([r.y[: model.n_memory] for r in records]).astype(np.float32)
    return feed


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float((np.abs(actual - expected) / expected.std(axis=-2, keepdims=True)).max())


@pytest.mark.parametrize("name", EXAMPLES)
def test_whole_sequences_of_three_lengths(name: str, tmp_path: Path) -> None:
    model = make(name)
    run = session(export(model, tmp_path / "plant.onnx")[0])
    for length in (20, 57, 300):
        records = [two_by_two(length, seed) for seed in range(3)]
        y_hat, *_ = run.run(None, batch(model, records))
        assert error(y_hat, np.stack([model.simulate(r) for r in records])) < SINGLE


@pytest.mark.parametrize("name", CAUSAL)
def test_steps_go_on_from_the_state_of_a_sequence(name: str, tmp_path: Path) -> None:
    model, record, n = make(name), two_by_two(80), 20
    whole, step = (session(f) for f in export(model, tmp_path / "plant.onnx"))
    _, *state = whole.run(None, batch(model, [record[:n]]))
    rows = []
    for u in record.u[n:].astype(np.float32):
        names = [i.name for i in step.get_inputs()]
        y, *state = step.run(None, dict(zip(names, [u[None], *state], strict=True)))
        rows.append(y[0])
    assert error(np.array(rows), model.simulate(record)[n:]) < SINGLE


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_two_way_layers(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = getattr(sysid, kind)(2, 2, 5, num_layers=2, bidirectional=True)
    files = export(model, tmp_path / "plant.onnx")
    assert [f.name for f in files] == ["plant.onnx"]  # no step: it sees the future
    record = two_by_two(50)
    y_hat, *_ = session(files[0]).run(None, batch(model, [record]))
    assert error(y_hat[0], model.simulate(record)) < SINGLE


@pytest.mark.parametrize("activation", ffn.ACTIVATIONS)
def test_every_activation(activation: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = sysid.FFN(1, (6, 5), 1, activation)
    limit = 3 if activation == "sinh" else 30
    record = sysid.Record(np.linspace(-limit, limit, 200), np.zeros(200))
    run = session(export(model, tmp_path / "plant.onnx")[0])
    y_hat, *_ = run.run(None, batch(model, [record]))
    assert error(y_hat[0], model.simulate(record)) < SINGLE


@pytest.mark.parametrize("orders", [(2, 4, 3), (0, 2, 1), (0, 0, 0), (3, 0, 0), (2, 2, 0)])
def test_narx_of_all_orders(orders: tuple[int, int, int], tmp_path: Path) -> None:
    torch.manual_seed(1)
    model, record = sysid.NARX(2, 2, *orders), two_by_two(60)
    run = session(export(model, tmp_path / "plant.onnx")[0])
    y_hat, *_ = run.run(None, batch(model, [record]))
    assert error(y_hat[0], model.simulate(record)) < SINGLE


def test_a_small_signal_on_a_large_offset_keeps_its_digits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = linear_record(100)
    record = base.replace(y=1000 + 0.01 * base.y)
    model = sysid.NARX(1, 1, 2, 2)
    model.scaling.fit_([record])
    run = session(export(model, tmp_path / "plant.onnx")[0])
    y_hat, *_ = run.run(None, batch(model, [record]))
    # What is fed back stays in own units: the output's own rounding is all there is, 2^-24 1000.
    assert np.abs(y_hat[0] - model.simulate(record)).max() < 3 * 1000 * 2**-24


def test_the_file_says_what_the_model_is(tmp_path: Path) -> None:
    files = export(make("narx"), tmp_path / "plant.onnx", notes=["fit 97 %"])
    properties = {p.key: p.value for p in onnx.load(files[1]).metadata_props}
    assert properties["kind"] == "narx"
    assert json.loads(properties["u_names"]) == ["u1", "u2"]
    assert json.loads(properties["arguments"])["na"] == 3
    assert properties["notes"] == "fit 97 %"


def test_wrong_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there_step.onnx").touch()
    with pytest.raises(ValueError, match=r"path must be new, got .*there_step.onnx"):
        export(make("lstm"), tmp_path / "there.onnx")
    with pytest.raises(ValueError, match="dtype must be left out with onnx"):
        export(make("lstm"), tmp_path / "plant.onnx", dtype="double")
    monkeypatch.setitem(ffn.ACTIVATIONS, "mish", torch.nn.Mish)
    with pytest.raises(ValueError, match=r"activation must be one of silu, .* got 'mish'"):
        export(sysid.FFN(1, (3,), 1, "mish"), tmp_path / "plant.onnx")
    real = builtins.__import__

    def without_onnx(name: str, *rest: object, **more: object) -> object:
        if name == "onnx":
            raise ImportError(name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    with pytest.raises(ImportError, match=r"onnx must be installed .* 'sysid\[export\]'"):
        export(make("lstm"), tmp_path / "plant.onnx")
    assert [f.name for f in tmp_path.iterdir()] == ["there_step.onnx"]
