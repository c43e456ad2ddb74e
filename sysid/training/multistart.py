"""Multi-start: the same training from several seeds, in parallel, and the best by validation."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

from sysid.data.records import Record, as_records
from sysid.models import Ensemble, Model
from sysid.training.fit import FitResult, run_to_end
from sysid.training.settings import TrainingSettings
from sysid.training.trainer import Trainer

_MAPPED = "1M"  # arrays from this size on reach the workers as memory maps


def fit_starts(
    model: Model,
    train: Record | Iterable[Record],
    valid: Record | Iterable[Record] | None,
    settings: TrainingSettings,
) -> FitResult:
    """Train from ``settings.starts`` seeds and keep the best in the model.

    The first start has the weights that the model has; the others are built again from its
    arguments, start ``i`` from seed ``settings.seed + i``, which is also that of its batches.
    Each worker is a process with one thread; the records reach it as memory maps, not copies.

    Args:
        model: the model; it gets the weights of the best start.
        train: training records.
        valid: held-out records; the lowest free-run error on them decides, or without them the
            lowest training loss.
        settings: how each is trained.

    Returns:
        The best start's result, with those of all starts in ``starts``. With ``combine="mean"``
        its model is the ensemble of all starts that did not diverge.

    Raises:
        ValueError: if the model was trained before.
        RuntimeError: if every start diverged at once.
    """
    from joblib import Parallel, delayed

    records = as_records(train)
    held_out = None if valid is None else as_records(valid)
    if model.fitted:
        raise ValueError(
            f"starts must be 1 for a model that was trained before, got {settings.starts}; the "
            "other starts would not have what it learned"
        )
    on_disk = [r.on_disk for r in records]
    workers = min(settings.starts, os.cpu_count() or 1)
    run = Parallel(
        n_jobs=workers, backend="loky", max_nbytes=_MAPPED, mmap_mode="r", inner_max_num_threads=1
    )
    starts: list[FitResult] = run(
        delayed(_start)(model, records, on_disk, held_out, settings, i)
        for i in range(settings.starts)
    )
    best = min(starts, key=lambda r: r.best_loss)
    if not np.isfinite(best.best_loss):
        raise RuntimeError(
            f"all {settings.starts} starts diverged; lower training.learning_rate or use lm"
        )
    model.take(best.model)
    if settings.combine == "mean":
        stable = [r.model for r in starts if np.isfinite(r.best_loss)]
        return replace(best, model=Ensemble.of(stable), starts=tuple(starts))
    return replace(best, model=model, starts=tuple(starts))


def _start(
    model: Model,
    train: list[Record],
    on_disk: list[bool],
    valid: list[Record] | None,
    settings: TrainingSettings,
    number: int,
) -> FitResult:
    """Train one start in a worker."""
    torch.set_num_threads(1)
    seed = settings.seed + number
    if number:
        model = model.fresh(seed)
    alone = settings.model_copy(update={"starts": 1, "combine": "best", "seed": seed})
    trainer = Trainer(
        model,
        [r if disk else _in_memory(r) for r, disk in zip(train, on_disk, strict=True)],
        None if valid is None else [_in_memory(r) for r in valid],
        alone,
    )
    return run_to_end(trainer, progress=False)


def _in_memory(record: Record) -> Record:
    """Return the record with plain arrays over the memory that joblib mapped, not copied."""
    return record.replace(u=np.asarray(record.u) if record.nu else None, y=np.asarray(record.y))
