"""What the torture scripts share: small trainings of every optimiser and loss, and their bits."""

from __future__ import annotations

import csv
import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import yaml
from safetensors import safe_open

from sysid.training.settings import LossName, OptimiserName

OPTIMISERS: tuple[str, ...] = tuple(o for o in get_args(OptimiserName) if o != "auto")
LOSSES: tuple[str, ...] = get_args(LossName)
_WHOLE = ("lbfgs", "lm")  # take everything at once
_STEP = {"sgd": 1e-2, "adam": 3e-3, "adamw": 3e-3}


def config(optimiser: str, loss: str, epochs: int = 30) -> dict[str, Any]:
    """Return a training of a second or so that uses what has a state to lose.

    Dropout and windows in random order draw random numbers, the schedule and the optimiser have
    a memory, and a recurrent model is taken where its loss allows one.
    """
    training: dict[str, Any] = {"loss": loss, "optimiser": optimiser, "max_epochs": epochs}
    if optimiser not in _WHOLE:
        training |= {"learning_rate": _STEP[optimiser], "batch_size": 32, "schedule": "cosine"}
    if optimiser == "lm":  # each of its epochs is a step over everything
        training["max_epochs"] = min(epochs, 8)
    if loss == "subsequence":
        training |= {"length": 40, "washout": 10, "stride": 4}
    model: dict[str, Any] = {"kind": "narx", "na": 2, "nb": 2, "hidden_sizes": [8]}
    if loss != "one_step":
        dropout = 0.0 if optimiser in _WHOLE else 0.2
        model = {"kind": "gru", "hidden_size": 6, "num_layers": 2, "dropout": dropout}
    if loss == "full_sequence" and optimiser not in _WHOLE:
        training |= {"batch_size": 1, "truncate": 60}
    return {
        "name": f"{optimiser}-{loss}",
        "data": {"source": "system", "name": "linear", "samples": 400},
        "model": model,
        "training": training,
        "checkpoint": {"seconds": None, "epochs": 1},
    }


def write_config(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def start(*arguments: object, limit: int | None = None) -> subprocess.Popen[str]:
    """Start ``sysid`` in a process of its own; ``limit`` is the largest file it may write."""

    def shrink() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    prepare: Callable[[], None] | None = None if limit is None else shrink
    return subprocess.Popen(
        [sys.executable, "-m", "sysid", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
        preexec_fn=prepare,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for a process and return what it said; it has to end with this exit code."""
    out, err = process.communicate(timeout=600)
    if process.returncode != code or "Traceback" in err:
        raise SystemExit(f"exit code {process.returncode} where {code} is right:\n{out}{err}")
    return out + err


def bits(run: Path) -> str:
    """Return a fingerprint of the weights of a run's model."""
    digest = hashlib.sha256()
    with safe_open(run / "model.safetensors", framework="np") as f:
        for name in sorted(f.keys()):
            digest.update(name.encode() + f.get_tensor(name).tobytes())
    return digest.hexdigest()


def losses_of(run: Path) -> list[dict[str, str]]:
    """Return the history of a run but for its clock."""
    with (run / "history.csv").open(encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
