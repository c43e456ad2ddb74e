"""One sample at a time: microseconds a step, and the largest difference from simulate.

Float64, one thread, an LSTM of 32 units and a NARX of 2 x 32 first. Run: python
benchmarks/stream.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

import sysid

STEPS = 20_000
LIMIT_TIME = 10.0  # microseconds
LIMIT_ERROR = 1e-12  # of the output's std

MODELS = {
    "lstm 32": lambda: sysid.LSTM(1, 1, 32),
    "narx na=nb=5, 2 x 32": lambda: sysid.NARX(1, 1, 5, 5, hidden_sizes=(32, 32)),
    "gru 32": lambda: sysid.GRU(1, 1, 32),
    "rnn 32": lambda: sysid.RNN(1, 1, 32),
    "ffn 2 x 32": lambda: sysid.FFN(1, (32, 32), 1),
    "state_space 6, 15": lambda: sysid.StateSpace(1, 1, 6),
}
LIMITED = ("lstm 32", "narx na=nb=5, 2 x 32")


def measure(model: sysid.Model, record: sysid.Record) -> tuple[float, float]:
    """Return the median time of a step in microseconds, and the error over the output's std."""
    n = record.n_init
    stream = model.stream()
    stream.reset(record[:n])
    inputs = [u.copy() for u in record.u[n:]]
    times, outputs = [], []
    for u in inputs:
        started = time.perf_counter_ns()
        y = stream.step(u)
        times.append((time.perf_counter_ns() - started) / 1000)
        outputs.append(y)
    expected = model.simulate(record)[n:]
    return statistics.median(times), float(np.abs(outputs - expected).max() / expected.std())


def main() -> bool:
    """Print a line per model; return whether the limits hold."""
    torch.set_num_threads(1)
    record = sysid.generate("wiener_hammerstein", STEPS, seed=0).replace(n_init=10)
    good = True
    for name, build in MODELS.items():
        torch.manual_seed(0)
        model = build().double()
        model.scaling.fit_([record])
        model.describe(record)
        microseconds, error = measure(model, record)
        print(f"{name:22} {microseconds:6.2f} microseconds a step, error {error:.1e} of std")
        good &= error <= LIMIT_ERROR
        good &= microseconds <= LIMIT_TIME or name not in LIMITED
    print(
        f"limits: {LIMIT_TIME:g} microseconds for {' and '.join(LIMITED)}; {LIMIT_ERROR:g} of std"
    )
    return good


if __name__ == "__main__":
    raise SystemExit(not main())
