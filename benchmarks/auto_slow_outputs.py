"""`--auto` on a linear plant whose output was measured at every tenth sample, beside all samples.

The fit is to all samples of a part that was not trained on. Exit code 1 where the slow output
costs more than 0.5 points. Run: python benchmarks/auto_slow_outputs.py [--budget MINUTES]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

import sysid

SAMPLES, TRAIN, START = 4000, 3000, 100
EVERY, LIMIT = 10, 0.5


def plant(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return held inputs and noisy outputs of a plant of second order."""
    random = np.random.default_rng(seed)
    u, y = np.repeat(random.uniform(-1, 1, SAMPLES // 20), 20), np.zeros(SAMPLES)
    for k in range(2, SAMPLES):
        y[k] = 1.7 * y[k - 1] - 0.72 * y[k - 2] + 0.02 * u[k - 1]
    return u, y + 0.002 * random.standard_normal(SAMPLES)


def fit(u: np.ndarray, y: np.ndarray, every: int, minutes: float) -> float:
    """Return the fit of the model that is found from every so many samples, in percent."""
    measured = np.where(np.arange(TRAIN) % every == 0, y[:TRAIN], np.nan)
    with tempfile.TemporaryDirectory() as folder:
        record = sysid.Record(u[:TRAIN], measured, 0.01, name="train")
        found = sysid.auto(record, budget=minutes, out=Path(folder) / "run")
    test = sysid.Record(u[TRAIN:], y[TRAIN:], 0.01)
    y_hat = found.model.simulate(test)
    return float(sysid.fit_index(test.y[START:], y_hat[START:])[0])


def main() -> int:
    """Print both fits for three seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=float, default=1.5, help="minutes for each search")
    budget = parser.parse_args().budget
    worst = 0.0
    for seed in range(3):
        u, y = plant(seed)
        complete, slow = (fit(u, y, every, budget) for every in (1, EVERY))
        worst = max(worst, complete - slow)
        print(f"seed {seed}: all samples {complete:.2f} %, every tenth {slow:.2f} %", flush=True)
    print(f"largest loss {worst:.2f} points (limit {LIMIT:g})")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
