"""Outputs that are measured more slowly than the inputs: training, starts, choice, comparison."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

import sysid
from sysid.data.slow_outputs import (
    between_samples,
    spacing,
    usable_starts,
    window_runs,
    with_stand_ins,
)
from sysid.data.subsequences import Subsequences
from sysid.models.linear import estimate_state_space

N, TRAIN = 4000, 3000


@pytest.fixture(scope="module")
def plant():
    """Return inputs and noisy outputs of a second-order plant, held inputs."""
    random = np.random.default_rng(0)
    u, y = np.repeat(random.uniform(-1, 1, N // 20), 20), np.zeros(N)
    for k in range(2, N):
        y[k] = 1.7 * y[k - 1] - 0.72 * y[k - 2] + 0.02 * u[k - 1]
    return u, y + 0.002 * random.standard_normal(N)


def every(y, step, first=0):
    return np.where(np.arange(len(y)) % step == first, y, np.nan)


def fit_of(model, plant):
    """Return the fit to all samples of the part that was not trained on."""
    u, y = (x[TRAIN:] for x in plant)
    y_hat = model.simulate(sysid.Record(u, y, 0.01))
    return float(sysid.fit_index(y[100:, None], y_hat[100:])[0])


def trained(model, plant, y, **settings):
    torch.manual_seed(0)
    record = sysid.Record(plant[0][:TRAIN], y[:TRAIN], 0.01, name="slow")
    return sysid.fit(model, record, progress=False, **settings)


LM = {"loss": "full_sequence", "optimiser": "lm", "max_epochs": 20}


def sampled(name, y):
    """Return outputs as loggers leave them."""
    random = np.random.default_rng(1)
    k = np.arange(len(y))
    return {
        "every second": every(y, 2),
        "every tenth": every(y, 10),
        "every third, from the second on": every(y, 3, 1),
        "every tenth, now and then missing": np.where(
            (k % 10 == 0) & (random.random(len(y)) > 0.1), y, np.nan
        ),
        "one in eight, at random": np.where(random.random(len(y)) < 1 / 8, y, np.nan),
        "every tenth, and a gap of a fifth": np.where(
            (k % 10 == 0) & ~((k > 1000) & (k < 1600)), y, np.nan
        ),
    }[name]


WAYS = [
    "every second",
    "every tenth",
    "every third, from the second on",
    "every tenth, now and then missing",
    "one in eight, at random",
    "every tenth, and a gap of a fifth",
]


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize(
    "model",
    [
        lambda: sysid.StateSpace(1, 1, 2, hidden_sizes=()),
        lambda: sysid.NARX(1, 1, 2, 2, 1, hidden_sizes=()),
    ],
    ids=["state_space", "narx"],
)
def test_a_slow_output_costs_less_than_half_a_point(plant, model, name):
    whole = model()
    trained(whole, plant, plant[1], **LM)
    slow = model()
    result = trained(slow, plant, sampled(name, plant[1]), **LM)
    assert result.messages == ()
    assert fit_of(slow, plant) > fit_of(whole, plant) - 0.5


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (lambda: sysid.NARX(1, 1, 2, 2, hidden_sizes=(4,)), {"loss": "full_sequence"}),
        (lambda: sysid.NARX(1, 1, 2, 2, hidden_sizes=(4,)), {"loss": "subsequence"}),
        (lambda: sysid.RNN(1, 1, hidden_size=4), {"loss": "subsequence"}),
        (lambda: sysid.GRU(1, 1, hidden_size=4), {"loss": "full_sequence"}),
        (lambda: sysid.LSTM(1, 1, hidden_size=4, feedback=True), {"washout": 12}),
        (lambda: sysid.GRU(1, 1, hidden_size=4, initial_state="encoder", n_init=25), {}),
        (lambda: sysid.StateSpace(1, 1, 2, hidden_sizes=(4,)), {"optimiser": "lm"}),
        (
            lambda: sysid.StateSpace(1, 1, 2, hidden_sizes=(4,)),
            {"loss": "full_sequence", "state_samples": 60, "optimiser": "lm"},
        ),
        (
            lambda: sysid.StateSpace(1, 1, 2, hidden_sizes=(4,)),
            {"loss": "full_sequence", "restart": 200, "optimiser": "lbfgs"},
        ),
    ],
    ids=["narx", "narx sub", "rnn sub", "gru", "lstm", "gru encoder", "ss sub", "ss fit", "ss cut"],
)
def test_every_kind_and_loss_trains_on_slow_outputs(plant, model, settings, name):
    made = model()
    y = sampled(name, plant[1])
    windows = {"length": 60, "stride": 7} if settings.get("loss") != "full_sequence" else {}
    result = trained(made, plant, y, max_epochs=2, **windows, **settings)
    assert np.isfinite(result.history.train_loss).all()
    test = sysid.Record(plant[0][TRAIN:], y[TRAIN:], 0.01, n_init=50)
    assert np.isfinite(made.simulate(test)).all()


@pytest.mark.parametrize("na", [1, 2, 4])
@pytest.mark.parametrize("step", [2, 5])
def test_one_step_says_which_loss_works(plant, na, step):
    model = sysid.NARX(1, 1, na, 2, hidden_sizes=(4,))
    with pytest.raises(ValueError, match=f"at every {step} rows. Use loss full_sequence"):
        trained(model, plant, every(plant[1], step), loss="one_step", max_epochs=1)


def test_one_step_of_five_samples_with_one_missing_is_refused_too():
    y = np.arange(5.0)
    y[2] = np.nan
    with pytest.raises(ValueError, match="Use loss full_sequence"):
        sysid.fit(sysid.NARX(1, 1, 2, 2), sysid.Record(np.arange(5.0), y), loss="one_step")


def test_a_model_without_past_outputs_learns_from_the_rows_that_have_one(plant):
    model = sysid.NARX(1, 1, 0, 60, 1, hidden_sizes=())
    trained(model, plant, every(plant[1], 10), loss="one_step", optimiser="lm", max_epochs=4)
    assert fit_of(model, plant) > 90  # 300 rows for 61 coefficients


def test_outputs_of_different_rates_each_count_where_they_are_measured(plant):
    u, y = plant
    both = np.column_stack([every(y, 3, 1), every(2 * y, 7, 2)])
    assert np.isnan(both).any(axis=1)[: 3 * 7].sum() == 20  # hardly ever together
    model = sysid.StateSpace(1, 2, 2, hidden_sizes=())
    record = sysid.Record(u[:TRAIN], both[:TRAIN], 0.01)
    sysid.fit(model, record, progress=False, **LM)
    y_hat = model.simulate(sysid.Record(u[TRAIN:], None, 0.01))[100:]
    target = np.column_stack([y, 2 * y])[TRAIN + 100 :]
    assert (sysid.fit_index(target, y_hat) > 98.5).all()


@pytest.mark.parametrize("step", [2, 10])
def test_the_linear_start_finds_the_poles_from_slow_outputs(plant, step):
    u, y = plant
    found = estimate_state_space([(u[:, None], every(y, step)[:, None] / y.std())], 2)
    poles = np.sort_complex(np.linalg.eigvals(found.A))
    assert_allclose(poles, [0.8, 0.9], atol=0.02)


def test_complete_outputs_are_estimated_as_before(plant):
    u, y = plant
    blocks = [(u[:, None], y[:, None])]
    assert between_samples(blocks[0][1]) is blocks[0][1]
    assert_allclose(
        np.sort(np.linalg.eigvals(estimate_state_space(blocks, 2).A).real), [0.8, 0.9], atol=5e-3
    )


def test_a_start_without_any_samples_for_it_is_random_with_a_word(caplog):
    u = np.random.default_rng(0).uniform(-1, 1, 60)
    record = sysid.Record(u, every(np.cumsum(u), 30), 1.0)
    model = sysid.StateSpace(1, 1, 8, hidden_sizes=())
    sysid.fit(model, record, loss="full_sequence", optimiser="lm", max_epochs=1, progress=False)
    assert "random weights, without a linear model" in caplog.text


def test_spacing_and_starts_of_ordinary_gaps_and_slow_outputs():
    y = np.arange(40.0)[:, None]
    gap = y.copy()
    gap[10:13] = np.nan
    slow = np.where(np.arange(40)[:, None] % 5 == 2, y, np.nan)
    assert spacing(np.hstack([y, gap, slow, np.full_like(y, np.nan)])).tolist() == [1, 1, 5, np.inf]
    assert np.flatnonzero(~usable_starts(gap, 2)).tolist() == [9, 10, 11, 12]
    assert np.flatnonzero(usable_starts(slow, 2))[:4].tolist() == [1, 2, 6, 7]
    assert usable_starts(slow, 0).all()


@pytest.mark.parametrize("between", [True, False])
def test_stand_ins_by_a_double_loop(between):
    random = np.random.default_rng(3)
    y = np.where(random.random((4, 30, 2)) < 0.3, random.standard_normal((4, 30, 2)), np.nan)
    found = with_stand_ins(torch.tensor(y), 20, between).numpy()
    assert_array_equal(found[:, 20:], y[:, 20:])
    for b in range(4):
        for c in range(2):
            known = np.flatnonzero(~np.isnan(y[b, :, c]))
            for k in range(20):
                before, after = known[known <= k], known[known >= k]
                if not len(before) or not len(after):
                    expected = y[b, known[0] if not len(before) else known[-1], c]
                elif between:
                    expected = np.interp(k, known, y[b, known, c])
                else:
                    expected = y[b, before[-1], c]
                assert_allclose(found[b, k, c], expected)


def test_windows_that_may_miss_outputs_by_a_double_loop():
    random = np.random.default_rng(5)
    u = random.standard_normal(80)
    u[40] = np.nan
    y = np.where(np.arange(80) % 4 == 1, random.standard_normal(80), np.nan)
    record = sysid.Record(u, y)
    length, start = 9, 3
    expected = [
        k
        for k in range(80 - length + 1)
        if np.isfinite(u[k : k + length]).all()
        and np.isfinite(y[k : k + start]).sum() >= 1
        and np.isfinite(y[k + start : k + length]).any()
    ]
    runs = window_runs(record, length, start)
    assert [k for a, b in runs for k in range(a, b - length + 1)] == expected
    windows = Subsequences(record, length, start=start)
    assert len(windows) == len(expected)
    seen = [np.isfinite(y[k + start : k + length]).sum() for k in expected]
    assert windows.measured_share(start) == pytest.approx(np.mean(seen) / (length - start))


def test_windows_over_ordinary_gaps_are_trained_on_as_well():
    record = sysid.generate("linear", 300)
    y = np.array(record.y)
    y[::50] = np.nan
    gappy = record.replace(y=y)
    assert len(Subsequences(gappy, 60, start=0)) == 241
    with pytest.raises(ValueError, match="longest complete stretch"):
        Subsequences(gappy, 60)
    result = sysid.fit(
        sysid.RNN(1, 1, hidden_size=3), gappy, length=60, max_epochs=1, progress=False
    )
    assert np.isfinite(result.best_loss)


def test_a_complete_record_is_trained_to_the_same_bits_with_the_loss_that_allows_gaps():
    record = sysid.generate("linear", 300)
    windows = Subsequences(record, 50, start=10)
    assert not windows.incomplete
    assert windows.measured_share(10) == 1


def test_a_narx_starts_from_the_slow_samples_that_it_is_given(plant):
    u, y = plant
    model = sysid.NARX(1, 1, 2, 2, 1, hidden_sizes=())
    trained(model, plant, y, loss="one_step", optimiser="lm", max_epochs=4)
    dense = sysid.Record(u[TRAIN:], y[TRAIN:], 0.01, n_init=50)
    slow = dense.replace(y=every(y[TRAIN:], 10)[:, None])
    # fitted to five samples in place of the last two, so noise of 0.002 moves it by as much
    assert_allclose(model.simulate(slow)[50:], model.simulate(dense)[50:], atol=0.03)
    late = slow.replace(y=every(y[TRAIN:], 10, 7)[:, None], n_init=0)
    assert model.scoring_start(late) == 8
    assert np.isfinite(model.simulate(late)).all()


def test_ordinary_gaps_at_the_start_are_refused_as_before(plant):
    u, y = (x[TRAIN:].copy() for x in plant)
    model = sysid.NARX(1, 1, 2, 2, 1, hidden_sizes=())
    y[1] = np.nan
    with pytest.raises(ValueError, match="must be complete to start from"):
        model.simulate(sysid.Record(u, y, 0.01))
    y[1:] = np.nan  # one sample alone does not say how slow the output is
    with pytest.raises(ValueError, match="must be complete to start from"):
        model.simulate(sysid.Record(u, y, 0.01))


def test_a_stream_starts_from_slow_samples_as_simulate_does(plant):
    u, y = plant
    model = sysid.NARX(1, 1, 2, 2, 1, hidden_sizes=())
    trained(model, plant, y, loss="one_step", optimiser="lm", max_epochs=4)
    record = sysid.Record(u[TRAIN:], every(y[TRAIN:], 10), 0.01, n_init=30)
    stream = model.stream()
    stream.reset(record[:30])
    steps = [stream.step(row)[0] for row in record.u[30:60]]
    assert_allclose(steps, model.simulate(record)[30:60, 0], atol=1e-9)


def test_predictions_stand_on_what_was_measured_and_the_own_outputs_between(plant):
    u, y = plant
    arx = sysid.NARX(1, 1, 2, 2, 1, hidden_sizes=(), linear=False).double()
    weight, bias = np.array([1.5, -0.7, 0.2, 0.1]), 0.05
    arx.network[0].weight.data.copy_(torch.tensor(weight))
    arx.network[0].bias.data.fill_(bias)
    record = sysid.Record(u[TRAIN:3400], every(y[TRAIN:3400], 4, 1), 0.01)
    own = np.full(400, np.nan)  # by the equation, one step after the other
    z = record.y[:, 0].copy()
    z[0] = z[1]  # before the first sample, it stands in
    for k in range(2, 400):
        phi = [z[k - 1], z[k - 2], record.u[k - 1, 0], record.u[k - 2, 0]]
        own[k] = weight @ phi + bias
        z[k] = own[k] if np.isnan(z[k]) else z[k]
    assert_allclose(arx.predict(record)[:, 0], own, atol=1e-9)
    changed = record.y.copy()
    changed[201:] += 1.0  # k = 201 is measured
    three = arx.predict(record.replace(y=changed), horizon=3) - arx.predict(record, horizon=3)
    assert np.flatnonzero(np.abs(three[:, 0]) > 1e-9)[0] == 204


def test_an_encoder_predicts_from_slow_samples(plant):
    model = sysid.GRU(1, 1, hidden_size=4, initial_state="encoder", n_init=25)
    y = every(plant[1], 10)
    trained(model, plant, y, length=60, stride=7, max_epochs=1)
    predicted = model.predict(sysid.Record(plant[0][:500], y[:500], 0.01), horizon=2)
    assert np.isfinite(predicted[60:]).all()


def test_the_linear_baseline_of_slow_outputs_is_a_good_one(plant):
    model = sysid.StateSpace(1, 1, 2, hidden_sizes=())
    trained(model, plant, every(plant[1], 10), **LM)
    assert model.baseline is not None
    arx = model.baseline.arx()
    assert fit_of(arx, plant) > 98


@pytest.mark.slow
def test_the_automatic_search_of_a_slow_output_delivers_a_dynamic_model(plant, tmp_path):
    u, y = plant
    record = sysid.Record(u[:TRAIN], every(y, 10)[:TRAIN], 0.01, name="slow")
    found = sysid.auto(record, budget=0.6, out=tmp_path / "run")
    assert found.model.kind != "ffn"
    assert not found.tried.stopped_because.str.contains("Error|must|needs").any()
    # A static network has 3.8; how near it comes: benchmarks/auto_slow_outputs.py.
    assert fit_of(found.model, plant) > 50
