"""Training steps on a CUDA device against the same on the processor; says so where there is none.

On CUDA a NARX's free run is PyTorch's own operations, one sample at a time for the whole batch;
RNN, GRU and LSTM are cuDNN's. Both devices are checked to give the same values and gradients
before they are timed. Run: python benchmarks/gpu.py
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

import sysid

CASES: list[tuple[str, Callable[[], sysid.Model], int, int]] = [
    ("NARX 5, 5, 20", lambda: sysid.NARX(1, 1, 5, 5, hidden_sizes=[20]), 1024, 60),
    ("NARX 15, 15, 64 x 64", lambda: sysid.NARX(1, 1, 15, 15, hidden_sizes=[64, 64]), 256, 200),
    ("GRU, 100 units", lambda: sysid.GRU(1, 1, 100), 256, 200),
    ("LSTM, 100 units", lambda: sysid.LSTM(1, 1, 100), 256, 200),
]


def step(model: sysid.Model, u: Tensor, y: Tensor) -> list[Tensor]:
    """Return the outputs and the gradients of one training step, on the processor."""
    model.zero_grad()
    y_hat, _ = model.unfold(u, y)
    ((y_hat - y) ** 2).mean().backward()
    return [t.detach().cpu() for t in (y_hat, *(p.grad for p in model.parameters()))]


def seconds(run: Callable[[], object]) -> float:
    """Return the median time of a step; what it returns has been waited for."""
    run()
    times = []
    for _ in range(7):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return median(times)


def main() -> int:
    """Print a line for each case."""
    if not torch.cuda.is_available():
        print("there is no CUDA device here: nothing was measured")
        return 0
    print(torch.cuda.get_device_name())
    for name, build, batch, samples in CASES:
        torch.manual_seed(0)
        model = build()
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(0.5)  # stable in free run
        u, y = torch.randn(2, batch, samples, 1).unbind(0)
        there = copy.deepcopy(model).cuda(), u.cuda(), y.cuda()
        for ours, theirs in zip(step(model, u, y), step(*there), strict=True):
            torch.testing.assert_close(theirs, ours, rtol=2e-3, atol=2e-3 * float(ours.abs().max()))
        here, other = seconds(lambda: step(model, u, y)), seconds(lambda: step(*there))  # noqa: B023
        print(
            f"{name}, {batch} x {samples}: processor {1e3 * here:.1f} ms, CUDA {1e3 * other:.1f} ms"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
