"""Training on 200 million samples on a disk: resident memory, and throughput beside memory.

Writes 1.6 GB of float32 to a temporary folder and deletes them. The same training runs on the
memory map and, in a process of its own, on the first part of the record in memory; samples that
go through a step are counted per second, the first steps left out.
Run: python benchmarks/larger_than_memory.py [--samples 200000000]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch

import sysid
from sysid.training.settings import TrainingSettings

LIMIT_MEMORY, LIMIT_THROUGHPUT = 1e9, 0.8
IN_MEMORY = 10_000_000  # samples of the run in memory: what it reads of them is the same
LENGTH, BATCH, WARM_UP, STEPS = 200, 64, 10, 150
CHUNK = 1_000_000


def generate(folder: Path, samples: int) -> None:
    """Write a record of a first-order plant behind a saturation, chunk by chunk."""
    from scipy.signal import lfilter

    rng = np.random.default_rng(0)
    rest = np.zeros(1)
    with (folder / "u.f32").open("wb") as of_u, (folder / "y.f32").open("wb") as of_y:
        for start in range(0, samples, CHUNK):
            u = rng.standard_normal(min(CHUNK, samples - start))
            x, rest = lfilter([0, 0.1], [1, -0.9], u, zi=rest)
            u.astype(np.float32).tofile(of_u)
            np.tanh(2 * x).astype(np.float32).tofile(of_y)


def opened(folder: Path, samples: int) -> sysid.Record:
    """Return the record as a memory map."""
    shape = (samples, 1)
    return sysid.Record(
        *(np.memmap(folder / f"{n}.f32", np.float32, "r", shape=shape) for n in "uy")
    )


def resident() -> int:
    """Return this process's resident memory in bytes."""
    return psutil.Process().memory_info().rss


def train(record: sysid.Record, before: int) -> dict[str, float]:
    """Return samples a second and the most that was resident above ``before``."""
    torch.manual_seed(0)
    settings = TrainingSettings(
        length=LENGTH, stride=LENGTH, washout=50, batch_size=BATCH, max_epochs=1
    )
    started = time.perf_counter()
    trainer = sysid.Trainer(sysid.LSTM(1, 1, 32), record, None, settings)
    ready = time.perf_counter() - started
    most = resident()
    trainer.model.train()
    for i, objective in enumerate(trainer.loss.objectives(trainer.generator)):
        if i == WARM_UP:
            started = time.perf_counter()
        trainer.optimiser.improve(objective)
        most = max(most, resident())
        if i == WARM_UP + STEPS - 1:
            break
    seconds = time.perf_counter() - started
    return {
        "throughput": (i + 1 - WARM_UP) * BATCH * LENGTH / seconds,
        "resident": most - before,
        "ready": ready,
    }


def worker(folder: Path, samples: int, where: str) -> None:
    """Run one side in this process and print what was measured."""
    torch.set_num_threads(1)
    before = resident()
    if where == "disk":
        record = opened(folder, samples)
    else:
        part = opened(folder, samples)[: min(IN_MEMORY, samples)]
        record = sysid.Record(np.array(part.u), np.array(part.y))
    print(json.dumps(train(record, before)))


def measured(folder: Path, samples: int, where: str) -> dict[str, float]:
    """Run one side in a process of its own."""
    command = [sys.executable, __file__, "--samples", str(samples), "--worker", where, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200_000_000)
    parser.add_argument("--worker", nargs=2, metavar=("WHERE", "FOLDER"), default=None)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        worker(Path(arguments.worker[1]), arguments.samples, arguments.worker[0])
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, arguments.samples)
        sides = {"disk": [], "memory": []}
        for where in ("disk", "memory", "memory", "disk"):  # neither is always first
            sides[where].append(measured(folder, arguments.samples, where))
    speed = {k: float(np.median([r["throughput"] for r in v])) for k, v in sides.items()}
    resident_most = max(r["resident"] for r in sides["disk"])
    ratio = speed["disk"] / speed["memory"]
    print(f"{arguments.samples:,} samples on a disk, {IN_MEMORY:,} in memory; LSTM of 32 units,")
    print(f"windows of {LENGTH}, batch {BATCH}, one thread")
    print(f"ready after {sides['disk'][0]['ready']:.1f} s (checks, scaling, baseline)")
    print(f"samples a second: disk {speed['disk']:,.0f}, memory {speed['memory']:,.0f}")
    print(f"resident above the import: {resident_most / 1e6:.0f} MB (limit 1000)")
    print(f"throughput: {ratio:.3f} of that in memory (limit {LIMIT_THROUGHPUT})")
    return int(not (resident_most <= LIMIT_MEMORY and ratio >= LIMIT_THROUGHPUT))


if __name__ == "__main__":
    raise SystemExit(main())
