"""C code of trained models over the Silverbox test input: difference, size, time a step.

Five kinds are trained on the Silverbox for a few epochs, exported as double and as float, compiled
by gcc and clang, and run over the official test record of the multisine. Needs the benchmark
files (SYSID_DATA), gcc and clang. Run: python benchmarks/c_export.py
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

import sysid
from sysid.deploy.export import export

FLAGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
LIMIT = {"double": 1e-9, "float": 1e-4}  # of the output's std
HEAP = {"malloc", "calloc", "realloc", "free"}

MODELS = {
    "ffn": (lambda: sysid.FFN(1, (20,), 1, "tanh"), {"batch_size": 1024}),
    "narx": (lambda: sysid.NARX(1, 1, 5, 5, hidden_sizes=(20, 20)), {"batch_size": 1024}),
    "rnn": (lambda: sysid.RNN(1, 1, 16), {"length": 60, "stride": 60, "batch_size": 64}),
    "gru": (lambda: sysid.GRU(1, 1, 16, 2), {"length": 60, "stride": 60, "batch_size": 64}),
    "lstm": (lambda: sysid.LSTM(1, 1, 16, 2), {"length": 60, "stride": 60, "batch_size": 64}),
}

TIMING = """
#define _POSIX_C_SOURCE 199309L
#include "plant.h"
#include <stdio.h>
#include <time.h>

int main(void)
{
    static plant_real u[64], y[64];
    struct timespec a, b;
    plant_state s;
    long k, n = 200000;

    plant_reset(&s, u, y, 50);
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (k = 0; k < n; k++) {
        u[0] = (plant_real)(k % 7) / 100;
        plant_step(&s, u, y);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("%.1f\\n", ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec))
           / (double)n);
    return 0;
}
"""


def call(folder: Path, *command: object) -> str:
    """Run a command in a folder; a warning of the compiler is an error."""
    done = subprocess.run(
        [str(c) for c in command], cwd=folder, check=True, capture_output=True, text=True
    )
    if done.stderr:
        raise SystemExit(done.stderr)
    return done.stdout


def measure(
    model: sysid.Model, test: sysid.Record, folder: Path, compiler: str
) -> tuple[float, int, float]:
    """Return the largest difference over std, the object's text and data in bytes, ns a step."""
    call(folder, compiler, *FLAGS, "plant.c", "plant_main.c", "-o", "plant", "-lm")
    call(folder, "./plant", "in.csv", "out.csv", test.n_init)
    y_hat = np.loadtxt(folder / "out.csv", skiprows=1, ndmin=2)
    expected = model.simulate(test)
    difference = np.abs(y_hat - expected)[test.n_init :].max() / expected.std()
    call(folder, compiler, *FLAGS, "-c", "plant.c")
    symbols = {line.split()[-1] for line in call(folder, "nm", "-u", "plant.o").splitlines()}
    if symbols & HEAP:
        raise SystemExit(f"heap symbols: {symbols & HEAP}")
    size = call(folder, "size", "plant.o").splitlines()[1].split()
    call(folder, compiler, *FLAGS, "plant.c", "timing.c", "-o", "timing", "-lm")
    nanoseconds = float(call(folder, "./timing"))
    return difference, int(size[0]) + int(size[1]), nanoseconds


def main() -> bool:
    """Print a line per model, type and compiler; return whether the limits hold."""
    benchmark = sysid.load_benchmark("silverbox")
    train, test = benchmark.train[0][:20000], benchmark.test[0]
    good = True
    for kind, (build, settings) in MODELS.items():
        torch.manual_seed(0)
        model = build()
        sysid.fit(model, train, max_epochs=5, dtype="float64", learning_rate=5e-3, **settings)
        fit = sysid.fit_index(test.y[test.n_init :], model.simulate(test)[test.n_init :])[0]
        print(f"{kind}: {sum(p.numel() for p in model.parameters())} parameters, fit {fit:.1f} %")
        for dtype, limit in LIMIT.items():
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                export(model, folder / "plant.c", dtype=dtype)
                (folder / "timing.c").write_text(TIMING)
                sysid.write(test, folder / "in.csv")
                for compiler in ("gcc", "clang"):
                    difference, size, nanoseconds = measure(model, test, folder, compiler)
                    good &= difference <= limit
                    print(
                        f"  {dtype:6} {compiler:5} difference {difference:.1e} of std, "
                        f"{size} bytes, {nanoseconds:.0f} ns a step"
                    )
    print(f"limits: {LIMIT['double']:g} of std in double, {LIMIT['float']:g} in float")
    return good


if __name__ == "__main__":
    raise SystemExit(not main())
