"""Ensembles: the mean of their members, saved whole, and made of several starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from systems import linear_record, two_by_two

import sysid
from sysid.models import Ensemble
from sysid.training.settings import TrainingSettings


def trained(record: sysid.Record, seed: int = 0) -> list[sysid.Model]:
    """Return models of three kinds, the weights moved from where they would be alike."""
    kinds: list[sysid.Model] = [
        sysid.StateSpace(record.nu, record.ny, nx=2, hidden_sizes=(3,)),
        sysid.NARX(record.nu, record.ny, na=3, nb=2, hidden_sizes=(3,)),
        sysid.GRU(record.nu, record.ny, hidden_size=3),
    ]
    for model in kinds:
        sysid.Trainer(model, record, None, TrainingSettings(dtype="float64"))
        model.eval()
    return kinds


@pytest.mark.parametrize("n_init", [0, 5])
def test_it_is_the_mean_of_its_members(n_init: int, tmp_path: Path) -> None:
    record = two_by_two(120)
    members = trained(record)
    test = two_by_two(80, seed=3).replace(n_init=n_init)
    ensemble = Ensemble.of(members)
    start = n_init or 3  # the largest lag: all start from the same sample
    begun = test.replace(n_init=start)
    mean = np.mean([m.simulate(begun) for m in members], axis=0)
    np.testing.assert_array_equal(ensemble.simulate(test), mean)
    assert ensemble.scoring_start(test) == start
    predicted = np.mean([m.predict(test, 2) for m in members], axis=0)
    np.testing.assert_array_equal(ensemble.predict(test, 2), predicted)
    ensemble.save(tmp_path / "e.safetensors")
    loaded = sysid.load(tmp_path / "e.safetensors")
    np.testing.assert_array_equal(loaded.simulate(test), mean)
    assert loaded.y_names == record.y_names
    with pytest.raises(ValueError, match="must be in the order"):
        loaded.simulate(test.replace(u=test.u[:, ::-1], u_names=test.u_names[::-1]))


def test_members_are_copies() -> None:
    record = linear_record(100)
    (first, *_) = members = trained(record)
    ensemble = Ensemble.of(members)
    before = ensemble.simulate(record)
    with torch.no_grad():
        next(first.parameters()).add_(1)
    np.testing.assert_array_equal(ensemble.simulate(record), before)


def test_starts_become_an_ensemble() -> None:
    record = linear_record(200)
    model = sysid.StateSpace(1, 1, nx=2, hidden_sizes=(3,))
    settings = {"loss": "full_sequence", "optimiser": "lm", "max_epochs": 2, "starts": 2}
    result = sysid.fit(model, record, None, combine="mean", **settings)
    assert isinstance(result.model, Ensemble)
    outputs = [start.model.simulate(record) for start in result.starts]
    assert np.abs(outputs[0] - outputs[1]).max() > 0
    np.testing.assert_array_equal(result.model.simulate(record), np.mean(outputs, axis=0))


def test_what_it_cannot_do() -> None:
    record = linear_record(100)
    ensemble = Ensemble.of(trained(record))
    with pytest.raises(ValueError, match="must be a single network to stream, got an ensemble"):
        ensemble.stream()
    with pytest.raises(ValueError, match="must be a single network to export"):
        sysid.export(ensemble, "plant.c")
    with pytest.raises(ValueError, match="must be a single network to be trained"):
        sysid.fit(ensemble, record, loss="full_sequence")
    with pytest.raises(ValueError, match="members must need no measured outputs"):
        ensemble(torch.zeros(1, 5, 1))
    with pytest.raises(ValueError, match="members must hold at least one model"):
        Ensemble(1, 1, [])
    with pytest.raises(ValueError, match="members must be of ffn"):
        Ensemble(1, 1, [{"kind": "ensemble"}])
    with pytest.raises(ValueError, match="models must hold at least one model"):
        Ensemble.of([])
    with pytest.raises(ValueError, match="combine must be best with a single start"):
        sysid.fit(sysid.NARX(1, 1, 1, 1), record, combine="mean")
