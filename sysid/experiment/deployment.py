"""Finished runs put to use: exported with how well they fit, and smoothing a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from sysid.analysis.smoothing import smooth
from sysid.data.files import column_names
from sysid.data.hiding import measured_channels
from sysid.data.reading import Reading
from sysid.data.records import Record
from sysid.deploy.export import export
from sysid.experiment.data import read_for
from sysid.experiment.run import open_model


def export_run(
    run: str, path: Path, format: str | None = None, dtype: str | None = None
) -> list[Path]:
    """Export the model of a run directory or model file; the run's figures go with it.

    Args:
        run: a run directory or model file.
        path: the first file to write.
        format: ``c`` or ``onnx``; as the path's suffix says if ``None``.
        dtype: ``double`` or ``float``, of C code.

    Returns:
        The files that were written.
    """
    return export(open_model(run), path, format, dtype=dtype, notes=_fit_notes(Path(run)))


def smooth_file(
    run: str, path: str, reading: Reading | None = None, keep_measured: bool = False
) -> tuple[Record, int]:
    """Smooth the outputs of a data file.

    Args:
        run: a run directory or model file.
        path: a data file.
        reading: how to read it; columns that are not named are those of the model.
        keep_measured: whether only missing outputs are replaced.

    Returns:
        The record with smoothed outputs, and how many had been missing.
    """
    model = open_model(run)
    reading = reading or Reading()
    channels = measured_channels(model.u_names, model.y_names)
    if channels is not None and reading.u is None and reading.y is None:
        u, y = channels
        if set(column_names(path, reading)).issuperset((*u, *y)):
            reading = replace(reading, u=list(u), y=list(y))
    record = read_for(model, path, reading)
    smoothed = smooth(model, record)
    missing = np.isnan(record.y)
    if keep_measured:
        smoothed = np.where(missing, smoothed, record.y)
    return record.replace(y=smoothed), int(missing.sum())


def _fit_notes(run: Path) -> list[str]:
    """Say how well a run's model fits, from the figures that the run wrote."""
    path = run / "metrics.json"
    if not path.is_file():
        return []
    notes = []
    for part, records in json.loads(path.read_text(encoding="utf-8")).items():
        for record, outputs in records.items():
            for output, horizons in outputs.items():
                figures = horizons.get("simulation", {})
                if figures.get("fit_index") is not None:
                    notes.append(
                        f"fit of {output} on {part} record {record}: "
                        f"{figures['fit_index']:.2f} % in free run, rmse {figures['rmse']:.6g}"
                    )
    return notes
