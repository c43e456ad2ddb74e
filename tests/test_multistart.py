"""Several starts: what is kept, what is picked, and that the first is a plain training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from systems import linear_record

import sysid
from sysid.data.records import Record


def long_record(n: int = 150_000) -> Record:
    """More than joblib pickles: it reaches the workers as a memory map."""
    return linear_record(n)


@pytest.fixture(scope="module")
def result() -> sysid.FitResult:
    torch.manual_seed(0)
    record = linear_record(400)
    model = sysid.LSTM(1, 1, 4)
    return sysid.fit(
        model, record[:280], record[300:], starts=3, length=40, washout=5, stride=5,
        batch_size=16, learning_rate=1e-2, max_epochs=4, seed=7,
    )  # fmt: skip


def test_all_starts_are_kept_and_the_best_by_validation_is_picked(result) -> None:  # type: ignore[no-untyped-def]
    record = linear_record(400)[300:]
    assert len(result.starts) == 3
    reached = []
    for start in result.starts:
        error = (start.model.simulate(record) - record.y)[5:] / start.model.scaling.y_std.numpy()
        reached.append(np.mean(error**2))
    assert_allclose(result.spread.best_loss, reached, rtol=1e-4)  # float32 weights
    assert len(set(reached)) == 3
    assert result.best_loss == result.spread.best_loss.min()
    best = result.starts[int(np.argmin(reached))]
    assert (result.model.simulate(record) == best.model.simulate(record)).all()
    assert result.model.fitted
    assert result.model.y_names == record.y_names


def test_the_first_start_is_the_plain_training(result) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    record = linear_record(400)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    plain = sysid.fit(
        sysid.LSTM(1, 1, 4), record[:280], record[300:], length=40, washout=5, stride=5,
        batch_size=16, learning_rate=1e-2, max_epochs=4, seed=7,
    )  # fmt: skip
    torch.set_num_threads(threads)
    for name, p in plain.model.state_dict().items():
        assert torch.equal(p, result.starts[0].model.state_dict()[name]), name


def test_a_long_record_is_shared_and_trained_on_as_in_memory() -> None:
    record = long_record()
    settings = {"loss": "one_step", "optimiser": "lm", "max_epochs": 2}
    torch.manual_seed(0)
    many = sysid.fit(sysid.NARX(1, 1, 2, 2, hidden_sizes=(2,)), record, starts=2, **settings)
    torch.manual_seed(0)
    one = sysid.fit(sysid.NARX(1, 1, 2, 2, hidden_sizes=(2,)), record, **settings)
    assert_allclose(many.starts[0].history.train_loss, one.history.train_loss, rtol=1e-9)


def test_a_trained_model_has_no_other_starts() -> None:
    record = linear_record(200)
    model = sysid.NARX(1, 1, 1, 1)
    sysid.fit(model, record, max_epochs=1)
    with pytest.raises(ValueError, match="starts must be 1 for a model that was trained before"):
        sysid.fit(model, record, starts=2, max_epochs=1)


def test_a_wrong_setting_is_said_by_name() -> None:
    with pytest.raises(ValueError, match="loss must be one of subsequence"):
        sysid.fit(sysid.LSTM(1, 1, 4), linear_record(200), starts=2, loss="one_step")
