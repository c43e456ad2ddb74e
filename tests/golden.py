"""Small trainings on built-in data whose figures are kept in ``files/golden.json``.

``python tests/golden.py`` measures them again and shows what changed; ``--write`` keeps that.
A figure may change with a reason only, and the commit that changes it says which.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

import sysid

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
    measured = {case: train(case)[1] for case in CASES}
    for case, figures in measured.items():
        for name, value in figures.items():
            before = kept.get(case, {}).get(name)
            if value != before:
                print(f"{case}, {name}: {before} -> {value}")
    if "--write" in sys.argv:
        FILE.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
