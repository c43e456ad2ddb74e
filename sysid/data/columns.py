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
from sysid.data.readers.cells import measured

Array = NDArray[np.float64]


def column(df: pd.DataFrame, name: str) -> Array:
    """Return one column as float64, or say what in it is not a number, and where."""
    series = series_of(df, name)
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


def series_of(df: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Return one column as it is, or say which there are."""
    if name not in df.columns:
        raise ValueError(unknown_column(name, [str(c) for c in df.columns]))
    return df[name]


def _advice(value: object) -> str:
    """Return what to do about a value that is not a number."""
    if isinstance(value, str) and measured(value):
        return "write its numbers without units, or all of them with the same"
    if isinstance(value, str) and re.search(r"\d[., '\u00a0\u202f]\d", value):
        return "write numbers with one kind of decimal sign and without separators"
    return "leave a missing sample empty"


def unknown_column(name: str, known: Sequence[str]) -> str:
    """Return the message for a column that is not there, with the nearest names."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "look at the header"
    return f"column must be one of {shown(known)}, got {name!r}; {hint}"
