"""Dates and times of day in texts, in the ways that loggers write them."""

from __future__ import annotations

import re
import reprlib
from datetime import timezone
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.errors import TimeStampError

_DAY = 86400
_DATE = r"""
    (?:[^\W\d_]{2,}\.?,?\s+)?                                    # a day of the week
    (?:
        (?P<year>\d{4})[-/.](?P<month>\d{1,2}|[^\W\d_]{3,}\.?)[-/.](?P<day>\d{1,2})
      | (?P<one>\d{1,2})(?P<sign>[-/.])(?P<two>\d{1,2})(?P=sign)(?P<year_last>\d{4}|\d\d)
      | (?P<day_named>\d{1,2})\.?[-/.\s]*(?P<named>[^\W\d_]{3,})\.?[-/.,\s]*
        (?P<year_named>\d{4}|\d\d)
      | (?P<name_first>[^\W\d_]{3,})\.?\s+(?P<day_second>\d{1,2}),?\s+(?P<year_third>\d{4})
      | (?P<compact>\d{8})
    )
"""
_CLOCK = r"""
    (?P<hour>\d+):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,:](?P<fraction>\d+))?)?
    (?:\s*(?P<half>[AaPp])\.?\s?[Mm]\.?)?
  | (?P<compact_clock>\d{6})(?:[.,](?P<compact_fraction>\d+))?
"""
_ZONE = r"(?P<zone>[A-Z]{1,4}|[+-]\d\d:?(?:\d\d)?)"
_DATED = re.compile(
    rf"\s*{_DATE}(?:(?:\s*[T_,;]\s*|\s+)(?:{_CLOCK})(?:\s*{_ZONE}(?:\[.*\])?)?)?\s*", re.VERBOSE
)
_TIMED = re.compile(rf"\s*(?:{_CLOCK})\s*", re.VERBOSE)
_MINUTES = re.compile(r"\s*(\d+):(\d\d[.,]\d+)\s*")  # as a spreadsheet shows mm:ss.0
_DAYS = re.compile("%[dDjUWVFxcAau]")  # the codes of strptime that tell a day
_ZONES = {
    zone: hours
    for hours, zones in {
        -8: "PST", -7: "PDT MST", -6: "MDT", -5: "CDT EST", -4: "EDT", 0: "Z UTC GMT WET",
        1: "WEST CET MEZ", 2: "CEST MESZ EET", 3: "EEST", 9: "JST",
    }.items()
    for zone in zones.split()
}  # fmt: skip
_MONTHS = {
    start: number
    for number, starts in enumerate(
        (
            "jan ene gen",
            "feb fév fev",
            "mar mär mrz",
            "apr avr abr",
            "may mai mag",
            "jun juin giu",
            "jul juil lug",
            "aug aoû aou ago",
            "sep set",
            "oct okt ott out",
            "nov",
            "dec dez déc dic",
        ),
        start=1,
    )
    for start in starts.split()
}


def is_stamp(text: str) -> bool:
    """Return whether a text is a date or a time of day.

    Example:
        >>> [is_stamp(t) for t in ("31.01.2024 9:00", "03-Mar-2024", "21:00:48.335", "12", "pump")]
        [True, True, True, False, False]
    """
    if not re.search(r"\d[-/.:\s]*[^\W_]", text):
        return False
    found = _DATED.fullmatch(text)
    if found is None:
        clock = _TIMED.fullmatch(text)
        return bool(_MINUTES.fullmatch(text) or (clock and clock["hour"]))
    if found["compact"]:
        return found["hour"] is not None or found["compact_clock"] is not None
    named = found["named"] or found["name_first"]
    return named is None or _month(named) is not None


def read_dates(texts: pd.Series[Any], name: str, date_format: str | None = None) -> pd.Series[Any]:
    """Return dates, or durations where the texts are times of day or elapsed times.

    Times of day that fall by more than half a day continue on the next day. Of zones that
    differ, all become UTC.

    Args:
        texts: the column.
        name: what it is called in messages.
        date_format: how the texts are written, in the codes of ``strptime``.

    Raises:
        TimeStampError: for a text that is neither (with its row), and for dates of which day and
            month could be exchanged.
    """
    filled = texts.notna() & (texts.astype(str).str.strip() != "")
    given = texts.where(filled, None)
    if not filled.any():
        return pd.to_datetime(given)
    text = given.astype("string").str.strip()
    first = str(text[filled].iloc[0])
    # The format of days leaves the times of day in a column of their own to the rules.
    days_alone = date_format and _DAYS.search(date_format) and _TIMED.fullmatch(first)
    if date_format is not None and not days_alone:
        return _by_format(given, name, date_format)
    if _is_plain(first):
        dates = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
        if (
            dates.notna().equals(filled)
            and not text.str[10:].str.contains(r"[-+A-SU-Za-su-z]").any()
        ):
            return dates.dt.tz_localize(None)
    if "day" in first or re.match(r"P(\d+D)?T", first):
        return _complete(pd.to_timedelta(text, errors="coerce"), given, name)
    if _MINUTES.fullmatch(first):
        text = text.str.replace(_MINUTES, r"0:\1:\2", regex=True)
        first = "0:" + first
    if re.fullmatch(r"\d+:\d\d:\d\d(\.\d+)?", first):
        return _next_day(_complete(pd.to_timedelta(text, errors="coerce"), given, name))
    if _TIMED.fullmatch(first):
        return _next_day(_complete(_clock(text.str.extract(_TIMED)), given, name))
    return _dated(text, given, name)


def _is_plain(text: str) -> bool:
    return re.match(r"\d{4}-\d\d-\d\d(?:$|[T ]\d\d:\d\d)", text) is not None


def _by_format(given: pd.Series[Any], name: str, date_format: str) -> pd.Series[Any]:
    """Read texts as ``date_format`` says."""
    zoned = "%z" in date_format or "%Z" in date_format
    try:
        dates = pd.to_datetime(given, format=date_format, errors="coerce", utc=zoned)
    except ValueError as error:
        raise TimeStampError(
            f"date_format {date_format!r} cannot be used: {error}; write it in the codes of "
            "strptime, like %d/%m/%Y %H:%M:%S"
        ) from None
    if len(bad := np.flatnonzero(np.asarray(dates.isna() & given.notna()))):
        raise TimeStampError(
            f"time column {name!r} has {reprlib.repr(given.iloc[bad[0]])} in row {bad[0]}, which "
            f"is not written as date_format {date_format!r} says"
        )
    if _DAYS.search(date_format):
        return dates
    return _next_day(dates - dates.dt.normalize())


def _complete(read: pd.Series[Any], given: pd.Series[Any], name: str) -> pd.Series[Any]:
    """Raise for the first text that could not be read."""
    if len(bad := np.flatnonzero(np.asarray(read.isna() & given.notna()))):
        raise TimeStampError(
            f"time column {name!r} must hold numbers or dates like 2026-01-31 12:00:00.5, got "
            f"{reprlib.repr(given.iloc[bad[0]])} in row {bad[0]}; if it is a date, say how it is "
            "written with date_format (--date-format), like %d/%m/%Y %H:%M:%S"
        )
    return read


def _numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    return pd.to_numeric(column, errors="coerce").astype("Float64")


def _clock(parts: pd.DataFrame) -> pd.Series[Any]:
    """Return the durations since midnight, missing where there is no time."""
    compact = parts["compact_clock"]
    hour = _numbers(parts["hour"]).fillna(_numbers(compact.str[:2]))
    minute = _numbers(parts["minute"]).fillna(_numbers(compact.str[2:4]))
    second = _numbers(parts["second"]).fillna(_numbers(compact.str[4:])).fillna(0)
    half = parts["half"].str.lower()
    halved = half.notna()
    hour = hour.where(~halved, hour % 12 + (half == "p").fillna(False).astype(int) * 12)
    valid = (minute < 60) & (second < 61) & (~halved | (_numbers(parts["hour"]) <= 12))
    digits = parts["fraction"].fillna(parts["compact_fraction"]).fillna("0").str[:9]
    nanoseconds = _numbers(digits.str.pad(9, "right", "0"))
    whole = (hour * 3600 + minute * 60 + second).where(valid)
    passed: pd.Series[Any] = pd.to_timedelta(
        (whole * 10**9 + nanoseconds).astype("Int64"), unit="ns"
    )
    return passed


def _next_day(clock: pd.Series[Any]) -> pd.Series[Any]:
    """Add a day wherever a time of day starts again after midnight."""
    seconds = clock.dt.total_seconds()
    again = (seconds.ffill().diff() < -_DAY / 2) & (seconds < _DAY)
    continued: pd.Series[Any] = clock + pd.to_timedelta(again.cumsum(), unit="D")
    return continued


def _dated(text: pd.Series[Any], given: pd.Series[Any], name: str) -> pd.Series[Any]:
    """Read dates, with or without a time of day and a zone."""
    first = str(text[given.notna()].iloc[0])
    orders = _by_strptime(text, first) or _by_parts(text, name)
    readings = [dates for dates in orders if not (dates.isna() & given.notna()).any()]
    if not readings:
        return _complete(orders[0], given, name)
    if any(not dates.equals(readings[0]) for dates in readings):
        found = re.search(r"\d([-/.])", first)
        sign = found[1] if found else "/"
        raise TimeStampError(
            f"time column {name!r} has {first!r} in row "
            f"{int(np.flatnonzero(np.asarray(given.notna()))[0])}, and no date in it tells "
            f"whether the day or the month comes first; give date_format (--date-format), like "
            f"%d{sign}%m{sign}%Y %H:%M:%S for the day first"
        )
    return readings[0]


def _by_strptime(text: pd.Series[Any], first: str) -> list[pd.Series[Any]]:
    """Read days and months in numbers in both orders; empty where not all are written alike."""
    found = re.fullmatch(
        r"\d{1,2}([-/.])\d{1,2}\1(\d{4}|\d\d)( \d\d?:\d\d(:\d\d(\.\d+)?)?( ?[AP]M)?)?", first
    )
    if found is None:
        return []
    sign, year, clock, seconds, fraction, half = found.groups()
    time = "" if clock is None else " %I:%M" if half else " %H:%M"
    time += (":%S" if seconds else "") + (".%f" if fraction else "")
    time += "" if half is None else half[:-2] + "%p"
    days = (f"%d{sign}%m{sign}", f"%m{sign}%d{sign}")
    orders = [
        pd.to_datetime(
            text, format=f"{day}{'%Y' if len(year) == 4 else '%y'}{time}", errors="coerce"
        )
        for day in days
    ]
    return orders if any(dates.notna().equals(text.notna()) for dates in orders) else []


def _by_parts(text: pd.Series[Any], name: str) -> list[pd.Series[Any]]:
    """Read dates part by part, with days before months in numbers, and after them."""
    # The pattern of the whole text: extract looks for it anywhere.
    parts = text.str.extract(_DATED).where(text.str.fullmatch(_DATED).fillna(False))
    timed = parts["hour"].notna() | parts["compact_clock"].notna()
    clock = _clock(parts).where(timed, pd.Timedelta(0))
    return [_in_one_zone(day + clock, parts["zone"], name) for day in _calendar(parts)]


def _calendar(parts: pd.DataFrame) -> list[pd.Series[Any]]:
    """Return the days by both orders of day and month in numbers."""
    compact = parts["compact"]
    year = _numbers(parts["year"]).fillna(_numbers(compact.str[:4]))
    for other in ("year_last", "year_named", "year_third"):
        year = year.fillna(_numbers(parts[other]))
    year = year.where(year >= 100, year + 2000 - 100 * (year > 68).fillna(False).astype(int))
    day = _numbers(parts["day"]).fillna(_numbers(compact.str[6:]))
    day = day.fillna(_numbers(parts["day_named"])).fillna(_numbers(parts["day_second"]))
    named = parts["named"].fillna(parts["name_first"])
    month = _numbers(parts["month"]).fillna(_numbers(compact.str[4:6]))
    words = named.fillna(parts["month"].where(month.isna()))
    month = month.fillna(pd.to_numeric(words.map(_month, na_action="ignore")).astype("Float64"))
    one, two = _numbers(parts["one"]), _numbers(parts["two"])
    return [
        pd.to_datetime(
            pd.DataFrame({"year": year, "month": month.fillna(m), "day": day.fillna(d)}).astype(
                "Float64"
            ),
            errors="coerce",
        ).astype("datetime64[ns]")
        for m, d in ((two, one), (one, two))
    ]


def _month(word: object) -> int | None:
    """Return the number of a month by the start of its name."""
    text = str(word).lower().strip(".")
    return next((_MONTHS[text[:n]] for n in (4, 3) if text[:n] in _MONTHS), None)


def _in_one_zone(local: pd.Series[Any], zones: pd.Series[Any], name: str) -> pd.Series[Any]:
    """Return dates in the zone that all have, or in UTC if zones differ."""
    if not zones.notna().any():
        return local
    known = sorted(set(zones.dropna()))
    hours = {z: _offset(z) for z in known}
    if unknown := [z for z, offset in hours.items() if offset is None]:
        raise TimeStampError(
            f"time column {name!r} has the zone {unknown[0]!r}, which is not a known one; write "
            "it as an offset from UTC, like +02:00"
        )
    if (zones.isna() & local.notna()).any():
        row = int(np.flatnonzero(np.asarray(zones.isna() & local.notna()))[0])
        raise TimeStampError(
            f"time column {name!r} has a date without a zone in row {row} and others with one; "
            "write all with a zone or none"
        )
    shift = pd.to_timedelta(zones.map(hours).astype("float64"), unit="h")
    utc = (local - shift).dt.tz_localize("UTC")
    offsets = set(hours.values())
    if offsets == {0} or len(offsets) > 1:
        return utc
    offset = pd.Timedelta(hours=float(offsets.pop() or 0)).to_pytimedelta()
    return utc.dt.tz_convert(timezone(offset))


def _offset(zone: str) -> float | None:
    """Return the hours that a zone is ahead of UTC."""
    if zone in _ZONES:
        return float(_ZONES[zone])
    digits = zone[1:].replace(":", "")
    if not digits.isdigit():
        return None
    return (-1 if zone[0] == "-" else 1) * (int(digits[:2]) + int(digits[2:] or 0) / 60)
