"""What stops a training, and that nothing is lost: divergence, signals, kills, locks, limits."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from systems import linear_record

import sysid
from sysid.experiment.config import differences, parse_config
from sysid.experiment.directory import RunError, run_directory
from sysid.experiment.run import train_config
from sysid.models import LSTM, NARX, RNN
from sysid.models.stability import UnstableError, first_unbounded, refuse_unbounded
from sysid.training import memory
from sysid.training.checkpoints import load_checkpoint, save_checkpoint
from sysid.training.fit import checked_settings, run_to_end
from sysid.training.trainer import Trainer

RECORD = linear_record(300)


def trainer(model: sysid.Model | None = None, **settings: Any) -> Trainer:
    torch.manual_seed(0)
    model = model or NARX(1, 1, 2, 2, hidden_sizes=(5,))
    given = {"loss": "one_step", "batch_size": 32, "max_epochs": 6} | settings
    return Trainer(model, RECORD[:200], RECORD[220:], checked_settings(given))


def weights(model: sysid.Model) -> list[torch.Tensor]:
    return [p.clone() for p in model.state_dict().values()]


def assert_same(one: sysid.Model, other: sysid.Model) -> None:
    for (name, p), q in zip(one.state_dict().items(), weights(other), strict=True):
        assert torch.equal(p, q), name


# Divergence


def test_an_epoch_that_diverges_is_undone_and_tried_with_a_smaller_step(caplog) -> None:  # type: ignore[no-untyped-def]
    diverging = trainer(optimiser="sgd", learning_rate=30.0, max_epochs=20)
    result = run_to_end(diverging, progress=False)
    assert result.stopped_because == "max_epochs"
    assert 1 <= len(result.messages) <= 5
    assert "diverged: back to the weights after epoch" in result.messages[0]
    assert caplog.messages == list(result.messages)
    # What was undone is not in the history, and each retreat made the step five times smaller.
    assert list(result.history.epoch) == list(range(1, 21))
    assert np.isfinite(result.history.train_loss).all()
    assert result.history.learning_rate.iloc[-1] == pytest.approx(30 * 0.2 ** len(result.messages))


def test_a_retreat_ends_where_a_smaller_step_from_the_start_ends() -> None:
    """The weights, the order of the windows and the optimiser go back to the very same state."""
    first = trainer(optimiser="adam", learning_rate=1e3, max_epochs=4)
    list(first.epochs())
    assert first.retreats >= 1
    assert "after epoch 0" in first.messages[-1], "otherwise this compares nothing"
    rate = 1e3 * 0.2**first.retreats
    second = trainer(optimiser="adam", learning_rate=rate, max_epochs=4)
    list(second.epochs())
    assert second.retreats == 0
    for a, b in zip(weights(first.model), weights(second.model), strict=True):
        # The step size was multiplied in another order: its last bits differ.
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle", "plateau"])
def test_a_smaller_step_stays_smaller_whatever_the_schedule(schedule: str) -> None:
    plain, shrunk = (trainer(schedule=schedule, learning_rate=1e-2) for _ in range(2))
    assert shrunk.optimiser.shrink(0.2)
    for one, other in zip(plain.epochs(), shrunk.epochs(), strict=True):
        assert other.learning_rate == pytest.approx(0.2 * one.learning_rate)


def test_what_cannot_be_saved_stops_after_a_few_tries_with_the_best_weights() -> None:
    hopeless = trainer(optimiser="sgd", learning_rate=1e9, batch_size=None, max_epochs=500)
    result = run_to_end(hopeless, progress=False)
    assert result.stopped_because == "diverged"
    assert len(result.messages) == 6
    assert "5 smaller steps were tried" in result.messages[-1]
    assert all(p.isfinite().all() for p in weights(result.model))
    assert np.isfinite(result.model.simulate(RECORD)).all()


def test_weights_that_a_last_step_spoilt_do_not_count_as_an_epoch() -> None:
    spoilt = trainer(max_epochs=3)
    improve, calls = spoilt.optimiser.improve, 0

    def spoil(objective: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss = improve(objective)
        if calls == spoilt.loss.steps:  # after the last loss of the first epoch was taken
            with torch.no_grad():
                next(spoilt.model.parameters()).fill_(math.nan)
        return loss

    spoilt.optimiser.improve = spoil  # type: ignore[method-assign]
    assert [e.epoch for e in spoilt.epochs()] == [1, 2, 3]
    assert spoilt.retreats == 1


def test_no_step_waits_for_a_loss(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Divergence costs nothing per step: a loss becomes a number once in an epoch."""
    waits = 0

    def counted(name: str) -> None:
        original = getattr(torch.Tensor, name)

        def wait(self: torch.Tensor, *arguments: object) -> object:
            nonlocal waits
            waits += sys._getframe(1).f_globals["__name__"].startswith("sysid.")
            return original(self, *arguments)

        monkeypatch.setattr(torch.Tensor, name, wait)

    runs = []
    for size in (100, 10):  # few and many steps
        many = trainer(batch_size=size, max_epochs=1)
        many.valid = []
        waits = 0
        with monkeypatch.context():
            for name in ("__float__", "__bool__", "item", "tolist"):
                counted(name)
            list(many.epochs())
        monkeypatch.undo()
        runs.append(waits)
    assert runs[0] == runs[1]


# Unstable free runs


def unstable() -> NARX:
    """``y(k) = 2 y(k-1)``: beyond float32 after some 130 samples."""
    model = NARX(1, 1, 1, 1, hidden_sizes=(), linear=False)
    with torch.no_grad():
        model.network[0].weight.copy_(torch.tensor([[2.0, 0.0, 0.0]]))  # type: ignore[union-attr]
        model.network[0].bias.zero_()  # type: ignore[union-attr]
    return model


def test_an_unstable_free_run_says_which_sample_and_output() -> None:
    model = unstable()
    record = RECORD.replace(name="bench", n_init=1)
    y_hat = model.simulate(record)
    assert not np.isnan(y_hat).any()
    # 2**128 is the first power that float32 does not hold.
    assert first_unbounded(y_hat) == (math.ceil(128 - math.log2(record.y[0, 0])), 0)
    farthest = 1e3 * np.abs(record.y - record.y.mean()).max() + record.y.mean()
    k = math.ceil(math.log2(farthest / record.y[0, 0]))
    assert first_unbounded(y_hat, record.y) == (k, 0)
    with pytest.raises(UnstableError, match=f"'bench' is unstable: output 'y1' .* sample {k}"):
        refuse_unbounded(record, model.y_names, y_hat)
    note = sysid.compare({"m": model}, record, ("simulation",), baselines=False).note[0]
    assert note == f"unstable: the output exceeds all bounds at sample {k}"


def test_a_training_without_any_stable_model_says_so(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    model = unstable()
    model.describe(RECORD)  # fitted: it keeps its weights
    hopeless = trainer(model, learning_rate=1e-12, max_epochs=2)
    result = run_to_end(hopeless, progress=False)
    assert len(result.messages) == 1
    assert "output 'y1' exceeds all bounds at sample" in result.messages[0]
    assert "no epoch gave a stable model" in result.messages[0]


# Interruptions


def test_a_stop_in_the_middle_of_an_epoch_loses_and_changes_nothing() -> None:
    straight = trainer()
    list(straight.epochs())
    stopped = trainer()
    improve, calls = stopped.optimiser.improve, 0

    def stop_in_the_third_epoch(objective: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 2 * stopped.loss.steps + 3:
            stopped.stop()
        return improve(objective)

    stopped.optimiser.improve = stop_in_the_third_epoch  # type: ignore[method-assign]
    assert len(list(stopped.epochs())) == 2
    assert stopped.stopped_because == "interrupted"
    resumed = trainer()
    resumed.load_state_dict(stopped.state_dict())
    list(resumed.epochs())
    assert_same(resumed.model, straight.model)


def test_a_loop_that_was_left_goes_on_where_it_was() -> None:
    straight, left = trainer(), trainer()
    list(straight.epochs())
    for epoch in left.epochs():
        if epoch.epoch == 2:
            break
    list(left.epochs())
    assert_same(left.model, straight.model)


@pytest.fixture
def _heard() -> Iterator[None]:
    """Hear Ctrl-C as Python does, also where a shell started the tests behind its back."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_training_between_two_steps(number: int) -> None:
    before = signal.getsignal(number)

    def send(running: Trainer) -> None:
        if len(running.history) == 2:
            os.kill(os.getpid(), number)

    result = run_to_end(trainer(max_epochs=1000), progress=False, after_epoch=send)
    assert result.stopped_because == "interrupted"
    assert len(result.history) == 2
    assert signal.getsignal(number) is before


@pytest.mark.usefixtures("_heard")
def test_the_second_ctrl_c_does_not_wait() -> None:
    def send(running: Trainer) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("the second one was waited for")

    result = run_to_end(trainer(max_epochs=1000), progress=False, after_epoch=send)
    assert result.stopped_because == "interrupted"


# Checkpoints


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "c.pt"
    save_checkpoint({"epoch": 1}, path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint({"epoch": 2}, path)
    assert load_checkpoint(path) == {"epoch": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint({"weights": torch.ones(3)}, path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 11):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="checkpoint must be whole"):
            load_checkpoint(path)
        path.write_bytes(whole[:at])
        with pytest.raises(ValueError, match="checkpoint must be whole"):
            load_checkpoint(path)


def test_a_state_after_a_retreat_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    settings = {"optimiser": "sgd", "learning_rate": 30.0, "max_epochs": 8, "schedule": "cosine"}
    straight = trainer(**settings)
    for epoch in straight.epochs():
        if epoch.epoch == 4:
            save_checkpoint(straight.state_dict(), tmp_path / "c.pt")
    assert straight.retreats >= 1
    resumed = trainer(**settings)
    resumed.load_state_dict(load_checkpoint(tmp_path / "c.pt"))
    list(resumed.epochs())
    assert_same(resumed.model, straight.model)
    assert resumed.messages == straight.messages


# Run directories

CONFIG = {
    "data": {"source": "system", "name": "linear", "samples": 200},
    "model": {"kind": "narx", "na": 2, "nb": 2, "hidden_sizes": [4]},
    "training": {"max_epochs": 2},
}


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run directory whose training was killed after its first epoch."""
    path = tmp_path / "run"

    def dies(*arguments: object) -> None:
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sysid.experiment.run._finish", dies)
        with pytest.raises(MemoryError):
            train_config(parse_config(CONFIG), path, progress=False)
    return path


def test_a_run_that_died_goes_on(begun: Path) -> None:
    (begun / ".model.safetensors.99.partial").touch()
    run = train_config(parse_config(CONFIG), begun, progress=False, resume=True)
    assert run.result.stopped_because == "max_epochs"
    assert {p.name for p in begun.iterdir()}.isdisjoint({"checkpoint.pt", ".lock"})
    assert not list(begun.glob(".*.partial"))
    with pytest.raises(ValueError, match="which is finished; train into another directory"):
        train_config(parse_config(CONFIG), begun, progress=False, resume=True)


def test_a_run_goes_on_with_its_own_config_and_data_only(begun: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    longer = CONFIG | {"training": {"max_epochs": 3}}
    with pytest.raises(ValueError, match=r"got another training\.max_epochs"):
        train_config(parse_config(longer), begun, progress=False, resume=True)
    state = load_checkpoint(begun / "checkpoint.pt")
    save_checkpoint(state | {"data": "others"}, begun / "checkpoint.pt")
    with pytest.raises(ValueError, match="data must be as they were"):
        train_config(parse_config(CONFIG), begun, progress=False, resume=True)
    save_checkpoint({"data": state["data"], "history": []}, begun / "checkpoint.pt")
    with pytest.raises(ValueError, match="checkpoint must be of this config"):
        train_config(parse_config(CONFIG), begun, progress=False, resume=True)


def test_a_run_killed_before_its_first_checkpoint_begins_again(begun: Path) -> None:
    (begun / "checkpoint.pt").unlink()
    run = train_config(parse_config(CONFIG), begun, progress=False, resume=True)
    assert len(run.result.history) == 2


@pytest.mark.parametrize("content", ["", '{"process": 1, "host": "gone", "since": "long ago"}'])
def test_a_stale_lock_is_taken_over(begun: Path, content: str) -> None:
    (begun / ".lock").write_text(content)
    train_config(parse_config(CONFIG), begun, progress=False, resume=True)
    assert not (begun / ".lock").exists()


def test_a_directory_in_use_is_refused(begun: Path) -> None:
    code = (
        "import sys, time, pathlib\n"
        "from sysid.experiment.directory import run_directory\n"
        f"with run_directory(pathlib.Path({str(begun)!r}), 'x', True):\n"
        "    print('locked', flush=True)\n"
        "    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        match = f"must not be in use, .* is by process {holder.pid} on"
        with pytest.raises(ValueError, match=match), run_directory(begun, "x", True):
            pass
    finally:
        holder.kill()
        holder.communicate()
    # Its death released the lock, though its file is still there.
    assert json.loads((begun / ".lock").read_text())["process"] == holder.pid
    with run_directory(begun, "x", True):
        pass


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    for expected in ("a", "a-2", "a-3"):
        with run_directory(None, "a", False) as path:
            assert path == Path("runs") / expected


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    for path in (None, tmp_path / "none"):
        with (
            pytest.raises(ValueError, match="resume must name a run directory, got"),
            run_directory(path, "x", True),
        ):
            pass
    with (
        pytest.raises(ValueError, match="leave --resume out to begin"),
        run_directory(tmp_path, "x", True),
    ):
        pass
    (tmp_path / "notes.txt").touch()
    with (
        pytest.raises(ValueError, match="out must be new or empty"),
        run_directory(tmp_path, "x", False),
    ):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_full_disk_says_how_to_go_on(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    written = 0
    fsync = os.fsync

    def fill(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(RunError, match=r"No space left.*go on with: sysid train --resume"):
        train_config(parse_config(CONFIG), tmp_path / "run", progress=False)
    monkeypatch.undo()
    train_config(parse_config(CONFIG), tmp_path / "run", progress=False, resume=True)


def test_differences_are_named_with_their_path() -> None:
    one = {"a": 1, "b": {"c": 2, "d": 3}, "e": None}
    assert differences(one, {"a": 1, "b": {"c": 2, "d": 4}, "f": 1}) == ["b.d", "f"]
    assert differences(one, one) == []


# Limits


def test_a_training_that_does_not_fit_is_refused_before_it_begins() -> None:
    settings = {"loss": "subsequence", "length": 150, "batch_size": 50}
    started = time.perf_counter()
    with pytest.raises(ValueError, match=r"must fit in memory, got .* GB.* make it smaller"):
        parse_config(CONFIG | {"model": {"kind": "lstm", "hidden_size": 10**6}}).build_model(1, 1)
    assert time.perf_counter() - started < 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "free_memory", lambda: 10**6)
        with pytest.raises(ValueError, match=r"got an estimate of .* for the step; lower training"):
            trainer(LSTM(1, 1, 32), **settings)
        with pytest.raises(ValueError, match=r"for the weights; make the model smaller"):
            trainer(RNN(1, 1, 500), loss="subsequence", length=10, batch_size=1)


@pytest.mark.parametrize("loss", ["one_step", "subsequence", "full_sequence"])
def test_the_estimate_grows_with_what_is_kept(loss: str) -> None:
    """A hidden layer ten times as wide keeps about ten times as much for each sample."""
    narrow, wide = (
        memory.bytes_per_sample(NARX(1, 1, 2, 2, hidden_sizes=(n,)), loss) for n in (100, 1000)
    )
    # tanh keeps its output, 4 bytes a unit; the lags and the fed-back input come on top.
    assert 4 * 1000 <= wide <= 40 * 1000
    assert 5 <= wide / narrow <= 11
