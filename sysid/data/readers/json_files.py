"""JSON files of records or columns, opened as tables."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.memory import refuse_too_large
from sysid.data.readers.structures import Cells, Structure, laid_out
from sysid.data.readers.tables import Table
from sysid.data.reading import Reading

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
    columns = _columns(content)
    lists = {name: value for name, value in columns.items() if isinstance(value, list)}
    lengths = {len(value) for value in lists.values()}
    if len(lists) < len(columns) or len(lengths) != 1 or not _are_plain(lists.values()):
        return laid_out({name: _value(value) for name, value in columns.items()}, reading)
    return Table(
        list(lists), lengths.pop(), lambda names: pd.DataFrame({n: lists[n] for n in names})
    )


def _are_plain(columns: Iterable[list[Any]]) -> bool:
    return not any(isinstance(v, list | dict) for values in columns for v in values)


def _columns(content: Any) -> dict[str, Any]:
    """Return values by name, of any of the layouts."""
    if isinstance(content, dict) and {"columns", "data"} <= set(content):  # pandas: split
        names = [str(name) for name in content["columns"]]
        return _of_rows([dict(zip(names, row, strict=True)) for row in content["data"]])
    if isinstance(content, dict) and {"schema", "data"} <= set(content):  # pandas: table
        content = content["data"]
    if isinstance(content, list):
        return _of_rows(content)
    if not isinstance(content, dict):
        raise ValueError("it must be a list of rows, or lists of values by their names")
    return {str(name): _listed(value) for name, value in content.items()}


def _of_rows(rows: list[Any]) -> dict[str, Any]:
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("its rows must be objects with a value for each name")
    names = dict.fromkeys(name for row in rows for name in row)
    return {str(name): [row.get(name) for row in rows] for name in names}


def _listed(value: Any) -> Any:
    """Return the values of what pandas writes, which has the index of each before it."""
    if isinstance(value, dict) and value and all(key.lstrip("-").isdigit() for key in value):
        return list(value.values())
    return value


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return _array(value)
    if isinstance(value, dict):
        return Structure(({str(name): _value(_listed(v)) for name, v in value.items()},))
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
