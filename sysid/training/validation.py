"""The quantity that decides which weights are best: the free-run error over records."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sysid.data.records import Record
from sysid.models import Model
from sysid.models.stability import describe_unbounded
from sysid.training.settings import TrainingSettings


def free_run_error(
    model: Model, records: Sequence[Record], settings: TrainingSettings
) -> tuple[float, str | None]:
    """Return the mean square of free-run errors in the scaled outputs, and what is unstable.

    Args:
        model: the model.
        records: validation records; each is simulated from its first sample.
        settings: ``washout`` and ``output_weights`` count, as in the loss.

    Returns:
        the error, infinite where a simulation is not bounded, and which record, output and sample
        exceeded all bounds, or None.

    Raises:
        ValueError: if no sample of the records is scored.
    """
    std = model.scaling.y_std.cpu().numpy()
    weights = np.ones_like(std)
    if settings.output_weights is not None:
        weights = np.asarray(settings.output_weights)
        weights = weights * len(weights) / weights.sum()
    total, count = 0.0, 0
    unstable = None
    for record in records:
        first = max(model.scoring_start(record), settings.washout)
        y_hat = model.simulate(record)
        unstable = unstable or describe_unbounded(record, record.y_names, y_hat)
        error = (y_hat - record.y)[first:] / std
        seen = ~np.isnan(record.y[first:])
        with np.errstate(over="ignore", invalid="ignore"):
            total += float((np.where(seen, error, 0.0) ** 2 * weights).sum())
        count += int(seen.sum())
    if count == 0:
        raise ValueError(
            "valid must hold samples after those that start a simulation, got none; "
            "use a longer validation record or less washout"
        )
    return (total / count if math.isfinite(total) else math.inf), unstable
