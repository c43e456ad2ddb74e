"""Signals, and small trainings on built-in data, whose figures are kept in ``files/golden.json``.

``python tests/golden.py`` measures them again and shows what changed; ``--write`` keeps that.
A figure may change with a reason only, and the commit that changes it says which.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sysid
from sysid.data.excitation import aprbs, chirp, filtered_noise, multisine, prbs, steps
from sysid.data.systems import SYSTEMS

FILE = Path(__file__).parent / "files" / "golden.json"

ADAM = {"optimiser": "adam", "learning_rate": 1e-2, "batch_size": 32, "max_epochs": 5}
WINDOWS = {"loss": "subsequence", "length": 40, "washout": 10, "stride": 5}

# name: system, model, its arguments, settings
CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "ffn one-step sgd": (
        "linear",
        "ffn",
        {"input_size": 1, "output_size": 1, "hidden_sizes": [8]},
        {"optimiser": "sgd", "learning_rate": 0.1, "max_epochs": 5},
    ),
    "narx one-step adam": (
        "cascaded_tanks",
        "narx",
        {"na": 3, "nb": 3, "hidden_sizes": [8]},
        ADAM | {"loss": "one_step"},
    ),
    "narx simulation adamw": (
        "linear",
        "narx",
        {"na": 2, "nb": 2, "hidden_sizes": [6]},
        ADAM | WINDOWS | {"optimiser": "adamw", "schedule": "cosine"},
    ),
    "rnn windows sgd": (
        "linear",
        "rnn",
        {"hidden_size": 6},
        ADAM | WINDOWS | {"optimiser": "sgd", "momentum": 0.5},
    ),
    "gru whole record adam": (
        "linear",
        "gru",
        {"hidden_size": 6},
        {"loss": "full_sequence", "truncate": 50, "learning_rate": 1e-2, "max_epochs": 5},
    ),
    "lstm windows adam": ("cascaded_tanks", "lstm", {"hidden_size": 6}, ADAM | WINDOWS),
}


def _system(name: str, N: int = 60, **arguments: Any) -> Any:
    count = {} if "u" in arguments or "reference" in arguments else {"N": N}
    record = sysid.generate(name, **count, seed=3, **arguments)
    return np.column_stack([record.u, record.y])


# A seed is a promise: the same signal in every version. Each channel's first and last samples,
# mean and deviation.
SIGNALS: dict[str, Callable[[], Any]] = {
    "multisine": lambda: multisine(60, seed=1),
    "multisine of three periods": lambda: multisine(
        90, band=(0.1, 0.4), amplitude=2.0, offset=-1.0, period=30, channels=2, seed=2
    ),
    "multisine in Hz": lambda: multisine(64, band=(1.0, 3.0), sampling_time=0.1, seed=3),
    "prbs": lambda: prbs(40, seed=4),
    "prbs held": lambda: prbs(50, amplitude=3.0, offset=1.0, hold=3, bits=5, seed=5),
    "prbs of two": lambda: prbs(40, channels=2, bits=6, seed=6),
    "aprbs": lambda: aprbs(120, seed=7),
    "aprbs of two": lambda: aprbs(50, amplitude=2.0, offset=0.5, hold=(2, 9), channels=2, seed=8),
    "noise": lambda: filtered_noise(50, seed=9),
    "noise in Hz": lambda: filtered_noise(
        50, cutoff=2.0, amplitude=0.5, offset=1.0, order=2, sampling_time=0.1, channels=2, seed=10
    ),
    "chirp": lambda: chirp(70, seed=11),
    "chirp, logarithmic": lambda: chirp(
        70, band=(0.5, 4.0), sampling_time=0.1, method="logarithmic", channels=2, seed=12
    ),
    "steps": lambda: steps(300, seed=13),
    "steps of three levels": lambda: steps(
        50, levels=3, hold=4, amplitude=2.0, offset=1.0, channels=2, seed=14
    ),
    **{
        f"{system}{noise and ' with noise'}": partial(_system, system, noise=noise)
        for system in SYSTEMS
        for noise in (0.0, 0.05)
    },
    "tanks that run over": partial(
        _system, "cascaded_tanks", u=[9.0] * 40, k1=0.2, height=8.0, spill=0.7, sampling_time=3.0
    ),
    "a motor that follows": partial(
        _system, "motor", reference=[0.0, *[0.01] * 59], mass=50.0, coulomb=30.0, offset=1.0
    ),
    "a soft start": partial(
        _system, "duffing", initial_state=(0.1, 2.0), k3=9.0, d=5e-4, sampling_time=1e-3
    ),
}


def signal(case: str) -> list[list[float]]:
    """Return figures of each channel of a signal."""
    columns = np.asarray(SIGNALS[case]()).reshape(len(SIGNALS[case]()), -1).T
    return [[*c[:3].tolist(), *c[-2:].tolist(), float(c.mean()), float(c.std())] for c in columns]


def train(case: str, dtype: str = "float64") -> tuple[sysid.Model, dict[str, float]]:
    """Return the model of a case and its figures."""
    system, kind, arguments, settings = CASES[case]
    record = sysid.generate(system, 300, seed=1)
    channels = {} if kind == "ffn" else {"nu": record.nu, "ny": record.ny}
    torch.manual_seed(0)
    model = sysid.MODELS[kind](**channels, **arguments)
    parts, (valid,) = sysid.split_time(record, 0.3, gap=10)
    result = sysid.fit(model, parts, valid, dtype=dtype, seed=0, progress=False, **settings)
    last = result.history.iloc[-1]
    simulated = model.simulate(valid)
    start = model.scoring_start(valid)
    return model, {
        "train_loss": float(last.train_loss),
        "valid_loss": float(last.valid_loss),
        "fit_index": float(sysid.fit_index(valid.y[start:], simulated[start:])[0]),
    }


def bits(case: str, dtype: str = "float32") -> str:
    """Return a fingerprint of a case's weights."""
    model, _ = train(case, dtype)
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def main() -> None:
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    trained = {case: train(case)[1] for case in CASES}
    signals = {case: {"figures": signal(case)} for case in SIGNALS}
    measured = trained | signals
    for case, figures in measured.items():
        for name, value in figures.items():
            before = kept.get(case, {}).get(name)
            if value != before:
                print(f"{case}, {name}: {before} -> {value}")
    if "--write" in sys.argv:
        FILE.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
