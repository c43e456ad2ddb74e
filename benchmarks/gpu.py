"""Training steps on a CUDA device against torch's own and tsfast's; says so where there is none.

A network's free run (NARX, StateSpace) is one Triton kernel each way; RNN, GRU and LSTM are
cuDNN's. Values and gradients are checked against PyTorch's own operations on the device before
anything is timed; contenders are timed in turn, medians are shown. tsfast is optional
(``pip install tsfast``; its kernels are Triton's too). Run: python benchmarks/gpu.py
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

import sysid
from sysid.kernels.backends import use_backend

Step = Callable[[], object]

# name, model, batch, samples
NETWORKS: list[tuple[str, Callable[[], sysid.Model], int, int]] = [
    ("NARX 5, 5, 20", lambda: sysid.NARX(1, 1, 5, 5, hidden_sizes=[20]), 64, 60),
    ("NARX 5, 5, 20", lambda: sysid.NARX(1, 1, 5, 5, hidden_sizes=[20]), 1024, 60),
    ("NARX 15, 15, 64 x 64", lambda: sysid.NARX(1, 1, 15, 15, hidden_sizes=[64, 64]), 64, 200),
    ("NARX 15, 15, 64 x 64", lambda: sysid.NARX(1, 1, 15, 15, hidden_sizes=[64, 64]), 1024, 200),
    (
        "StateSpace 6 states, 15",
        lambda: sysid.StateSpace(1, 1, 6, (15,), (), initial_state="zero"),
        64,
        200,
    ),
]
LAYERS: list[tuple[str, Callable[[], sysid.Model], int, int]] = [
    ("GRU, 100 units", lambda: sysid.GRU(1, 1, 100), 64, 200),
    ("GRU, 100 units", lambda: sysid.GRU(1, 1, 100), 1024, 200),
    ("LSTM, 100 units", lambda: sysid.LSTM(1, 1, 100), 64, 200),
    ("LSTM, 100 units", lambda: sysid.LSTM(1, 1, 100), 1024, 200),
]


def outcome(model: nn.Module, y_hat: Tensor, y: Tensor) -> list[Tensor]:
    """Return the outputs and the gradients of the mean squared error."""
    ((y_hat - y) ** 2).mean().backward()
    return [y_hat.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def train(model: sysid.Model, u: Tensor, y: Tensor, backend: str = "auto") -> list[Tensor]:
    """Do one training step, without the optimiser."""
    model.zero_grad()
    with use_backend(backend):
        y_hat, _ = model.unfold(u, y)
        return outcome(model, y_hat, y)


def milliseconds(steps: dict[str, Step], least: float = 1.0) -> dict[str, float]:
    """Return the median time of each of several steps, taken in turn."""
    for step in list(steps.values()) * 2:
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    begun = time.perf_counter()
    while len(next(iter(times.values()))) < 5 or time.perf_counter() - begun < least:
        for name, step in steps.items():
            torch.cuda.synchronize()
            started = time.perf_counter()
            step()
            torch.cuda.synchronize()
            times[name].append(time.perf_counter() - started)
    return {name: 1e3 * median(t) for name, t in times.items()}


def report(what: str, batch: int, samples: int, times: dict[str, float]) -> None:
    """Print one line: every contender's time, and how often ours fits into it."""
    ours = times.pop("sysid")
    others = "  ".join(f"{name} {t:.2f} ms ({t / ours:.1f} times)" for name, t in times.items())
    print(f"{what:24} {batch:5} x {samples:3}: sysid {ours:.2f} ms  {others}", flush=True)


def networks(tsfast: bool) -> None:
    """Time free runs of networks: one kernel against an operation at a time, and tsfast's."""
    for what, build, batch, samples in NETWORKS:
        torch.manual_seed(0)
        model = build()
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(0.5)  # stable in free run
        u, y = torch.randn(2, batch, samples, 1).unbind(0)
        there, u_there, y_there = copy.deepcopy(model).cuda(), u.cuda(), y.cuda()
        same(*(train(there, u_there, y_there, name) for name in ("auto", "reference")))
        steps: dict[str, Step] = {
            "sysid": lambda: train(there, u_there, y_there),  # noqa: B023
            "operation by operation": lambda: train(there, u_there, y_there, "reference"),  # noqa: B023
            "on the processor": lambda: train(model, u, y),  # noqa: B023
        }
        if tsfast:
            steps["tsfast"] = rival(model, u_there, y_there)
        report(what, batch, samples, milliseconds(steps))


def rival(model: sysid.Model, u: Tensor, y: Tensor) -> Step:
    """Return the same training step of tsfast's model, by its Triton kernels."""
    from tsfast.models.architectures.narx import NarxMLP
    from tsfast.models.architectures.ssm import NeuralStateSpace

    hidden = model.hidden_sizes
    if isinstance(model, sysid.NARX):
        twin: nn.Module = NarxMLP(
            1, 1, model.na, model.na + 1, hidden[0], len(hidden), backend="triton"
        )
        inputs = torch.cat([u, y], -1)
    else:
        twin, inputs = NeuralStateSpace(1, 1, model.nx, hidden[0], 1, backend="triton"), u
    twin = twin.cuda()

    def step() -> None:
        twin.zero_grad()
        outcome(twin, twin(inputs), y)

    return step


def layers() -> None:
    """Time recurrent layers against torch's own module and a linear output."""
    for what, build, batch, samples in LAYERS:
        torch.manual_seed(0)
        model = build().cuda()
        u, y = torch.randn(2, batch, samples, 1, device="cuda").unbind(0)
        units = model.hidden_size
        kind = nn.GRU if isinstance(model, sysid.GRU) else nn.LSTM
        twin = nn.ModuleList([kind(1, units, batch_first=True), nn.Linear(units, 1)]).cuda()

        def plain(twin: nn.ModuleList = twin, u: Tensor = u, y: Tensor = y) -> None:
            twin.zero_grad()
            outcome(twin, twin[1](twin[0](u)[0]), y)

        steps: dict[str, Step] = {
            "sysid": lambda: train(model, u, y),  # noqa: B023
            f"torch.nn.{kind.__name__}": plain,
        }
        report(what, batch, samples, milliseconds(steps))


def same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    """Refuse to time two things that are not the same."""
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-3 * float(b.abs().max()))


def main() -> int:
    """Print a line for each case."""
    if not torch.cuda.is_available():
        print("there is no CUDA device here: nothing was measured")
        return 0
    try:
        import tsfast  # noqa: F401

        has = True
    except ImportError:
        has = False
        print("tsfast is not installed: it is left out (pip install tsfast)")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    networks(has)
    layers()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
