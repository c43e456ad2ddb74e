"""A fifth of the outputs is missing: who reconstructs them best, on three built-in systems?

Noise of 5 % of the output's std. A bidirectional LSTM and a one-way LSTM, trained alike on hidden
outputs of another record of which a fifth is missing too, against the straight line between the
neighbours. RMSE at the missing samples, to the noise-free output, over its std. Run:
python benchmarks/smoothing.py
"""

from __future__ import annotations

import numpy as np
import torch

import sysid

SYSTEMS = ("cascaded_tanks", "wiener_hammerstein", "duffing")
NOISE, MISSING = 0.05, 0.2


def gappy(record: sysid.Record, seed: int) -> sysid.Record:
    """Return the record with a fifth of its outputs missing."""
    gone = np.random.default_rng(seed).random(record.y.shape) < MISSING
    return record.replace(y=np.where(gone, np.nan, record.y))


def smoother(train: sysid.Record, bidirectional: bool) -> sysid.Model:
    """Return a trained smoother; its record's end chooses the weights."""
    torch.manual_seed(0)
    model = sysid.LSTM(train.nu + 3 * train.ny, train.ny, 24, bidirectional=bidirectional)
    past, last = sysid.split_time(train, 0.2, gap=100)
    sysid.fit(
        model,
        sysid.hide_outputs(past, length=100, copies=8),
        sysid.hide_outputs(last, seed=1),
        loss="full_sequence",
        batch_size=16,
        learning_rate=5e-3,
        schedule="cosine",
        clip=1.0,
        max_epochs=80,
        progress=False,
    )
    return model


def main() -> bool:
    """Print a line per system; return whether the bidirectional model is best on each."""
    best = True
    for name in SYSTEMS:
        train = gappy(sysid.generate(name, 8000, seed=0, noise=NOISE), seed=10)
        clean = sysid.generate(name, 2000, seed=1)
        record = gappy(sysid.generate(name, 2000, seed=1, noise=NOISE), seed=11)
        gone = np.isnan(record.y)
        k = np.arange(len(record))
        found = {
            "bidirectional": sysid.smooth(smoother(train, True), record),
            "one-way": sysid.smooth(smoother(train, False), record),
            "line": np.interp(k, k[~gone[:, 0]], record.y[~gone[:, 0], 0])[:, None],
        }
        errors = {
            who: float(np.sqrt(np.mean((y - clean.y)[gone] ** 2)) / clean.y.std())
            for who, y in found.items()
        }
        best &= min(errors, key=errors.__getitem__) == "bidirectional"
        print(f"{name:20}" + "  ".join(f"{who} {e:.4f}" for who, e in errors.items()), flush=True)
    return best


if __name__ == "__main__":
    raise SystemExit(not main())
