"""Joining: several tables with time stamps of their own as one, over the time they share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from sysid.data.assembly import assembled, guess_columns
from sysid.data.columns import Array
from sysid.data.errors import TimeStampError, one_line
from sysid.data.readers.opening import open_table
from sysid.data.readers.tables import Table
from sysid.data.reading import Reading
from sysid.data.records import Record
from sysid.data.stamps import TimeColumn
from sysid.data.time_columns import find_time, time_names
from sysid.data.time_names import unit_seconds

_LOG = logging.getLogger(__name__)
_TIMES = ("t", "time", "joined time")  # what the common time is called, if no channel is
_TOGETHER = 0.01  # of the shortest step, within which samples of two tables are of one instant


def read_joined(paths: Sequence[str | Path], reading: Reading) -> Record:
    """Read files with time stamps of their own as one record.

    The record has the grid of the channel that is sampled fastest, or ``reading.resample``, and
    lasts as long as all files do. Inputs are held between their samples; outputs are missing there.

    Args:
        paths: the files; no channel may be in two of them.
        reading: how they are read; ``u`` and ``y`` may name columns of any of them.

    Raises:
        ValueError: if a channel is in two files, or the files share no time.
        TimeStampError: if a file has no time stamps, or some have dates and others numbers.
    """
    tables = [(Path(p), open_table(Path(p), reading)) for p in paths]
    names = [n for _, table in tables for n in table.names]
    u, y = reading.u, reading.y
    if u is None and y is None:
        u, y, _ = guess_columns(list(dict.fromkeys(names)))
    signals = [*(u or []), *(y or [])]
    parts = [_part(path, table, signals, reading) for path, table in tables]
    frame = join_tables(parts)
    time = str(frame.columns[-1])
    label = "+".join(path.stem for path, _ in tables)
    table = Table(
        names=[str(c) for c in frame.columns],
        samples=len(frame),
        load=lambda columns: frame[list(columns)],
        units={n: unit for _, t in tables for n, unit in t.units.items() if n in signals},
    )
    resample = "auto" if reading.resample is None else reading.resample
    how = replace(reading, u=u, y=y, time=time, resample=resample, join=True)
    try:
        return assembled(Path(label), table, how)
    except ValueError as error:
        raise type(error)(f"{label}: {one_line(error)}") from None


@dataclass(frozen=True)
class Part:
    """A table to join: where it is from, its channels and its time stamps."""

    source: str
    channels: pd.DataFrame
    time: TimeColumn


def join_tables(parts: Sequence[Part]) -> pd.DataFrame:
    """Return one table of the channels of several, with a row for each instant of any of them.

    A channel is missing where it has no sample; the common time is the last column. Only the
    time that all tables share is kept, which is said.

    Args:
        parts: the tables.

    Raises:
        ValueError: if a channel is in two tables, or they share no time.
        TimeStampError: if some stamps are dates and others numbers.
    """
    _refuse_shared(parts)
    origin, times = _absolute(parts)
    begin, end = max(t[0] for t in times), min(t[-1] for t in times)
    steps = [float(np.median(np.diff(t))) for t in times]
    fastest = times[int(np.argmin(steps))]
    begin = float(fastest[np.searchsorted(fastest, begin)]) if begin <= fastest[-1] else begin
    spans = "; ".join(
        f"{p.source} {t[0]:.6g} to {t[-1]:.6g} s" for p, t in zip(parts, times, strict=True)
    )
    if not begin < end:
        raise ValueError(f"the tables share no time: {spans} after the first stamp")
    if left_out := sum(int(((t < begin) | (t > end)).sum()) for t in times):
        _LOG.warning(
            "%s: joined from %.6g to %.6g s, the time that all share; %d rows before and after "
            "are left out (%s)",
            ", ".join(p.source for p in parts),
            begin,
            end,
            left_out,
            spans,
        )
    instants = np.sort(np.concatenate(times))
    shortest = min(steps)
    new = np.diff(instants, prepend=-np.inf) > _TOGETHER * shortest
    instants = instants[new]
    out = pd.DataFrame(index=np.arange(len(instants)))
    for part, t in zip(parts, times, strict=True):
        rows = np.searchsorted(instants, t + 1e-3 * _TOGETHER * shortest, side="right") - 1
        for name in part.channels:
            placed = np.full(len(instants), np.nan, dtype=object)
            placed[rows] = part.channels[name].to_numpy()
            out[str(name)] = placed
    kept = (instants >= begin - _TOGETHER * shortest) & (instants <= end + _TOGETHER * shortest)
    if isinstance(origin, pd.Timestamp):
        out[time_name(out)] = origin + pd.to_timedelta(instants, unit="s")
    else:
        out[time_name(out)] = instants + origin
    shared: pd.DataFrame = out.loc[kept].reset_index(drop=True)
    return shared


def time_name(frame: pd.DataFrame) -> str:
    """Return what the time of joined tables is called: a name that no channel has."""
    return next(name for name in _TIMES if name not in frame)


def _part(path: Path, table: Table, signals: Sequence[str], reading: Reading) -> Part:
    """Read what is asked for of one file, with its time stamps."""
    own = [n for n in dict.fromkeys(signals) if n in table.names]
    if not own:
        raise ValueError(
            f"{path} has none of the columns {', '.join(signals)}; it has "
            f"{', '.join(table.names[:12])}"
        )
    how = reading if reading.time in table.names else replace(reading, time=None)
    candidates = time_names(table.names, own, table.units)
    asked = [how.time] if how.time is not None else []
    frame = table.load(list(dict.fromkeys([*own, *asked, *candidates])))
    found = find_time(frame, candidates, table.units, how)
    if found is None:
        raise TimeStampError(f"{path} has no time stamps to join it by; name the column with time")
    found.is_uniform()  # or it is refused
    return Part(str(path), frame[own], found)


def _refuse_shared(parts: Sequence[Part]) -> None:
    """Raise if a channel is in two tables."""
    where: dict[str, str] = {}
    for part in parts:
        for name in map(str, part.channels):
            if name in where:
                raise ValueError(
                    f"column {name!r} is in {where[name]} and in {part.source}; rename one, or "
                    "name the columns that are wanted with u and y"
                )
            where[name] = part.source


def _absolute(parts: Sequence[Part]) -> tuple[pd.Timestamp | float, list[Array]]:
    """Return a common origin and the time stamps of each table in seconds from there."""
    starts = [p.time.stamps.start for p in parts]
    dated = [isinstance(s, pd.Timestamp) for s in starts]
    if any(dated) and not all(dated):
        by_date, by_number = parts[dated.index(True)], parts[dated.index(False)]
        raise TimeStampError(
            f"{by_date.source} has dates as time stamps and {by_number.source} numbers, so it is "
            "not known how they lie to each other; write both in the same way"
        )
    if all(dated):
        origin = pd.Timestamp(starts[0])
        shifts = [(pd.Timestamp(s) - origin).total_seconds() for s in starts]
        return origin, [p.time.seconds + s for p, s in zip(parts, shifts, strict=True)]
    begins = [
        float(s)
        * (
            1.0
            if p.time.stamps.unit in ("clock", "elapsed")
            else unit_seconds(p.time.stamps.unit, p.time.name)
        )
        for p, s in zip(parts, starts, strict=True)
    ]
    return begins[0], [p.time.seconds + (b - begins[0]) for p, b in zip(parts, begins, strict=True)]
