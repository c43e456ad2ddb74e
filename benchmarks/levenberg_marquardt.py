"""Levenberg-Marquardt against Adam on measured data: seconds until the same free run.

For each case the same model, from the same weights, is trained by both; the validation record
is the last eighth of the training data, simulated in free run from its first 50 samples. The
figure is the time that Adam was given over the time after which Levenberg-Marquardt was below
what Adam reached, setting up included. Test records are scored at the end and decide nothing.
Run: python benchmarks/levenberg_marquardt.py [CASE] [--adam-seconds 300]
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import sysid
from sysid.models.sensitivities import weight_count
from sysid.training.settings import TrainingSettings

N_INIT = 50


@dataclass(frozen=True)
class Case:
    """A model on a benchmark, and what must be reached."""

    benchmark: str
    build: Callable[[], sysid.Model]
    limit: float  # mV, validation
    seconds: float
    lm: dict[str, Any]
    adam: dict[str, Any]
    equations: float | None = None  # seconds of one J'J
    common: dict[str, Any] = field(default_factory=dict)


WINDOWS = {"loss": "subsequence", "optimiser": "adam", "batch_size": 64, "schedule": "plateau"}
CASES = {
    "wiener_hammerstein": Case(
        "wiener_hammerstein",
        lambda: sysid.StateSpace(1, 1, nx=6, hidden_sizes=(15,)),
        0.25,
        60,
        {"loss": "full_sequence"},
        WINDOWS | {"length": 280, "washout": 80, "stride": 40, "learning_rate": 3e-3},
        equations=0.5,
    ),
    "silverbox_state_space": Case(
        "silverbox",
        lambda: sysid.StateSpace(1, 1, nx=2, hidden_sizes=(12,)),
        0.20,
        20,
        {"loss": "full_sequence"},
        WINDOWS | {"length": 200, "washout": 60, "stride": 30, "learning_rate": 3e-3},
    ),
    "silverbox_narx": Case(
        "silverbox",
        lambda: sysid.NARX(1, 1, na=5, nb=5, hidden_sizes=(20,)),
        0.20,
        60,
        {"loss": "full_sequence"},
        WINDOWS | {"length": 65, "stride": 15, "learning_rate": 2e-3, "dtype": "float64"},
    ),
}


def split(record: sysid.Record) -> tuple[sysid.Record, sysid.Record]:
    """Return the first seven eighths and the rest, which starts from N_INIT samples."""
    cut = len(record) - len(record) // 8
    return record[:cut], record[cut:].replace(n_init=N_INIT)


def train(
    case: Case, settings: dict[str, Any], seconds: float, target: float | None = None
) -> tuple[sysid.Model, list[tuple[float, float]]]:
    """Return the model and ``(seconds, mV)`` after each epoch, setting up included.

    Stops after ``seconds``, or once the validation error is at ``target``.
    """
    record, valid = split(sysid.load_benchmark(case.benchmark).train[0])
    torch.manual_seed(0)
    model = case.build()
    started = time.perf_counter()
    trainer = sysid.Trainer(model, record, valid, TrainingSettings(max_epochs=100_000, **settings))
    unit = 1e3 * float(model.scaling.y_std)
    curve: list[tuple[float, float]] = []
    for epoch in trainer.epochs():
        spent = time.perf_counter() - started
        curve.append((spent, unit * math.sqrt(epoch.valid_loss)))
        if spent > seconds or (target is not None and curve[-1][1] <= target):
            break
    return model, curve


def until(curve: list[tuple[float, float]], target: float) -> float:
    """Return the seconds after which the error was at or below a target."""
    return next((s for s, mv in curve if mv <= target), math.inf)


def seconds_of_equations(case: Case) -> float:
    """Return the median seconds of one J'J and J'r over the whole training record."""
    record, _ = split(sysid.load_benchmark(case.benchmark).train[0])
    settings = TrainingSettings(optimiser="lm", **case.lm)
    trainer = sysid.Trainer(case.build(), record, None, settings)
    objective = next(iter(trainer.loss.objectives(trainer.generator)))
    times = []
    for _ in range(6):
        started = time.perf_counter()
        objective.normal_equations(weight_count(trainer.model))
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def on_test(case: Case, model: sysid.Model) -> str:
    """Return the free-run RMSE on each test record, in mV."""
    out = []
    for record in sysid.load_benchmark(case.benchmark).test:
        error = (model.simulate(record) - record.y)[record.n_init :]
        out.append(f"{1e3 * float(np.sqrt(np.mean(error**2))):.3f}")
    return ", ".join(out)


def run(name: str, adam_seconds: float) -> bool:
    """Run one case and print what was reached; return whether the limits were kept."""
    case = CASES[name]
    print(f"{name}: {case.build().arguments}")
    good = True
    if case.equations is not None:
        each = seconds_of_equations(case)
        good &= each <= case.equations
        print(f"  one J'J: {each:.3f} s (limit {case.equations})")
    model, curve = train(case, case.lm | {"optimiser": "lm"}, 2 * case.seconds)
    reached = min(mv for _, mv in curve)
    in_time = min((mv for s, mv in curve if s <= case.seconds), default=math.inf)
    good &= in_time <= case.limit
    print(f"  lm: {in_time:.4f} mV on validation within {case.seconds:.0f} s (limit {case.limit})")
    print(f"  lm: {reached:.4f} mV in {curve[-1][0]:.0f} s; test {on_test(case, model)} mV")
    other, slow = train(case, case.adam, adam_seconds)
    target = min(mv for _, mv in slow)
    print(f"  adam: {target:.4f} mV in {slow[-1][0]:.0f} s; test {on_test(case, other)} mV")
    as_good = until(curve, target)
    print(f"  lm is there after {as_good:.2f} s: {slow[-1][0] / as_good:.1f} times faster (aim 50)")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="?", choices=list(CASES))
    parser.add_argument("--adam-seconds", type=float, default=300.0)
    arguments = parser.parse_args()
    threads = min(2, os.cpu_count() or 1)
    torch.set_num_threads(threads)
    names = [arguments.case] if arguments.case else list(CASES)
    kept = [run(name, arguments.adam_seconds) for name in names]
    return int(not all(kept))


if __name__ == "__main__":
    raise SystemExit(main())
