"""The layout of a text table: its separator, where its data begin, its names and units.

It is found from the whole file: the table is the longest run of lines with equally many fields and
with numbers in them, and what stands above it is looked at upwards from there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sysid.data.dates import is_stamp
from sysid.data.readers.cells import decimal_sign, is_missing, is_unit, is_value
from sysid.data.readers.headers import Header, find_header
from sysid.data.readers.lines import BLANKS, Counts, Lines, Mask, is_comment, split

_DELIMITERS = ("\t", ";", ",", "|", BLANKS)
_ROWS = 100  # rows that tell what each column holds
_PROBES = 20  # rows that tell whether a separator cuts out values
_MOST = 0.95  # of the lines have the same number of fields in a plain table
_NUMERIC_RUN = 3  # lines of numbers that are a table, whatever text there is
_FEW = 0.05  # share of the lines that may be numbers in a table of text


@dataclass(frozen=True)
class Layout:
    """How a text table was written.

    Args:
        delimiter: what parts the fields.
        fields: how many fields a line of data has.
        first: index of the first line of data.
        header: the names and units.
        kinds: what each column holds: ``number``, ``stamp``, ``text`` or ``missing``.
        decimal: the sign between whole and fraction.
        begin: index of the line from which on the file is looked at.
        optional: fields at the end that a line need not have.
    """

    delimiter: str
    fields: int
    first: int
    header: Header
    kinds: list[str]
    decimal: str
    begin: int = 0
    optional: int = 0


def find_layout(lines: Lines, header: int | None = None, skip_rows: int = 0) -> Layout:
    """Return how a text table was written.

    Args:
        lines: the lines.
        header: the number of the line with the names, from 1; 0 if there is none.
        skip_rows: how many lines at the top are left out.

    Raises:
        ValueError: if there is no table, or its names are not clear.
    """
    begin = max(skip_rows, header or 0)
    kept = _kept(lines, begin)
    if not len(kept):
        if begin:
            raise ValueError(
                f"it holds no lines with data below line {begin}; it has {len(lines)} lines"
            )
        raise ValueError("it holds no lines with data")
    delimiter, fields, start = _separator(lines, kept)
    regular = kept[lines.fields(delimiter)[kept] == fields]
    body = regular[np.searchsorted(regular, start) :]
    kinds = _kinds(lines, delimiter, fields, _spread(body[len(body) // 3 :], _ROWS))
    first = _first_data(lines, delimiter, kinds, regular, int(kept[0]), header is not None)
    if header is None:
        first = _main_part(lines, delimiter, kinds, kept, first, start)
    found = find_header(lines, delimiter, kinds, first, header, skip_rows)
    decimal = _decimal(lines, delimiter, first, regular)
    return Layout(delimiter, fields, first, found, kinds, decimal, begin)


def _kept(lines: Lines, begin: int) -> Counts:
    """Return the lines from ``begin`` on that are neither empty nor comments."""
    kept = (lines.ends > lines.starts) & ~lines.comments()
    kept[:begin] = False
    found = np.flatnonzero(kept)
    # Lines of blanks alone are few where they are not all there is.
    while len(found) and not lines[found[-1]].strip():
        found = found[:-1]
    return found


def _spread(places: Counts, count: int) -> list[int]:
    """Return at most so many of the places, evenly spread, the last among them."""
    if not len(places):
        return []
    at = np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).astype(int))
    return [int(i) for i in places[at]]


def _separator(lines: Lines, kept: Counts) -> tuple[str, int, int]:
    """Return what parts the fields, how many there are, and a line where the data run."""
    present = [d for d in _DELIMITERS if d == BLANKS or d.encode() in lines.raw]
    for delimiter in present:
        counts = lines.fields(delimiter)[kept]
        usual = int(np.bincount(counts).argmax())
        if delimiter == BLANKS or usual < 2 or (counts == usual).mean() < _MOST:
            continue
        probes = _spread(kept[counts == usual][1:], _PROBES)
        texts = lines.begin_with_letters()
        if len(probes) < _PROBES or (len(texts) and texts[-1] > probes[0]):
            continue
        if _values(lines, probes, delimiter) == 1:
            return delimiter, usual, int(kept[0])
    return _by_runs(lines, kept, present)


def _by_runs(lines: Lines, kept: Counts, delimiters: Sequence[str]) -> tuple[str, int, int]:
    """Return the separator, the fields and the begin of the longest run of consistent lines."""
    every = np.ones(len(kept), bool)
    of_all = {d: _longest_run(lines.fields(d)[kept], every) for d in delimiters}
    runs = {d: _longest_run(lines.fields(d)[kept], lines.numeric()[kept]) for d in delimiters}
    longest, lines_at_most = (max(run[0] for run in r.values()) for r in (runs, of_all))
    if longest < _NUMERIC_RUN and longest <= _FEW * lines_at_most:
        runs = of_all
    best, most = (",", 1, int(kept[0])), (0.0, 0)
    for delimiter, (length, begin, fields) in runs.items():
        run = kept[begin : begin + length]
        probes = _spread(run[len(run) // 3 :], _PROBES)
        score = (length * max(_values(lines, probes, delimiter), 0.01), of_all[delimiter][0])
        if length and score > most:
            best, most = (delimiter, fields, int(run[0])), score
    return best


def _longest_run(counts: Counts, fit: Mask) -> tuple[int, int, int]:
    """Return length, begin and number of fields of the longest run of equal counts above 1."""
    keys = np.where(fit & (counts > 1), counts, 0)
    begins = np.concatenate([[0], np.flatnonzero(np.diff(keys)) + 1])
    lengths = np.diff(np.append(begins, len(keys)))
    lengths[keys[begins] == 0] = 0
    i = int(lengths.argmax())
    return int(lengths[i]), int(begins[i]), int(keys[begins[i]])


def _values(lines: Lines, rows: Sequence[int], delimiter: str) -> float:
    """Return the share of values among what these lines hold."""
    cells = [f for i in rows for f in lines.split(i, delimiter) if not is_missing(f)]
    return sum(map(is_value, cells)) / len(cells) if cells else 0.0


def _kinds(lines: Lines, delimiter: str, fields: int, rows: Sequence[int]) -> list[str]:
    """Return what each column holds."""
    table = [row for i in rows if len(row := lines.split(i, delimiter)) == fields]
    return [_kind([row[j] for row in table]) for j in range(fields)]


def _kind(cells: Sequence[str]) -> str:
    filled = [c for c in cells if not is_missing(c)]
    if not filled:
        return "missing"
    values = [c for c in filled if is_value(c)]
    if 2 * len(values) < len(filled):
        return "text"
    return "stamp" if 2 * sum(map(is_stamp, values)) > len(values) else "number"


def is_data(row: Sequence[str], kinds: Sequence[str]) -> bool:
    """Return whether a row has no text in a column of numbers or stamps."""
    of_values = [c for c, kind in zip(row, kinds, strict=False) if kind in ("number", "stamp")]
    return bool(of_values) and all(is_missing(c) or is_value(c) for c in of_values)


def _first_data(
    lines: Lines, delimiter: str, kinds: list[str], regular: Counts, top: int, named: bool
) -> int:
    """Return the line with the first data; ``top`` is the first line that is no comment."""
    rows = (lines.split(i, delimiter) for i in regular)
    for at, row in enumerate(rows):
        if not is_data(row, kinds) or all(map(is_missing, row)):
            continue
        following = [lines.split(i, delimiter) for i in regular[at + 1 : at + 11]]
        if 2 * sum(is_data(r, kinds) for r in following) < len(following):
            continue
        if not named and _counts_up(row, following):
            return int(regular[at + 1])
        if (
            not named
            and regular[at] == top
            and list(row) == [str(i) for i in range(max(2, len(row)))]
        ):
            raise ValueError(
                f"line {regular[0] + 1} holds {', '.join(row[:3])}, which may be names or the "
                f"first data; give header={regular[0] + 1} if it has the names, or header=0"
            )
        return _with_gaps(lines, delimiter, regular, at, kinds)
    if named:
        return int(regular[0]) if len(regular) else len(lines)
    # Text throughout: the column that is asked for says what is wrong with it.
    return int(regular[1]) if len(regular) > 1 else int(regular[0]) + 1


def _with_gaps(lines: Lines, delimiter: str, regular: Counts, at: int, kinds: Sequence[str]) -> int:
    """Return the first data, with lines above it in which all samples are missing or one is bad."""
    top = at
    while top and all(map(is_missing, lines.split(regular[top - 1], delimiter))):
        top -= 1
    if top == at and at > 1:
        above, names = (lines.split(regular[at - k], delimiter) for k in (1, 2))
        spoilt = any(is_value(c) for c, k in zip(above, kinds, strict=True) if k == "number")
        if (
            spoilt
            and not all(map(is_unit, above))
            and not any(map(is_value, names))
            and regular[at] - regular[at - 2] == 2
        ):
            return int(regular[at - 1])  # a sample that is a word, right below the names
    return int(regular[top if top else at])


def _counts_up(row: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Return whether a row is the names that a table of an array gets: 0, 1, 2, ..."""
    named = list(row[1:] if row[0] == "" else row)
    if named not in ([str(i) for i in range(k, k + len(named))] for k in (0, 1)):
        return False
    if row[0] == "":
        return bool(below) and all(r[0] for r in below)
    return len(below) >= len(named) > 2 and all(
        "." in c or "e" in c.lower() for r in below for c in r
    )


def _main_part(
    lines: Lines, delimiter: str, kinds: list[str], kept: Counts, first: int, start: int
) -> int:
    """Return the first data of the longest run, where lines of text part it from a table above."""
    between = kept[(kept > first) & (kept < start)]
    for i in between[~lines.numeric()[between]][::-1] if len(between) else ():
        row = lines.split(i, delimiter)
        if not is_data(row, kinds) and not any(map(is_value, row)):
            # Names of as many columns begin a table; anything else is a flaw of the one above.
            return int(kept[kept > i][0]) if len(row) == len(kinds) else first
    return first


def _decimal(lines: Lines, delimiter: str, first: int, regular: Counts) -> str:
    """Return the decimal sign, from rows all over the table in which there is a comma."""
    begin = int(lines.starts[first]) if first < len(lines) else len(lines.raw)
    if lines.raw.find(b",", begin) < 0 or (delimiter == "," and lines.raw.find(b'"', begin) < 0):
        return "."
    body = regular[regular >= first]
    counts = lines.fields(",")[body]
    usual = int(counts.min()) if len(counts) else 0
    rows = sorted(
        {
            *_spread(body, _ROWS),
            *_spread(body[counts > usual], _ROWS),
            *_rows_of(lines, b",", begin),
        }
    )
    return decimal_sign([(i, lines.split(i, delimiter)) for i in rows], delimiter)


def _rows_of(lines: Lines, sign: bytes, begin: int) -> Iterator[int]:
    """Yield the lines that hold the first such sign and the last one."""
    for place in (lines.raw.find(sign, begin), lines.raw.rfind(sign)):
        if place >= begin:
            yield int(np.searchsorted(lines.ends, place))


def table_bytes(lines: Lines, layout: Layout) -> tuple[bytes, int]:
    """Return the data as they stand in the file, and how many rows they are.

    Raises:
        ValueError: for a line with fields too few or too many, which pandas fills or cuts, and
            for names that stand again among the data.
    """
    if layout.first >= len(lines):
        return b"", 0
    _refuse_names_again(lines, layout)
    cut = {int(i) + layout.first for i in np.flatnonzero(lines.comments()[layout.first :])}
    if layout.fields > 1:
        counts = lines.fields(layout.delimiter)[layout.first :]
        for i in map(int, np.flatnonzero(counts != layout.fields) + layout.first):
            line = lines[i]
            if not line.strip() or is_comment(line):
                cut.add(i)
            else:
                _check_fields(line, i + 1, layout)
    _refuse_open_quotes(lines, layout, cut)
    if not cut:
        return lines.raw[lines.starts[layout.first] :], len(lines) - layout.first
    edges = [layout.first - 1, *sorted(cut), len(lines)]
    pieces = [
        lines.raw[lines.starts[a + 1] : lines.ends[b - 1]]
        for a, b in itertools.pairwise(edges)
        if b > a + 1
    ]
    return b"\n".join(pieces), len(lines) - layout.first - len(cut)


def _check_fields(line: str, number: int, layout: Layout) -> None:
    fields = len(split(line, layout.delimiter))
    if fields < layout.fields - layout.optional:
        raise ValueError(
            f"line {number} must have {layout.fields} fields, got {fields}; "
            "the file may be cut off there"
        )
    if fields > layout.fields:
        raise ValueError(
            f"line {number} must have {layout.fields} fields, got {fields}; a decimal "
            "comma between commas, perhaps: separate fields with semicolons"
        )


def _refuse_names_again(lines: Lines, layout: Layout) -> None:
    """Raise if the line of names stands in the data again."""
    if (at := layout.header.line) is None:
        return
    names = lines.raw[lines.starts[at] : lines.ends[at]] + b"\n"
    begin, own = int(lines.starts[layout.begin]), int(lines.starts[at])
    place = (
        begin if lines.raw.startswith(names, begin) else lines.raw.find(b"\n" + names, begin) + 1
    )
    if place == own:
        place = lines.raw.find(b"\n" + names, own) + 1
    if place > 0 or (place == begin and own > begin and lines.raw.startswith(names, begin)):
        number = int(np.searchsorted(lines.starts, place)) + 1
        raise ValueError(
            f"lines {min(number, at + 1)} and {max(number, at + 1)} are the same names: the "
            "recording began again there; make a file of each part"
        )


def _refuse_open_quotes(lines: Lines, layout: Layout, cut: set[int]) -> None:
    """Raise for a quote that is not closed in its line: pandas would join the lines after it."""
    if layout.delimiter == BLANKS or b'"' not in lines.raw:
        return
    for i in lines.open_quotes(layout.first, layout.delimiter):
        if i not in cut:
            raise ValueError(f"line {i + 1} must close its quotes, got {lines[i][:40]!r}")
