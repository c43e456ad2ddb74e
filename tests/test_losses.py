"""Batches, shares and blocks of the losses: none of them changes what is minimised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from systems import two_by_two

from sysid.data.records import Record
from sysid.models import FFN, GRU, LSTM, NARX, Model
from sysid.training import losses
from sysid.training.losses import Loss, OneStep
from sysid.training.objective import Objective
from sysid.training.settings import TrainingSettings
from sysid.training.stages import make_loss

Build = Callable[[], Model]

CASES: list[tuple[Build, dict[str, object]]] = [
    (lambda: NARX(2, 2, 2, 1, 1, hidden_sizes=(3,)), {"loss": "one_step"}),
    (lambda: FFN(2, [3], 2), {"loss": "one_step"}),
    (lambda: GRU(2, 2, 2), {"loss": "subsequence", "length": 9, "stride": 4, "washout": 2}),
    (lambda: NARX(2, 2, 2, 1, hidden_sizes=(3,)), {"loss": "subsequence", "length": 9}),
    (lambda: GRU(2, 2, 2), {"loss": "full_sequence", "washout": 2}),
]


def built(build: Build, records: list[Record], **settings: object) -> Loss:
    torch.manual_seed(0)
    model = build().double()
    model.scaling.fit_(records)
    model.describe(records[0])
    return make_loss(model, records, TrainingSettings.model_validate(settings))


def records() -> list[Record]:
    return [two_by_two(40), two_by_two(23, seed=3)]


def on_disk(record: Record, folder: Path) -> Record:
    maps = []
    for name, block in (("u", record.u), ("y", record.y)):
        maps.append(np.memmap(folder / name, np.float64, "w+", shape=block.shape))
        maps[-1][:] = block
    return Record(*maps, sampling_time=record.sampling_time)


def epoch(loss: Loss, seed: int = 0) -> list[Objective]:
    return list(loss.objectives(torch.Generator().manual_seed(seed)))


def errors(objective: Objective) -> torch.Tensor:
    return torch.cat([e.detach().flatten() for e in objective.errors()])


@pytest.mark.parametrize("batch_size", [None, 1, 7, 1000])
@pytest.mark.parametrize(("build", "settings"), CASES)
def test_an_epoch_takes_everything_once(build, settings, batch_size) -> None:  # type: ignore[no-untyped-def]
    (whole,) = epoch(built(build, records(), **settings))
    loss = built(build, records(), batch_size=batch_size, **settings)
    batches = epoch(loss)
    assert len(batches) == loss.steps
    if settings["loss"] != "full_sequence":  # where records have unequal lengths
        sizes = [len(errors(b)) for b in batches]
        assert sizes[:-1] == sizes[:1] * (len(sizes) - 1)
        assert sizes[-1] <= sizes[0]
        mean = np.average([float(b.value()) for b in batches], weights=sizes)
        assert_allclose(mean, float(whole.value()), rtol=1e-10)


@pytest.mark.parametrize(("build", "settings"), CASES)
def test_the_order_is_the_generators_alone(build, settings) -> None:  # type: ignore[no-untyped-def]
    loss = built(build, records(), batch_size=1, **settings)

    def values(seed: int) -> list[float]:
        torch.manual_seed(int(np.random.default_rng().integers(1 << 31)))
        return [float(b.value()) for b in epoch(loss, seed)]

    assert values(3) == values(3)
    assert any(values(3) != values(seed) for seed in range(4, 10))
    assert sorted(values(3)) == sorted(values(4))


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize(("build", "settings"), CASES)
def test_the_shares_of_a_batch_add_up_to_it(build, settings, batch_size, size) -> None:  # type: ignore[no-untyped-def]
    for batch in epoch(built(build, records(), batch_size=batch_size, **settings)):
        shares = [batch.dealt(rank, size) for rank in range(size)]
        total = sum(weight * float(part.value()) for part, weight in shares if part is not None)
        assert_allclose(total, float(batch.value()), rtol=1e-10)
        assert sum(weight for _, weight in shares) == pytest.approx(1, rel=1e-12)
        assert all((part is None) == (weight == 0) for part, weight in shares)


def test_windows_on_a_disk_are_batched_and_shared_out_as_those_in_memory(tmp_path) -> None:  # type: ignore[no-untyped-def]
    record = two_by_two(60)
    settings = {"loss": "subsequence", "length": 9, "batch_size": 7}
    build = lambda: GRU(2, 2, 2)  # noqa: E731
    here = epoch(built(build, [record], **settings))
    there = epoch(built(build, [on_disk(record, tmp_path)], **settings))
    assert len(here) == len(there) == 8
    for one, other in zip(here, there, strict=True):
        assert_allclose(errors(one), errors(other), rtol=1e-12)
        for rank in range(2):
            (a, of_a), (b, of_b) = one.dealt(rank, 2), other.dealt(rank, 2)
            assert of_a == of_b
            assert a is not None
            assert b is not None
            assert_allclose(errors(a), errors(b), rtol=1e-12)


def test_a_disk_is_read_for_each_batch_and_not_for_all(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    settings = {"loss": "subsequence", "length": 9, "batch_size": 7}
    loss = built(lambda: GRU(2, 2, 2), [on_disk(two_by_two(60), tmp_path)], **settings)
    gather, read = loss.windows.gather, []
    monkeypatch.setattr(loss.windows, "gather", lambda p: (read.append(len(p)), gather(p))[1])
    for batch in epoch(loss):
        batch.backward()
    assert read == [7] * 7 + [3]


@pytest.mark.parametrize(("build", "settings"), CASES[:4])
def test_pieces_for_the_memorys_sake_change_nothing(build, settings, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    loss = built(build, records(), **settings)
    (objective,) = epoch(loss)
    count = sum(p.numel() for p in loss.model.parameters())
    expected, equations = errors(objective), objective.normal_equations(count)

    def blocks() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return (block for stretch in objective.stretches() for block in stretch())

    whole = [len(e) for e in objective.errors()], len(list(blocks()))
    monkeypatch.setattr(losses, "_CHUNK", 40)
    monkeypatch.setattr(losses, "_NUMBERS", 2000)
    pieces = list(objective.errors())
    assert_allclose(torch.cat([p.detach().flatten() for p in pieces]), expected, rtol=1e-12)
    assert len(pieces) > len(whole[0])
    assert max(p.numel() for p in pieces) <= 2 * 40  # of two outputs
    assert len(list(blocks())) > whole[1]
    assert max(jacobian.numel() for _, jacobian in blocks()) <= 2000
    again = objective.normal_equations(count)
    assert_allclose(again.matrix, equations.matrix, rtol=1e-9, atol=1e-12)
    assert_allclose(again.vector, equations.vector, rtol=1e-9, atol=1e-12)
    # However little memory there is, one at a time goes.
    monkeypatch.setattr(losses, "_CHUNK", 1)
    monkeypatch.setattr(losses, "_NUMBERS", 1)
    assert_allclose(objective.normal_equations(count).vector, equations.vector, rtol=1e-9)
    assert_allclose(errors(objective), expected, rtol=1e-12)


def test_looking_up_windows_in_pieces_changes_no_batch(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    settings = {"loss": "subsequence", "length": 9, "batch_size": 7}
    loss = built(lambda: GRU(2, 2, 2), records(), **settings)
    expected = [errors(b) for b in epoch(loss)]
    monkeypatch.setattr(losses, "_TOGETHER", 2)
    for one, other in zip(expected, epoch(loss), strict=True):
        assert_allclose(errors(other), one, rtol=0)


def test_one_step_is_for_models_without_a_state() -> None:
    with pytest.raises(TypeError, match="loss one_step needs a NARX or FFN, got LSTM"):
        OneStep(LSTM(2, 2, 3), records(), TrainingSettings())


@pytest.mark.parametrize(("build", "settings"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_errors_are_of_the_models_type(build, settings, dtype) -> None:  # type: ignore[no-untyped-def]
    model = build().to(dtype)
    model.scaling.fit_(records())
    model.describe(records()[0])
    loss = make_loss(model, records(), TrainingSettings.model_validate(settings))
    assert {e.dtype for objective in epoch(loss) for e in objective.errors()} == {dtype}


def test_one_step_is_computed_where_the_model_is() -> None:
    """And not on whatever device PyTorch makes tensors on."""
    settings = {"loss": "one_step", "batch_size": 7, "output_weights": [1.0, 2.0]}
    model = NARX(2, 2, 2, 1, hidden_sizes=(3,)).double()
    model.scaling.fit_(records())
    model.describe(records()[0])
    with torch.device("meta"):
        loss = OneStep(model, records(), TrainingSettings.model_validate(settings))
    tensors = (loss.weights, loss.phi, loss.target)
    assert {t.device for t in tensors} == {model.device}


def test_windows_that_were_read_ahead_are_not_read_again(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    settings = {"loss": "subsequence", "length": 9, "batch_size": 7}
    build = lambda: GRU(2, 2, 2)  # noqa: E731
    loss = built(build, [on_disk(two_by_two(60), tmp_path)], **settings)
    batches = epoch(loss)
    monkeypatch.setattr(losses, "_CHUNK", 7 * 9)  # a batch at once, just so
    monkeypatch.setattr(loss.windows, "gather", None)
    for batch in batches:
        errors(batch)
        for rank in range(2):
            share, _ = batch.dealt(rank, 2)
            assert share is not None
            errors(share)


def test_only_from_a_disk_is_anything_read_ahead(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    settings = {"loss": "subsequence", "length": 9, "batch_size": 7}
    record, build = two_by_two(60), lambda: GRU(2, 2, 2)
    here = built(build, [record], **settings)
    there = built(build, [on_disk(record, tmp_path)], **settings)
    calls: list[object] = []
    monkeypatch.setattr(losses, "ahead", lambda items: (calls.append(items), items)[1])
    assert len(epoch(here)) == 8
    assert not calls
    assert len(epoch(there)) == 8
    assert len(calls) == 1
