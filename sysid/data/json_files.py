"""JSON files of records or columns, opened as tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.memory import refuse_too_large
from sysid.data.reading import Reading
from sysid.data.structures import Cells, Structure, laid_out
from sysid.data.tables import Table

_COPIES = 20  # of the text while it is Python's objects
_LINES = (".jsonl", ".ndjson")


def open_json(path: Path, reading: Reading) -> Table:
    """Return the columns of a JSON file: a list of rows, lists by name, or what pandas writes."""
    refuse_too_large("the file", _COPIES * path.stat().st_size, "save it as .parquet or .csv")
    text = path.read_text(encoding="utf-8-sig")
    try:
        if path.suffix.lower() in _LINES:
            content = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            content = json.loads(text)
    except RecursionError:
        raise ValueError("its values are nested too deep") from None
    return laid_out(_columns(content), reading)


def _columns(content: Any) -> dict[str, Any]:
    """Return values by name, of any of the layouts."""
    if isinstance(content, dict) and {"columns", "data"} <= set(content):  # pandas: split, table
        rows, names = content["data"], content["columns"]
        if isinstance(rows, list) and isinstance(names, list):
            return _of_rows([dict(zip(map(str, names), r, strict=True)) for r in rows])
    if isinstance(content, dict) and "schema" in content and isinstance(content.get("data"), list):
        content = content["data"]  # pandas: table
    if isinstance(content, list):
        return _of_rows(content)
    if not isinstance(content, dict):
        raise ValueError("it must be a list of rows, or lists of values by their names")
    return {str(name): _value(value) for name, value in content.items()}


def _of_rows(rows: list[Any]) -> dict[str, Any]:
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("its rows must be objects with a value for each name")
    names = dict.fromkeys(name for row in rows for name in row)
    return {str(name): _array([row.get(name) for row in rows]) for name in names}


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return _array(value)
    if isinstance(value, dict):
        if value and all(key.lstrip("-").isdigit() for key in value):  # pandas: index and value
            return _array(list(value.values()))
        return Structure(({str(name): _value(v) for name, v in value.items()},))
    return _array([value])


def _array(values: list[Any]) -> Any:
    """Return a list as an array; ``null`` is a missing sample."""
    if values and all(isinstance(v, list) for v in values):
        lengths = {len(v) for v in values}
        if len(lengths) > 1:
            return Cells(tuple(map(_array, values)))
        return np.column_stack([_array(list(column)) for column in zip(*values, strict=True)])
    if values and all(isinstance(v, dict) for v in values):
        return Cells(tuple(map(_value, values)))
    if all(v is None or isinstance(v, int | float) for v in values):
        return pd.to_numeric(pd.Series(values, dtype=object)).to_numpy(np.float64)
    return np.array(values, dtype=object)
