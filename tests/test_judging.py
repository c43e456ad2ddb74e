"""Judging: many starts side by side equal one by one, and what they say of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sysid
from sysid.data.records import Record
from sysid.experiment.judging import Judge, free_runs

MODELS: dict[str, Any] = {
    "narx": lambda: sysid.NARX(nu=1, ny=1, na=3, nb=2, hidden_sizes=(4,)),
    "state_space": lambda: sysid.StateSpace(nu=1, ny=1, nx=2, hidden_sizes=(4,)),
    "gru": lambda: sysid.GRU(nu=1, ny=1, hidden_size=5, initial_state="encoder", n_init=4),
    "lstm_zero": lambda: sysid.LSTM(nu=1, ny=1, hidden_size=5),
    "rnn_feedback": lambda: sysid.RNN(nu=1, ny=1, hidden_size=5, feedback=True),
    "ffn": lambda: sysid.FFN(1, [4], 1),
    "ensemble": lambda: sysid.Ensemble.of(
        [trained(MODELS[name]()) for name in ("narx", "state_space")]
    ),
}


def trained(model: sysid.Model) -> sysid.Model:
    sysid.fit(model, sysid.generate("duffing", 200, seed=1), max_epochs=2)
    return model


@pytest.mark.parametrize("n_init", [2, 9])
@pytest.mark.parametrize("name", MODELS)
def test_runs_side_by_side_are_those_of_simulate(name: str, n_init: int) -> None:
    model = MODELS[name]()
    model = model if name == "ensemble" else trained(model)
    record = sysid.generate("duffing", 300, seed=2)
    starts = (0, 40, 171)
    u, y = (np.stack([b[s : s + 60] for s in starts]) for b in (record.u, record.y))
    found = free_runs(model, u, y, n_init)
    for run, start in zip(found, starts, strict=True):
        alone = model.simulate(record[start : start + 60].replace(n_init=n_init))
        scale = np.abs(alone).max()
        # float32, and the fit of a state ends at other steps in a batch
        np.testing.assert_allclose(run[n_init:], alone[n_init:], atol=2e-4 * scale)


def linear_model(pole: float, gain: float = 1.0) -> sysid.NARX:
    """y(k) = pole y(k-1) + gain u(k-1), in physical units."""
    model = sysid.NARX(nu=1, ny=1, na=1, nb=1, nk=1, hidden_sizes=(), linear=False)
    with torch.no_grad():
        model.network[0].weight.copy_(torch.tensor([[pole, gain]]))
        model.network[0].bias.zero_()
    return model


def first_order(n: int, seed: int = 0, pole: float = 0.8) -> Record:
    u = np.random.default_rng(seed).standard_normal(n)
    y = np.zeros(n)
    for k in range(1, n):
        y[k] = pole * y[k - 1] + u[k - 1]
    return Record(u, y, sampling_time=1.0)


def test_the_right_model_has_no_error_and_a_wrong_one_the_one_that_it_has() -> None:
    record = first_order(2000)
    held_out = [record[900:1100], record[1800:]]
    judge = Judge([held_out], [record], 5)
    right = judge.judge([linear_model(0.8)])
    assert right.error < 1e-6
    assert right.recorded == right.stressed == 0
    assert right.starts > 40
    wrong = judge.judge([linear_model(0.8, gain=0.0)])
    # The mean of a record of mean zero, by definition 1; 400 samples tell it to 15 %.
    assert wrong.error == pytest.approx(1.0, rel=0.15)
    assert 0.02 < wrong.standard_error < 0.2
    assert wrong.worst > wrong.error
    assert wrong.outputs == pytest.approx([wrong.error], rel=1e-6)
    assert wrong.exceeds(right) > 3
    assert right.exceeds(wrong) < -3


def test_a_model_that_runs_away_is_counted() -> None:
    record = first_order(1000)
    judge = Judge([[record[800:]]], [record], 5)
    explodes = judge.judge([linear_model(1.9)])
    assert np.isinf(explodes.error) or explodes.error > 1e6
    assert explodes.recorded > 0.5 * judge.judge([linear_model(0.8)]).starts / 3
    # Each run of 12 orders and 12 beyond the range leaves it.
    assert explodes.stressed == 24
    bold = judge.judge([linear_model(0.97)])  # more than doubles the range
    assert bold.stressed > 0
    integrating = Judge([[record[800:]]], [record], 5, bounded=False)
    assert integrating.judge([linear_model(0.97)]).stressed == 0


def test_each_model_is_judged_by_what_it_has_not_seen() -> None:
    record = first_order(1000)
    halves = [record[:500], record[500:]]
    judge = Judge([[halves[0]], [halves[1]]], [record], 5)
    both = judge.judge([linear_model(0.8), linear_model(0.8, gain=0.0)])
    half = len(both.parts) // 2
    assert both.parts[:half].max() < 1e-9
    assert both.parts[half:].min() > 0.1


def test_missing_samples_are_neither_scored_nor_run_through() -> None:
    record = first_order(1000)
    u, y = record.u.copy(), record.y.copy()
    u[300:310] = np.nan
    y[850:900] = np.nan
    y[::7] = np.nan
    gappy = record.replace(u=u, y=y)
    judge = Judge([[gappy[200:400], gappy[800:]]], [gappy], 5)
    found = judge.judge([linear_model(0.8)])
    assert found.error < 1e-6
    assert found.recorded == 0


def test_an_output_that_is_measured_now_and_then() -> None:
    record = first_order(600)
    y = np.full_like(record.y, np.nan)
    y[::10] = record.y[::10]
    model = sysid.StateSpace(nu=1, ny=1, nx=1, hidden_sizes=())
    sysid.fit(
        model,
        record.replace(y=y),
        loss="full_sequence",
        optimiser="lm",
        max_epochs=20,
        linear_start=False,
    )
    judge = Judge([[record.replace(y=y)[300:]]], [record.replace(y=y)], 15)
    assert judge.judge([model]).error < 0.1


def test_records_that_are_too_short_are_named() -> None:
    record = first_order(30)
    with pytest.raises(ValueError, match="more than the 20 samples"):
        Judge([[record[20:]]], [record], 20)


def test_a_calm_stretch_from_one_start_does_not_hide_an_explosion() -> None:
    """As an overfitted network was that exploded from 16 of 20 starts of its own record."""
    rng = np.random.default_rng(0)
    u = 1.5 * rng.standard_normal(2600)
    u[2275:] *= 0.2  # the last eighth, which alone was looked at once
    y = np.zeros(2600)
    for k in range(1, 2600):
        y[k] = 0.8 * y[k - 1] + u[k - 1]
    record = Record(u, y, sampling_time=1.0)
    model = sysid.NARX(nu=1, ny=1, na=1, nb=1, nk=1, hidden_sizes=(1,), activation="sinh")
    with torch.no_grad():  # y(k) = 0.8 y(k-1) + u(k-1) + 0.02 (sinh(1.2 y(k-1)) - 1.2 y(k-1))
        model.network[0].weight.copy_(torch.tensor([[1.2, 0.0]]))
        model.network[-1].weight.fill_(0.02)
        for layer in (model.network[0], model.network[-1]):
            layer.bias.zero_()
        model.linear_path.weight.copy_(torch.tensor([[0.8 - 0.02 * 1.2, 1.0]]))
    calm = record[2275:].replace(n_init=5)
    error = (model.simulate(calm) - calm.y)[5:]
    assert np.sqrt(np.mean(error**2)) < 0.05 * record.y.std(), "the calm part shows nothing"
    found = Judge([[calm]], [record], 5).judge([model])
    assert found.recorded > 5
    assert not found.bounded
