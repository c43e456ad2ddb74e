"""What a model gets from the training records before its first step."""

from __future__ import annotations

import torch

from sysid.data.records import Record
from sysid.models import Model
from sysid.models.baseline import fit_baseline
from sysid.training.compatibility import resolve_device
from sysid.training.settings import TrainingSettings


def prepare(model: Model, records: list[Record], settings: TrainingSettings) -> torch.device:
    """Put a model on its device; one never fitted gets scaling, names, baseline and linear start.

    A baseline that it already has is kept.

    Args:
        model: the model, changed in place.
        records: training records; no other record may have a part in this.
        settings: how it is to be trained.

    Returns:
        the device.

    Raises:
        ValueError: if a record is not one for this model, or there is no such device.
    """
    device = resolve_device(settings.device, settings.optimiser)
    default = "float64" if settings.at_once else "float32"
    model.to(device=device, dtype=getattr(torch, settings.dtype or default))
    for record in records:
        model.check_record(record, inputs=False)
    if not model.fitted:
        model.scaling.fit_(records, u=settings.scaling_u, y=settings.scaling_y)
        model.describe(records[0])
        if model.baseline is None:
            standard = settings.scaling_u == settings.scaling_y == "standard"
            model.baseline = fit_baseline(records, model.scaling if standard else None)
        if settings.linear_start:
            model.initialise(records)
    return device
