"""`sysid train --auto` over a zoo of plants, beside the mean, linear models and tsfast's networks.

The zoo: measured plants (a folder with plants.yaml, by --plants or SYSID_PLANTS), the four official
benchmarks (SYSID_DATA), and built-in systems with fresh seeds, 1 to 20 % noise and 300 to 20 000
samples. Each contender gets the same minutes and the same training records; test records are scored
once, at the end. The last columns count, of 200 starts each, the free runs of --auto's model that
left the measured range by more than the range: inputs as recorded, in another order, 20 % beyond.

tsfast has its GRU-100 and LSTM-100 with its defaults: windows of its benchmark settings, its
optimiser, learning rate and schedule, as many epochs as fit into the time, with its own Python
(--rival). Each result is one JSON file, so that a run that was stopped goes on. Methods are to be
settled on the half of the zoo that is called `dev`; `held` is to be looked at once.

Exit code 1 where --auto is more than 0.3 points behind the best contender on more than a fifth of
the plants, or a model left the range.

Run: python benchmarks/auto_zoo.py [PLANT...] [--half dev] --budget 3 [--rival PYTHON]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

STARTS = 200
OFFICIAL = {"silverbox": 1e3, "wiener_hammerstein": 1e3, "cascaded_tanks": 1.0, "emps": 1e3}
WINDOWS = {"silverbox": 200, "wiener_hammerstein": 200, "cascaded_tanks": 150, "emps": 1000}
BUILT_IN = {  # samples, noise
    "linear": (300, 0.05),
    "duffing": (2000, 0.05),
    "bouc_wen": (5000, 0.01),
    "cascaded_tanks": (1000, 0.10),
    "wiener_hammerstein": (20_000, 0.20),
    "motor": (3000, 0.02),
}
DEV = {
    "hoop", "two_tank", "circuit", "vehicle", "silverbox", "cascaded_tanks",
    "built-in linear", "built-in duffing", "built-in motor",
}  # fmt: skip
RIVALS = ("tsfast GRU-100", "tsfast LSTM-100")
BEHIND, LEAST_AHEAD = 0.3, 0.8


@dataclass(frozen=True)
class Plant:
    """Records of a plant; loaded where they are needed."""

    name: str
    load: Callable[[], tuple[list[Any], list[Any]]]
    window: int = 100


def zoo(folder: Path | None, seed: int) -> list[Plant]:
    """Return all plants that are there."""
    out = []
    if folder is not None:
        import yaml

        described = yaml.safe_load((folder / "plants.yaml").read_text())
        for name, entry in described.items():
            if all((folder / name / f).is_file() for f in (*entry["train"], *entry["test"])):
                out.append(Plant(name, lambda n=name, e=entry: measured(folder / n, e)))
    if os.environ.get("SYSID_DATA"):
        out += [Plant(n, lambda n=n: official(n), WINDOWS[n]) for n in OFFICIAL]
    out += [Plant(f"built-in {n}", lambda n=n: built_in(n, seed)) for n in BUILT_IN]
    return out


def measured(folder: Path, entry: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    import sysid

    def read(file: str) -> Any:
        return sysid.read(
            folder / file, u=entry["u"], y=entry["y"], sampling_time=entry["sampling_time"]
        ).replace(n_init=entry["n_init"])

    return [read(f) for f in entry["train"]], [read(f) for f in entry["test"]]


def official(name: str) -> tuple[list[Any], list[Any]]:
    import sysid

    benchmark = sysid.load_benchmark(name)
    return benchmark.train, benchmark.test


def built_in(name: str, seed: int) -> tuple[list[Any], list[Any]]:
    import sysid

    samples, noise = BUILT_IN[name]
    n_init = min(50, samples // 40)
    seed += zlib.crc32(name.encode()) % 1000
    parts = [sysid.generate(name, samples, seed=seed + k, noise=noise) for k in (0, 1)]
    return [parts[0].replace(n_init=n_init)], [parts[1].replace(n_init=n_init)]


def fit(test: list[Any], simulate: Callable[[Any], Any]) -> float:
    """Return the mean fit index of the outputs over all test records together, in percent."""
    import sysid

    n = test[0].n_init
    y = np.concatenate([r.y[n:] for r in test])
    y_hat = np.concatenate([simulate(r)[n:] for r in test])
    return float(np.mean(sysid.fit_index(y, np.nan_to_num(y_hat, posinf=1e30, neginf=-1e30))))


def explosions(model: Any, records: list[Any]) -> list[int]:
    """Return how many runs leave the range: as recorded, in another order, and 20 % beyond."""
    from sysid.experiment.judging import free_runs

    n, random = records[0].n_init, np.random.default_rng(1)
    y = np.concatenate([r.y for r in records])
    low, high = np.nanmin(y, axis=0), np.nanmax(y, axis=0)
    u_all = np.concatenate([r.u for r in records])
    u_all = u_all[np.isfinite(u_all).all(axis=1)]
    out = []
    for kind in ("recorded", "order", "beyond"):
        left = 0
        for _ in range(STARTS):
            record = records[random.integers(len(records))]
            length = int(random.integers(400, 801))
            start = int(random.integers(max(len(record) - n - 20, 1)))
            u, y0 = record.u[start : start + n + length], record.y[start : start + n]
            if kind != "recorded":
                parts = np.array_split(u_all[: len(u_all) // 20 * 20], 20)
                mixed = np.concatenate([parts[k] for k in random.permutation(20)])[:length]
                if kind == "beyond":
                    mixed = u_all.mean(axis=0) + 1.2 * (mixed - u_all.mean(axis=0))
                u = np.concatenate([u[:n], mixed])
            if np.isnan(y0).any() or np.isnan(u).any():
                continue
            padded = np.full((len(u), record.ny), np.nan)
            padded[: len(y0)] = y0
            y_hat = free_runs(model, u[None], padded[None], n)[0, n:]
            inside = (y_hat >= 2 * low - high) & (y_hat <= 2 * high - low)
            left += not bool((inside & np.isfinite(y_hat)).all())
        out.append(left)
    return out


def auto(plant: Plant, minutes: float, rival: str | None) -> dict[str, Any]:
    import sysid

    train, test = plant.load()
    with tempfile.TemporaryDirectory() as folder:
        found = sysid.auto(train, test=test, budget=minutes, out=Path(folder) / "run")
    # A plant that integrates may go anywhere if its inputs come in another order.
    counts = explosions(found.model, [*train, *test])
    if found.model.bounded.growth == "linear":
        counts[1:] = [0, 0]
    document = {
        "fit": fit(test, found.model.simulate),
        "exploded": counts,
        "candidate": found.tried.candidate[0],
        "candidates": len(found.tried),
        "valid_rmse": float(found.tried.valid_rmse[0]),
        "warning": found.warning,
    }
    if plant.name in OFFICIAL:
        errors = [r.y[r.n_init :] - found.model.simulate(r)[r.n_init :] for r in test]
        document["rmse"] = [OFFICIAL[plant.name] * float(np.sqrt(np.mean(e**2))) for e in errors]
    return document


def mean(plant: Plant, minutes: float, rival: str | None) -> dict[str, Any]:
    train, test = plant.load()
    level = np.nanmean(np.concatenate([r.y for r in train]), axis=0)
    return {"fit": fit(test, lambda r: np.tile(level, (len(r), 1)))}


def linear(plant: Plant, minutes: float, rival: str | None) -> dict[str, Any]:
    """Score the linear model that the report compares with: the best in free run of many lags."""
    from sysid.models.baseline import fit_baseline

    train, test = plant.load()
    baseline = fit_baseline(train)
    if baseline.arx() is None:
        return mean(plant, minutes, rival)
    return {"fit": fit(test, baseline.simulate), "orders": baseline.orders}


def tsfast(kind: str) -> Callable[[Plant, float, str | None], dict[str, Any]]:
    """Return a contender that hands its records to tsfast's environment and scores what comes."""

    def contend(plant: Plant, minutes: float, rival: str | None) -> dict[str, Any]:
        train, test = plant.load()
        with tempfile.TemporaryDirectory() as folder:
            for part, records in (("train", train), ("test", test)):
                arrays = {f"{c}{i}": getattr(r, c) for i, r in enumerate(records) for c in "uy"}
                np.savez(Path(folder) / f"{part}.npz", **arrays)
            command = [str(rival), __file__, "--as-rival", kind, folder, str(minutes)]
            command += ["--window", str(plant.window)]
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
            runs = np.load(Path(folder) / "y_hat.npz")
            found = {id(r): runs[f"y{i}"] for i, r in enumerate(test)}
        return {"fit": fit(test, lambda r: found[id(r)])}

    return contend


def as_rival(kind: str, folder: Path, minutes: float, window: int) -> None:
    """Train one of tsfast's networks, in its environment, and write what it simulates."""
    import h5py
    import torch
    from tsfast.training import RNNLearner
    from tsfast.tsdata.pipeline import create_dls

    started = time.perf_counter()
    arrays = np.load(folder / "train.npz")
    count = len(arrays.files) // 2
    files: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for i in range(count):
        u, y = arrays[f"u{i}"], arrays[f"y{i}"]
        cut = len(u) - len(u) // (4 if len(u) < 5000 else 8)
        rows = {"train": slice(None, cut), "valid": slice(cut, None)}
        if count >= 8:  # whole records
            rows = {"valid" if i % 5 == 2 else "train": slice(None)}
        for part, of in rows.items():
            path = folder / f"{part}{i}.hdf5"
            with h5py.File(path, "w") as f:
                for name, block in (("u", u), ("y", y)):
                    for k in range(block.shape[1]):
                        f[f"{name}{k}"] = block[of, k].astype(np.float32)
            files[part].append(str(path))
    shortest = min(len(arrays[f"u{i}"]) for i in range(count)) // (1 if count >= 8 else 4)
    columns = [[f"{c}{k}" for k in range(arrays[f"{c}0"].shape[1])] for c in "uy"]
    batch = 64 if sum(len(arrays[f"u{i}"]) for i in range(count)) > 3000 else 16
    dls = create_dls(*columns, files, win_sz=min(window, shortest - 1), bs=batch)

    def learner() -> Any:
        options = {"device": torch.device("cpu"), "show_bar": False}
        return RNNLearner(dls, rnn_type=kind, **options)

    first = learner()
    first.fit(1)  # the first one takes longer
    begun = time.perf_counter()
    first.fit(1)
    epoch = time.perf_counter() - begun
    chosen = learner()
    left = 60 * minutes - (time.perf_counter() - started)
    chosen.fit_flat_cos(max(1, int(left / epoch)))
    model = chosen.model.eval()
    tests, out = np.load(folder / "test.npz"), {}
    with torch.no_grad():
        for i in range(len(tests.files) // 2):
            y_hat = model(torch.tensor(tests[f"u{i}"], dtype=torch.float32)[None])
            out[f"y{i}"] = (y_hat[0] if isinstance(y_hat, tuple) else y_hat)[0].numpy()
    np.savez(folder / "y_hat.npz", **out)


CONTENDERS: dict[str, Callable[[Plant, float, str | None], dict[str, Any]]] = {
    "auto": auto,
    "mean": mean,
    "linear": linear,
    "tsfast GRU-100": tsfast("gru"),
    "tsfast LSTM-100": tsfast("lstm"),
}


def one(plant: Plant, contender: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return a result, from its file where there is one."""
    name = f"{plant.name}--{contender}".replace(" ", "-")
    path = arguments.out / f"{arguments.budget:g}-min" / f"{name}.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    started = time.perf_counter()
    try:
        found = CONTENDERS[contender](plant, arguments.budget, arguments.rival)
    except (ValueError, RuntimeError, ArithmeticError, subprocess.CalledProcessError) as error:
        found = {"fit": None, "error": f"{type(error).__name__}: {error}"}
    found["seconds"] = round(time.perf_counter() - started, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1))
    return found


def show(name: str, found: dict[str, dict[str, Any]]) -> tuple[float, int]:
    """Print a row; return the regret and how many runs exploded."""
    fits = {c: f["fit"] for c, f in found.items()}
    known = {c: f for c, f in fits.items() if f is not None}
    own = known.get("auto", -np.inf)
    regret = max(known.values()) - own
    rank = 1 + sum(f > own for f in known.values())
    cells = [f"{name:28}"]
    cells += ["      -" if f is None else f"{max(f, -999):7.2f}" for f in fits.values()]
    exploded = found["auto"].get("exploded", [])
    cells += [f"{rank:4d}", f"{regret:7.2f}", " ".join(f"{n:3d}" for n in exploded)]
    cells.append(str(found["auto"].get("candidate") or found["auto"].get("error", "")))
    if "rmse" in found["auto"]:
        cells.append("rmse " + " ".join(f"{r:.3f}" for r in found["auto"]["rmse"]))
    print("  ".join(cells), flush=True)
    return float(regret), sum(exploded)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="plants; all by default")
    parser.add_argument("--half", choices=("dev", "held"), help="one half of the zoo")
    parser.add_argument("--budget", type=float, default=3.0, help="minutes for each contender")
    parser.add_argument("--plants", type=Path, default=os.environ.get("SYSID_PLANTS"))
    parser.add_argument("--rival", help="a Python that has tsfast")
    parser.add_argument("--seed", type=int, default=0, help="of the built-in systems")
    parser.add_argument("--out", type=Path, default=Path("runs/auto-zoo"))
    parser.add_argument("--as-rival", help=argparse.SUPPRESS)
    parser.add_argument("--window", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_rival:
        folder, minutes = arguments.names
        as_rival(arguments.as_rival, Path(folder), float(minutes), arguments.window)
        return
    plants = zoo(arguments.plants and Path(arguments.plants), arguments.seed)
    if arguments.names:
        plants = [p for p in plants if p.name in arguments.names]
    if arguments.half:
        plants = [p for p in plants if (p.name in DEV) == (arguments.half == "dev")]
    contenders = [c for c in CONTENDERS if arguments.rival or c not in RIVALS]
    print(f"{'plant':28}  {'  '.join(f'{c[-7:]:>7}' for c in contenders)}  rank  regret  exploded")
    rows = [show(p.name, {c: one(p, c, arguments) for c in contenders}) for p in plants]
    regrets, exploded = np.array([r for r, _ in rows]), sum(n for _, n in rows)
    ahead = float(np.mean(regrets <= BEHIND))
    print(
        f"{ahead:.0%} of {len(rows)} plants at most {BEHIND} points behind the best contender; "
        f"regret: median {np.median(regrets):.2f}, largest {regrets.max():.2f}; "
        f"{exploded} runs exploded"
    )
    sys.exit(int(ahead < LEAST_AHEAD or exploded > 0))


if __name__ == "__main__":
    main()
