"""A stream says sample by sample what simulate and predict say of the whole record."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from systems import linear_record, two_by_two
from test_models import CAUSAL, make

import sysid
from sysid.models.ffn import ACTIVATIONS

# Other sums in another order, over a few hundred steps of a stable system.
ROUNDING = 1e-12


def outputs(stream: sysid.Stream, u: np.ndarray) -> np.ndarray:
    return np.array([stream.step(row) for row in u])


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    """Compare in units of each output's std."""
    std = expected.std(axis=0)
    assert_allclose(actual / std, expected / std, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("n", [1, 7, 20])
def test_steps_after_a_measured_past_equal_simulate(name: str, n: int) -> None:
    model, record = make(name), two_by_two(200).replace(n_init=n)
    stream = model.stream()
    stream.reset(record[:n])
    close(outputs(stream, record.u[n:]), model.simulate(record)[n:])


@pytest.mark.parametrize("name", [n for n in CAUSAL if make(n).n_memory == 0])
def test_without_a_past_a_stream_starts_as_simulate_does(name: str) -> None:
    model, record = make(name), two_by_two(100)
    close(outputs(model.stream(), record.u), model.simulate(record))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str) -> None:
    torch.manual_seed(0)
    model = sysid.FFN(1, (4, 3), 1, activation).double()
    limit = 3 if activation == "sinh" else 60  # into all saturations
    record = sysid.Record(np.linspace(-limit, limit, 400), np.zeros(400))
    close(outputs(model.stream(), record.u), model.simulate(record))


def test_a_relu_network() -> None:
    model, record = make("rnn"), two_by_two(100)
    assert model.nonlinearity == "relu"
    close(outputs(model.stream(), record.u), model.simulate(record))


@pytest.mark.parametrize("orders", [(2, 4, 3), (0, 2, 1), (0, 0, 0), (3, 0, 0)])
def test_narx_of_all_orders(orders: tuple[int, int, int]) -> None:
    torch.manual_seed(1)
    model, record = sysid.NARX(2, 2, *orders).double(), two_by_two(80)
    n = max(model.n_memory, 1)
    stream = model.stream()
    stream.reset(record[:n])
    close(outputs(stream, record.u[n:]), model.simulate(record.replace(n_init=n))[n:])


def test_a_model_without_inputs() -> None:
    torch.manual_seed(0)
    model = sysid.NARX(0, 1, 2, 0).double()
    record = sysid.Record(None, np.sin(np.arange(30)))
    stream = model.stream()
    stream.reset(record[:2])
    close(np.array([stream.step() for _ in range(28)]), model.simulate(record)[2:])


@pytest.mark.parametrize("name", ["narx", "narx_no_linear", "rnn_feedback"])
def test_with_every_output_observed_steps_are_predictions(name: str) -> None:
    model, record = make(name), two_by_two(120)
    expected = model.predict(record)
    stream = model.stream()
    stream.reset(record[:5])
    for k in range(5, len(record)):
        assert_allclose(stream.step(record.u[k]), expected[k], rtol=1e-10, atol=1e-10)
        stream.observe(record.y[k])


def test_an_output_that_was_not_measured_stays_the_models_own() -> None:
    model, record = make("narx"), two_by_two(60)
    free, told = model.stream(), model.stream()
    for stream in (free, told):
        stream.reset(record[:5])
    for u in record.u[5:]:
        assert_array_equal(free.step(u), told.step(u))
        told.observe([np.nan, np.nan])
    assert not np.array_equal(free.step(record.u[0]), record.y[0])
    told.step(record.u[0])
    told.observe([np.nan, 3.0])  # the second one alone
    assert free.state[0] == told.state[0]
    assert free.state[1] != told.state[1]


@pytest.mark.parametrize("name", CAUSAL)
def test_a_saved_state_goes_on(name: str) -> None:
    model, record = make(name), two_by_two(60)
    stream = model.stream()
    stream.reset(record[:10])
    outputs(stream, record.u[10:30])
    saved = pickle.loads(pickle.dumps(stream.state))
    straight = outputs(stream, record.u[30:])
    other = model.stream()
    other.state = saved
    assert_array_equal(outputs(other, record.u[30:]), straight)


def test_float32_weights_are_used_in_double_precision() -> None:
    torch.manual_seed(0)
    model, record = sysid.GRU(1, 1, 8), linear_record(100)
    close(outputs(model.stream(), record.u), model.double().simulate(record))


def test_a_stream_keeps_the_weights_it_was_made_with() -> None:
    model, record = make("gru_encoder"), two_by_two(50)
    stream = model.stream()
    stream.reset(record[:10])
    start = stream.state
    before = outputs(stream, record.u[10:])
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    stream.state = start
    assert_array_equal(outputs(stream, record.u[10:]), before)


def test_a_two_way_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model must be one-way to stream.*sees the future"):
        make("lstm_both_ways").stream()


def test_a_wrong_input_leaves_the_state() -> None:
    model, record = make("narx"), two_by_two(30)
    stream = model.stream()
    stream.reset(record[:5])
    before = stream.state
    with pytest.raises(ValueError, match=r"u must be finite, got .*nan"):
        stream.step([1.0, np.nan])
    with pytest.raises(ValueError, match="u must have 2 values, one per input"):
        stream.step([1.0])
    assert_array_equal(stream.state, before)


def test_wrong_requests() -> None:
    model, record = make("narx"), two_by_two(30)
    stream = model.stream()
    with pytest.raises(ValueError, match="stream must start from measured samples, got none yet"):
        stream.step([0.0, 0.0])
    with pytest.raises(ValueError, match=r"record must hold measured samples .* looks back 3"):
        stream.reset()
    with pytest.raises(ValueError, match=r"must have the first .* measured outputs"):
        stream.reset(record.replace(y=None, y_names=None, y_units=None))
    with pytest.raises(ValueError, match="must have 2 inputs, got 1"):
        stream.reset(linear_record(10))
    stream.reset(record[:5])
    with pytest.raises(ValueError, match="state must be 12 finite numbers"):
        stream.state = np.zeros(3)
    with pytest.raises(ValueError, match="y must have 2 values, finite or NaN"):
        stream.observe([1.0, np.inf])
    with pytest.raises(ValueError, match="model must feed outputs back to take measured ones"):
        make("lstm").stream().observe([0.0, 0.0])
