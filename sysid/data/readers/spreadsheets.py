"""Excel files: the sheets of a workbook, opened as tables."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from sysid.data.memory import refuse_swollen, refuse_too_large
from sysid.data.readers.optional import needed
from sysid.data.readers.tables import Table, distinct, repeated
from sysid.data.reading import Reading

_MISSING = {"", "#n/a", "nan", "na", "n/a", "null", "-"}
_LONGEST_UNIT = 16  # letters
_COPIES = 20  # of a sheet's text while it is Python's objects

Rows = list[tuple[Any, ...]]


def open_excel(path: Path, reading: Reading) -> Table:
    """Return the columns of a workbook's sheet; several sheets with data are experiments."""
    openpyxl = needed("openpyxl", "excel")
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no Excel workbook; save it as .xlsx or .csv")
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    refuse_swollen("the workbook unpacked", unpacked, path)
    refuse_too_large("the workbook unpacked", _COPIES * unpacked, "save the sheet as .csv")
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        sheets = {s.title: _table(list(s.iter_rows(values_only=True))) for s in book.worksheets}
    finally:
        book.close()
    found = {title: table for title, table in sheets.items() if table is not None}
    if not found:
        raise ValueError("none of its sheets has columns of numbers under their names")
    if len(found) == 1:
        return next(iter(found.values()))
    nothing = Table([], 0, lambda names: pd.DataFrame())
    return replace(nothing, experiments=found)


def _table(rows: Rows) -> Table | None:
    """Return the table of a sheet: rows of values under a row of names; None if it has none."""
    first = next((i for i, row in enumerate(rows) if _is_data(row)), None)
    if first is None:
        return None
    while first > 0 and not any(map(_is_filled, rows[first - 1])):
        rows = [*rows[: first - 1], *rows[first:]]  # an empty row under the names
        first -= 1
    heads = [row for row in rows[max(first - 2, 0) : first] if _names_columns(row, rows[first])]
    if not heads:
        raise ValueError(
            f"row {first + 1} of a sheet must stand under the names of the columns, which are "
            "not there; add a row with names"
        )
    width = len(rows[first])
    units = len(heads) == 2 and all(_is_filled(_cell(heads[0], i)) for i in range(width))
    units &= all(map(_is_unit, heads[-1]))
    names = heads[0] if units else heads[-1]
    data = rows[first:]
    while data and not any(map(_is_filled, data[-1])):
        data.pop()
    used = [i for i, name in enumerate(names) if _is_filled(name) or _has_values(data, i)]
    given = [_text(names[i]) for i in used]
    offered = distinct(given)
    places = dict(zip(offered, used, strict=True))

    def load(columns: Sequence[str]) -> pd.DataFrame:
        return pd.DataFrame({c: _column([_cell(r, places[c]) for r in data]) for c in columns})

    return Table(
        offered,
        len(data),
        load,
        units={n: _text(_cell(heads[1], i)).strip("[]()") for n, i in places.items()}
        if units
        else {},
        unusable=repeated(given),
    )


def _cell(row: tuple[Any, ...], place: int) -> Any:
    return row[place] if place < len(row) else None


def _is_filled(cell: Any) -> bool:
    return cell is not None and not (isinstance(cell, str) and cell.strip().lower() in _MISSING)


def _is_value(cell: Any) -> bool:
    kinds = (int, float, datetime.datetime, datetime.date, datetime.time, datetime.timedelta)
    return isinstance(cell, kinds)


def _is_data(row: tuple[Any, ...]) -> bool:
    """Return whether at least half of what stands in a row is values, and more than one cell."""
    filled = [cell for cell in row if _is_filled(cell)]
    return len(filled) > 1 and 2 * sum(map(_is_value, filled)) >= len(filled)


def _names_columns(row: tuple[Any, ...], below: tuple[Any, ...]) -> bool:
    """Return whether a row has a text above most of the values in the row below."""
    above = [_cell(row, i) for i, cell in enumerate(below) if _is_filled(cell)]
    texts = sum(isinstance(cell, str) and _is_filled(cell) for cell in above)
    return 2 * texts > len(above) and not any(map(_is_value, above))


def _is_unit(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and len(cell) <= _LONGEST_UNIT)


def _has_values(data: Rows, place: int) -> bool:
    return any(_is_filled(_cell(row, place)) for row in data)


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


def _column(cells: list[Any]) -> Any:
    """Return a column's values; clock times count from midnight."""
    if any(isinstance(cell, datetime.time) for cell in cells):
        day = datetime.date(2000, 1, 1)
        cells = [
            datetime.datetime.combine(day, c) if isinstance(c, datetime.time) else c for c in cells
        ]
    cells = [cell if _is_filled(cell) else None for cell in cells]
    if any(isinstance(cell, str) for cell in cells):
        return pd.Series(cells, dtype=object)
    return pd.Series(cells)
