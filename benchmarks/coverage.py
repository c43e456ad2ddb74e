"""Do 90 % bands hold 90 % of fresh samples? Ten simulated systems, an LSTM of 16 units each.

One record each, cut in time into training, validation (best weights), calibration (width of the
band) and test (coverage). 5 % noise. Integrating plants are not among them: their
free-run errors grow with time, which no constant width can hold.
Run: python benchmarks/coverage.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import sysid

if __name__ == "coverage":
    # Numba looks for the package of this name, and a script's folder comes first.
    raise ImportError("this is a benchmark, not the package coverage")

LEVEL, LOW, HIGH = 0.9, 0.88, 0.92
# Errors of a simulation last for dozens of samples: a share of them is known to 1 % by many.
PARTS = (6000, 2000, 50_000, 50_000)  # training, validation, calibration, test

SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("linear", {}),
    "linear, lightly damped": ("linear", {"damping": 0.1}),
    "linear, overdamped": ("linear", {"damping": 1.5}),
    "static": ("static", {}),
    "cascaded tanks": ("cascaded_tanks", {}),
    "cascaded tanks, no overflow": ("cascaded_tanks", {"height": 1e3}),
    "duffing": ("duffing", {}),
    "duffing, stiffer": ("duffing", {"k3": 12.0}),
    "wiener-hammerstein": ("wiener_hammerstein", {}),
    "wiener-hammerstein, harder": ("wiener_hammerstein", {"saturation_drop": 0.005}),
}


def main() -> bool:
    """Print coverage and width with their limits, and return whether all are kept."""
    torch.set_num_threads(2)
    good = True
    print(f"{'system':30}{'fit %':>7}{'coverage':>10}{'width/std':>11}   limits {LOW} to {HIGH}")
    for name, (system, parameters) in SYSTEMS.items():
        record = sysid.generate(system, sum(PARTS), noise=0.05, **parameters)
        ends = np.cumsum(PARTS)
        train, valid, calibration, test = (
            record[end - n : end].replace(n_init=100) for n, end in zip(PARTS, ends, strict=True)
        )
        torch.manual_seed(0)
        model = sysid.LSTM(train.nu, 1, 16)
        sysid.fit(
            model, train, valid, length=200, washout=80, stride=20, batch_size=32,
            learning_rate=5e-3, schedule="cosine", max_epochs=300, progress=False,
        )  # fmt: skip
        bands = sysid.conformal_bands(model, calibration, LEVEL)
        row = sysid.coverage(bands, model, test).iloc[0]
        fit = sysid.fit_index(test.y[100:], model.simulate(test)[100:])[0]
        kept = LOW <= row["coverage"] <= HIGH
        good &= bool(kept)
        print(
            f"{name:30}{fit:7.1f}{row['coverage']:10.3f}{row['relative_width']:11.3f}   "
            f"{'ok' if kept else 'MISSED'}"
        )
    return good


if __name__ == "__main__":
    raise SystemExit(not main())
