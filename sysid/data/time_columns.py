"""Which column of a table is its time, by what it is called and by what it holds."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.dates import is_stamp
from sysid.data.errors import TimeStampError
from sysid.data.reading import Reading
from sysid.data.stamps import TimeColumn, time_column
from sysid.data.time_names import COUNTERS, Rank, rank, unit_of, words_of

_LOG = logging.getLogger(__name__)
NO_TIME = "none"  # in place of a column, where no column is to be taken for time
_MOST = 4  # columns that are looked at by their names
_ENOUGH = 8  # rows from which on an even rise is no chance


def time_names(names: Sequence[str], signals: Sequence[str], units: Mapping[str, str]) -> list[str]:
    """Return the columns that could be time and must be read to know.

    Args:
        names: all columns, as they stand in the file.
        signals: inputs and outputs, which are never time.
        units: the units that the file gives.

    Example:
        >>> time_names(["No", "Value", "u", "clock", "Zeit [h]"], ["u"], {})
        ['Zeit [h]', 'clock', 'No', 'Value']
    """
    free = [n for n in names if n not in set(signals)]
    ranks = {n: rank(n, units.get(n, "")) for n in free}
    called = sorted((n for n in free if ranks[n]), key=lambda n: -ranks[n])[:_MOST]
    # One may come after the numbers of the rows.
    leading = [n for n in names[:2] if n in ranks and n not in called]
    return called + leading


def find_time(
    frame: pd.DataFrame,
    candidates: Sequence[str],
    units: Mapping[str, str],
    reading: Reading,
) -> TimeColumn | None:
    """Return the time column of a table, evenly spaced or not; ``None`` if it has none.

    Columns that are time by their names come first, then a leading column that holds dates or
    rises evenly. What had to be assumed is said in the log.

    Args:
        frame: the table, with at least the candidates.
        candidates: what ``time_names`` returns.
        units: the units that the file gives.
        reading: how the file is read; ``time`` names the column, or is ``"none"``.

    Raises:
        TimeStampError: if the column cannot be read as time, or two columns contradict each other.
    """
    if reading.time == NO_TIME:
        return None
    if reading.time is not None:
        asked = time_column(frame, reading.time, units.get(reading.time), reading)
        others = [n for n in candidates if n != reading.time and rank(n)]
        found = _joined([asked, *_readable(frame, others, units, reading)[0]])[0]
    elif (by_name := _by_name(frame, candidates, units, reading)) is not None:
        found = by_name
    else:
        by_content = _by_content(frame, candidates, units, reading)
        if by_content is None:
            return None
        found = by_content
    if found.assumed:
        _LOG.warning(
            "column %r is taken for time in %s; name it with its unit, like 'time [ms]', or "
            "choose another with time",
            found.name,
            found.assumed,
        )
    return found


def _by_name(
    frame: pd.DataFrame, candidates: Sequence[str], units: Mapping[str, str], reading: Reading
) -> TimeColumn | None:
    """Return the time column among those that are called so."""
    called = [n for n in candidates if rank(n, units.get(n, ""))]
    readable, fault = _readable(frame, called, units, reading)
    columns = [c for c in _joined(readable) if _is_time(c, rank(c.name, units.get(c.name, "")))]
    steps = [(c, step) for c in columns if (step := _step(c)) is not None]
    if not columns:
        if fault is not None:
            raise fault
        return None
    if backwards := [c for c in columns if _runs_back(c)]:
        return backwards[0]
    if not steps:
        return columns[0]
    chosen, step = steps[0]
    if fault is not None:
        _LOG.warning("%s; column %r is taken for time without it", fault, chosen.name)
    for other, other_step in steps[1:]:
        if abs(other_step - step) > 0.01 * step:
            raise TimeStampError(
                f"time columns {chosen.name!r} and {other.name!r} have steps of {step:g} s and "
                f"{other_step:g} s; say which is right with time={chosen.name!r} or "
                f"time={other.name!r}"
            )
    return chosen


def _readable(
    frame: pd.DataFrame, names: Sequence[str], units: Mapping[str, str], reading: Reading
) -> tuple[list[TimeColumn], ValueError | None]:
    """Return the columns that can be read as time, and what is wrong with the first other one."""
    found: list[TimeColumn] = []
    fault: ValueError | None = None
    for name in names:
        try:
            found.append(time_column(frame, name, units.get(name), reading))
        except ValueError as error:
            if rank(name, units.get(name, "")) is Rank.CERTAIN:
                fault = fault or error
    return found, fault


def _joined(columns: list[TimeColumn]) -> list[TimeColumn]:
    """Add the times of day of one column to the days of another, if both are there."""
    days = [c for c in columns if _only_days(c)]
    clocks = [c for c in columns if c.stamps.unit in ("clock", "elapsed")]
    if not days or not clocks or {columns[0].name}.isdisjoint({days[0].name, clocks[0].name}):
        return columns
    day, clock = days[0], clocks[0]
    of_day = (clock.seconds + float(clock.stamps.start)) % 86400
    passed = day.seconds + of_day
    start = pd.Timestamp(day.stamps.start) + pd.Timedelta(seconds=float(passed[0]))
    joined = TimeColumn(
        passed - passed[0], clock.quantum, replace(clock.stamps, start=start, unit="date")
    )
    return [joined, *(c for c in columns if c is not day and c is not clock)]


def _only_days(column: TimeColumn) -> bool:
    """Return whether a column holds days without a time of day."""
    start = column.stamps.start
    return (
        isinstance(start, pd.Timestamp)
        and start == start.normalize()
        and bool(np.all(column.seconds % 86400 == 0))
    )


def _is_time(column: TimeColumn, certainty: Rank) -> bool:
    """Return whether what a column holds can be time, as its name says."""
    steps = np.diff(column.seconds)
    if _only_days(column) and len(steps) and np.median(steps) == 0:
        return False  # the day of each row, with its time elsewhere or nowhere
    if certainty is Rank.CERTAIN or isinstance(column.stamps.start, pd.Timestamp):
        return True
    return bool(np.any(steps)) and bool(np.all(steps >= 0) or np.all(steps <= 0))


def _step(column: TimeColumn) -> float | None:
    try:
        return column.step()
    except TimeStampError:
        return None


def _by_content(
    frame: pd.DataFrame, candidates: Sequence[str], units: Mapping[str, str], reading: Reading
) -> TimeColumn | None:
    """Return a leading column that holds dates, or numbers that rise or fall evenly."""
    for name in candidates:
        series = frame[name].dropna()
        unit = units.get(name) or unit_of(name)
        if rank(name, units.get(name, "")) or series.empty:
            continue
        is_numeric = pd.api.types.is_numeric_dtype(series)
        if not is_numeric and not _holds_dates(series):
            continue
        try:
            found = time_column(frame, name, unit, reading)
        except ValueError:  # its unit, say, is one of a signal
            continue
        if not is_numeric or isinstance(found.stamps.start, pd.Timestamp):
            return found
        if _is_even(found) and not _is_counter(name, found):
            return replace(found, assumed=found.assumed or "seconds, as it rises evenly")
    return None


def _holds_dates(series: pd.Series[Any]) -> bool:
    return not pd.api.types.is_string_dtype(series.infer_objects()) or is_stamp(str(series.iloc[0]))


def _is_even(column: TimeColumn) -> bool:
    """Return whether there are enough rows, evenly apart in either direction."""
    if len(column.seconds) < _ENOUGH:
        return False
    backwards = replace(column, seconds=-column.seconds)
    return _step(column) is not None or _step(backwards) is not None


def _is_counter(name: str, column: TimeColumn) -> bool:
    """Return whether a column numbers its rows."""
    if COUNTERS.intersection(words_of(name)):
        return True
    return column.stamps.unit == "s" and bool(np.all(np.abs(np.diff(column.seconds)) == 1))


def _runs_back(column: TimeColumn) -> bool:
    """Return whether a column is written newest first."""
    steps = np.diff(column.seconds)
    return bool(len(steps)) and bool(np.median(steps) < 0)
