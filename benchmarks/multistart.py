"""Eight starts on two cores beside one start: a training that takes some tens of seconds.

One start runs in this process on one thread, as each of the eight does in its worker; starting
the workers, sharing the record and bringing the models back are counted.
Run: python benchmarks/multistart.py
"""

from __future__ import annotations

import time

import torch

import sysid

LIMIT = 4.4
STARTS = 8
SETTINGS = {
    "length": 100,
    "stride": 4,
    "washout": 20,
    "batch_size": 64,
    "learning_rate": 3e-3,
    "max_epochs": 14,
}


def seconds(starts: int) -> float:
    """Return how long a training from some starts takes."""
    record = sysid.generate("wiener_hammerstein", 40_000, seed=0, noise=0.01)
    train, valid = sysid.split_time(record, 0.2, gap=100)
    torch.manual_seed(0)
    model = sysid.LSTM(1, 1, 32)
    started = time.perf_counter()
    result = sysid.fit(model, train, valid, starts=starts, progress=False, **SETTINGS)
    spent = time.perf_counter() - started
    if starts > 1:
        print(result.spread.to_string(index=False))
    return spent


if __name__ == "__main__":
    torch.set_num_threads(1)
    sysid.fit(sysid.LSTM(1, 1, 32), sysid.generate("linear", 200), length=20, max_epochs=1)
    one = seconds(1)
    many = seconds(STARTS)
    print(f"one start {one:.1f} s, {STARTS} starts {many:.1f} s on two cores")
    print(f"ratio: {many / one:.2f} (limit {LIMIT})")
    raise SystemExit(not many / one <= LIMIT)
