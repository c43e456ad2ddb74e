"""Whether a record belongs to a model: its channels, sampling time, and what it starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sysid.data.errors import shown
from sysid.data.records import Record, same_sampling_time
from sysid.data.slow_outputs import slow

if TYPE_CHECKING:
    from sysid.models.model import Model


def refuse_foreign(model: Model, record: Record, inputs: bool) -> None:
    """Raise if a record cannot belong to a model; ``inputs``: whether they must be complete."""
    if not isinstance(record, Record):
        raise TypeError(f"record must be a sysid.Record, got {type(record).__name__}")
    if model.sees_outputs and record.nu == model.nu - 3 * model.ny:
        raise ValueError(
            f"record {record.name!r} must be smoothed, not simulated or predicted: this model "
            "sees the measured outputs before and after a sample; use sysid.smooth"
        )
    for what, mine, theirs, theirs_names in (
        ("inputs", model.nu, record.nu, record.u_names),
        ("outputs", model.ny, record.ny, record.y_names),
    ):
        if theirs != mine and not (what == "outputs" and theirs == 0):
            raise ValueError(
                f"record {record.name!r} must have {mine} {what}, got {theirs}: "
                f"{shown(theirs_names)}; choose the columns that the model was trained on"
            )
    for mine_names, names in (
        (model.u_names, record.u_names),
        (model.y_names, record.y_names),
    ):
        if names != mine_names and names and set(names) == set(mine_names):
            raise ValueError(
                f"channels must be in the order {shown(mine_names)}, got {shown(names)}; "
                "read the columns in the model's order"
            )
    if not same_sampling_time(record.sampling_time, model.sampling_time):
        raise ValueError(
            f"sampling_time must be {model.sampling_time} s as in training, got "
            f"{record.sampling_time} s; resample the record"
        )
    if inputs and record.nu:
        rows = np.flatnonzero(np.isnan(record.u).any(axis=1))
        if len(rows):
            raise ValueError(
                f"inputs of record {record.name!r} must be complete, {len(rows)} of "
                f"{len(record)} rows miss a value, the first is row {rows[0]}; "
                "fill them or cut the record there"
            )


def differences(model: Model, record: Record) -> list[str]:
    """Say in which way a record that belongs to a model is not as those of its training."""
    out = []
    for what, mine, names in (
        ("inputs", model.u_names, record.u_names),
        ("outputs", model.y_names, record.y_names),
    ):
        if names and names != mine:
            out.append(
                f"the {what} are called {', '.join(names)}, those of the training "
                f"{', '.join(mine)}; they are taken in this order"
            )
    if record.sampling_time is None and model.sampling_time is not None:
        out.append(
            f"the sampling time is not known; it is taken for the model's, {model.sampling_time} s"
        )
    if record.sampling_time is not None and model.sampling_time is None:
        out.append(
            f"the sampling time is {record.sampling_time} s, that of the training is not known; "
            "they are taken for the same"
        )
    return out


def refuse_without_start(model: Model, record: Record, n_start: int) -> None:
    """Raise if the first ``n_start`` outputs, which a simulation starts from, are not there."""
    if record.ny == 0:
        raise ValueError(
            f"record {record.name!r} must have the first {max(n_start, 1)} measured outputs "
            "for this model to start from, got none"
        )
    missing = np.isnan(record.y[:n_start])
    if model.n_memory and missing.any() and (missing.any(axis=0) & ~slow(record.y)).any():
        raise ValueError(
            f"the first {n_start} outputs of record {record.name!r} must be complete to start "
            "from; cut the record before them or set n_init"
        )
