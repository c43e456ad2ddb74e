"""Columns of a table as numbers, or a message that says which row is not one."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sysid.data.errors import shown

Array = NDArray[np.float64]


class TimeStampError(ValueError):
    """Time stamps that do not tell a sampling time."""


def column(df: pd.DataFrame, name: str) -> Array:
    """Return one column as float64, or say what in it is not a number, and where."""
    series = _series(df, name)
    if pd.api.types.is_datetime64_any_dtype(series) or pd.api.types.is_timedelta64_dtype(series):
        raise ValueError(f"column {name!r} must hold numbers, got dates; use it as time")
    if pd.api.types.is_complex_dtype(series):
        raise ValueError(f"column {name!r} must hold real numbers, got complex ones")
    if not pd.api.types.is_numeric_dtype(series):
        # Objects of any kind: what is there is text, or a number, or missing.
        given = series.astype(object)
        words = given.map(lambda v: v.strip().lower() if isinstance(v, str) else v)
        series = given.where(~words.isin(["true", "false"]), words == "true")
        series = series.where(words != "", None)
    numbers = pd.to_numeric(series, errors="coerce")
    bad = np.flatnonzero(np.asarray(numbers.isna() & series.notna()))
    if len(bad):
        value = series.iloc[bad[0]]
        raise ValueError(
            f"column {name!r} must hold numbers, got {reprlib.repr(value)} in row {bad[0]}; "
            f"{_advice(value)}"
        )
    values = np.asarray(numbers, dtype=np.float64)
    if len(bad := np.flatnonzero(np.isinf(values))):
        raise ValueError(
            f"column {name!r} must be finite, got {values[bad[0]]} in row {bad[0]}; "
            "leave a missing sample empty"
        )
    return values


def _series(df: pd.DataFrame, name: str) -> pd.Series[Any]:
    if name not in df.columns:
        raise ValueError(unknown_column(name, [str(c) for c in df.columns]))
    return df[name]


def _advice(value: object) -> str:
    """Return what to do about a value that is not a number."""
    if isinstance(value, str) and re.search(r"\d[., '\u00a0\u202f]\d", value):
        return "write numbers with one kind of decimal sign and without separators"
    return "leave a missing sample empty"


def seconds(df: pd.DataFrame, name: str) -> Array:
    """Return time stamps as seconds: numbers as they are, dates from the first one on."""
    series = _series(df, name)
    if pd.api.types.is_object_dtype(series) or pd.api.types.is_string_dtype(series):
        numeric = pd.to_numeric(series, errors="coerce")
        bad = np.flatnonzero(np.asarray(numeric.isna() & series.notna()))
        if len(bad):
            dates = pd.to_datetime(series, errors="coerce", format="ISO8601", utc=True)
            if len(no := np.flatnonzero(np.asarray(dates.isna() & series.notna()))):
                raise TimeStampError(
                    f"time column {name!r} must hold seconds or dates like 2026-01-31 12:00:00.5, "
                    f"got {reprlib.repr(series.iloc[no[0]])} in row {no[0]}"
                )
            series = dates
    if pd.api.types.is_datetime64_any_dtype(series):
        series = series - series.iloc[0]
    if pd.api.types.is_timedelta64_dtype(series):
        return np.asarray(series.dt.total_seconds(), dtype=np.float64)
    if pd.api.types.is_integer_dtype(series) and len(series) and not series.isna().any():
        # Differences of large whole numbers, before they are rounded.
        return np.asarray(series - series.iloc[0], dtype=np.float64)
    return column(df, name)


_UNITS = {
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "\u00b5s", "\u03bcs", "usec", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nanoseconds"), 1e-9),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
}


def in_seconds(df: pd.DataFrame, name: str, unit: str | None = None) -> Array:
    """Return time stamps in seconds, whatever unit they come in.

    Args:
        df: the table.
        name: the column.
        unit: the unit that the file gives; without it, one in brackets at the end of the name.

    Raises:
        TimeStampError: for a unit that is not one of time, or stamps that are not such.
    """
    if not unit:
        found = re.search(r"[\[(/_]\s*(ms|us|\u00b5s|\u03bcs|ns|min|h|s)\s*[\])]?$", name)
        unit = found[1] if found else ""
    if unit.lower() not in _UNITS:
        raise TimeStampError(
            f"time column {name!r} must be in s, ms, us, ns, min or h, got the unit {unit!r}; "
            "leave it out and give the sampling time"
        )
    return seconds(df, name) * _UNITS[unit.lower()]


def unknown_column(name: str, known: Sequence[str]) -> str:
    """Return the message for a column that is not there, with the nearest names."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "look at the header"
    return f"column must be one of {shown(known)}, got {name!r}; {hint}"


def uniform_step(t: Array, name: str) -> float:
    """Return the step of uniformly spaced time stamps, or say where they are not."""
    if len(t) < 2:
        raise TimeStampError(f"time column {name!r} must have at least 2 rows, got {len(t)}")
    if len(bad := np.flatnonzero(np.isnan(t))):
        raise TimeStampError(f"time column {name!r} must be complete, row {bad[0]} misses a value")
    steps = np.diff(t)
    if len(bad := np.flatnonzero(~(steps > 0))):
        row = int(bad[0]) + 1
        if steps[bad[0]] == 0:
            raise TimeStampError(
                f"time column {name!r} must increase, row {row} repeats the time of row {row - 1}; "
                "delete one of them"
            )
        raise TimeStampError(
            f"time column {name!r} must increase, it does not at row {row}; sort the rows by time, "
            "or cut the file there"
        )
    step = float(np.median(steps))
    if len(bad := np.flatnonzero(np.abs(steps - step) > 0.01 * step)):
        row = int(bad[0])
        raise TimeStampError(
            f"time column {name!r} must be uniformly spaced, got a step of {steps[row]:.6g} s "
            f"at row {row + 1} where {step:.6g} s is usual ({len(bad)} steps are off by more than "
            "1 %); resample the data first"
        )
    # The mean over the whole record is the better estimate where stamps are rounded.
    return float((t[-1] - t[0]) / (len(t) - 1))
