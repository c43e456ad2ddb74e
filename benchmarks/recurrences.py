"""Training steps and free runs by compiled loops against torch's modules, eager loops and tsfast.

Each pair does the same work on the same numbers, is checked to give the same values and
gradients where the two have the same equations, and is timed in turn; medians and ratios are
printed with their limits. tsfast and ninja are optional: ``pip install tsfast ninja``.
Run: python benchmarks/recurrences.py
"""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

import sysid
from sysid.kernels.backends import use_backend
from sysid.kernels.vectors import BYTES

LIMITS = f"""That is on 2 threads, and what the products below could reach at most. They are held
by:
- batch 1: a step waits for the one before, in each of two segments; at few units it is the time
  that one product, one tanh and one product take one after another, however few they multiply.
- 6 to 20 units: the width. A vector has {BYTES // 4} numbers in float32, and a tanh costs as much
  as some thirty multiplications of a vector, which the GFLOP/s do not count.
- 32 to 100 units: in float64 the memory that states and gates are kept in until the way back."""

Step = Callable[[], object]
LAYERS = {"GRU": sysid.GRU, "RNN": sysid.RNN, "LSTM": sysid.LSTM}

# layer, dtype, batch, samples, units, least ratio torch / ours
RECURRENT = [
    ("GRU", torch.float32, 1, 2000, 32, 25.0),
    ("RNN", torch.float32, 1, 2000, 32, 12.0),
    ("LSTM", torch.float32, 1, 2000, 32, 1.0),
    ("GRU", torch.float32, 64, 200, 100, 2.0),
    ("RNN", torch.float32, 64, 200, 100, 2.0),
    ("LSTM", torch.float32, 64, 200, 100, 1.0),
    ("GRU", torch.float32, 256, 80, 16, 3.0),
    ("RNN", torch.float32, 256, 80, 16, 2.0),
    ("LSTM", torch.float32, 256, 80, 16, 1.0),
    ("LSTM", torch.float64, 1, 2000, 32, 25.0),
    ("LSTM", torch.float64, 200, 500, 32, 3.0),
]
# orders, hidden layers, batch, samples, least ratio tsfast / ours, least ratio eager / ours
NARX = [
    (5, [20], 1, 20_000, 1.0, 500.0),
    (5, [20], 64, 60, 1.0, 0.0),
    (15, [64, 64], 64, 200, 1.0, 0.0),
]
# batch, samples, least ratio tsfast / ours
STATE_SPACE = [(64, 200, 1.0), (1, 20_000, 1.0)]


def seconds(steps: list[Step], least: float = 1.0) -> list[float]:
    """Return the median time of each of several steps, taken in turn for a while.

    A step far faster than the slowest is taken several times in its turn, up to 20: it would else
    be timed a few times only, each with caches that the slow one has filled.
    """
    calls = []
    for step in steps:
        step()
        started = time.perf_counter()
        step()
        calls.append(time.perf_counter() - started)
    repeats = [min(20, 1 + int(0.1 * max(calls) / call)) for call in calls]
    times: list[list[float]] = [[] for _ in steps]
    begun, rounds = time.perf_counter(), 0
    while rounds < 5 or (time.perf_counter() - begun < least and rounds < 200):
        rounds += 1
        for kept, step, count in zip(times, steps, repeats, strict=True):
            for _ in range(count):
                started = time.perf_counter()
                step()
                kept.append(time.perf_counter() - started)
    return [median(t) for t in times]


def speed(multiplications: int, batch: int, samples: int, took: float) -> str:
    """Say how fast the products of a training step are: forward, and twice back."""
    return f"{3 * 2 * batch * samples * multiplications / took / 1e9:.1f} GFLOP/s"


def line(what: str, ours: float, theirs: float, rival: str, limit: float, note: str = "") -> bool:
    """Print one comparison and return whether its limit is kept."""
    ratio = theirs / ours
    verdict = "" if not limit else f"(limit {limit:g})  {'ok' if ratio >= limit else 'MISSED'}"
    print(
        f"{what:44}{1e3 * ours:9.2f} ms  {rival:12}{1e3 * theirs:9.2f} ms  "
        f"{ratio:7.1f} times  {verdict} {note}",
        flush=True,
    )
    return not limit or ratio >= limit


def recurrent() -> bool:
    """Time training steps of torch's recurrent layers and ours on the same weights."""
    good = True
    for name, dtype, batch, samples, units, limit in RECURRENT:
        torch.manual_seed(0)
        model = LAYERS[name](1, 1, units).to(dtype)
        u, y = torch.randn(2, batch, samples, 1, dtype=dtype).unbind(0)

        def train(model: nn.Module = model, u: Tensor = u, y: Tensor = y) -> list[Tensor]:
            model.zero_grad()
            y_hat, _ = model.unfold(u, y)
            ((y_hat - y) ** 2).mean().backward()
            return [y_hat.detach(), *(p.grad.clone() for p in model.parameters())]

        def theirs(train: Step = train) -> object:
            with use_backend("reference"):
                return train()

        same([train(), theirs()], dtype)
        ours, other = seconds([train, theirs])
        gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[name] * units
        bits = str(dtype)[-2:]
        good &= line(
            f"{name} float{bits}, {batch} x {samples}, {units} units",
            ours, other, f"torch.nn.{name}", limit,
            speed(gates * (units + 1), batch, samples, ours),
        )  # fmt: skip
    return good


def same(results: list[list[Tensor]], dtype: torch.dtype) -> None:
    """Refuse to time two things that are not the same."""
    rtol = 1e-9 if dtype == torch.float64 else 2e-3
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol * float(b.abs().max()))


def narx(tsfast: bool) -> bool:
    """Time simulation training steps of a NARX."""
    good = True
    for lags, hidden, batch, samples, limit, eager_limit in NARX:
        torch.manual_seed(0)
        model = sysid.NARX(1, 1, lags, lags, hidden_sizes=hidden)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(0.5)  # stable in free run
        u, y = torch.randn(2, batch, samples, 1).unbind(0)

        def train(model: sysid.NARX = model, u: Tensor = u, y: Tensor = y) -> list[Tensor]:
            model.zero_grad()
            y_hat, _ = model.unfold(u, y)
            ((y_hat - y) ** 2).mean().backward()
            return [y_hat.detach(), *(p.grad.clone() for p in model.parameters())]

        def eager(train: Step = train) -> object:
            with use_backend("reference"):
                return train()

        same([train(), eager()], torch.float32)
        sizes = [2 * lags + 1, *hidden, 1]
        work = sum(a * b for a, b in pairwise(sizes)) + sizes[0]  # and the linear path
        what = f"NARX {lags}, {lags}, {' x '.join(map(str, hidden))}, {batch} x {samples}"
        if eager_limit:
            ours, other = seconds([train, eager])
            reached = speed(work, batch, samples, ours)
            good &= line(what, ours, other, "eager loop", eager_limit, reached)
        if not tsfast:
            continue
        from tsfast.models.architectures.narx import NarxMLP

        twin = NarxMLP(1, 1, lags, lags + 1, hidden[0], len(hidden), backend="c")
        both = torch.cat([u, y], -1)

        def theirs(twin: nn.Module = twin, both: Tensor = both, y: Tensor = y) -> None:
            twin.zero_grad()
            ((twin(both) - y) ** 2).mean().backward()

        ours, other = seconds([train, theirs])
        good &= line(what, ours, other, "tsfast C++", limit, speed(work, batch, samples, ours))
    return good


def state_space(tsfast: bool) -> bool:
    """Time simulation training steps of a state space with 6 states and 15 neurons."""
    good = True
    for batch, samples, limit in STATE_SPACE:
        torch.manual_seed(0)
        model = sysid.StateSpace(1, 1, 6, (15,), (), initial_state="zero")
        u, y = torch.randn(2, batch, samples, 1).unbind(0)

        def train(model: sysid.StateSpace = model, u: Tensor = u, y: Tensor = y) -> list[Tensor]:
            model.zero_grad()
            y_hat, _ = model.unfold(u, y)
            ((y_hat - y) ** 2).mean().backward()
            return [y_hat.detach(), *(p.grad.clone() for p in model.parameters())]

        def eager(train: Step = train) -> object:
            with use_backend("reference"):
                return train()

        same([train(), eager()], torch.float32)
        work = 7 * 15 + 15 * 6 + 7 * 6 + 7  # two layers, the linear path, the output
        what = f"StateSpace 6 states, 15 tanh, {batch} x {samples}"
        if not tsfast:
            ours, other = seconds([train, eager])
            line(what, ours, other, "eager loop", 0.0, speed(work, batch, samples, ours))
            continue
        from tsfast.models.architectures.ssm import NeuralStateSpace

        twin = NeuralStateSpace(1, 1, 6, 15, 1, backend="c")

        def theirs(twin: nn.Module = twin, u: Tensor = u, y: Tensor = y) -> None:
            twin.zero_grad()
            ((twin(u) - y) ** 2).mean().backward()

        ours, other = seconds([train, theirs])
        good &= line(what, ours, other, "tsfast C++", limit, speed(work, batch, samples, ours))
    return good


FIRST_CALL = """
import time, numpy, torch, sysid
torch.manual_seed(0)
model = sysid.NARX(1, 1, 15, 15, hidden_sizes=[64, 64])
record = sysid.Record(numpy.zeros(200), numpy.zeros(200))
started = time.perf_counter()
model.simulate(record)
print(time.perf_counter() - started)
"""


def free_run() -> bool:
    """Time the free run of one record, per step, on one thread, and the first call."""
    torch.manual_seed(0)
    model = sysid.NARX(1, 1, 15, 15, hidden_sizes=[64, 64])
    record = sysid.Record(*np.random.default_rng(0).standard_normal((2, 20_000)))
    torch.set_num_threads(1)
    (ours,) = seconds([lambda: model.simulate(record)])
    torch.set_num_threads(2)
    per_step = 1e6 * ours / len(record)
    subprocess.run(
        [sys.executable, "-c", FIRST_CALL], check=True, capture_output=True
    )  # fills the cache
    out = subprocess.run([sys.executable, "-c", FIRST_CALL], check=True, capture_output=True)
    first = float(out.stdout)
    print(f"free run, NARX 15, 15, 2 x 64: {per_step:.2f} microseconds a step (limit 1.0)")
    print(f"first call in a fresh process, warm disk cache: {first:.2f} s (limit 1.0)")
    return per_step <= 1.0 and first <= 1.0


def main() -> bool:
    """Print all figures, and return whether all limits are kept."""
    torch.set_num_threads(2)
    warnings.filterwarnings("ignore")
    try:
        import tsfast  # noqa: F401

        has = True
    except ImportError:
        has = False
        print("tsfast is not installed: its rows are left out (pip install tsfast ninja)")
    for dtype in (torch.float32, torch.float64):
        a = torch.randn(1500, 1500, dtype=dtype)
        (one,) = seconds([lambda a=a: a @ a])
        print(f"{dtype}: a large product reaches {2 * 1500**3 / one / 1e9:.0f} GFLOP/s")
    print(LIMITS)
    checks = [recurrent(), narx(has), state_space(has), free_run()]
    return all(checks) and has


if __name__ == "__main__":
    raise SystemExit(not main())
