"""Text tables: how a file was written (encoding, separators, header), and its columns."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from sysid.data.reading import Reading
from sysid.data.tables import Table, distinct, repeated

_HEAD = 1 << 16  # bytes looked at first
_LONGEST_HEAD = 1 << 25
_LINES = 100  # lines that tell how the file was written
_BLANKS = r"\s+"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MISSING = {"", "nan", "na", "n/a", "null", "none", "#n/a", "<na>"}
_WITH_DOT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
# A comment, which is neither a spreadsheet's error (#REF!) nor a unit (%;V).
_COMMENT = re.compile(r"\s*(#(?!REF!|DIV/0!|VALUE!|NAME\?|NUM!|NULL!|N/A)|%[ A-Za-z])")
_DATE = re.compile(r"\d{4}-\d\d-\d\d.*")
_WORDS = {"true", "false", "inf", "-inf", "+inf", "infinity", "-infinity"}


@dataclass(frozen=True)
class _Format:
    """How a text table was written.

    ``first`` is the number of lines before the first data, ``fields`` how many each of them has.
    """

    encoding: str
    delimiter: str
    decimal: str
    first: int
    fields: int
    names: list[str]
    units: dict[str, str]
    repeated: dict[str, str]

    def opened(self, path: Path) -> IO[str]:
        """Return the file at its first data."""
        f = path.open(encoding=self.encoding, newline="")
        for _ in range(self.first):
            f.readline()
        return f


def open_text(path: Path, reading: Reading) -> Table:
    """Return the columns of a text file.

    Read are UTF-8 (with a byte-order mark or without), UTF-16 with one and Windows-1252; fields
    between commas, semicolons, tabs or blanks; numbers with a point or a comma; and above the
    data lines of comment (``#`` or ``%``), a line of names and one of units.

    Raises:
        ValueError: if the file is not such a table, with the line where it is not.
    """
    encoding = _encoding(path)
    lines, mean_length = _head(path, encoding)
    found = _format(lines, encoding)
    samples = max(1, int(path.stat().st_size / mean_length))
    return Table(
        found.names,
        samples,
        lambda names: _load(path, found, names),
        found.units,
        unusable=found.repeated,
    )


def _encoding(path: Path) -> str:
    with path.open("rb") as f:
        head = f.read(_HEAD)
        for bom, name in _BOMS:
            if head.startswith(bom):
                return name
        piece = head
        while piece:
            if b"\0" in piece:
                raise ValueError("it is not text: it holds NUL bytes")
            piece = f.read(1 << 24)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _head(path: Path, encoding: str) -> tuple[list[str], float]:
    """Return the first lines and the mean bytes of a line."""
    size = _HEAD
    while True:
        with path.open("rb") as f:
            raw = f.read(size)
            whole = not f.read(1)
        text = codecs.getincrementaldecoder(encoding)().decode(raw, final=whole)
        lines = re.split(r"\r\n|\n|\r", text)
        if whole or len(lines) > _LINES:
            break
        if size >= _LONGEST_HEAD:
            if len(lines) > 2:
                break
            raise ValueError(f"its lines are longer than {size} bytes")
        size *= 4
    if not whole:
        lines.pop()  # cut in its middle
    return lines[:_LINES], len(raw) / max(len(lines), 1)


def _format(lines: Sequence[str], encoding: str) -> _Format:
    kept = [i for i, line in enumerate(lines) if line.strip() and not _COMMENT.match(line)]
    if not kept:
        raise ValueError("it holds no lines with data")
    delimiter, fields = _delimiter([lines[i] for i in kept])
    rows = {i: _split(lines[i], delimiter) for i in kept}
    first = _first_data(rows)
    above = [i for i in kept if i < first]
    names, units = _header(lines, rows, above, first, delimiter, fields)
    decimal = _decimal({i: row for i, row in rows.items() if i >= first}, delimiter)
    repetitions, names = repeated(names), distinct(names)
    return _Format(
        encoding,
        delimiter,
        decimal,
        min(first, len(lines)),
        fields,
        names,
        {name: unit for name, unit in zip(names, units, strict=False) if unit},
        repetitions,
    )


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == _BLANKS:
        return [f.strip('"') for f in line.split()]
    row = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
    return [f.strip() for f in row]


def _delimiter(lines: Sequence[str]) -> tuple[str, int]:
    """Return the separator that cuts most lines into equally many fields, and how many."""
    best, most = (",", 1), 0
    for delimiter in ("\t", ";", ",", _BLANKS):
        counts = Counter(len(_split(line, delimiter)) for line in lines)
        fields, agreeing = max(counts.items(), key=lambda item: (item[1], item[0]))
        if fields > 1 and agreeing > most:
            best, most = (delimiter, fields), agreeing
    return best


def _is_value(text: str) -> bool:
    """Return whether a field is what a sample can be: a number, a date, true or false."""
    return (
        _WITH_DOT.fullmatch(text) is not None
        or _WITH_COMMA.fullmatch(text) is not None
        or _DATE.fullmatch(text) is not None
        or text.lower() in _WORDS
    )


def _first_data(rows: dict[int, list[str]]) -> int:
    """Return the line with the first data: half of what stands in it is values."""
    order = list(rows)
    for i in order:
        filled = [f for f in rows[i] if f.lower() not in _MISSING]
        if not filled:
            if i != order[0]:
                return i
        elif 2 * sum(map(_is_value, filled)) >= len(filled):
            return i
    # Text throughout: the column that is asked for says what is wrong with it.
    return order[1] if len(order) > 1 else order[0] + 1


def _header(
    lines: Sequence[str],
    rows: dict[int, list[str]],
    above: list[int],
    first: int,
    delimiter: str,
    fields: int,
) -> tuple[list[str], list[str]]:
    """Return the names and units that stand above the data."""
    fitting = [i for i in above if len(rows[i]) == fields]
    data = [row for i, row in rows.items() if i >= first]
    if not fitting and above and data and all(len(r) == fields and not r[-1] for r in data):
        # Each line of data ends in a separator, and that of the names does not.
        fitting = [i for i in above if len(rows[i]) == fields - 1]
    if not fitting:
        comments = [
            _split(line.lstrip("#% \t"), delimiter)
            for line in lines[:first]
            if _COMMENT.match(line)
        ]
        if not above and comments and len(comments[-1]) == fields:
            return comments[-1], []
        if above:
            raise ValueError(
                f"line {above[-1] + 1} must name {fields} columns, as many as the lines below "
                f"have, got {len(rows[above[-1]])}"
            )
        raise ValueError(
            f"line {first + 1} must name the columns, got {', '.join(rows[first][:3])}; "
            "add a first line with names"
        )
    if len(fitting) > 2:
        raise ValueError(
            f"lines {fitting[0] + 1} to {fitting[-1] + 1} must be names and units, got "
            f"{len(fitting)} lines of text above the numbers; delete the others"
        )
    if fitting != above[-len(fitting) :]:
        raise ValueError(
            f"line {above[-1] + 1} must have {fields} fields, got {len(rows[above[-1]])}"
        )
    names = rows[fitting[0]]
    units = rows[fitting[1]] if len(fitting) == 2 else []
    for unit in units:
        if unit.startswith("#") or len(unit) > 16:
            raise ValueError(
                f"line {fitting[1] + 1} must hold units or numbers, got {unit!r}; "
                "leave a missing sample empty"
            )
    names = names + [""] * (fields - len(names))
    return names, ["" if u in ("-", "1") else u.strip("[]() ") for u in units]


def _decimal(rows: dict[int, list[str]], delimiter: str) -> str:
    """Return the sign between whole and fraction in these rows."""
    commas = [(i, f) for i, row in rows.items() for f in row if _WITH_COMMA.fullmatch(f)]
    if not commas:
        return "."
    line, example = commas[0]
    dots = [(i, f) for i, row in rows.items() for f in row if "." in f and _WITH_DOT.fullmatch(f)]
    if dots:
        raise ValueError(
            f"it must have one decimal sign, got {example!r} in line {line + 1} and "
            f"{dots[0][1]!r} in line {dots[0][0] + 1}; write all numbers with a point"
        )
    if delimiter == "," and all(_THOUSANDS.fullmatch(f) for _, f in commas):
        raise ValueError(
            f"its numbers must be clear, got {example!r} in line {line + 1}, which is one number "
            "or a thousand times as much; write numbers with a point and without separators"
        )
    return ","


def _load(path: Path, found: _Format, names: Sequence[str]) -> pd.DataFrame:
    columns = sorted({found.names.index(n) for n in names})
    _check_lines(path, found)
    with found.opened(path) as f:
        frame = pd.read_csv(
            f,
            sep=found.delimiter,
            decimal=found.decimal,
            header=None,
            names=list(range(found.fields)),
            usecols=columns,
            index_col=False,
            skipinitialspace=True,
            # In a file of one column, an empty line is a missing sample.
            skip_blank_lines=found.fields > 1,
            low_memory=False,
        )
    if found.fields == 1:
        last = np.flatnonzero(frame[0].notna())
        frame = frame.iloc[: last[-1] + 1 if len(last) else 0]
    frame = frame.rename(columns=dict(enumerate(found.names)))
    if found.decimal == ",":
        for name in frame.select_dtypes(exclude="number"):
            frame[name] = _with_points(frame[name], str(name))
    return frame


def _with_points(texts: pd.Series[Any], name: str) -> pd.Series[Any]:
    """Turn the decimal commas of a column in which something is no number into points."""
    for row, text in enumerate(texts):
        if isinstance(text, str) and "." in text and _WITH_DOT.fullmatch(text):
            raise ValueError(
                f"column {name!r} must have one decimal sign, got {text!r} in row {row} of a file "
                "with decimal commas; write all numbers with a point"
            )
    return texts.map(
        lambda t: t.replace(",", ".") if isinstance(t, str) and _WITH_COMMA.fullmatch(t) else t
    )


def _check_lines(path: Path, found: _Format) -> None:
    """Raise for a line with fields too few or too many, which pandas fills or cuts."""
    if found.fields == 1:
        return
    with found.opened(path) as f:
        for number, line in enumerate(f, start=found.first + 1):
            plain = found.delimiter != _BLANKS and '"' not in line
            fits = plain and line.count(found.delimiter) == found.fields - 1
            if fits or not line.strip():
                continue
            fields = len(_split(line, found.delimiter))
            if fields < found.fields:
                raise ValueError(
                    f"line {number} must have {found.fields} fields, got {fields}; "
                    "the file may be cut off there"
                )
            if fields > found.fields:
                raise ValueError(
                    f"line {number} must have {found.fields} fields, got {fields}; a decimal "
                    "comma between commas, perhaps: separate fields with semicolons"
                )
