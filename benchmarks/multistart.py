"""Eight starts on two cores beside one start: a training that takes some tens of seconds.

One start runs in this process on one thread, as each of the eight does in its worker, once before
and once after them; starting the workers, sharing the record and bringing the models back are
counted. What two cores give at best is shown beside: the same loop of additions in one process
and in two at once.
Run: python benchmarks/multistart.py
"""

from __future__ import annotations

import subprocess
import sys
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
    "max_epochs": 40,
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


def additions(processes: int) -> float:
    """Return how many additions a second each of several processes makes, at the same time."""
    code = (
        "import time\nn, end = 0, time.perf_counter() + 3\n"
        "while time.perf_counter() < end: n += 1\nprint(n)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    return sum(int(p.communicate()[0]) for p in running) / processes


if __name__ == "__main__":
    torch.set_num_threads(1)
    sysid.fit(sysid.LSTM(1, 1, 32), sysid.generate("linear", 200), length=20, max_epochs=1)
    before, many, after = seconds(1), seconds(STARTS), seconds(1)
    one = (before + after) / 2
    floor = STARTS / 2 * additions(1) / additions(2)
    print(f"one start {before:.1f} s and {after:.1f} s, {STARTS} starts {many:.1f} s on two cores")
    print(f"ratio: {many / one:.2f} (limit {LIMIT}; of plain additions {floor:.2f})")
    raise SystemExit(not many / one <= LIMIT)
