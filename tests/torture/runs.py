"""What the torture scripts share: small trainings of every optimiser and loss, and their bits."""

from __future__ import annotations

import csv
import hashlib
import multiprocessing
import os
import resource
import sys
import tempfile
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


class Training:
    """``sysid`` with these arguments, in a process of its own; ``limit`` caps its files.

    The process is forked from a server that has imported everything, so that what is killed is
    a training and not an import.
    """

    def __init__(self, *arguments: object, limit: int | None = None) -> None:
        descriptor, name = tempfile.mkstemp(suffix=".log")
        os.close(descriptor)
        self.log = Path(name)
        self.process = _SERVER.Process(target=_main, args=(list(map(str, arguments)), name, limit))
        self.process.start()

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal, ``None`` as long as it runs."""
        return self.process.exitcode

    def send(self, number: int) -> None:
        if self.process.pid is not None:
            os.kill(self.process.pid, number)

    def wait(self) -> str:
        """Return what it said once it has ended."""
        self.process.join(timeout=600)
        said = self.log.read_text(encoding="utf-8")
        self.log.unlink()
        if self.code is None:
            raise SystemExit(f"a training hangs:\n{said}")
        return said

    def finish(self, code: int = 0) -> str:
        """Wait for its end, which has to be with this exit code."""
        said = self.wait()
        if self.code != code or "Traceback" in said:
            raise SystemExit(f"exit code {self.code} where {code} is right:\n{said}")
        return said


def _main(arguments: list[str], log: str, limit: int | None) -> None:
    with open(log, "w", encoding="utf-8") as f:
        os.dup2(f.fileno(), 1)
        os.dup2(f.fileno(), 2)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv = ["sysid", *arguments]
    from sysid.cli import main

    main()


_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    # What a training imports in the end, directly or by its first step.
    [
        *("sysid.experiment.run", "sysid.experiment.evaluation", "sysid.analysis.report"),
        *("torch._dynamo", "bokeh.embed", "bokeh.plotting", "matplotlib.pyplot", "scipy.stats"),
    ]
)


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
