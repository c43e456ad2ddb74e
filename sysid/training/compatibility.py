"""Whether settings, model, records and machine go together."""

from __future__ import annotations

import numpy as np
import torch

from sysid.data.records import Record
from sysid.models import Ensemble, Model
from sysid.training.settings import TrainingSettings


def refuse_conflicts(model: Model, settings: TrainingSettings) -> None:
    """Refuse settings that do not go with the model."""
    if isinstance(model, Ensemble):
        raise ValueError("model must be a single network to be trained, got an ensemble")
    conflicts = settings.conflicts(model.kind, model.losses, model.n_memory, model.estimates_state)
    if settings.optimiser == "lm" and not model.causal:
        conflicts.append(
            ("optimiser", "must be another than lm for a bidirectional model, got lm; use lbfgs")
        )
    if settings.at_once and (dropout := getattr(model, "dropout", 0.0)):
        conflicts.append(
            (
                "optimiser",
                f"must be sgd, adam or adamw with dropout={dropout}, which makes the objective "
                f"random, got {settings.optimiser}",
            )
        )
    if settings.weight_decay and getattr(model, "integrating", False):
        conflicts.append(
            (
                "weight_decay",
                "must be 0 for a model that integrates, whose sums would decay, got "
                f"{settings.weight_decay}",
            )
        )
    if conflicts:
        raise ValueError("; ".join(f"{key} {message}" for key, message in conflicts))
    if settings.output_weights is not None and len(settings.output_weights) != model.ny:
        raise ValueError(
            f"output_weights must have {model.ny} values, one per output, got "
            f"{settings.output_weights}"
        )


def refuse_overlap(train: list[Record], valid: list[Record]) -> None:
    """Slices of one record share memory: what is trained on cannot also be held out."""
    for a in train:
        for b in valid:
            if np.shares_memory(a.y, b.y):
                raise ValueError(
                    f"valid must not hold samples of train, got record {b.name!r} in both; "
                    "split with sysid.split_time"
                )


def resolve_device(device: str, optimiser: str) -> torch.device:
    """Return the device that ``auto``, ``cpu``, ``cuda`` or ``cuda:1`` names.

    ``auto`` leaves ``lm`` on the processor, which has its compiled sensitivities.

    Raises:
        ValueError: if there is no such device on this machine.
    """
    if device == "auto":
        there = torch.cuda.is_available() and optimiser != "lm"
        return torch.device("cuda" if there else "cpu")
    chosen = torch.device(device)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device must be there, got {device} on a machine with {torch.cuda.device_count()} "
            "CUDA devices; use cpu or auto"
        )
    return chosen
