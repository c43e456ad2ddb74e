"""Stable against free models, side by side: fit, and free runs that explode, from many starts.

Each plant's state space and NARX is trained by Levenberg-Marquardt with and without ``stable``,
from the same weights; the last eighth of each training record, or of the records, is held out.
Starts lie all over the training records: the state is fitted to ``n_init`` samples there, and a
free run goes on with the inputs as recorded, in another order, and 20 % larger. One that comes
farther from the mean than a thousand times any training sample counts as an explosion; beyond ten
times it is far.

Run: SYSID_DATA=... SYSID_PLANTS=... python benchmarks/stable.py [PLANT ...] [--starts 60]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

import sysid
from sysid import Record

OFFICIAL = ("wiener_hammerstein", "silverbox", "cascaded_tanks", "emps")
N_INIT = 50  # samples at a start, where the plant's page names none
PIECE = 800  # samples of a free run from a start
EXPLODED, FAR = 1e3, 10.0  # distances of the farthest training sample from the mean
CHUNK = 50  # samples of inputs that stay together in another order


@dataclass(frozen=True)
class Plant:
    """Training, held-out and test records."""

    train: list[Record]
    valid: list[Record]
    test: list[Record]
    n_init: int
    integrates: bool = False


def plants() -> list[str]:
    """Return the names of all plants."""
    return [*OFFICIAL, *yaml.safe_load((_folder() / "plants.yaml").read_text())]


def load(name: str) -> Plant:
    """Load a plant and hold out the end of its training data."""
    if name in OFFICIAL:
        found = sysid.load_benchmark(name)
        train, test = found.train, found.test
        n_init = 20 if name == "emps" else test[0].n_init
    else:
        page = yaml.safe_load((_folder() / "plants.yaml").read_text())[name]
        n_init = page["n_init"]
        train, test = (
            [
                sysid.read(
                    _folder() / name / file,
                    u=page["u"],
                    y=page["y"],
                    sampling_time=page["sampling_time"],
                ).replace(n_init=n_init)
                for file in page[which]
            ]
            for which in ("train", "test")
        )
    train = [r.replace(n_init=n_init) for r in train]
    if len(train) >= 8:
        kept = [r for i, r in enumerate(train) if i % 8 != 7]
        held = train[7::8]
    else:
        kept, held = sysid.split_time(train, 0.125, gap=0)
        held = [r.replace(n_init=n_init) for r in held]
    return Plant(kept, held, test, n_init, integrates=name == "emps")


def _folder() -> Path:
    return Path(os.environ["SYSID_PLANTS"])


def models(plant: Plant) -> dict[str, Callable[[], sysid.Model]]:
    """Return what is trained, by name; ``stable`` follows ``free`` each time."""
    first = plant.train[0]
    nu, ny = first.nu, first.ny
    out: dict[str, Callable[[], sysid.Model]] = {}
    for nx in (max(4, ny + 1), max(8, 2 * ny)):
        for kind, activation, stable in (
            ("free softplus", "softplus", False),
            ("free", "tanh", False),
            ("stable", "tanh", True),
        ):
            out[f"state space {nx}, {kind}"] = lambda nx=nx, a=activation, s=stable: (
                sysid.StateSpace(
                    nu, ny, nx, (8,), activation=a, stable=s, integrating=plant.integrates
                )
            )
    for kind, stable in (("free", False), ("stable", True)):
        out[f"NARX 4, {kind}"] = lambda s=stable: sysid.NARX(
            nu, ny, 4, 4, hidden_sizes=(10,), stable=s
        )
    return out


def starts(plant: Plant, count: int, seed: int = 0) -> list[Record]:
    """Return pieces of training records, a third each as recorded, reordered and 20 % larger."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        record = plant.train[int(rng.integers(len(plant.train)))]
        length = min(PIECE, len(record))
        first = int(rng.integers(len(record) - length + 1))
        piece = record[first : first + length].replace(n_init=plant.n_init)
        u, n = np.array(piece.u), plant.n_init
        if i % 3 == 1:
            blocks = np.array_split(u[n:], max((length - n) // CHUNK, 1))
            u[n:] = np.concatenate([blocks[j] for j in rng.permutation(len(blocks))])
        elif i % 3 == 2:
            mean = np.nanmean(record.u, axis=0)
            u[n:] = mean + 1.2 * (u[n:] - mean)
        out.append(piece.replace(u=u))
    return out


def beyond(model: sysid.Model, pieces: list[Record], train: list[Record]) -> tuple[int, int]:
    """Count free runs that explode, and those that come far from anything measured."""
    y = np.vstack([r.y for r in train])
    mean = np.nanmean(y, axis=0)
    farthest = np.nanmax(np.abs(y - mean), axis=0)
    reached = np.array([(np.abs(model.simulate(p) - mean) / farthest).max() for p in pieces])
    return int((reached > EXPLODED).sum()), int((reached > FAR).sum())


def fit_of(model: sysid.Model, records: list[Record]) -> float:
    """Return the mean of the fit index over outputs and records, in percent."""
    scores = []
    for record in records:
        y_hat, n = model.simulate(record), record.n_init
        scores.append(np.mean(sysid.fit_index(record.y[n:], np.clip(y_hat[n:], -1e300, 1e300))))
    return float(np.mean(scores))


def run(name: str, count: int, epochs: int, seconds: float, only: str) -> list[dict[str, Any]]:
    """Train every model whose name matches ``only`` on a plant, and score it."""
    plant = load(name)
    pieces = starts(plant, count)
    rows = []
    for label, build in models(plant).items():
        if not re.search(only, label) or (plant.integrates and "NARX" in label):
            continue
        torch.manual_seed(0)
        model = build()
        began = time.perf_counter()
        result = sysid.fit(
            model,
            plant.train,
            plant.valid,
            loss="full_sequence",
            optimiser="lm",
            max_epochs=epochs,
            seconds=seconds,
            seed=0,
            progress=False,
        )
        exploded, far = beyond(model, pieces, plant.train)
        row = {
            "plant": name,
            "model": label,
            "train": round(fit_of(model, plant.train), 2),
            "valid": round(fit_of(model, plant.valid), 2),
            "test": round(fit_of(model, plant.test), 2),
            "exploded": exploded,
            "far": far,
            "starts": count,
            "bounded": model.bounded.growth,
            "epochs": len(result.history),
            "seconds": round(time.perf_counter() - began, 1),
        }
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def main() -> None:
    """Run the plants that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plants", nargs="*")
    parser.add_argument("--starts", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", default="", help="regular expression for the names of the models")
    arguments = parser.parse_args()
    for name in arguments.plants or plants():
        run(name, arguments.starts, arguments.epochs, arguments.seconds, arguments.only)


if __name__ == "__main__":
    main()
