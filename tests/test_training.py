"""Losses against their equations, the loop's promises, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from payload import Payload
from systems import linear_record, two_by_two

import sysid
from sysid.data.records import Record
from sysid.models import FFN, GRU, LSTM, NARX, RNN, StateSpace
from sysid.training.checkpoints import load_checkpoint, save_checkpoint
from sysid.training.compatibility import resolve_device
from sysid.training.full_sequence import FullSequence
from sysid.training.losses import OneStep, Subsequence
from sysid.training.settings import TrainingSettings
from sysid.training.trainer import Trainer


def fitted(model: sysid.Model, *records: Record) -> sysid.Model:
    model.double().scaling.fit_(list(records))
    model.describe(records[0])
    return model


def value(loss) -> float:  # type: ignore[no-untyped-def]
    values = [float(o.value()) for o in loss.objectives(torch.Generator())]
    return sum(values) / len(values)


def scaled(model: sysid.Model, y) -> np.ndarray:  # type: ignore[no-untyped-def]
    return (y - model.scaling.y_offset.numpy()) / model.scaling.y_std.numpy()


def test_one_step_is_the_mean_square_of_one_step_errors() -> None:
    torch.manual_seed(0)
    record = two_by_two(50)
    model = fitted(NARX(2, 2, 2, 1, hidden_sizes=(4,)), record)
    error = scaled(model, model.predict(record)) - scaled(model, record.y)
    expected = np.nanmean(error**2)
    assert_allclose(value(OneStep(model, [record], TrainingSettings())), expected, rtol=1e-10)


@pytest.mark.parametrize("model", [LSTM(2, 2, 4), NARX(2, 2, 3, 1), StateSpace(2, 2, 2)])
@pytest.mark.parametrize(("stride", "washout"), [(1, 0), (7, 5)])
def test_subsequence_is_the_mean_over_windows(model, stride: int, washout: int) -> None:  # type: ignore[no-untyped-def]
    record = two_by_two(60)
    fitted(model, record)
    settings = TrainingSettings(length=20, stride=stride, washout=washout)
    first = max(washout, model.n_memory)
    errors = []
    for start in range(0, 41, stride):
        window = record[start : start + 20]
        e = scaled(model, model.simulate(window)) - scaled(model, window.y)
        errors.append(np.mean(e[first:] ** 2))
    loss = value(Subsequence(model, [record], settings))
    assert_allclose(loss, np.mean(errors), rtol=1e-9)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_full_sequence_is_the_mean_over_records_of_unequal_length(bidirectional: bool) -> None:
    records = [two_by_two(60), two_by_two(41, seed=3)]
    model = fitted(GRU(2, 2, 4, bidirectional=bidirectional), *records)
    squares = [
        (scaled(model, model.simulate(r)) - scaled(model, r.y))[6:].ravel() ** 2 for r in records
    ]
    loss = value(FullSequence(model, records, TrainingSettings(washout=6)))
    assert_allclose(loss, np.mean(np.concatenate(squares)), rtol=1e-9)


def test_missing_samples_weigh_nothing() -> None:
    record = two_by_two(60)
    y = record.y.copy()
    y[20:25, 0] = np.nan
    y[40, 1] = np.nan
    holes = record.replace(y=y)
    model = fitted(RNN(2, 2, 4), record)
    error = (scaled(model, model.simulate(record)) - scaled(model, record.y)) ** 2
    expected = np.mean(error[~np.isnan(y)])
    loss = FullSequence(model, [holes], TrainingSettings())
    assert_allclose(value(loss), expected, rtol=1e-9)
    next(iter(loss.objectives(torch.Generator()))).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_a_record_is_cut_where_an_input_is_missing() -> None:
    record = two_by_two(60)
    u = record.u.copy()
    u[30, 0] = np.nan
    model = fitted(RNN(2, 2, 4), record)
    loss = FullSequence(model, [record.replace(u=u)], TrainingSettings())
    whole = FullSequence(model, [record[:30], record[31:]], TrainingSettings())
    assert_allclose(value(loss), value(whole), rtol=1e-12)


def test_truncation_changes_the_gradient_and_not_the_value() -> None:
    record = two_by_two(60)
    model = fitted(LSTM(2, 2, 4), record)
    whole = value(FullSequence(model, [record], TrainingSettings()))
    pieces = value(FullSequence(model, [record], TrainingSettings(truncate=20)))
    assert_allclose(pieces, whole, rtol=1e-9)


@pytest.mark.parametrize("kind", ["standard", "minmax", "robust", "none"])
def test_the_loss_does_not_depend_on_the_unit_or_the_scaler(kind: str) -> None:
    record = two_by_two(60)
    model = fitted(RNN(2, 2, 4), record)
    model.scaling.fit_([record], y=kind)
    error = (model.simulate(record) - record.y) / record.y.std(0)
    loss = value(FullSequence(model, [record], TrainingSettings()))
    assert_allclose(loss, np.mean(error**2), rtol=1e-9)


def test_output_weights() -> None:
    record = two_by_two(60)
    model = fitted(RNN(2, 2, 4), record)
    error = ((model.simulate(record) - record.y) / record.y.std(0)) ** 2
    settings = TrainingSettings(output_weights=[3.0, 1.0])
    expected = np.mean(error * [1.5, 0.5])
    assert_allclose(value(FullSequence(model, [record], settings)), expected, rtol=1e-9)


def test_the_five_lines_of_the_lecture_and_fit_take_the_same_steps() -> None:
    record = Record(np.random.default_rng(0).standard_normal((50, 4)), np.arange(50.0))
    torch.manual_seed(0)
    model = FFN(4, [20, 30], 1)
    twin = FFN(4, [20, 30], 1)
    twin.load_state_dict(model.state_dict())
    settings = {"optimiser": "sgd", "learning_rate": 1e-2, "max_epochs": 5}
    sysid.fit(model, record, scaling_u="none", **settings)
    x = torch.tensor(record.u).float()
    y = torch.tensor((record.y - record.y.mean()) / record.y.std()).float()
    optimizer = torch.optim.SGD(twin.parameters(), lr=1e-2)
    for _ in range(4):  # the best epoch's weights: each loss is measured before its step
        optimizer.zero_grad()
        loss = torch.mean((twin.network(x) - y) ** 2)
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    torch.mean((twin.network(x) - y) ** 2).backward()
    optimizer.step()
    for name, p in twin.network.named_parameters():
        torch.testing.assert_close(p, model.network.get_parameter(name), rtol=1e-5, atol=1e-6)


CASES = [
    (lambda: NARX(1, 1, 2, 2, 1, hidden_sizes=(5,)), {"loss": "one_step", "batch_size": 50}),
    (lambda: NARX(1, 1, 2, 2, 1, hidden_sizes=(5,)), {"loss": "subsequence", "length": 20}),
    (lambda: NARX(1, 1, 2, 2, 1, hidden_sizes=(5,)), {"loss": "full_sequence", "truncate": 50}),
    (lambda: LSTM(1, 1, 6, 2, dropout=0.3), {"length": 30, "washout": 5, "batch_size": 16}),
    (lambda: GRU(1, 1, 6), {"loss": "full_sequence", "truncate": 60, "schedule": "one_cycle"}),
    (lambda: StateSpace(1, 1, 2), {"length": 30, "batch_size": 64, "optimiser": "adamw"}),
    (lambda: NARX(1, 1, 1, 1), {"loss": "full_sequence", "optimiser": "lbfgs"}),
    (lambda: NARX(1, 1, 1, 1), {"loss": "full_sequence", "optimiser": "lm"}),
    (lambda: StateSpace(1, 1, 2), {"loss": "full_sequence", "optimiser": "lm"}),
    (lambda: LSTM(1, 1, 3), {"length": 30, "stride": 30, "washout": 5, "optimiser": "lm"}),
    (lambda: StateSpace(1, 1, 2), {"loss": "full_sequence", "optimiser": "lbfgs"}),
    (
        lambda: NARX(1, 1, 1, 1),
        {"loss": "full_sequence", "optimiser": "lm", "horizons": [1, 5], "horizon_epochs": 1},
    ),
    (lambda: RNN(1, 1, 4), {"length": 30, "optimiser": "sgd", "momentum": 0.5, "clip": 1.0}),
    (lambda: RNN(1, 1, 4), {"length": 30, "schedule": "plateau", "batch_size": 32}),
]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_stage_that_would_explode_begins_from_the_start(resumed: bool) -> None:
    record = linear_record(200)
    settings = TrainingSettings(
        loss="full_sequence", optimiser="lm", horizons=[10], horizon_epochs=1, max_epochs=1
    )

    def trainer(seed: int) -> Trainer:
        torch.manual_seed(seed)
        return Trainer(StateSpace(1, 1, 2, hidden_sizes=(3,)), record, settings=settings)

    here = trainer(0)
    start = value(FullSequence(here.model, [record], settings))
    for epoch in (epochs := here.epochs()):
        if epoch.epoch == 1:
            break
    epochs.close()
    state = here.state_dict()
    state["state"]["model"]["A.weight"] = 3 * torch.eye(2, dtype=torch.float64)
    if resumed:
        here = trainer(1)  # other weights, of which nothing may be left
    here.load_state_dict(state)
    *_, last = here.epochs()
    assert last.epoch == 2
    assert_allclose(last.train_loss, start, rtol=1e-6)
    (said,) = here.messages
    assert said.startswith("what horizon 10 led to explodes over a longer one")


def run(build, settings, valid=True, epochs: int = 3, seed: int = 0):  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    record = linear_record(300)
    rest = record[220:] if valid else None
    return sysid.fit(build(), record[:200], rest, max_epochs=epochs, seed=seed, **settings)


@pytest.mark.parametrize(("build", "settings"), CASES)
def test_the_same_seed_gives_the_same_bits(build, settings) -> None:  # type: ignore[no-untyped-def]
    first, second = run(build, settings), run(build, settings)
    for name, p in first.model.state_dict().items():
        assert torch.equal(p, second.model.state_dict()[name]), name
    assert_array_equal(
        first.history.drop(columns="seconds"), second.history.drop(columns="seconds")
    )


@pytest.mark.parametrize(("build", "settings"), CASES)
def test_every_loss_goes_down(build, settings) -> None:  # type: ignore[no-untyped-def]
    history = run(build, settings | {"linear_start": False}, epochs=15).history
    assert history.train_loss.iloc[-3:].mean() < history.train_loss.iloc[0]


@pytest.mark.parametrize(("build", "settings"), CASES)
def test_a_checkpoint_goes_on_as_if_nothing_had_happened(build, settings, tmp_path) -> None:  # type: ignore[no-untyped-def]
    record = linear_record(300)

    def trainer() -> Trainer:
        torch.manual_seed(0)
        return Trainer(
            build(), record[:200], record[220:], TrainingSettings(max_epochs=4, **settings)
        )

    whole = trainer()
    list(whole.epochs())
    part = trainer()
    for epoch in part.epochs():
        if epoch.epoch == 2:
            save_checkpoint(part.state_dict(), tmp_path / "c.pt")
            break
    resumed = trainer()
    resumed.load_state_dict(load_checkpoint(tmp_path / "c.pt"))
    list(resumed.epochs())
    for name, p in whole.model.state_dict().items():
        assert torch.equal(p, resumed.model.state_dict()[name]), name


def test_torch_load_a_checkpoint_with_a_payload_is_refused_unrun(tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch.save({"model": Payload(tmp_path / "ran")}, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="checkpoint must be whole"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "ran").exists()


def test_training_leaves_the_callers_random_stream_alone() -> None:
    torch.manual_seed(3)
    model = LSTM(1, 1, 4, 2, dropout=0.5)
    before = torch.get_rng_state()
    sysid.fit(model, linear_record(200), length=30, max_epochs=2)
    assert torch.equal(before, torch.get_rng_state())


def test_the_best_weights_are_kept_and_validation_is_free_run() -> None:
    record = linear_record(400)
    valid = record[300:]
    torch.manual_seed(0)
    model = NARX(1, 1, 2, 2, hidden_sizes=(8,), linear=False)
    result = sysid.fit(model, record[:280], valid, learning_rate=0.05, max_epochs=30)
    losses = result.history.valid_loss
    assert result.best_epoch == int(losses.argmin()) + 1
    error = (model.simulate(valid) - valid.y)[2:] / model.scaling.y_std.numpy()
    assert_allclose(np.mean(error**2), losses.min(), rtol=1e-5)  # float32 weights


def test_neuromancer_scaling_statistics_see_the_training_part_only() -> None:
    record = linear_record(300)
    wild = Record(record.u[200:] * 100, record.y[200:] * 100 + 5, 0.1)
    models = []
    for valid in (record[200:], wild):
        torch.manual_seed(0)
        models.append(LSTM(1, 1, 4))
        sysid.fit(models[-1], record[:180], valid, length=30, max_epochs=1)
    for name, buffer in models[0].state_dict().items():
        assert torch.equal(buffer, models[1].state_dict()[name]), name
    assert_allclose(models[0].scaling.y_offset, record.y[:180].mean(0))


def test_deepsysid_the_washout_of_training_is_the_washout_of_use() -> None:
    """What a model is trained to do after its washout it does when it is used with one."""
    record = linear_record(600)
    torch.manual_seed(0)
    model = GRU(1, 1, 8, feedback=True)
    settings = TrainingSettings(length=30, washout=10)
    fitted(model, record)
    loss = value(Subsequence(model, [record[:30]], settings))
    used = model.simulate(record[:30].replace(n_init=10))
    error = ((used - record.y[:30]) / model.scaling.y_std.numpy())[10:]
    assert_allclose(np.mean(error**2), loss, rtol=1e-9)


def test_leaving_the_loop_keeps_the_best_weights() -> None:
    record = linear_record(300)
    torch.manual_seed(0)
    trainer = Trainer(
        LSTM(1, 1, 4), record[:200], record[250:], TrainingSettings(length=30, learning_rate=1.0)
    )
    best = {}
    for epoch in trainer.epochs():
        if epoch.epoch == trainer.best_epoch:
            best = {k: v.clone() for k, v in trainer.model.state_dict().items()}
        if epoch.epoch == 6:
            break
    for name, p in trainer.model.state_dict().items():
        assert torch.equal(p, best[name])


def test_ctrl_c_keeps_the_best_model(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    calls = []
    validate = Trainer.validate

    def interrupted(self: Trainer) -> float:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return validate(self)

    monkeypatch.setattr(Trainer, "validate", interrupted)
    result = run(lambda: LSTM(1, 1, 4), {"length": 30}, epochs=50)
    assert result.stopped_because == "interrupted"
    assert len(result.history) == 2
    assert result.best_epoch in (1, 2)


def test_reasons_to_stop() -> None:
    build = lambda: RNN(1, 1, 4)  # noqa: E731
    assert run(build, {"length": 30}).stopped_because == "max_epochs"
    assert run(build, {"length": 30, "seconds": 1e-9}, epochs=99).stopped_because == "seconds"
    settings = {"length": 30, "learning_rate": 1e-12, "patience": 3}
    assert run(build, settings, epochs=99).stopped_because in ("patience", "max_epochs")
    settings = {"loss": "one_step", "optimiser": "sgd", "learning_rate": 1e6}
    result = run(lambda: NARX(1, 1, 1, 1), settings, epochs=99)
    assert result.stopped_because == "diverged"
    assert math.isfinite(result.model.simulate(linear_record(50)).sum())


def test_two_outputs_of_very_different_size_are_both_learned() -> None:
    record = two_by_two(800)
    torch.manual_seed(0)
    model = NARX(2, 2, 1, 1, hidden_sizes=(8,))
    sysid.fit(model, record[:600], record[610:], optimiser="lbfgs", max_epochs=20)
    fit = sysid.fit_index(record.y[610:], model.simulate(record[610:]))
    assert (fit > 98).all()


@pytest.mark.parametrize(
    ("build", "settings", "match"),
    [
        (lambda: LSTM(1, 1, 4), {"loss": "one_step"}, "loss must be one of subsequence"),
        (lambda: LSTM(1, 1, 4), {"length": 10, "washout": 10}, "length must be more than the 10"),
        (lambda: LSTM(1, 1, 4), {"length": 500}, "length must be at most"),
        (lambda: LSTM(1, 1, 4), {"optimizer": "adam"}, "optimizer is not a key"),
        (lambda: LSTM(1, 1, 4), {"learning_rate": -1}, "learning_rate must be right"),
        (lambda: LSTM(1, 1, 4), {"truncate": 5}, "truncate needs loss full_sequence"),
        (lambda: LSTM(1, 1, 4), {"momentum": 0.5}, "momentum must be 0 with adam"),
        (lambda: LSTM(1, 1, 4), {"optimiser": "lbfgs", "batch_size": 4}, "batch_size must be null"),
        (lambda: LSTM(1, 1, 4), {"optimiser": "lbfgs", "clip": 4}, "clip must be null"),
        (
            lambda: LSTM(1, 1, 4),
            {"optimiser": "lbfgs", "schedule": "cosine", "weight_decay": 1.0},
            "schedule must be constant.*weight_decay must be 0",
        ),
        (lambda: LSTM(1, 1, 4), {"output_weights": [1.0, 2.0]}, "output_weights must have 1"),
        (lambda: LSTM(1, 1, 4), {"device": "tpu"}, "device must be right"),
        (
            lambda: LSTM(1, 1, 4, bidirectional=True),
            {"loss": "full_sequence", "truncate": 50},
            "truncate must be null for a bidirectional",
        ),
        (lambda: LSTM(1, 1, 4), {"loss": "full_sequence", "washout": 300}, "longer than the 300"),
        (lambda: NARX(1, 1, 2, 2), {"washout": 5, "loss": "one_step"}, "washout must be 0"),
        (lambda: NARX(1, 1, 2, 2), {"horizon_epochs": 5}, "horizon_epochs needs horizons"),
        (lambda: NARX(1, 1, 400, 2), {}, "na and nb must be less than the longest record"),
        (lambda: NARX(2, 1, 2, 2), {}, "must have 2 inputs, got 1"),
        (
            lambda: LSTM(1, 1, 4),
            {"loss": "full_sequence", "truncate": 5, "washout": 9},
            "truncate must be more than 9",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(build, settings, match: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=match):
        run(build, settings)


def test_a_trainer_refuses_starts_that_only_fit_would_run() -> None:
    with pytest.raises(ValueError, match="starts must be 1 for a Trainer, got 3"):
        Trainer(RNN(1, 1, 4), linear_record(300), settings=TrainingSettings(starts=3))


def test_auto_leaves_lm_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto", "lm").type == "cpu"
    assert resolve_device("auto", "adam").type == "cuda"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="device must be there, got cuda"):
        run(lambda: LSTM(1, 1, 4), {"device": "cuda"})


def test_validation_that_was_trained_on_is_refused() -> None:
    record = linear_record(300)
    with pytest.raises(ValueError, match="valid must not hold samples of train"):
        sysid.fit(LSTM(1, 1, 4), record[:200], record[199:])
    with pytest.raises(ValueError, match="valid must hold samples after those that start"):
        sysid.fit(LSTM(1, 1, 4), record[:200], record[250:255], length=30, washout=10)
    with pytest.raises(ValueError, match="must have outputs to train on"):
        sysid.fit(LSTM(1, 1, 4), Record(record.u, None))


def test_a_memory_map_is_trained_on_where_it_is(tmp_path) -> None:  # type: ignore[no-untyped-def]
    record = linear_record(400)
    maps = []
    for name in ("u", "y"):
        out = np.memmap(tmp_path / name, dtype=np.float64, mode="w+", shape=(400, 1))
        out[:] = getattr(record, name)
        out.flush()
        maps.append(np.memmap(tmp_path / name, dtype=np.float64, mode="r", shape=(400, 1)))
    on_disk = Record(*maps, 0.1)
    assert on_disk.on_disk
    losses = []
    for r in (record, on_disk):
        torch.manual_seed(0)
        result = sysid.fit(LSTM(1, 1, 4), r, length=30, batch_size=16, max_epochs=2)
        losses.append(result.history.train_loss)
    assert_allclose(losses[0], losses[1], rtol=1e-5)  # scaled before or after the gather


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("build", "settings"), CASES)
def test_training_on_cuda_goes_down(build, settings) -> None:  # type: ignore[no-untyped-def]
    history = run(build, settings | {"device": "cuda"}, epochs=10).history
    # Over growing horizons the training loss is of other things from stage to stage.
    loss = history.valid_loss if "horizons" in settings else history.train_loss
    assert loss.iloc[-1] < loss.iloc[0]
