"""Every kind of model against its equations and its contract."""

from __future__ import annotations

import io
import random
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from payload import Payload
from scipy.signal import lfilter
from systems import linear_record, two_by_two
from torch import nn

import sysid
from sysid.data.records import Record
from sysid.models import FFN, GRU, LSTM, MODELS, NARX, RNN, StateSpace
from sysid.models.linear import estimate_state_space

EXAMPLES = {
    "ffn": lambda: FFN(2, (5,), 2),
    "narx": lambda: NARX(2, 2, 3, 2, 1, hidden_sizes=(6, 5)),
    "narx_no_linear": lambda: NARX(2, 2, 2, 4, linear=False),
    "rnn": lambda: RNN(2, 2, 4, nonlinearity="relu"),
    "rnn_feedback": lambda: RNN(2, 2, 4, feedback=True),
    "gru_encoder": lambda: GRU(2, 2, 4, num_layers=2, initial_state="encoder", n_init=5),
    "gru_feedback_encoder": lambda: GRU(2, 2, 4, feedback=True, initial_state="encoder", n_init=3),
    "lstm": lambda: LSTM(2, 2, 4, num_layers=2, dropout=0.2, initial_state="learned"),
    "lstm_estimated": lambda: LSTM(2, 2, 3, initial_state="estimated"),
    "lstm_both_ways": lambda: LSTM(2, 2, 4, bidirectional=True, initial_state="learned"),
    "state_space": lambda: StateSpace(2, 2, 3),
    "state_space_linear_output": lambda: StateSpace(
        2, 2, 3, hidden_sizes=(4, 4), output_hidden_sizes=(), feedthrough=False
    ),
    "state_space_limited": lambda: StateSpace(
        2, 2, 3, output_limits=[[-0.5, 0.7], [-300.0, 200.0]]
    ),
    "narx_stable": lambda: NARX(2, 2, 3, 2, 1, hidden_sizes=(6,), stable=True),
    "state_space_stable": lambda: StateSpace(2, 2, 3, stable=True),
}
CAUSAL = [n for n in EXAMPLES if n != "lstm_both_ways"]


def make(name: str, seed: int = 0, fitted: bool = True) -> sysid.Model:
    torch.manual_seed(seed)
    model = EXAMPLES[name]().double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.3 * torch.randn_like(p))
    if fitted:
        model.scaling.fit_([two_by_two()])
        model.describe(two_by_two())
    return model


def test_the_examples_are_all_kinds() -> None:
    assert {make(n, fitted=False).kind for n in EXAMPLES} == set(MODELS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_simulate_looks_at_no_output_after_the_start(name: str) -> None:
    model, record = make(name), two_by_two(80).replace(n_init=7)
    y = record.y.copy()
    y[7:] = np.random.default_rng(1).standard_normal(y[7:].shape) * 1e6
    assert_array_equal(model.simulate(record), model.simulate(record.replace(y=y)))


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("horizon", [1, 3])
def test_row_k_of_predict_uses_outputs_up_to_k_minus_horizon(name: str, horizon: int) -> None:
    model, record = make(name), two_by_two(40)
    base = model.predict(record, horizon)
    y = record.y.copy()
    y[20] += 1.0
    moved = model.predict(record.replace(y=y), horizon)
    assert_array_equal(base[: 20 + horizon], moved[: 20 + horizon])
    if not model.output_error:
        assert not np.array_equal(base[20 + horizon], moved[20 + horizon])


@pytest.mark.parametrize("name", CAUSAL)
def test_the_future_of_the_input_does_not_matter(name: str) -> None:
    model = make(name)
    u = torch.randn(1, 30, 2, dtype=torch.float64, requires_grad=True)
    y = torch.randn(1, 30, 2, dtype=torch.float64)
    y_hat, _ = model.unfold(u, y, 4)
    (grad,) = torch.autograd.grad(y_hat[0, 15].sum(), u)
    assert grad[0, 16:].abs().max() == 0
    assert grad[0, :16].abs().max() > 0


def test_a_bidirectional_model_sees_the_future() -> None:
    model = make("lstm_both_ways")
    u = torch.randn(1, 30, 2, dtype=torch.float64, requires_grad=True)
    y_hat, _ = model(u)
    (grad,) = torch.autograd.grad(y_hat[0, 15].sum(), u)
    assert grad[0, 16:].abs().max() > 0


@pytest.mark.parametrize("name", [n for n in CAUSAL if hasattr(EXAMPLES[n](), "learned_state")])
def test_a_sequence_can_go_through_in_pieces(name: str) -> None:
    model, u = make(name), torch.randn(3, 20, 2, dtype=torch.float64)
    whole, end = model(u)
    first, state = model(u[:, :8])
    second, state = model(u[:, 8:], state)
    # Rounding: the products over time are of other sizes.
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state, end, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CAUSAL)
def test_carried_windows_equal_one_window(name: str) -> None:
    model = make(name)
    u, y = (torch.randn(2, 30, 2, dtype=torch.float64) for _ in range(2))
    whole, _ = model.unfold(u, y, 6)
    first, carried = model.unfold(u[:, :13], y[:, :13], 6)
    second, _ = model.unfold(u[:, 13:], torch.full_like(y[:, 13:], torch.nan), 6, carried)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-10, atol=1e-10)


def test_pieces_of_a_bidirectional_model_are_refused() -> None:
    model = make("lstm_both_ways")
    _, state = model(torch.zeros(1, 5, 2))
    with pytest.raises(ValueError, match="it sees the future"):
        model(torch.zeros(1, 5, 2), state)


@pytest.mark.parametrize(("cls", "torch_cls"), [(RNN, nn.RNN), (GRU, nn.GRU), (LSTM, nn.LSTM)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_weights_of_torch_modules_can_be_loaded(cls, torch_cls, bidirectional) -> None:  # type: ignore[no-untyped-def]
    theirs = torch_cls(3, 4, 2, batch_first=True, bidirectional=bidirectional)
    ours = cls(3, 1, 4, num_layers=2, bidirectional=bidirectional)
    ours.recurrence.load_state_dict(theirs.state_dict())
    u = torch.randn(2, 9, 3)
    expected = ours.output(theirs(u)[0])
    # Two codes that sum in another order.
    torch.testing.assert_close(ours(u)[0], expected, rtol=1e-5, atol=1e-6)


def test_relu_rnn_answers_an_impulse_with_powers_of_one_half() -> None:
    model = RNN(1, 1, 1, nonlinearity="relu").double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.fill_(0.5 if "weight_hh" in name else 1.0 if "weight" in name else 0.0)
    impulse = np.zeros(12)
    impulse[0] = 1.0
    assert_array_equal(model.simulate(Record(impulse, None))[:, 0], 0.5 ** np.arange(12))


def test_the_shapes_of_the_lecture() -> None:
    lstm = LSTM(10, 1, 20)
    h, _ = lstm.recurrence(torch.randn(3, 5, 10))
    y, (hn, cn) = lstm(torch.randn(3, 5, 10))
    assert h.shape == (3, 5, 20)
    assert y.shape == (3, 5, 1)
    assert hn.shape == cn.shape == (1, 3, 20)


def linear_narx() -> NARX:
    """The system of ``linear_record`` without its units."""
    model = NARX(1, 1, 2, 2, 1, hidden_sizes=(3,)).double()
    with torch.no_grad():
        model.linear_path.weight.copy_(torch.tensor([[1.2, -0.5, 0.5, 0.2]], dtype=torch.float64))
        for p in model.network.parameters():
            p.zero_()
    return model


def test_a_linear_narx_is_a_filter() -> None:
    u = np.random.default_rng(0).standard_normal(200)
    y = lfilter([0, 0.5, 0.2], [1, -1.2, 0.5], u)
    y_hat = linear_narx().simulate(Record(u, y))
    assert_allclose(y_hat[:, 0], y, atol=1e-12)


def test_pytorch_ident_free_run_with_many_lags_is_right() -> None:
    """A buffer shifted in place made a rival's simulation silently wrong for na >= 3."""
    torch.manual_seed(0)
    model = NARX(1, 2, 5, 3, hidden_sizes=(4,)).double()
    u, y0 = torch.randn(40, 1, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    y = [*y0]
    for k in range(6, 40):
        phi = torch.cat([y[k - i] for i in range(1, 6)] + [u[k - i] for i in range(4)])
        y.append(model(phi))
    rolled = model.rollout(u[None], y0[None])[0]
    torch.testing.assert_close(rolled, torch.stack(y), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("na", [0, 1, 3])
@pytest.mark.parametrize(("nb", "nk"), [(0, 0), (2, 0), (4, 2)])
@pytest.mark.parametrize("n_init", [0, 1, 7])
def test_free_run_of_narx_equals_the_double_loop(na: int, nb: int, nk: int, n_init: int) -> None:
    torch.manual_seed(1)
    model = NARX(2, 2, na, nb, nk, hidden_sizes=(4,)).double()
    record = two_by_two(25).replace(n_init=n_init)
    # Without any lag there is nothing to start from, and every row is the model's.
    n = (n_init or max(na, nb)) if max(na, nb) else 0
    y = [torch.tensor(record.y[k]) for k in range(min(n, 25))]
    u = torch.tensor(record.u)
    for k in range(n, 25):
        lags = [y[max(k - i, 0)] for i in range(1, na + 1)]
        lags += [u[max(k - i, 0)] for i in range(nk, nb + 1)]
        y.append(model(torch.cat(lags)).detach())
    assert_allclose(model.simulate(record), torch.stack(y).numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_prediction_of_narx_equals_the_double_loop(horizon: int) -> None:
    model, record = make("narx"), two_by_two(30)
    u, y = torch.tensor(record.u), torch.tensor(record.y)
    expected = np.full((30, 2), np.nan)
    for k in range(3 + horizon - 1, 30):
        known = {j: y[j] for j in range(k - horizon + 1)}
        for j in range(k - horizon + 1, k + 1):
            phi = torch.cat([known[j - i] for i in (1, 2, 3)] + [u[j - i] for i in (1, 2)])
            known[j] = model(phi).detach()
        expected[k] = known[k]
    std = record.y.std(axis=0)
    ours, theirs = model.predict(record, horizon) / std, expected / std
    assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


RECURRENT = [(cls, layers) for cls in (RNN, GRU, LSTM) for layers in (1, 2)]


def recurrent(cls, **options):  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    model = cls(2, 2, 4, **options).double().eval()
    model.scaling.fit_([two_by_two(50)])
    return model


@pytest.mark.parametrize("horizon", [1, 4])
@pytest.mark.parametrize(("cls", "layers"), RECURRENT)
def test_prediction_with_an_encoder_is_that_of_the_double_loop(cls, layers, horizon) -> None:  # type: ignore[no-untyped-def]
    model = recurrent(cls, num_layers=layers, initial_state="encoder", n_init=5)
    record = two_by_two(30)
    u = model.scaling.scale_u(torch.tensor(record.u))
    y = model.scaling.scale_y(torch.tensor(record.y))
    expected = torch.full((30, 2), torch.nan, dtype=torch.float64)
    for k in range(5 + horizon - 1, 30):
        a = k - horizon + 1  # the window is a-5 ... a-1
        state = model._pack(model.encoder(u[None, a - 5 : a], y[None, a - 5 : a]))
        state = state if cls is LSTM else state[0]
        for j in range(a, k + 1):
            h, state = model.recurrence(u[None, j : j + 1], state)
        expected[k] = model.scaling.unscale_y(model.output(h)[0, 0].detach())
    assert_allclose(model.predict(record, horizon), expected.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("horizon", [1, 4])
@pytest.mark.parametrize(("cls", "layers"), RECURRENT)
@pytest.mark.parametrize("gap", [slice(0), slice(0, 1), slice(9, 14), slice(28, 30)])
def test_prediction_with_feedback_is_that_of_the_double_loop(cls, layers, horizon, gap) -> None:  # type: ignore[no-untyped-def]
    model = recurrent(cls, num_layers=layers, feedback=True)
    record = two_by_two(30)
    measured = record.y.copy()
    measured[gap, 1] = np.nan
    u = model.scaling.scale_u(torch.tensor(record.u))
    y = model.scaling.scale_y(torch.tensor(measured))
    expected = torch.full((30, 2), torch.nan, dtype=torch.float64)
    for k in range(horizon, 30):
        state, before = None, y[0].nan_to_num()
        for j in range(k + 1):
            h, state = model.recurrence(torch.cat([u[j], before])[None, None], state)
            own = model.output(h)[0, 0].detach()
            before = torch.where(y[j].isnan(), own, y[j]) if j <= k - horizon else own
        expected[k] = model.scaling.unscale_y(own)
    assert_allclose(model.predict(record.replace(y=measured), horizon), expected.numpy(), 1e-10)


def test_a_gap_in_the_outputs_ends_by_itself() -> None:
    y = two_by_two(40).y.copy()
    y[10] = np.nan
    record = two_by_two(40).replace(y=y)
    assert np.isnan(make("narx").predict(record)[11:14]).all()
    assert not np.isnan(make("narx").predict(record)[14:]).any()
    assert not np.isnan(make("rnn_feedback").predict(record)[1:]).any()


def test_the_estimated_state_is_the_one_the_record_started_from() -> None:
    model = make("state_space", fitted=False)
    with torch.no_grad():
        model.A.weight.copy_(0.9 * torch.eye(3))
    u = torch.randn(1, 60, 2, dtype=torch.float64)
    y, _ = model(u, (torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64),))
    record = Record(u[0].numpy(), y[0].detach().numpy(), n_init=20)
    assert_allclose(model.simulate(record), record.y, atol=1e-6)
    off = model.simulate(record.replace(n_init=0))
    assert np.abs(off[:10] - record.y[:10]).max() > 0.1


def test_a_linear_model_is_found_by_the_subspace_method() -> None:
    record = linear_record(2000)
    u, y = (record.u - 3) / 2, (record.y - 7) / 4
    model = estimate_state_space([(u[:900], y[:900]), (u[950:], y[950:])], 2)
    assert_allclose(sorted(np.linalg.eigvals(model.A)), sorted(np.roots([1, -1.2, 0.5])), atol=1e-3)
    markov = [model.C @ np.linalg.matrix_power(model.A, i) @ model.B for i in range(8)]
    impulse = lfilter([0, 0.5, 0.2], [1, -1.2, 0.5], np.eye(9)[0])[1:]
    assert_allclose(np.ravel(markov), impulse, atol=1e-3)


@pytest.mark.parametrize("name", EXAMPLES)
def test_summary_counts_every_parameter_and_leaves_the_model_alone(name: str) -> None:
    model = make(name)
    total = sum(p.numel() for p in model.parameters())
    before = torch.get_rng_state()
    with redirect_stdout(io.StringIO()) as out:
        model.summary()
        model.summary()
    assert out.getvalue().count(f"Total params: {total:,}\n") == 2
    assert torch.equal(before, torch.get_rng_state())
    assert not model._forward_hooks
    model.simulate(two_by_two(30))
    assert not any(m._forward_hooks for m in model.modules())


def test_summary_shows_the_lines_of_the_lecture() -> None:
    with redirect_stdout(io.StringIO()) as out:
        FFN(4, [200, 300], 1, "sigmoid").summary()
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["Linear-1", "[-1,", "200]", "1,000"] in lines
    assert ["Sigmoid-2", "[-1,", "200]", "0"] in lines
    assert ["Linear-3", "[-1,", "300]", "60,300"] in lines
    assert ["Sigmoid-4", "[-1,", "300]", "0"] in lines
    assert ["Linear-5", "[-1,", "1]", "301"] in lines
    assert "Total params: 61,601" in out.getvalue()


@pytest.mark.parametrize("name", EXAMPLES)
def test_deepsi_a_reloaded_model_is_the_same_model(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    model, record = make(name), two_by_two(40).replace(n_init=6)
    sysid.save(model, tmp_path / "m.safetensors")
    again = sysid.load(tmp_path / "m.safetensors")
    assert_array_equal(again.simulate(record), model.simulate(record))
    assert again.arguments == model.arguments
    assert (again.u_names, again.sampling_time) == (model.u_names, model.sampling_time)
    assert set(model.state_dict()) > {"scaling.u_offset", "scaling.y_scale"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_deepsi_building_a_model_leaves_other_random_streams_alone(name: str) -> None:
    states = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    torch.manual_seed(5)
    first = EXAMPLES[name]().state_dict()
    torch.manual_seed(5)
    second = EXAMPLES[name]().state_dict()
    for key in first:
        torch.testing.assert_close(first[key], second[key], rtol=0, atol=0)
    assert_array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert random.getstate() == states[1]
    torch.manual_seed(5)
    LSTM(1, 1, 4)
    after = torch.rand(1)
    torch.manual_seed(5)
    nn.LSTM(1, 4)
    nn.Linear(4, 1)
    assert torch.equal(after, torch.rand(1))


@pytest.mark.parametrize("name", [n for n in EXAMPLES if n != "state_space_limited"])
def test_units_of_the_outputs_do_not_matter(name: str) -> None:
    record = two_by_two(60)
    model = make(name)
    before = model.simulate(record.replace(n_init=5))
    bigger = record.replace(y=record.y * [1e3, 1e-3], n_init=5)
    model.scaling.fit_([bigger.replace(y=two_by_two().y * [1e3, 1e-3], u=two_by_two().u)])
    assert_allclose(model.simulate(bigger), before * [1e3, 1e-3], rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: NARX(1, 1, -1, 1), "na must be at least 0"),
        (lambda: NARX(1, 1, 1, 1, 2), "nb must be at least nk=2"),
        (lambda: NARX(0, 1, 0, 0), "na must be at least 1 for a model without inputs"),
        (lambda: NARX(1, 0, 1, 1), "ny must be at least 1"),
        (lambda: FFN(1, (0,), 1), "hidden_sizes must be at least 1"),
        (lambda: FFN(1, (3,), 1, "step"), "activation must be one of tanh"),
        (lambda: LSTM(1, 1, 2.0), "hidden_size must be a whole number"),
        (lambda: LSTM(1, 1, 4, dropout=0.5), "dropout must be 0 with one layer"),
        (lambda: LSTM(1, 1, 4, 2, dropout=1.5), r"dropout must be in \[0, 1\)"),
        (lambda: GRU(0, 1, 4), "nu must be at least 1 without feedback"),
        (lambda: GRU(1, 1, 4, initial_state="best"), "initial_state must be one of zero"),
        (lambda: GRU(1, 1, 4, initial_state="encoder"), "n_init must be at least 1"),
        (lambda: GRU(1, 1, 4, n_init=3), "n_init must be 0 with"),
        (lambda: GRU(1, 1, 4, bidirectional=True, feedback=True), "bidirectional must be False"),
        (lambda: RNN(1, 1, 4, nonlinearity="sigmoid"), "nonlinearity must be one of"),
        (lambda: StateSpace(1, 1, 0), "nx must be at least 1"),
        (lambda: linear_narx().rollout(torch.zeros(1, 9, 1), torch.zeros(1, 1, 1)), "y_start must"),
    ],
)
def test_wrong_arguments_are_refused(build, match: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((ValueError, TypeError), match=match):
        build()


def test_records_that_are_not_the_models_are_refused() -> None:
    model, record = make("narx"), two_by_two(30)
    with pytest.raises(ValueError, match="must have 2 inputs, got 1"):
        model.simulate(Record(record.u[:, :1], record.y))
    with pytest.raises(ValueError, match="must be in the order u1, u2"):
        model.simulate(record.replace(u_names=["u2", "u1"]))
    with pytest.raises(ValueError, match=r"sampling_time must be 0.1 s as in training, got 0.2"):
        model.simulate(record.replace(sampling_time=0.2))
    with pytest.raises(ValueError, match="to start from, got none"):
        model.simulate(Record(record.u, None))
    with pytest.raises(ValueError, match="must have measured outputs to predict from"):
        model.predict(Record(record.u, None))
    with pytest.raises(ValueError, match="horizon must be at least 1"):
        model.predict(record, 0)
    u = record.u.copy()
    u[4, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 30 rows miss a value, the first is row 4"):
        model.simulate(record.replace(u=u))
    with pytest.raises(TypeError, match=r"record must be a sysid.Record, got ndarray"):
        model.simulate(record.u)


def test_a_model_fed_with_inputs_alone_needs_no_outputs() -> None:
    record = two_by_two(30)
    for name in ("lstm", "state_space", "lstm_estimated", "rnn_feedback"):
        assert make(name).simulate(Record(record.u, None, 0.1, name="x")).shape == (30, 2)


def test_files_that_are_not_models_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FileNotFoundError, match="model file must exist"):
        sysid.load(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("hello, I am no model at all")
    with pytest.raises(ValueError, match="model file must be whole"):
        sysid.load(tmp_path / "text")
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="must be written by"):
        sysid.load(tmp_path / "other")
    with pytest.raises(TypeError, match="model must be a sysid model"):
        sysid.save(nn.Linear(1, 1), tmp_path / "x")


def test_torch_load_a_model_file_with_a_payload_is_refused_unrun(tmp_path) -> None:  # type: ignore[no-untyped-def]
    bomb = tmp_path / "bomb"
    torch.save({"weights": Payload(tmp_path / "ran")}, bomb)
    with pytest.raises(ValueError, match="model file must be whole"):
        sysid.load(bomb)
    assert not (tmp_path / "ran").exists()
    torch.load(bomb, weights_only=False)  # the payload is a live one
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", EXAMPLES)
def test_deepsi_several_outputs_mix_no_devices(name: str) -> None:
    # The meta device refuses to work with tensors of the CPU, as a GPU would.
    model = make(name).to("meta")
    u, y = torch.zeros(3, 30, 2, device="meta"), torch.zeros(3, 30, 2, device="meta")
    y_hat, _ = model.unfold(u.to(model.dtype), y.to(model.dtype))
    assert (y_hat.device.type, y_hat.shape) == ("meta", (3, 30, 2))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", EXAMPLES)
def test_deepsi_several_outputs_work_off_the_cpu(name: str) -> None:
    model, record = make(name), two_by_two(40).replace(n_init=6)
    expected = model.simulate(record)
    # Other kernels, other order of sums.
    assert_allclose(model.to("cuda").simulate(record), expected, rtol=1e-6, atol=1e-6)
