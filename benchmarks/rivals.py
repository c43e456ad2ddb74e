"""Peers that need an environment of their own: deepSI's training step, SysIdentPy's free run.

Each rival runs in its own Python, in turn with ours, three rounds; medians are shown. Both sides
have networks of as many neurons and two threads. A rival without a Python is left out:

    pip install deepSI==0.4.4     # asks for an old nonlinear_benchmarks
    pip install sysidentpy torch
Run: python benchmarks/rivals.py [--deepsi PYTHON] [--sysidentpy PYTHON]
or with the environment variables DEEPSI_PYTHON and SYSIDENTPY_PYTHON.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

TIMED = """
import statistics, time, torch
torch.set_num_threads(2)
torch.manual_seed(0)

def median(step, count):
    step()
    times = []
    for _ in range(count):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return statistics.median(times)
"""

# A step of Adam on 256 windows of 50 samples: 4 states, encoder of 20 samples, networks of 2 x 64.
DEEPSI = (
    TIMED
    + """
import deepSI
model = deepSI.models.SUBNET(1, 1, deepSI.normalization.Norm(0.0, 1.0, 0.0, 1.0, 1.0), nx=4)
optimiser = torch.optim.Adam(model.parameters())
u_past, y_past = torch.randn(2, 256, 20, 1).unbind(0)
u, y = torch.randn(2, 256, 50, 1).unbind(0)

def step():
    optimiser.zero_grad()
    ((model(u_past, y_past, u) - y) ** 2).mean().backward()
    optimiser.step()

print(sum(p.numel() for p in model.parameters()), median(step, 25))
"""
)
OURS_AS_DEEPSI = (
    TIMED
    + """
import sysid
model = sysid.StateSpace(
    1, 1, 4, (64, 64), feedthrough=False, initial_state="encoder", n_init=20
)
optimiser = torch.optim.Adam(model.parameters())
u, y = torch.randn(2, 256, 70, 1).unbind(0)

def step():
    optimiser.zero_grad()
    y_hat, _ = model.unfold(u, y)
    ((y_hat - y)[:, 20:] ** 2).mean().backward()
    optimiser.step()

print(sum(p.numel() for p in model.parameters()), median(step, 25))
"""
)

# Free run of 20 000 samples, 15 lags of input and output, 2 x 64 tanh.
SYSIDENTPY = (
    TIMED
    + """
import numpy as np
from sysidentpy.basis_function import Polynomial
from sysidentpy.neural_network import NARXNN
net = torch.nn.Sequential(
    torch.nn.Linear(30, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(),
    torch.nn.Linear(64, 1),
)
lags = list(range(1, 16))
model = NARXNN(
    ylag=lags, xlag=lags, basis_function=Polynomial(degree=1), model_type="NARMAX", net=net,
    epochs=1, verbose=False, optim_params={},
)
u, y = np.random.default_rng(0).standard_normal((2, 20_000, 1))
model.fit(X=u[:500], y=y[:500])
print(sum(p.numel() for p in net.parameters()), median(lambda: model.predict(X=u, y=y), 1))
"""
)
OURS_AS_SYSIDENTPY = (
    TIMED
    + """
import numpy as np
import sysid
model = sysid.NARX(1, 1, 15, 15, nk=1, hidden_sizes=[64, 64], linear=False)
record = sysid.Record(*np.random.default_rng(0).standard_normal((2, 20_000)))
print(sum(p.numel() for p in model.parameters()), median(lambda: model.simulate(record), 9))
"""
)


def run(python: str, code: str) -> tuple[int, float]:
    """Return how many weights a model has, and the median seconds of its work."""
    done = subprocess.run([python, "-W", "ignore", "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    weights, seconds = done.stdout.split()[-2:]
    return int(weights), float(seconds)


def compare(what: str, rival: str, python: str | None, theirs: str, ours: str) -> None:
    """Print one comparison."""
    if python is None:
        print(f"{what}: no Python with {rival} was named")
        return
    rounds = [(run(sys.executable, ours), run(python, theirs)) for _ in range(3)]
    own, other = (statistics.median(r[side][1] for r in rounds) for side in (0, 1))
    (own_size, _), (other_size, _) = rounds[0]
    print(
        f"{what}: sysid {1e3 * own:.2f} ms ({own_size} weights), {rival} {1e3 * other:.2f} ms "
        f"({other_size} weights): {other / own:.0f} times",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deepsi", metavar="PYTHON", default=os.environ.get("DEEPSI_PYTHON"))
    parser.add_argument(
        "--sysidentpy", metavar="PYTHON", default=os.environ.get("SYSIDENTPY_PYTHON")
    )
    arguments = parser.parse_args()
    compare(
        "step of Adam, state space with encoder, 256 x 50",
        "deepSI", arguments.deepsi, DEEPSI, OURS_AS_DEEPSI,
    )  # fmt: skip
    compare(
        "free run of 20 000 samples, NARX 15, 15, 2 x 64",
        "SysIdentPy", arguments.sysidentpy, SYSIDENTPY, OURS_AS_SYSIDENTPY,
    )  # fmt: skip


if __name__ == "__main__":
    main()
