"""False alarms and catches of the residual tests on systems whose truth is known.

A second-order ARX plant with white or coloured input, 2000 samples, 500 seeds. The true model
leaves its noise: each test must fail at its nominal rate. A model without one input lag must be
caught, and by that lag. Run: python benchmarks/residual_rates.py
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter
from scipy.stats import binom

from sysid.analysis.residuals import check_residuals

SEEDS, N, LAGS, CONFIDENCE = 500, 2000, 25, 0.95
MISSED = 3


def plant(seed: int, coloured: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inputs, residuals of the true model, and of one that misses ``0.1 u(k-3)``."""
    rng = np.random.default_rng([seed, coloured])
    u = rng.standard_normal(N + 100)
    if coloured:
        u = lfilter([1.0], [1.0, -0.8], u)
    e = 0.5 * rng.standard_normal(N + 100)
    # y(k) = 1.2 y(k-1) - 0.5 y(k-2) + 0.5 u(k-1) + 0.1 u(k-3) + e(k)
    y = lfilter([0, 0.5, 0, 0.1], [1, -1.2, 0.5], u) + lfilter([1.0], [1, -1.2, 0.5], e)
    one_step = 1.2 * np.roll(y, 1) - 0.5 * np.roll(y, 2) + 0.5 * np.roll(u, 1)
    missing = y - one_step
    true = missing - 0.1 * np.roll(u, MISSED)
    keep = slice(100, None)
    return u[keep, None], true[keep, None], missing[keep, None]


def main() -> bool:
    """Print the rates with their limits, and return whether all are kept."""
    low, high = binom.interval(0.99, SEEDS, 1 - CONFIDENCE)
    good = True
    for coloured in (False, True):
        failed: dict[str, int] = {}
        caught = named = 0
        for seed in range(SEEDS):
            u, true, missing = plant(seed, coloured)
            for row in check_residuals(true, u, LAGS, CONFIDENCE).verdicts.to_dict("records"):
                failed[row["test"]] = failed.get(row["test"], 0) + (not row["passed"])
            verdicts = check_residuals(missing, u, LAGS, CONFIDENCE).verdicts
            row = verdicts.set_index("test").loc["input"]
            caught += not row["passed"]
            named += MISSED in row["lags"] and (coloured or row["lags"] == [MISSED])
        print(f"{'coloured' if coloured else 'white'} input, {SEEDS} seeds, {LAGS} lags")
        for test, count in failed.items():
            kept = low <= count <= high
            good &= kept
            print(
                f"  {test:14} false alarms {count / SEEDS:.3f}  nominal {1 - CONFIDENCE:.3f}  "
                f"limits {low / SEEDS:.3f} to {high / SEEDS:.3f}  {'ok' if kept else 'MISSED'}"
            )
        good &= caught / SEEDS >= 0.95
        only = "and it is in the list" if coloured else "and by its lag alone"
        print(f"  missing lag caught {caught / SEEDS:.3f} (limit 0.95), {only} {named / SEEDS:.3f}")
    return good


if __name__ == "__main__":
    raise SystemExit(not main())
