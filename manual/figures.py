"""Draws the figures of README and documentation: ``python manual/figures.py [NAME...]``."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import sysid
from sysid.experiment.config import read_config
from sysid.experiment.run import train_config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
STYLE = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.grid": True,
         "grid.alpha": 0.3, "legend.frameon": False}  # fmt: skip
MEASURED, SIMULATED = "#404040", "#c0392b"


def quickstart(path: Path) -> None:
    """Draw the figure of the run that ``make demo`` trains."""
    with tempfile.TemporaryDirectory() as folder:
        run = train_config(read_config(ROOT / "configs" / "quickstart.yaml"), Path(folder) / "run")
        if run is not None:
            shutil.copy(run.directory / "simulation.png", path)


def gaps(path: Path) -> None:
    """Draw a record with a gap, and the windows that are left."""
    record = sysid.generate("linear", 400, seed=1)
    y = np.array(record.y)
    y[120:135] = np.nan
    gappy = record.replace(y=y)
    windows = sysid.Subsequences(gappy, length=40, stride=20)
    figure, (top, bottom) = _axes(2, 1, height=3.2, height_ratios=[2, 1], sharex=True)
    top.plot(y[:, 0], color=MEASURED, lw=1)
    top.axvspan(120, 135, color=SIMULATED, alpha=0.2, lw=0, label="missing")
    top.set_ylabel("y1")
    top.legend(loc="upper right")
    for i, (_, start) in enumerate(windows.locate(np.arange(len(windows))).tolist()):
        bottom.plot([start, start + 40], [i % 3] * 2, color=MEASURED, lw=3, solid_capstyle="butt")
    bottom.set(yticks=[], xlabel="sample", ylabel="windows")
    bottom.grid(False)
    figure.savefig(path, dpi=150)


def one_step(path: Path) -> None:
    """Draw what the free run misses, of a NARX trained one step ahead and on the free run."""
    record = sysid.generate("duffing", 2500, noise=0.05, seed=1)
    train, valid = sysid.split_time(record[:1900], 0.2, gap=10)
    test = record[1910:2410]
    figure, axes = _axes(1, 2, height=2.6, sharey=True)
    trainings: dict[str, dict[str, Any]] = {
        "trained one step ahead": {"loss": "one_step"},
        "trained on the free run": {"loss": "full_sequence", "horizons": [1, 10, 50]},
    }
    for axis, (title, settings) in zip(axes, trainings.items(), strict=True):
        model = sysid.NARX(nu=1, ny=1, na=6, nb=6, hidden_sizes=(10,)).fresh(seed=0)
        held = None if settings["loss"] == "one_step" else valid
        sysid.fit(model, train, held, optimiser="lm", max_epochs=20, **settings)
        missed = test.y - model.simulate(test)
        scores = sysid.compare({"narx": model}, test, (1, "simulation"), baselines=False)
        ahead, free = scores.fit_index
        axis.plot(test.y[:, 0], color=MEASURED, lw=1, label="measured")
        axis.plot(missed[:, 0], color=SIMULATED, lw=1, label="measured - free run")
        fit = f"fit: one step {ahead:.1f} %, free run {free:.1f} %"
        axis.set(title=f"{title}\n{fit}", xlabel="sample")
    axes[0].set_ylabel(f"{test.y_names[0]}, {test.y_units[0]}")
    axes[0].set_ylim(top=1.6 * float(test.y.max()))
    axes[0].legend(loc="upper left", ncols=2)
    figure.savefig(path, dpi=150)


def initial_state(path: Path) -> None:
    """Draw free runs from the zero state and from one fitted to the first samples."""
    record = sysid.generate("linear", 600, seed=1)[100:]
    model = sysid.StateSpace(nu=1, ny=1, nx=2, hidden_sizes=())
    sysid.fit(model, record[:300], loss="full_sequence", optimiser="lm", max_epochs=10)
    peak = 300 + int(np.argmax(np.abs(record.y[300:400, 0])))
    test = record[peak : peak + 90]  # begins in mid-motion
    figure, (axis,) = _axes(1, 1, height=2.6)
    axis.plot(test.y[:, 0], color=MEASURED, lw=1.5, label="measured")
    for n_init, color, label in ((0, SIMULATED, "from zero"), (30, "#2471a3", "from the estimate")):
        y_hat = model.simulate(test.replace(n_init=n_init))
        axis.plot(y_hat[:, 0], color=color, lw=1, ls="--" if n_init else "-", label=label)
    axis.axvspan(0, 30, color="#2471a3", alpha=0.08, lw=0)
    axis.set(xlabel="sample", ylabel="y1")
    axis.legend()
    figure.savefig(path, dpi=150)


def _axes(rows: int, columns: int, height: float, **keywords: Any) -> tuple[Figure, Any]:
    from matplotlib import pyplot as plt

    shared = {k: keywords.pop(k) for k in ("sharex", "sharey") if k in keywords}
    figure, axes = plt.subplots(rows, columns, figsize=(7.5, height), layout="constrained",
                                squeeze=False, gridspec_kw=keywords, **shared)  # fmt: skip
    return figure, axes.ravel()


FIGURES: dict[str, tuple[Callable[[Path], None], Path]] = {
    "quickstart": (quickstart, DOCS / "quickstart.png"),
    "gaps": (gaps, DOCS / "figures" / "gaps.png"),
    "one_step": (one_step, DOCS / "figures" / "one_step.png"),
    "initial_state": (initial_state, DOCS / "figures" / "initial_state.png"),
}


def main(*names: str) -> None:
    """Draw the figures with these names, or all."""
    mpl.use("agg")
    mpl.rcParams.update(STYLE)
    (DOCS / "figures").mkdir(exist_ok=True)
    for name in names or FIGURES:
        draw, path = FIGURES[name]
        draw(path)
        print(f"drawn: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
