"""Columns of a table as numbers, or a message that says which row is not one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]


class TimeStampError(ValueError):
    """Time stamps that do not tell a sampling time."""


def column(df: pd.DataFrame, name: str, time_stamps: bool = False) -> Array:
    """Return one column as float64, or say what in it is not a number, and where."""
    if name not in df.columns:
        raise ValueError(_unknown_column(name, [str(c) for c in df.columns]))
    series = df[name]
    if time_stamps and pd.api.types.is_datetime64_any_dtype(series):
        return np.asarray((series - series.iloc[0]).dt.total_seconds(), dtype=np.float64)
    numbers = pd.to_numeric(series, errors="coerce")
    bad = np.flatnonzero(np.asarray(numbers.isna() & series.notna()))
    if len(bad):
        raise ValueError(
            f"column {name!r} must hold numbers, got {series.iloc[bad[0]]!r} in row {bad[0]}; "
            "leave a missing sample empty"
        )
    values = np.asarray(numbers, dtype=np.float64)
    if len(bad := np.flatnonzero(np.isinf(values))):
        raise ValueError(
            f"column {name!r} must be finite, got {values[bad[0]]} in row {bad[0]}; "
            "leave a missing sample empty"
        )
    return values


def _unknown_column(name: str, known: Sequence[str]) -> str:
    """Return the message for a column that is not there, with the nearest names."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "look at the header"
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"column must be one of {shown}, got {name!r}; {hint}"


def uniform_step(t: Array, name: str) -> float:
    """Return the step of uniformly spaced time stamps, or say where they are not."""
    if len(t) < 2:
        raise TimeStampError(f"time column {name!r} must have at least 2 rows, got {len(t)}")
    steps = np.diff(t)
    if len(bad := np.flatnonzero(~(steps > 0))):
        raise TimeStampError(f"time column {name!r} must increase, it does not at row {bad[0] + 1}")
    step = float(np.median(steps))
    if len(bad := np.flatnonzero(np.abs(steps - step) > 0.01 * step)):
        row = int(bad[0])
        raise TimeStampError(
            f"time column {name!r} must be uniformly spaced, got a step of {steps[row]:.6g} s "
            f"at row {row + 1} where {step:.6g} s is usual; resample the data first"
        )
    # The mean over the whole record is the better estimate where stamps are rounded.
    return float((t[-1] - t[0]) / (len(t) - 1))
