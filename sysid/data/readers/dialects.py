"""Files of instruments and programs whose tables have a form of their own, made plain tables.

Each function takes the lines of a file and gives them back as a table that any other file could
hold; a line keeps its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from sysid.data.readers.cells import is_value
from sysid.data.readers.lines import Lines, is_comment, split

_END_OF_HEADER = "***End_of_Header***"
_SERIAL = re.compile(r"\d\d:\d\d:\d\d\.\d{3} -> ")
_SAMPLE = 20  # lines that tell whether each value has a label
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_VALUE = (
    rf"(?:{_NUMBER}(?:\s?(?:%|°?[A-Za-z]{{1,4}}(?:/[a-z]+)?))?(?=[\s,;|}}\]\"]|$)"
    r"|(?:[Nn]a[Nn]|inf|[Tt]rue|[Ff]alse|null)(?=[\s,;|}\"]|$))"
)
_LEAD = r"[\d.:TZ+-]+(?=[\s,;|])"
_LABEL = r"[^\W\d][\w %°/().\[\]-]*?"
_PAIR = re.compile(rf'[\s,;|]*"?({_LABEL})"?\s*[:=]\s*"?({_VALUE})"?')


@dataclass(frozen=True)
class Plain:
    """A plain table, and what its form said beside it.

    Args:
        lines: the lines of the table; others are empty.
        names: the columns, where they stand in no line of their own.
        units: units of columns by their names.
        step: seconds between samples, and the words for where that stands.
        unusable: columns that cannot be read, with the rule they break.
        counters: columns that count samples, with the time of sample 0 and the step in seconds.
        clocks: channels with a time column of their own, by name.
    """

    lines: Lines
    names: list[str] | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    step: tuple[float, str] | None = None
    unusable: Mapping[str, str] = field(default_factory=dict)
    counters: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    clocks: Mapping[str, str] = field(default_factory=dict)


def plain(lines: Lines, header: int | None) -> Plain:
    """Return a file as a plain table; ``header`` is the line of names that was asked for."""
    top = lines[0] if len(lines) else ""
    if top.startswith("LabVIEW Measurement"):
        return _labview(lines, header)
    if top.replace('"', "").startswith("TOA5,"):
        units = re.sub(r'"(TS|RN)"', '""', lines[2]) if len(lines) > 3 else ""
        return Plain(_rewritten(lines, {0: "", 2: units, 3: ""}))
    if re.match(r"X,.*Start,Increment,?\s*$", top):
        return _rigol(lines)
    if found := re.search(r",?\s*t0\s*=\s*[^,]+,\s*tInc\s*=\s*([^,s]+)s?,?\s*$", top):
        step = (float(found[1]), "tInc in line 1")
        return Plain(_rewritten(lines, {0: top[: found.start()]}), step=step)
    if re.match(r"#(datatype|group|default),|,result,table", top):
        return Plain(_one_header(lines))
    return _labelled(_without_arrows(lines))


def _rewritten(lines: Lines, changed: Mapping[int, str]) -> Lines:
    """Return the lines with some of them replaced."""
    pieces, last = [], 0
    for i in sorted(k for k in changed if k < len(lines)):
        pieces += [lines.raw[last : lines.starts[i]], changed[i].encode()]
        last = int(lines.ends[i])
    return Lines.of(b"".join([*pieces, lines.raw[last:]]))


def _labview(lines: Lines, header: int | None) -> Plain:
    """Return the segment of a LabVIEW measurement file as a table."""
    ends = [
        int(np.searchsorted(lines.ends, place.start()))
        for place in re.finditer(re.escape(_END_OF_HEADER).encode(), lines.raw)
    ]
    tops = ends[1:]  # the first one ends the header of the file
    if not tops:
        raise ValueError(f"it must have two lines {_END_OF_HEADER}, got {len(ends)}")
    names_at = [t + 1 for t in tops]
    if header is None and len(tops) > 1:
        raise ValueError(
            f"it holds {len(tops)} segments, with names in lines "
            f"{', '.join(str(i + 1) for i in names_at)}; say with header which one to read"
        )
    if header is not None and header - 1 not in names_at:
        raise ValueError(
            f"header must be a line of names, {' or '.join(str(i + 1) for i in names_at)}, "
            f"got {header}"
        )
    at = names_at[0] if header is None else header - 1
    segment = names_at.index(at)
    if at >= len(lines):
        raise ValueError(f"the file ends after line {at}, before any names")
    settings = _settings(lines, range(ends[segment] + 1, at - 1))
    stop = len(lines)
    if segment + 1 < len(names_at):
        stop = next(
            i
            for i in range(at + 1, len(lines))
            if lines[i].split("\t")[0] in ("Channels", "Samples")
        )
    separator = "," if b"\nSeparator,Comma" in lines.raw[: lines.ends[ends[0]]] else "\t"
    return _segment(lines, at, stop, separator, settings)


def _settings(lines: Lines, where: Iterable[int]) -> dict[str, tuple[int, list[str]]]:
    """Return the keys in lines of a header, each with the index of its line and its values."""
    found = {}
    for i in where:
        key, *values = re.split(
            r"[\t,](?!\d)" if "\t" not in lines[i] else r"\t", lines[i].rstrip()
        )
        found[key] = (i, [v.strip() for v in values])
    return found


def _segment(
    lines: Lines,
    at: int,
    stop: int,
    separator: str,
    settings: Mapping[str, tuple[int, list[str]]],
) -> Plain:
    names = split(lines[at], separator)
    counts = lines.fields(separator)[at + 1 : stop]
    filled = counts[(lines.ends > lines.starts)[at + 1 : stop]]
    changed = dict.fromkeys([*range(at), *range(stop, len(lines))], "")
    if names[-1] == "Comment" and len(filled) and np.median(filled) == len(names) - 1:
        # The column of comments is there in the rows alone that have one.
        names = names[:-1]
        for i in map(int, np.flatnonzero(counts == len(names) + 1) + at + 1):
            changed[i] = lines[i].rpartition(separator)[0]
    channels = [n for n in names if n not in ("X_Value", "Comment")]
    clocks: dict[str, str] = {}
    last = ""
    for j, name in enumerate(names):
        if name == "X_Value":
            following = names[j + 1] if j + 1 < len(names) else ""
            last = names[j] = name if not clocks and not last else f"X_Value of {following}"
        elif name != "Comment" and last:
            clocks[name] = last
    changed[at] = separator.join(names)
    unusable = {}
    body = [lines.split(i, separator) for i in range(at + 1, min(stop, at + 30))]
    if names[0] == "X_Value" and not any(row and row[0] for row in body):
        unusable["X_Value"] = "have time stamps, but is empty; leave time out, as Delta_X tells it"
        clocks = {}
    units = dict(zip(channels, settings.get("Y_Unit_Label", (0, []))[1], strict=False))
    in_time = set(settings.get("X_Dimension", (0, ["Time"]))[1]) <= {"Time", ""}
    if in_time:
        units |= dict.fromkeys((n for n in names if n.startswith("X_Value")), "s")
    return Plain(
        _rewritten(lines, changed),
        units=units,
        step=_delta(settings) if in_time else None,
        unusable=unusable,
        clocks=clocks if len(set(clocks.values())) > 1 else {},
    )


def _delta(settings: Mapping[str, tuple[int, list[str]]]) -> tuple[float, str] | None:
    line, texts = settings.get("Delta_X", (0, []))
    steps = {float(t.replace(",", ".")) for t in texts if t}
    if len(steps) > 1:
        raise ValueError(
            f"line {line + 1} must have one Delta_X for all channels, got "
            f"{', '.join(f'{s:g}' for s in sorted(steps))}; read channels of one rate from a file"
        )
    return (steps.pop(), f"Delta_X in line {line + 1}") if steps else None


def _rigol(lines: Lines) -> Plain:
    """Return the table of a Rigol oscilloscope: time is counted in steps named in the header."""
    names, values = (split(lines[i], ",") if len(lines) > i else [] for i in (0, 1))
    count = names.index("Start")
    units = dict(zip(names[1:count], values[1:count], strict=False))
    try:
        start, increment = (float(v) for v in values[count : count + 2])
    except ValueError:
        raise ValueError(
            f"line 2 must have the start and the increment, got {', '.join(values)}"
        ) from None
    counted = values[0] == "Sequence"
    changed = {0: ",".join([*names[:count], ""]), 1: ""}
    if len(lines) > 2 and len(split(lines[2], ",")) == count:
        changed[0] = ",".join(names[:count])
    return Plain(
        _rewritten(lines, changed),
        units={"X": "s"} | units,
        step=(increment, "Increment in line 1"),
        counters={"X": (start, increment)} if counted else {},
    )


def _one_header(lines: Lines) -> Lines:
    """Leave out the names that InfluxDB repeats above each of its tables."""
    first = next((i for i in range(len(lines)) if lines[i].strip() and lines[i][0] != "#"), None)
    if first is None:
        return lines
    names = re.escape(lines.raw[lines.starts[first] : lines.ends[first]])
    again = re.finditer(rb"(?m)^" + names + rb"$", lines.raw[lines.ends[first] :])
    places = [int(lines.ends[first]) + found.start() for found in again]
    return _rewritten(lines, {int(np.searchsorted(lines.starts, p)): "" for p in places})


def _without_arrows(lines: Lines) -> Lines:
    """Make the time that a serial monitor puts before each line a field of the line."""
    if not _SERIAL.match(lines[0] if len(lines) else ""):
        return lines
    changed = {}
    for i in range(len(lines)):
        if found := _SERIAL.match(lines[i]):
            rest = lines[i][found.end() :]
            sign = next((s for s in ",;\t" if s in rest), " " if " " in rest.strip() else ",")
            stamp = lines[i][: found.end() - 4] if re.search(r"\d", rest) else "clock"
            changed[i] = stamp + sign + rest.strip()
    return _rewritten(lines, changed)


def _labels(line: str) -> tuple[bool, tuple[str, ...]] | None:
    """Return whether a value stands before the labelled ones, and the labels; None without."""
    text = line.strip().strip("{}")
    lead = re.match(_LEAD, text)
    at = lead.end() if lead else 0
    names = []
    while found := _PAIR.match(text, at):
        names.append(found[1].strip())
        at = found.end()
    if not names or text[at:].strip(" \t,;|"):
        return None
    return lead is not None, tuple(names)


def _labelled(lines: Lines) -> Plain:
    """Return a table from lines in which each value has its label: ``pwm:162,temp:0.0``."""
    if b":" not in lines.raw and b"=" not in lines.raw:
        return Plain(lines)
    filled = [int(i) for i in np.flatnonzero(lines.ends > lines.starts)]
    at = np.linspace(len(filled) // 2, len(filled) - 1, min(_SAMPLE, len(filled))).astype(int)
    found = [_labels(lines[filled[i]]) for i in np.unique(at)]
    usual = max(set(found), key=found.count) if found else None
    if usual is None or 2 * found.count(usual) < len(found) or len(set(usual[1])) < len(usual[1]):
        return Plain(lines)
    lead, names = usual
    pattern = re.compile(
        r"\s*\{?\s*"
        + (rf"({_LEAD})[\s,;|]+" if lead else "")
        + r"[\s,;|]*".join(rf'"?{re.escape(n)}"?\s*[:=]\s*"?({_VALUE}|)"?' for n in names)
        + r"[\s,;|]*\}?\s*"
    )
    changed, first = {}, None
    for i in filled:
        if row := pattern.fullmatch(lines[i]):
            first = i if first is None else first
            changed[i] = "\t".join(row.groups())
        elif first is None:
            changed[i] = ""
        elif not is_comment(lines[i]) and lines[i].strip():
            raise ValueError(
                f"line {i + 1} must have a value for each of {', '.join(names)}, got "
                f"{lines[i].strip()[:60]!r}"
            )
    columns = ([""] if lead else []) + list(names)
    if len(columns) == 1:
        return Plain(lines) if len(filled) < 3 else Plain(_rewritten(lines, changed), columns)
    return Plain(_rewritten(lines, changed), columns)


def beside(lines: Lines, first: int, delimiter: str, kinds: list[str]) -> Plain | None:
    """Return the names that a Tektronix TDS puts in columns beside the first rows of data."""
    row = lines.split(first, delimiter)
    starts = [
        j
        for j, kind in enumerate(kinds[:-1])
        if kind == "missing" and kinds[j + 1] == "missing" and row[j] and not is_value(row[j])
    ]
    if not starts:
        return None
    rows = [lines.split(i, delimiter) for i in range(first, min(first + 40, len(lines)))]
    names, units = [""] * len(kinds), {}
    step = None
    for begin, end in zip(starts, [*starts[1:], len(kinds)], strict=True):
        settings = {r[begin].rstrip(":"): r[begin + 1] for r in rows if len(r) == len(kinds)}
        columns = [j for j in range(begin + 2, end) if kinds[j] == "number"]
        if len(columns) != 2 or not settings.get("Source"):
            return None
        time = "Time" if begin == starts[0] else f"Time of {settings['Source']}"
        for j, name, key in zip(columns, (time, settings["Source"]), ("Horizontal", "Vertical"),
                                strict=True):  # fmt: skip
            names[j] = name
            units[name] = settings.get(f"{key} Units", "")
        if interval := settings.get("Sample Interval"):
            line = next(i for i, r in enumerate(rows) if r[begin].startswith("Sample Interval"))
            step = (float(interval), f"Sample Interval in line {first + line + 1}")
    return replace(Plain(lines, names), units=units, step=step)
