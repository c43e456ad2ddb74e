"""From the table of a file to a record: which columns, which sampling time, which stamps."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.columns import unknown_column
from sysid.data.errors import TimeStampError, shown
from sysid.data.memory import refuse_swollen, refuse_too_large
from sysid.data.readers.tables import Table
from sysid.data.reading import Reading
from sysid.data.records import Record
from sysid.data.resampling import checked_step
from sysid.data.stamps import TimeColumn
from sysid.data.time_columns import NO_TIME, find_time, time_names
from sysid.data.time_names import Rank, rank
from sysid.data.uneven import put_on_grid, with_held_inputs

_LOG = logging.getLogger(__name__)
_COPIES = 3  # of a column at the peak: the file's, the frame's and the record's


def guess_columns(names: Sequence[str]) -> tuple[list[str], list[str], str | None]:
    """Return the columns that are inputs, outputs and time stamps by their names.

    Example:
        >>> guess_columns(["t", "u1", "u2", "y", "note"])
        (['u1', 'u2'], ['y'], 't')
    """
    u, y = ([n for n in names if re.fullmatch(rf"{k}\d*", n)] for k in "uy")
    return u, y, next((n for n in names if rank(n) is Rank.CERTAIN), None)


def assembled(path: Path, table: Table, reading: Reading, label: str = "") -> Record:
    """Return the record of a table: the columns that are asked for, or those that names tell.

    Args:
        path: the file, for the record's name and for messages.
        table: what the file offers.
        reading: how it is read.
        label: the experiment, in a file that holds several.

    Raises:
        ValueError: for columns that are not there or hold no numbers (``TimeStampError`` where
            the time stamps are at fault).
    """
    for word in table.words:
        _LOG.warning("%s: %s", path, word)
    table = table.renamed(_aliased(table, reading))
    table.refuse()
    names = [*table.names, *table.unusable]
    u, y = _asked(table, reading, names)
    reading = _named_as_read(reading, names)
    time = [reading.time] if reading.time is not None and reading.time != NO_TIME else []
    asked = list(dict.fromkeys([*u, *y, *time]))
    for name in asked:
        if name in table.unusable:
            raise ValueError(f"column {name!r} must {table.unusable[name]}")
    known = set(table.names)
    if unknown := [name for name in asked if name not in known]:
        raise ValueError(unknown_column(unknown[0], names))
    stored = table.stored
    searched = time or not (stored or reading.time == NO_TIME)
    candidates = time_names(table.names, [*u, *y], table.units) if searched else []
    frame = _loaded(path, table, list(dict.fromkeys([*asked, *candidates])))
    found = find_time(frame, candidates, table.units, reading)
    if reading.resample is not None and found is not None and not found.is_uniform():
        frame, sampling_time = put_on_grid(frame, u, y, found, reading, path.name)
    else:
        sampling_time = _sampling_time(reading, found, table)
        if reading.join or reading.resample is not None:
            frame = with_held_inputs(frame, u)
    metadata = {
        "name": f"{_stem(path)} {label}".strip(),
        **_metadata(table, u, y, found, sampling_time),
    }
    record = Record.from_frame(frame, u, y, None, sampling_time, **metadata)
    _compare_stated(record, table, reading)
    _refuse_empty(record)
    step = None if reading.resample is None else checked_step(reading.resample)
    return record if step is None else record.resample(step)


def _asked(table: Table, reading: Reading, names: list[str]) -> tuple[list[str], list[str]]:
    """Return the input and output columns: those named, those stored, or those called u and y."""
    u: Sequence[str] | None = reading.u
    y: Sequence[str] | None = reading.y
    if u is None and y is None:
        if table.stored:
            u, y = table.stored.u_names, table.stored.y_names
        else:
            u, y, _ = guess_columns(names)
            if not u and not y:
                raise ValueError(_unnamed(names))
    return _expanded(u or [], names), _expanded(y or [], names)


def _unnamed(names: list[str]) -> str:
    if names == [f"column {i + 1}" for i in range(len(names))]:
        return (
            f"no line names the columns, which are called {shown(names)}; say by number which are "
            'inputs and outputs, as in u=["2"] and y=["3"] (--u 2 --y 3)'
        )
    return f"columns must be named with u and y, or be called u1, y1, ..., got {shown(names)}"


def _metadata(
    table: Table, u: list[str], y: list[str], found: TimeColumn | None, sampling_time: float | None
) -> dict[str, Any]:
    """Return units, stamps and what is stored beside the columns."""
    stored, units = table.stored, dict(table.units)
    out: dict[str, Any] = {}
    if stored:
        out.update(name=stored.name, n_init=stored.n_init)
        units.update(stored.units)
    out.update({f"{k}_units": [units.get(c, "") for c in cs] for k, cs in (("u", u), ("y", y))})
    if found is not None:
        out["stamps"] = found.stamps
    elif stored and stored.stamps and sampling_time is not None:
        out["stamps"] = stored.stamps.stamps()
    return out


def _refuse_empty(record: Record) -> None:
    for block, names in ((record.u, record.u_names), (record.y, record.y_names)):
        if len(empty := np.flatnonzero(np.isnan(block).all(axis=0))):
            raise ValueError(
                f"column {names[empty[0]]!r} must hold numbers, all its {len(block)} samples "
                "are missing; leave it out"
            )


def _stem(path: Path) -> str:
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def _compare_stated(record: Record, table: Table, reading: Reading) -> None:
    """Raise if the file states another sampling time than its stamps have or than was given."""
    step = record.sampling_time
    if table.step is None or step is None or abs(step - table.step[0]) <= 0.01 * step:
        return
    raise ValueError(
        f"the file has {table.step[1]}, which is {table.step[0]:g} s between samples, "
        f"where {'sampling_time is' if reading.sampling_time else 'its time stamps have'} "
        f"{step:g} s; leave that line out with skip_rows if it is wrong"
    )


def _aliased(table: Table, reading: Reading) -> list[str]:
    """Return the other names of columns that are asked for."""
    asked = [*(reading.u or []), *(reading.y or []), *([reading.time] if reading.time else [])]
    # The rows of a To File matrix are signals, but for that of time.
    signals = [alias for alias, name in table.aliases.items() if name != "time"]
    names = _expanded(asked, [*table.names, *signals])
    return [name for name in names if name in table.aliases]


def _named_as_read(reading: Reading, names: Sequence[str]) -> Reading:
    """Return the reading with ``time`` as the column is called in the file.

    The sign of a comment before its name is dropped; a number stands for a column without a name.
    """
    if reading.time is None or reading.time in names:
        return reading
    plain = reading.time.lstrip("#% ")
    return replace(reading, time=plain if plain in names else _numbered(reading.time, names))


def _loaded(path: Path, table: Table, names: list[str]) -> pd.DataFrame:
    """Return columns of a table, if there is memory for them."""
    columns, needed = f"{len(names)} columns of {table.samples} samples", len(names) * table.samples
    if path.is_file():  # not of several files that were joined
        refuse_swollen(columns, 8 * needed, path)
    refuse_too_large(
        columns,
        8 * _COPIES * needed,
        "name fewer columns with u and y, or cut the file",
    )
    frame = table.load(names)
    if not len(frame):
        raise ValueError("file must hold samples, got none")
    return frame


def _sampling_time(reading: Reading, found: TimeColumn | None, table: Table) -> float | None:
    """Return the sampling time, which what is given and what the file tells must agree on."""
    given = reading.sampling_time
    if found is not None:
        step: float | None = found.step()
    else:
        step = table.stored.sampling_time if table.stored else None
        if step is None and given is None and table.step:  # else _compare_stated compares them
            step = table.step[0]
    if given is None or step is None:
        return step if given is None else given
    if abs(step - given) > 0.01 * step and reading.time != NO_TIME:
        where = f"column {found.name!r} has" if found else "the record in the file has"
        raise TimeStampError(
            f"sampling_time must be that of the time stamps, got {given:g} s where {where} "
            f"{step:g} s; leave sampling_time out, or give time='none' to ignore the file's"
        )
    return given


def _expanded(asked: Sequence[str], names: list[str]) -> list[str]:
    """Split text with commas that is no column itself; a matrix stands for its columns."""
    out: list[str] = []
    known = set(names)
    for name in _split_names(asked, known):
        columns = []
        if name not in known:
            columns = [n for n in names if re.fullmatch(rf"{re.escape(name)}\d+", n)]
        out += columns or [_numbered(name, names)]
    return out


def _numbered(name: str, names: Sequence[str]) -> str:
    """Return the column without a name that is meant by its number."""
    return f"column {name}" if name not in names and f"column {name}" in names else name


def _split_names(asked: Sequence[str], known: set[str]) -> list[str]:
    """Return names one by one: ``"a,b"`` is two, unless a column is called so."""
    out: list[str] = []
    for text in asked:
        if text in known or "," not in text:
            out.append(text)
        else:
            names = next(csv.reader([text], skipinitialspace=True))
            out += [n.strip() for n in names if n.strip()]
    return out
