"""The names and units of a text table, which stand in the lines above its data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from sysid.data.readers.cells import is_number, is_unit, is_value
from sysid.data.readers.lines import BLANKS, Lines, is_comment, split

_LONGEST_UNIT = 16  # characters
_COMMENTS = 3  # lines of comment right above the data that may name the columns
_SEPARATORS = ("\t", ";", ",")
# Names that columns often have, which tell a line of names from one of settings.
_USUAL = re.compile(
    r"(t|time\b.*|u\d*|y\d*|x|x[-_ ]axis|ch(annel)?\W?\w{1,2}|date.*|timestamp)", re.I
)


@dataclass(frozen=True)
class Header:
    """The names and units of columns; ``line`` is the index of the line of names."""

    names: list[str]
    units: list[str] = field(default_factory=list)
    line: int | None = None


def find_header(
    lines: Lines,
    delimiter: str,
    kinds: Sequence[str],
    first: int,
    given: int | None = None,
    skip_rows: int = 0,
) -> Header:
    """Return the names and units above the data that begin in line ``first``.

    Args:
        lines: the lines.
        delimiter: what parts their fields.
        kinds: what each column holds.
        first: index of the first line with data.
        given: number of the line with the names, from 1; 0 for none.
        skip_rows: how many lines at the top are left out.

    Raises:
        ValueError: if it is not clear what the columns are called.
    """
    fields = len(kinds)
    spare = next((i for i, kind in enumerate(kinds[::-1]) if kind != "missing"), 0)
    if given == 0:
        return Header([""] * fields)
    if given is not None:
        return _given_header(lines, delimiter, fields, spare, given - 1, first)
    block, other = _block(lines, delimiter, fields, spare, first, skip_rows)
    if block:
        return _of_block(block, fields)
    if (named := _of_comments(lines, delimiter, fields, first, skip_rows)) is not None:
        return named
    if other is None:
        return Header([""] * fields)
    if (row := _split_otherwise(lines[other], fields, delimiter)) is not None:
        return Header(row, line=other)
    got = len(lines.split(other, delimiter))
    if other > skip_rows and _block(lines, delimiter, fields, spare, other, skip_rows)[0]:
        raise ValueError(
            f"line {other + 1} must have {fields} fields, as the names above it and the lines "
            f"below, got {got}; delete it, or say with header which line has the names"
        )
    raise ValueError(
        f"line {other + 1} must name {fields} columns, as many as the lines below have, got {got}; "
        "say with header which line has the names, 0 for none"
    )


def _given_header(
    lines: Lines, delimiter: str, fields: int, spare: int, line: int, first: int
) -> Header:
    """Return the header whose line of names was given."""
    if line >= len(lines):
        raise ValueError(f"header must be one of its {len(lines)} lines, got {line + 1}")
    text = lines[line].lstrip("#% \t") if is_comment(lines[line]) else lines[line]
    row = _fitted(text, delimiter, fields, spare) or _split_otherwise(text, fields, delimiter)
    if row is None:
        raise ValueError(
            f"line {line + 1} must name {fields} columns, as many as the lines below have, got "
            f"{len(split(text, delimiter))}"
        )
    below = [
        fit
        for i in range(line + 1, first)
        if (fit := _fitted(lines[i], delimiter, fields, spare)) and lines[i].strip()
    ]
    units = below[0] if below and all(map(is_unit, below[0])) else []
    return Header(row, _plain(units), line)


def _block(
    lines: Lines, delimiter: str, fields: int, spare: int, first: int, begin: int
) -> tuple[list[tuple[int, list[str]]], int | None]:
    """Return the lines right above the data with as many fields, and the text line above them."""
    block: list[tuple[int, list[str]]] = []
    for i in range(min(first, len(lines)) - 1, begin - 1, -1):
        line = lines[i]
        if is_comment(line):
            continue
        if not line.strip():
            if block:
                break
            continue
        row = _fitted(line, delimiter, fields, spare)
        if row is None:
            return block[::-1], i
        if block and all(is_value(c) or not c for c in row):
            break  # the end of another table
        block.append((i, row))
    return block[::-1], None


def _fitted(line: str, delimiter: str, fields: int, spare: int) -> list[str] | None:
    """Return a name for each column; the last ``spare`` columns are empty and may have none."""
    row = split(line, delimiter)
    if delimiter == BLANKS and "," in line and len(listed := split(line, ",")) == fields:
        row = listed
    while len(row) > fields and not row[-1]:
        row.pop()
    row += [""] * (fields - len(row) if fields - spare <= len(row) else 0)
    return row if len(row) == fields else None


def _of_block(block: list[tuple[int, list[str]]], fields: int) -> Header:
    """Tell names from units and settings in the lines above the data."""
    line, last = block[-1]
    if last[0].endswith(":") and not any(last[1:]):
        return Header([""] * fields)  # Data:
    if len(block) == 1:
        return Header(last, line=line)
    above_line, above = block[-2]
    if all(map(is_unit, last)) and any(last) and not _is_setting(above):
        return Header(above, _plain(last), above_line)
    if _is_setting(above) or (any(map(_is_usual, last)) and not any(map(_is_usual, above))):
        return Header(last, line=line)
    if len(block) == 2:
        for unit in last:
            if unit.startswith("#") or len(unit) > _LONGEST_UNIT:
                raise ValueError(
                    f"line {line + 1} must hold units or numbers, got {unit!r}; "
                    "leave a missing sample empty"
                )
        return Header(above, _plain(last), above_line)
    if fields == 2 and not any(all(map(is_unit, row)) for _, row in block):
        return Header(last, line=line)  # keys with a value each, and then the names
    raise ValueError(
        f"lines {block[0][0] + 1} to {line + 1} must be names and units, got {len(block)} lines of "
        "text above the numbers; say with header which line has the names"
    )


def _is_setting(row: Sequence[str]) -> bool:
    """Return whether a row is a key and what it is set to, and not names."""
    filled = [c for c in row if c]
    return (
        row[0].endswith(":")
        or (not row[0] and len(filled) < len(row) - 1)
        or len(set(filled)) < len(filled)
        or any(is_value(c) and not (is_number(c) and len(c) < 3) for c in filled)
        or len(filled) < min(len(row), max(2, len(row) - 1))
    )


def _is_usual(name: str) -> bool:
    return _USUAL.fullmatch(name.split(" ")[0].split("(")[0].split("[")[0]) is not None


def _plain(units: Sequence[str]) -> list[str]:
    """Return units without brackets; the key of a line of units is none."""
    keys = ("-", "1", "unit", "units", "[unit]")
    return ["" if u.lower() in keys else u.strip("[]() ") for u in units]


def _of_comments(
    lines: Lines, delimiter: str, fields: int, first: int, begin: int
) -> Header | None:
    """Return the names in the last comments above the data, if they name all columns."""
    found: list[tuple[int, str]] = []
    for i in range(min(first, len(lines)) - 1, begin - 1, -1):
        line = lines[i]
        if is_comment(line):
            found.append((i, line.strip().lstrip("#%/ \t")))
        elif line.strip():
            break
        if len(found) == _COMMENTS:
            break
    rows = [_split_otherwise(text, fields, delimiter) for _, text in found]
    last, above = ([*rows, None, None])[:2]
    if last and above and all(map(is_unit, last)) and any(last):
        return Header(above, _plain(last), found[1][0])
    if last:
        return Header(last, line=found[0][0])
    if above and len(found[0][1].split()) == 1:
        return Header([found[0][1], *above[1:]], line=found[1][0])  # time has a line of its own
    return None


def _split_otherwise(text: str, fields: int, delimiter: str) -> list[str] | None:
    """Return the fields of a line of names whose separator may not be that of the data."""
    of_blanks = (*_SEPARATORS, r"\s{2,}", BLANKS)
    for sign in of_blanks if delimiter == BLANKS else (delimiter, *_SEPARATORS):
        row = (
            [f.strip().strip('"') for f in re.split(sign, text.strip())]
            if sign == r"\s{2,}"
            else split(text, sign)
        )
        if len(row) == fields and not all(map(is_value, row)) and any(row):
            return row
    return None
