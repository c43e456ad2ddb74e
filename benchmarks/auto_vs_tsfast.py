"""`sysid train --auto` against tsfast's GRU-100 with its defaults, the same minutes for each.

Each benchmark is given to --auto without a recipe, and to tsfast: its GRU of 100 units with the
windows and batches of its own benchmark settings, its optimiser, learning rate and schedule, as
many epochs as fit into the time. Both hold out the last part of the training record; test records
are scored once, at the end, by the official protocol. Limits: 1.5 times what a recipe has to beat,
and the GRU.

Run: python benchmarks/auto_vs_tsfast.py [NAME...] --budget 10 --rival /path/to/tsfast/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMITS = {  # what must be beaten by a recipe; --auto may have half as much again
    "silverbox": (0.264, 0.334, 0.257),
    "wiener_hammerstein": (0.241,),
    "cascaded_tanks": (0.300,),
    "emps": (5.53,),
}
LOADERS = {
    "silverbox": ("Silverbox", "BenchmarkSilverbox_Simulation"),
    "wiener_hammerstein": ("WienerHammerBenchMark", "BenchmarkWH_Simulation"),
    "cascaded_tanks": ("Cascaded_Tanks", "BenchmarkCascadedTanks_Simulation"),
    "emps": ("EMPS", "BenchmarkEMPS_Simulation"),
}
FACTORS = {"silverbox": 1e3, "wiener_hammerstein": 1e3, "cascaded_tanks": 1.0, "emps": 1e3}


def ours(name: str, minutes: float, out: Path) -> list[float]:
    """Return the RMSE of each test record after an automatic search."""
    command = ["train", "--auto", name, "--budget", str(minutes), "--out", str(out), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "sysid", *command], stdout=subprocess.PIPE, text=True, check=True
    )
    document = json.loads(done.stdout)
    print(f"  {document['tried'][0]['candidate']}, one of {len(document['tried'])} candidates")
    return [
        FACTORS[name] * row["rmse"]
        for row in document["scores"]
        if row["part"] == "test" and row["horizon"] == "simulation" and _is_model(row["model"])
    ]


def _is_model(name: str) -> bool:
    return name in ("ffn", "narx", "rnn", "gru", "lstm", "state_space")


def rival(name: str, minutes: float) -> list[float]:
    """Train tsfast's GRU-100, in the rival's environment, and return its RMSE."""
    import h5py
    import nonlinear_benchmarks
    import numpy as np
    import torch
    from tsfast.training import RNNLearner
    from tsfast.tsdata.benchmark import BENCHMARK_DL_KWARGS
    from tsfast.tsdata.pipeline import create_dls

    started = time.perf_counter()
    loader, settings = LOADERS[name]
    (train,), tests = getattr(nonlinear_benchmarks, loader)(
        dir_placement=os.environ.get("SYSID_DATA"),
        atleast_2d=True,
        always_return_tuples_of_datasets=True,
    )
    cut = len(train.u) - len(train.u) // (4 if len(train.u) < 5000 else 8)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for part, rows in (("train", slice(None, cut)), ("valid", slice(cut, None))):
            path = Path(folder) / f"{part}.hdf5"
            with h5py.File(path, "w") as f:
                for channel, block in (("u0", train.u), ("y0", train.y)):
                    f[channel] = block[rows, 0].astype(np.float32)
            files[part] = [str(path)]
        dls = create_dls(["u0"], ["y0"], files | {"test": []}, **BENCHMARK_DL_KWARGS[settings])
        learner = RNNLearner(dls, device=torch.device("cpu"), show_bar=False)
        learner.fit(1)  # the first one takes longer
        begun = time.perf_counter()
        learner.fit(1)
        epoch = time.perf_counter() - begun
        left = 60 * minutes - (time.perf_counter() - started)
        learner = RNNLearner(dls, device=torch.device("cpu"), show_bar=False)
        learner.fit_flat_cos(max(1, int(left / epoch)))
    model = learner.model.eval()
    out = []
    with torch.no_grad():
        for test in tests:
            u = torch.tensor(test.u, dtype=torch.float32)[None]
            y_hat = model(u)
            y_hat = (y_hat[0] if isinstance(y_hat, tuple) else y_hat)[0].numpy()
            n = test.state_initialization_window_length
            out.append(FACTORS[name] * float(np.sqrt(np.mean((y_hat - test.y)[n:] ** 2))))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(LIMITS))
    parser.add_argument("--budget", type=float, default=10.0, help="minutes for each")
    parser.add_argument("--rival", help="a Python that has tsfast and nonlinear_benchmarks")
    parser.add_argument("--out", type=Path, default=Path("runs/auto-vs-tsfast"))
    parser.add_argument("--as-rival", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_rival:
        figures = rival(arguments.names[0], arguments.budget)
        print(json.dumps(figures))
        return
    good = True
    for name in arguments.names:
        print(name)
        found = ours(name, arguments.budget, arguments.out / name)
        limits = [1.5 * limit for limit in LIMITS[name]]
        kept = all(a <= b for a, b in zip(found, limits, strict=True))
        print(f"  auto {_text(found)}, limit {_text(limits)}: {'yes' if kept else 'NO'}")
        good &= kept
        if arguments.rival:
            other = _ask_rival(arguments.rival, name, arguments.budget)
            better = all(a < b for a, b in zip(found, other, strict=True))
            print(f"  tsfast GRU-100 {_text(other)}: {'yes' if better else 'NO'}")
            good &= better
    raise SystemExit(not good)


def _ask_rival(python: str, name: str, minutes: float) -> list[float]:
    command = [python, __file__, name, "--budget", str(minutes), "--as-rival"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    figures: list[float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _text(figures: list[float]) -> str:
    return "[" + ", ".join(f"{f:.4g}" for f in figures) + "]"


if __name__ == "__main__":
    main()
