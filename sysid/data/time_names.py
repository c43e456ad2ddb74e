"""Which columns are time by their names, and in which unit."""

from __future__ import annotations

import re
from enum import IntEnum

from sysid.data.errors import TimeStampError

_UNITS = {
    1e-12: "ps picosecond picoseconds",
    1e-9: "ns nsec nsecs nano nanos nanosec nanosecond nanoseconds nanosekunden",
    1e-6: "us µs usec µsec usecs micro micros microsec microsecs microsecond microseconds "
    "mikrosekunden microsecondes",
    1e-3: "ms msec msecs milli millis millisec millisecs millisecond milliseconds millisekunde "
    "millisekunden milliseconde millisecondes milisegundos",
    1.0: "s sec secs second seconds sekunde sekunden sek seconde secondes segundo segundos secondi",
    60.0: "min mins minute minutes minuten minutos",
    3600.0: "h hr hrs hour hours std stunde stunden heures horas",
    86400.0: "d day days tag tage tagen jour jours dia dias",
    604800.0: "week weeks woche wochen",
}
SECONDS = {word: factor for factor, words in _UNITS.items() for word in words.split()}
_SHOWN = "ns, us, ms, s, min, h, days"


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Columns that hold time by these words alone; those of the second line also have other meanings.
_NAMES = _set(
    "time times timestamp timestamps timestmp datetime date dates uptime zeit zeiten "
    "zeitstempel zeitpunkt datum uhrzeit messzeit laufzeit systemzeit temps horodatage tiempo "
    "fecha tijd tijdstip czas elapsed millis micros nanos stamp stamps tstamp elapsedtime "
    "systemtime systime testtime simtime unixtime localtime walltime gpstime rostime utctime "
    "recordtime"
)
_DOUBTFUL = _set("clock epoch ts utc hora heure tempo tid aika runtime")
# In the singular they are parts of a date, one column each.
_SINGULAR = _set("second minute hour day sekunde stunde tag seconde segundo")
_QUALIFIERS = _set(
    "elapsed total relative rel abs absolute system sys local utc gmt cet cest mez mesz est "
    "edt unix epoch posix since start started from in of the begin beginning log logger "
    "logged logging record recording recorded measurement measured meas measure messung test "
    "sim simulation gps cpu pc plc device host server board ros header headers field fields "
    "value values data x axis iso iso8601 string str text hh mm ss hhmmss yyyy yy dd hms uhr "
    "at created event receive received source experiment run wall real clock format tz "
    "timezone zone date time timestamp excel serial matlab datenum vom der seit ab und and or "
    "y m column index0 zeit rfc3339 ymd dmy mdy"
)
# Words of counters and of signals that are measured in units of time.
_NOT_TIME = _set(
    "index idx sample samples sampling count counter number no nr seq step steps row id k n "
    "constant const konstante constante dead delay rise settling response cycle remaining "
    "left until out on off delta diff per lag life lead factor ratio saving integral period "
    "duration error limit between to lapse frame"
)
_NOT_UNITS = _set(
    "tick ticks jiffies cycles counts frames months month years year monate jahre mois"
)
COUNTERS = _set("k n i j nr no index idx sample samples row rows id seq number count counter")


class Rank(IntEnum):
    """How sure a name is that its column is time."""

    NONE = 0
    LIKELY = 1  # if its values run in one direction, or are dates
    CERTAIN = 2


def words_of(text: str) -> list[str]:
    """Return the words of a name in lower case: ``timeMs`` and ``time_ms`` have two.

    Example:
        >>> words_of("Elapsed-timeMs (since start)")
        ['elapsed', 'time', 'ms', 'since', 'start']
    """
    parted = re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])", " ", text.replace("\u03bc", "\u00b5"))
    return re.findall(r"[^\W_]+", parted.lower())


def unit_seconds(unit: str, name: str) -> float:
    """Return the seconds of a unit of time, which may have a number before it.

    Raises:
        TimeStampError: for a word that is none.

    Example:
        >>> unit_seconds("ms", "t"), unit_seconds("0.1 s", "t"), unit_seconds("Hours", "t")
        (0.001, 0.1, 3600.0)
    """
    found = re.fullmatch(
        r"(?P<many>\d*\.?\d+(?:e-?\d+)?)?\s*\*?\s*(?P<word>[^\W\d_]+)\.?", unit.strip().lower()
    )
    word = found["word"].replace("\u03bc", "\u00b5") if found else ""
    if found is None or word not in SECONDS:
        raise TimeStampError(
            f"time column {name!r} has the unit {unit!r}, which is not a known unit of time "
            f"({_SHOWN}); correct the unit in the file, or give sampling_time and "
            "time='none', which ignores the column"
        )
    return float(found["many"] or 1) * SECONDS[word]


def unit_of(name: str) -> str | None:
    """Return the unit that a column's name gives, known or not; ``None`` where it gives none.

    Example:
        >>> [unit_of(n) for n in ("t [ms]", "Time/mins", "Time (UTC)", "Time (furlongs)")]
        ['ms', 'mins', None, 'furlongs']
    """
    body, inside = _parts(name)
    if inside is not None and (unit := unit_in(inside)) is not None:
        return unit
    words = words_of(body)
    units = [w for i, w in enumerate(words) if _is_unit(w, i, words)]
    return units[-1] if len(set(units)) == 1 else None


def rank(name: str, unit: str = "") -> Rank:
    """Return whether a column is time by its name.

    Args:
        name: the column's name.
        unit: the unit that the file gives for the column elsewhere.

    Example:
        >>> [rank(n).name for n in ("Zeit (h)", "clock", "Temperature", "time_constant")]
        ['CERTAIN', 'LIKELY', 'NONE', 'NONE']
    """
    body, inside = _parts(name)
    inside = unit or inside
    words = words_of(body)
    timed = inside is not None and (unit_in(inside) or "").strip(". ") in SECONDS
    foreign = inside is not None and unit_in(inside) is not None and not timed
    if not words or set(words) & _NOT_TIME:
        return Rank.NONE
    if words[0] == "t":
        return _rank_of_t(body, words[1:], timed, foreign)
    if words == ["x", "value"] and not foreign:
        return Rank.CERTAIN
    if words in (["x"], ["x", "axis"]):
        return Rank.CERTAIN if timed else Rank.NONE
    known = _NAMES | _DOUBTFUL
    others = [w for w in words if w not in known | _QUALIFIERS | SECONDS.keys() | _NOT_UNITS]
    if set(words) & _NAMES:
        return Rank.LIKELY if others else Rank.CERTAIN
    if set(words) & _DOUBTFUL:
        return Rank.NONE if others or foreign else Rank.LIKELY
    if not others and any(w in SECONDS and len(w) > 1 and w != "min" for w in words):
        return Rank.NONE if set(words) <= _SINGULAR else Rank.CERTAIN
    return Rank.NONE


def _rank_of_t(body: str, rest: list[str], timed: bool, foreign: bool) -> Rank:
    """Rank ``t``, which is time, or the temperature of something (``t_in``, ``t_min``)."""
    rest = [w for w in rest if w not in ("in", "rel", "abs")] or ([""] if rest else [])
    is_small = "T" not in body
    if foreign:
        return Rank.NONE
    if not rest:
        return Rank.CERTAIN if timed or is_small else Rank.NONE
    if not all(w in SECONDS for w in rest):
        return Rank.NONE
    if rest[-1] not in ("s", "h", "d", "min"):
        return Rank.CERTAIN
    return Rank.LIKELY if is_small else Rank.NONE


def _parts(name: str) -> tuple[str, str | None]:
    """Return a name, and what stands in brackets or after a separator at its end."""
    name = name.strip()
    found = re.fullmatch(r"(.*?)\s*[\[({<]\s*([^\])}>]*?)\s*[\])}>]?\s*", name)
    if found is None:
        found = re.fullmatch(r"(.+?)\s*(?:[/,;:|]|\s-)\s*([^/,;:|]+)", name)
        timed = found and {"t", *_NAMES}.intersection(words_of(found[1]))
        if found and not timed and unit_in(found[2]) not in SECONDS:  # a path: vehicle/time
            return name.replace("/", " "), None
    return (found[1], found[2]) if found else (name, None)


def unit_in(text: str) -> str | None:
    """Return the unit in a text that is meant to hold one, or ``None`` for dates and the like."""
    words = words_of(text)
    if units := [w for w in words if w in SECONDS and (len(w) > 1 or len(words) == 1)]:
        number = re.match(r"\s*\d*\.?\d+\s*", text)
        return text.strip().lower() if number else units[-1] if len(set(units)) == 1 else None
    known = _NAMES | _QUALIFIERS | _DOUBTFUL
    of_length = words in (["m"], ["mm"])  # which mean months and minutes in hh:mm:ss
    if all(w in known or w.isdigit() for w in words) and not of_length:
        return None
    return text.strip()


def _is_unit(word: str, place: int, words: list[str]) -> bool:
    """Return whether a word of a name is a unit; short ones are at its end."""
    if word in _NOT_UNITS:
        return True
    last = place == len(words) - 1 and place > 0
    return word in SECONDS and (last or (len(word) > 1 and word != "min"))
