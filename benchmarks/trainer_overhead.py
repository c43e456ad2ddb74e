"""One epoch through Trainer against the bare loop on the same batches, and what windows cost.

LSTM of 32 units, windows of 200 samples, batch 64. Data: Wiener-Hammerstein where the benchmark
files are there, else a record of the same length. Run: python benchmarks/trainer_overhead.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import psutil
import torch

import sysid
from sysid.training.settings import TrainingSettings

EPOCHS = 21
LIMIT = 1.05


def record() -> sysid.Record:
    """Return the training record, said by name."""
    try:
        train = sysid.load_benchmark("wiener_hammerstein").train[0]
    except (ValueError, ImportError):
        rng = np.random.default_rng(0)
        train = sysid.Record(
            rng.standard_normal(100_000), rng.standard_normal(100_000), name="noise"
        )
    return train[:40_000]


def overhead() -> float:
    """Return the median ratio of Trainer's epoch to the bare loop's, taken in turn."""
    data = record()
    settings = TrainingSettings(
        length=200, stride=40, batch_size=64, max_epochs=EPOCHS + 1, learning_rate=1e-3
    )
    torch.manual_seed(0)
    model, twin = sysid.LSTM(1, 1, 32), sysid.LSTM(1, 1, 32)
    twin.load_state_dict(model.state_dict())
    trainer = sysid.Trainer(model, data, None, settings)
    windows = trainer.loss.windows
    generator = torch.Generator().manual_seed(settings.seed)
    optimiser = torch.optim.Adam(twin.parameters(), lr=1e-3)
    ratios, losses = [], []
    epochs = trainer.epochs()
    for epoch in range(EPOCHS + 1):
        batches = [
            windows.batch(i) for i in torch.randperm(len(windows), generator=generator).split(64)
        ]

        def ours() -> float:
            return next(epochs).train_loss

        def bare(batches: list[tuple[torch.Tensor, torch.Tensor]] = batches) -> float:
            total = []
            for u, y in batches:
                optimiser.zero_grad()
                loss = torch.mean((twin.output(twin.recurrence(u)[0]) - y) ** 2)
                loss.backward()
                optimiser.step()
                total.append(loss.detach())
            return float(torch.stack(total).mean())

        seconds, values = {}, {}
        for loop in (ours, bare) if epoch % 2 else (bare, ours):  # neither is always first
            started = time.perf_counter()
            values[loop.__name__] = loop()
            seconds[loop.__name__] = time.perf_counter() - started
        losses.append(abs(values["ours"] - values["bare"]) / values["bare"])
        if epoch:  # the first warms up
            ratios.append(seconds["ours"] / seconds["bare"])
    print(f"record {data.name!r}: largest relative difference of the losses {max(losses):.1e}")
    if max(losses) > 1e-3:
        raise SystemExit("the two loops do not train the same thing")
    print("Trainer over bare loop, each epoch:", " ".join(f"{r:.3f}" for r in ratios))
    return statistics.median(ratios)


def memory() -> float:
    """Return what windows of 200 add to ten million samples, as a share of the data."""
    u = np.random.default_rng(0).standard_normal((10_000_000, 1))
    data = sysid.Record(u, u)
    # Code that torch loads at the first use of an operation is not the windows' memory.
    sysid.Subsequences(data[:1000], length=200).batch(torch.randint(801, (256,)))
    process = psutil.Process()
    before = process.memory_info().rss
    windows = sysid.Subsequences(data, length=200)
    batch = windows.batch(torch.randint(len(windows), (256,)))
    added = process.memory_info().rss - before
    size = data.u.nbytes + data.y.nbytes
    print(f"{len(windows):,} windows, batch {tuple(batch[0].shape)}: {added / 1e6:.1f} MB added to")
    print(f"{size / 1e6:.0f} MB of data")
    return added / size


if __name__ == "__main__":
    torch.set_num_threads(2)
    share = memory()
    print(f"memory: {share:.3f} of the data (limit 0.2)")
    ratio = overhead()
    print(f"trainer: {ratio:.3f} times the bare loop, median (limit {LIMIT})")
    raise SystemExit(not (ratio <= LIMIT and share <= 0.2))
