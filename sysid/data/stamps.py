"""Time stamps: from a column of any unit or kind of date to seconds, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sysid.data.columns import Array, column, series_of
from sysid.data.dates import read_dates
from sysid.data.errors import TimeStampError
from sysid.data.reading import Reading
from sysid.data.time_names import unit_in, unit_of, unit_seconds, words_of

_TOLERANCE = 0.01  # of a step, by which it may differ from the others
_DAY = 86400
_YEAR = 365.25 * _DAY
_EPOCH = (20 * _YEAR, 130 * _YEAR)  # 1990 to 2100, in seconds since 1970
_SERIALS = {  # days since 1899-12-30 and since the year 0, from 1990 to 2100
    "a spreadsheet's serial days": (32_874, 73_051),
    "MATLAB's datenum, days since the year 0": (726_834, 767_011),
}
_DATE_NAMES = {"date", "dates", "datum", "fecha", "datetime", "datenum", "excel", "serial"}


@dataclass(frozen=True)
class Stamps:
    """The time column that a record has in a file.

    Args:
        start: time of the first sample: a date, or a number in ``unit``.
        unit: a unit of time such as ``s`` or ``ms``; ``date``, or for texts ``clock`` (which
            starts again at midnight) and ``elapsed`` (hours, minutes and seconds).
        name: the name of the column.

    Example:
        >>> Stamps(pd.Timestamp("2026-01-31 12:00"), "date").after(90.0).start
        Timestamp('2026-01-31 12:01:30')
        >>> Stamps(500, "ms", "millis").column(3, 0.02)
        array([500, 520, 540])
    """

    start: pd.Timestamp | int | float = 0.0
    unit: str = "s"
    name: str = "t"

    def after(self, seconds: float) -> Stamps:
        """Return the stamps of a record that starts later.

        Args:
            seconds: how much later.
        """
        if isinstance(self.start, pd.Timestamp):
            return replace(self, start=self.column(2, seconds)[1])
        start = self._numbers(2, seconds)[1].item()
        return replace(self, start=start % _DAY if self.unit == "clock" else start)

    def column(self, count: int, sampling_time: float) -> Any:
        """Return the stamps of the samples as dates, numbers or texts.

        Args:
            count: number of samples.
            sampling_time: seconds between them.
        """
        if isinstance(self.start, pd.Timestamp):
            # In whole microseconds where these are fine enough: nanoseconds since long ago
            # would show the rounding of float64.
            tick = 1000 if sampling_time >= 1e-3 else 1
            steps = np.rint(np.arange(count) * (sampling_time * (1e9 / tick))).astype(np.int64)
            return self.start + pd.to_timedelta(steps * tick, unit="ns")
        numbers = self._numbers(count, sampling_time)
        return _clock_texts(numbers, self.unit) if self.unit in ("clock", "elapsed") else numbers

    def _numbers(self, count: int, sampling_time: float) -> NDArray[Any]:
        step = sampling_time / _factor(self.unit)
        passed = np.arange(count) * step
        whole = np.rint(passed)
        start: int | float = self.start  # type: ignore[assignment]  # a date has its own way
        if isinstance(start, int) and np.all(np.abs(passed - whole) <= 1e-6 * max(step, 1)):
            return np.asarray(start + whole.astype(np.int64))
        return _as_printed(start, step, np.asarray(start + passed, dtype=np.float64))


@dataclass(frozen=True)
class TimeColumn:
    """A column of time stamps, read.

    ``seconds`` counts from the first stamp. ``quantum`` is how finely the stamps were written, in
    seconds: what is below it is rounding. ``assumed`` says what neither name nor file tells.
    """

    seconds: Array
    quantum: float
    stamps: Stamps
    assumed: str = ""

    @property
    def name(self) -> str:
        """The name of the column."""
        return self.stamps.name

    def is_uniform(self) -> bool:
        """Return whether the stamps are uniformly spaced; raise if they do not even increase."""
        try:
            self.step()
        except TimeStampError:
            if len(self.seconds) < 2 or not np.all(np.diff(self.seconds) > 0):
                raise
            return False
        return True

    def step(self) -> float:
        """Return the step of stamps that are uniformly spaced, or raise ``TimeStampError``."""
        return uniform_step(self.seconds, self.name, self.quantum)


def seconds_of(
    df: pd.DataFrame, name: str, unit: str | None = None, reading: Reading | None = None
) -> Array:
    """Return a time column in seconds from its first stamp, float64, evenly spaced or not.

    Args:
        df: the table.
        name: the column.
        unit: the unit that the file gives; without it, that of the name, or what the size of the
            numbers tells.
        reading: how the file is read (``date_format``).

    Raises:
        TimeStampError: for an unknown unit, and what is neither a number nor a date.

    Example:
        >>> seconds_of(pd.DataFrame({"time_ms": [500, 520, 560]}), "time_ms")
        array([0.  , 0.02, 0.06])
    """
    return time_column(df, name, unit, reading).seconds


def time_column(
    df: pd.DataFrame, name: str, unit: str | None = None, reading: Reading | None = None
) -> TimeColumn:
    """Read a column of time stamps with what is needed to write them back; see ``seconds_of``."""
    given = series = series_of(df, name)
    date_format = None if reading is None else reading.date_format
    if pd.api.types.is_object_dtype(series) or pd.api.types.is_string_dtype(series):
        numbers = pd.to_numeric(series, errors="coerce")
        texts = np.flatnonzero(np.asarray(numbers.isna() & series.notna()))
        if len(texts) and not date_format:
            _refuse_mixed(series, int(texts[0]), name)
        series = read_dates(series, name, date_format) if len(texts) or date_format else numbers
    elif date_format is not None and pd.api.types.is_integer_dtype(series):
        series = read_dates(series.astype(str), name, date_format)
    if pd.api.types.is_datetime64_any_dtype(series):
        return _of_dates(series, name)
    if pd.api.types.is_timedelta64_dtype(series):
        return _of_durations(series, given, name)
    return _of_numbers(series, name, unit)


def _refuse_mixed(series: pd.Series[Any], row: int, name: str) -> None:
    """Raise for a text in a column that starts with numbers."""
    if not series.iloc[:row].notna().any():
        return
    text = series.iloc[row]
    reason = (
        "the line of names is repeated there, as after a restart of the logger; cut the file there"
        if str(text).strip() == name
        else "delete the row, or cut the file there"
    )
    raise TimeStampError(f"time column {name!r} has {text!r} among numbers in row {row}; {reason}")


def _of_dates(dates: pd.Series[Any], name: str) -> TimeColumn:
    known = dates.dropna()
    if known.empty:
        raise TimeStampError(f"time column {name!r} holds no dates, all are missing")
    start = pd.Timestamp(known.iloc[0])
    passed = np.asarray((dates - start).dt.total_seconds(), dtype=np.float64)
    return TimeColumn(passed, _quantum(passed), Stamps(start, "date", name))


def _of_durations(durations: pd.Series[Any], texts: pd.Series[Any], name: str) -> TimeColumn:
    seconds = np.asarray(durations.dt.total_seconds(), dtype=np.float64)
    start = _first(seconds, name)
    hours = texts.astype(str).str.extract(r"^\s*(\d+):")[0].astype(float)
    unit = "clock" if hours.notna().any() and hours.max() < 24 else "elapsed"
    passed = seconds - start
    return TimeColumn(passed, _quantum(passed), Stamps(start, unit, name))


def _of_numbers(series: pd.Series[Any], name: str, unit: str | None) -> TimeColumn:
    if pd.api.types.is_integer_dtype(series) and len(series) and not series.isna().any():
        whole = np.asarray(series, dtype=np.int64)
        start: int | float = int(whole[0])
        # Differences of large whole numbers, before they are rounded.
        passed, quantum = (whole - whole[0]).astype(np.float64), 1.0
        values = whole.astype(np.float64)
    else:
        values = column(pd.DataFrame({name: series}), name)
        start = float(_first(values, name))
        passed = values - start
        quantum = max(_quantum(values), _single_precision(values))
    if (dates := _compact_dates(values, name)) is not None:
        return _of_dates(dates, name)
    unit, assumed = _unit(values, name, unit)
    factor = unit_seconds(unit, name)
    return TimeColumn(passed * factor, quantum * factor, Stamps(start, unit, name), assumed)


def _as_printed(start: float, step: float, values: Array) -> Array:
    """Return multiples of a decimal step as the decimals that they are: 0.3, not 3 * 0.1."""
    for digits in range(10):
        if round(start, digits) == start and abs(round(step, digits) - step) <= 1e-12 * step:
            return np.round(values, digits)
    return values


def _first(values: Array, name: str) -> float:
    """Return the first value that is there."""
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        raise TimeStampError(f"time column {name!r} holds no time stamps, all are missing")
    return float(values[known[0]])


def _unit(values: Array, name: str, given: str | None) -> tuple[str, str]:
    """Return the unit of time stamps in numbers, and what had to be assumed for it."""
    unit = (unit_in(given) if given else None) or unit_of(name)
    known = values[~np.isnan(values)]
    low, high = float(known.min()), float(known.max())
    epochs = [
        u
        for u in ("s", "ms", "us", "ns")
        if _EPOCH[0] <= low * _factor(u) <= high * _factor(u) <= _EPOCH[1]
    ]
    if unit is not None:
        _refuse_other_unit(unit, name, high, epochs)
        return unit, ""
    if epochs and epochs != ["s"]:
        since = pd.Timestamp(low * _factor(epochs[0]), unit="s").floor("s")
        return epochs[0], f"{epochs[0]} since 1970, from {since} on, by the size of its numbers"
    if high > _EPOCH[1]:
        raise TimeStampError(
            f"time column {name!r} has no unit, and its numbers up to {high:.6g} are too large for "
            "seconds; write the unit behind the name, like 'time [ms]'"
        )
    for days, (first, last) in _SERIALS.items():
        if first <= low <= high <= last:
            if set(words_of(name)) & _DATE_NAMES or _whole_seconds(known):
                return "days", f"{days}, by the size and the step of its numbers"
            return "s", f"seconds, though by their size they could be {days}"
    return "s", ""


def _refuse_other_unit(unit: str, name: str, high: float, epochs: list[str]) -> None:
    """Raise if numbers in a unit would be dates after 2100, and in another would not."""
    seconds = unit_seconds(unit, name)
    if seconds < 3600 and high * seconds > _EPOCH[1]:
        hint = f"in {epochs[0]} they would be dates since 1970" if epochs else "they are too large"
        raise TimeStampError(
            f"time column {name!r} is in {unit} by its name or unit, but its numbers reach "
            f"{high:.6g}: {hint}; correct the unit"
        )


def _whole_seconds(days: Array) -> bool:
    """Return whether the step makes sense in days: whole milliseconds that look odd as they are."""
    if len(days) < 2:
        return False
    step = abs(float(days[-1] - days[0])) / (len(days) - 1)
    return step > 0 and not _is_round(step, 1e-4) and _is_round(step * _DAY, 1e-3)


def _is_round(number: float, tolerance: float) -> bool:
    """Return whether a number has at most three digits that count."""
    scale = 10.0 ** (np.floor(np.log10(number)) - 2)
    return bool(abs(number / scale - round(number / scale)) <= tolerance * number / scale)


def _compact_dates(values: Array, name: str) -> pd.Series[Any] | None:
    """Return the dates that numbers like 20260131 and 20260131120000 are, or ``None``."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    for scale, form in ((1e10, "%Y%m%d%H%M%S"), (1e4, "%Y%m%d")):
        if not 1990 <= low / scale <= high / scale <= 2100:
            continue
        if np.isnan(values).any() or np.any(values % 1):
            return None
        if scale < 1e10 and len(values) <= 31 and not set(words_of(name)) & _DATE_NAMES:
            return None
        texts = pd.Series(values.astype(np.int64)).astype(str)
        dates = pd.to_datetime(texts, format=form, errors="coerce")
        return dates if dates.notna().all() else None
    return None


def _factor(unit: str) -> float:
    return 1.0 if unit in ("clock", "elapsed") else unit_seconds(unit, "t")


def _quantum(values: Array) -> float:
    """Return the last decimal that numbers were written with, or 0 if they have too many."""
    known = values[~np.isnan(values)]
    largest = float(np.abs(known).max(initial=0.0))
    for digits in range(13):
        # What float64 itself rounds at this size cannot be told from more decimals.
        slack = max(1e-6, 4 * np.finfo(np.float64).eps * largest * 10**digits)
        if slack > 0.01:
            return 0.0
        for part in (known[:1000], known):
            scaled = part * 10.0**digits
            if np.any(np.abs(scaled - np.rint(scaled)) > slack):
                break
        else:
            return float(10.0**-digits)
    return 0.0


def _single_precision(values: Array) -> float:
    """Return the resolution of float32 numbers; 0 if they are not such."""
    largest = np.float32(np.nanmax(np.abs(values)))
    with np.errstate(over="ignore"):
        is_single = np.array_equal(values, values.astype(np.float32), equal_nan=True)
    return float(np.spacing(largest)) if is_single else 0.0


def _clock_texts(seconds: NDArray[Any], unit: str) -> list[str]:
    """Return times of day, or hours, minutes and seconds that have passed."""
    microseconds = np.rint(np.asarray(seconds, dtype=np.float64) * 1e6).astype(np.int64)
    if unit == "clock":
        microseconds %= _DAY * 1_000_000
    whole, rest = np.divmod(microseconds, 1_000_000)
    digits = 0 if not rest.any() else 3 if not (rest % 1000).any() else 6
    return [
        f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}"
        + (f".{r:06d}"[: digits + 1] if digits else "")
        for s, r in zip(whole.tolist(), rest.tolist(), strict=True)
    ]


def uniform_step(t: Array, name: str, quantum: float = 0.0) -> float:
    """Return the step of uniformly spaced time stamps, or say where they are not.

    Args:
        t: seconds.
        name: what the column is called in messages.
        quantum: how finely the stamps were written, in seconds; up to half a step, steps may
            differ by the rounding to it.
    """
    if len(t) < 2:
        raise TimeStampError(f"time column {name!r} must have at least 2 rows, got {len(t)}")
    if len(bad := np.flatnonzero(np.isnan(t))):
        raise TimeStampError(f"time column {name!r} must be complete, row {bad[0]} misses a value")
    steps = np.diff(t)
    if len(bad := np.flatnonzero(~(steps > 0))):
        _refuse_backwards(steps, int(bad[0]) + 1, name)
    step = float(np.median(steps))
    bad = np.flatnonzero(np.abs(steps - step) > _TOLERANCE * step)
    if len(bad) and not _is_rounding(t, steps, quantum):
        row = int(bad[0])
        raise TimeStampError(
            f"time column {name!r} must be uniformly spaced, got a step of {steps[row]:.6g} s "
            f"at row {row + 1} where {step:.6g} s is usual ({len(bad)} steps are off by more than "
            "1 %); --resample auto, or resample='auto' in Python, puts the samples on a grid"
        )
    # The mean over the whole record is the better estimate where stamps are rounded.
    return _plain(float(t[-1] - t[0]) / (len(t) - 1), quantum / (len(t) - 1))


def _plain(step: float, uncertainty: float) -> float:
    """Return the step with the fewest digits that the rounding of the stamps leaves possible."""
    if not 0 < uncertainty < _TOLERANCE * step:
        uncertainty = 1e-9 * step  # the rounding of float64, with room to spare
    rounded = (float(f"{step:.{digits}g}") for digits in (1, 2, 3))
    return next((r for r in rounded if abs(r - step) <= uncertainty), step)


def _refuse_backwards(steps: Array, row: int, name: str) -> None:
    """Say how time stamps do not increase."""
    if np.median(steps) < 0:
        raise TimeStampError(
            f"time column {name!r} must increase, but it falls from row to row: the file is "
            "written newest first; sort its rows by time, oldest first"
        )
    if steps[row - 1] == 0:
        raise TimeStampError(
            f"time column {name!r} must increase, row {row} repeats the time of row {row - 1}; "
            "delete one of them"
        )
    raise TimeStampError(
        f"time column {name!r} must increase, it does not at row {row}; sort the rows by time, "
        "or cut the file there"
    )


def _is_rounding(t: Array, steps: Array, quantum: float) -> bool:
    """Return whether stamps are uniform but for their rounding to multiples of ``quantum``."""
    spread = float(steps.max() - steps.min())
    if not 0 < quantum <= float(np.median(steps)) / 2 or spread >= 1.99 * quantum:
        return False
    k = np.arange(len(t), dtype=np.float64)
    off = t - np.polyval(np.polyfit(k, t, 1), k)
    return bool(np.ptp(off) <= 1.01 * quantum)
