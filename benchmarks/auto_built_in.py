"""`sysid.auto` on the six built-in systems, fresh seeds, 5 % noise: how near to what noise allows.

Each system is measured anew; the test record has other inputs and the same share of noise. The best
that the noise allows is the fit of the noise-free output to the noisy one. At least five of six
must be within one percentage point of it.

Run: python benchmarks/auto_built_in.py [--budget 2] [--seed SEED]
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
from pathlib import Path

import numpy as np

import sysid
from sysid.data.systems import SYSTEMS

NOISE, SAMPLES, N_INIT = 0.05, 4000, 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--budget", type=float, default=2.0, help="minutes for each")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {NOISE:.0%} noise, {SAMPLES} samples")
    near = 0
    for name in arguments.names:
        train = sysid.generate(name, SAMPLES, seed=arguments.seed, noise=NOISE)
        test, clean = (
            sysid.generate(name, SAMPLES, seed=arguments.seed + 1, noise=noise)
            for noise in (NOISE, 0.0)
        )
        test = test.replace(n_init=N_INIT)
        with tempfile.TemporaryDirectory() as folder:
            found = sysid.auto(train, test=test, budget=arguments.budget, out=Path(folder) / "run")
        y_hat = found.model.simulate(test)
        fits = np.asarray(sysid.fit_index(test.y[N_INIT:], y_hat[N_INIT:]))
        best = np.asarray(sysid.fit_index(test.y[N_INIT:], clean.y[N_INIT:]))
        gap = float((best - fits).max())
        near += gap <= 1
        print(
            f"{name:20} fit {fits.min():6.2f} %, noise allows {best.min():6.2f} %, gap {gap:5.2f}: "
            f"{'yes' if gap <= 1 else 'NO'}  {found.tried.candidate[0]}",
            flush=True,
        )
    print(f"{near} of {len(arguments.names)} within one percentage point")
    raise SystemExit(near < len(arguments.names) - 1)


if __name__ == "__main__":
    main()
