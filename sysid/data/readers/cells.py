"""Cells of a text table: which are values, and numbers with decimal commas, units or separators."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.dates import is_stamp

MISSING = {"", "nan", "na", "n/a", "null", "none", "#n/a", "<na>"}
WITH_DOT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
# Separators of thousands beside which the decimal sign is clear: 1,234.5, 1.234,5, 1'234, 1 234.
_GROUPED = {
    sign: re.compile(rf"[+-]?[1-9]\d{{0,2}}({re.escape(sign)}\d{{3}})+([{point}]\d*)?")
    for sign, point in ((",", "."), (".", ","), ("'", ".,"), ("\u2019", ".,"))
}
_BLANK_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}([ \u00a0\u202f\u2009]\d{3})+([.,]\d*)?")
_WORDS = {"true", "false", "inf", "-inf", "+inf", "infinity", "-infinity"}
_NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?"
_SYMBOL = r"(?:%|\u2030|[°\u00ba]|[A-WYZa-wyz\u00b5\u03bc\u03a9\u2126])"
_MORE = r"[A-Za-z°%\u00b5\u03bc\u03a9\u2126/*\u00b7^ .\u00b2\u00b3-]"
_MEASURED = re.compile(rf"({_NUMBER})\s*({_SYMBOL}(?:{_MORE}|[23](?!\d))*)")
_NO_UNITS = {"am", "pm", "st", "nd", "rd", "th", "e", "a.m.", "p.m."}
_SI = r"(?:da|[yzafpnu\u00b5\u03bcmcdhkMGT])?"
_BASES = (
    "V|A|W|s|m|g|Hz|Pa|bar|N|Nm|J|K|C|F|H|S|T|l|L|rad|mol|cd|lx|lm|eV|Wh|Ah|VA|var|dB|dBm|dBV|cal"
    "|\u03a9|\u2126|[Oo]hms?|[Vv]olts?|[Aa]mperes?|[Aa]mps?|[Ww]atts?|[Ss]ec|[Ss]econds?|[Hh]ertz"
    "|[Mm]et(?:er|re)s?|[Kk]elvin|[Cc]elsius|[Pp]ascals?|[Nn]ewtons?|[Ll]it(?:er|re)s?|[Gg]rams?"
    "|[Jj]oules?|Vpp|Vrms|Arms"
)
_OTHERS = (
    r"%|\u2030|°|°\s?[CFK]|deg\.? ?[CFK]?|degrees?|[Pp]ercent|rpm|RPM|1/min|U/min|min|[Mm]inutes?|h"
    r"|[Hh]ours?|d|[Dd]ays?|t|psi|atm|ppm|ppb|mmHg|inch|in|ft|lb|counts?|bits?|bytes?|samples?|g_n"
)
_UNIT = rf"(?:(?:{_SI}(?:{_BASES})|{_OTHERS})(?:\^?-?[1-4\u00b2\u00b3])?)"
_KNOWN_UNIT = re.compile(rf"(?:1\s*/\s*)?{_UNIT}(?:\s*[/*\u00b7. ]\s*{_UNIT})*")


def is_missing(text: str) -> bool:
    """Return whether a cell stands for a sample that is not there."""
    return text.lower() in MISSING


def is_number(text: str) -> bool:
    """Return whether a cell is a number as it stands, with a point or a comma."""
    return WITH_DOT.fullmatch(text) is not None or WITH_COMMA.fullmatch(text) is not None


def is_value(text: str) -> bool:
    """Return whether a cell is what a sample can be: a number, a date, true or false."""
    return (
        is_number(text)
        or text.lower() in _WORDS
        or is_stamp(text)
        or grouped_by(text) is not None
        or measured(text) is not None
    )


def is_unit(text: str) -> bool:
    """Return whether a text is a unit: in brackets, or one that is known."""
    return (
        text in ("", "-", "1")
        or re.fullmatch(r"[\[(].{1,16}[\])]", text) is not None
        or _KNOWN_UNIT.fullmatch(text) is not None
    )


def measured(text: str) -> tuple[str, str] | None:
    """Return the number and the unit of a cell that has both.

    Example:
        >>> measured("63.7 %"), measured("5V"), measured("10:30")
        (('63.7', '%'), ('5', 'V'), None)
    """
    found = _MEASURED.fullmatch(text)
    if found is None or found[2].lower() in _NO_UNITS:
        return None
    return found[1], found[2].strip()


def grouped_by(text: str) -> str | None:
    """Return the separator of thousands of a number that has one beyond doubt.

    Example:
        >>> grouped_by("1,234.5"), grouped_by("1.234.567"), grouped_by("1,234"), grouped_by("1.5")
        (',', '.', None, None)
    """
    for sign, pattern in _GROUPED.items():
        found = pattern.fullmatch(text)
        if found and (sign in "'\u2019" or found[2] or text.count(sign) > 1):
            return sign
    return " " if _BLANK_GROUPS.fullmatch(text) else None


def numbers(texts: pd.Series[Any], name: str, decimal: str) -> tuple[pd.Series[Any], str]:
    """Turn a column in which pandas found text into numbers where that is clear, with its unit.

    Args:
        texts: the column; what is no number in it stays as it is.
        name: its name, for messages.
        decimal: the decimal sign of the file.

    Returns:
        The column, and the unit that all its cells have.

    Raises:
        ValueError: for cells of several units or decimal signs.
    """
    texts = texts.map(lambda t: t.strip() if isinstance(t, str) else t)
    texts, unit = _without_units(texts, name)
    texts, sign = _without_thousands(texts, decimal)
    if decimal == "," and sign is None:
        texts = _with_points(texts, name)
    filled = texts.notna() & (texts != "")
    converted = pd.to_numeric(texts.where(filled), errors="coerce")
    return (texts if converted[filled].isna().any() else converted), unit


def _without_units(texts: pd.Series[Any], name: str) -> tuple[pd.Series[Any], str]:
    """Take the unit off each cell of a column of numbers with one."""
    found = texts.map(lambda t: measured(t) if isinstance(t, str) else None)
    has = found.notna().to_numpy()
    if not has.any():
        return texts, ""
    filled = texts.notna().to_numpy() & ~texts.isin(["", "-"]).to_numpy()
    plain = filled & ~has & texts.map(_is_plain).to_numpy()
    if has.sum() + plain.sum() < 0.5 * filled.sum():
        return texts, ""  # notes that begin with a number
    first = int(np.flatnonzero(has)[0])
    unit = found.iloc[first][1]
    others = plain | found.map(lambda f: f is not None and f[1] != unit).to_numpy()
    if others.any():
        row = int(np.flatnonzero(others)[0])
        raise ValueError(
            f"column {name!r} has the unit {unit!r} in row {first} ({texts.iloc[first]!r}), but "
            f"{texts.iloc[row]!r} in row {row}; write all its cells in one unit, or without units"
        )
    return texts.where(~has, found.map(lambda f: f[0] if f is not None else None)), unit


def _is_plain(cell: object) -> bool:
    return not isinstance(cell, str) or is_number(cell)


def _without_thousands(texts: pd.Series[Any], decimal: str) -> tuple[pd.Series[Any], str | None]:
    """Take separators off the thousands where one number in the column makes them clear."""
    signs = {grouped_by(t) for t in texts if isinstance(t, str)} - {None}
    if len(signs) != 1:
        return texts, None
    sign = signs.pop()
    point = {",": ".", ".": ","}.get(str(sign), decimal)
    blank = "[ \u00a0\u202f\u2009]" if sign == " " else re.escape(str(sign))
    pattern = re.compile(rf"([+-]?)(\d+|\d{{1,3}}(?:{blank}\d{{3}})+)(?:{re.escape(point)}(\d*))?")

    def plain(cell: object) -> object:
        found = pattern.fullmatch(cell) if isinstance(cell, str) else None
        if found is None:
            return cell
        return f"{found[1]}{re.sub(blank, '', found[2])}.{found[3] or '0'}"

    return texts.map(plain), sign


def _with_points(texts: pd.Series[Any], name: str) -> pd.Series[Any]:
    """Turn the decimal commas of a column in which something is no number into points."""
    for row, text in enumerate(texts):
        if isinstance(text, str) and "." in text and WITH_DOT.fullmatch(text):
            raise ValueError(
                f"column {name!r} must have one decimal sign, got {text!r} in row {row} of a file "
                "with decimal commas; write all numbers with a point"
            )
    return texts.map(
        lambda t: t.replace(",", ".") if isinstance(t, str) and WITH_COMMA.fullmatch(t) else t
    )


def decimal_sign(rows: Sequence[tuple[int, list[str]]], delimiter: str) -> str:
    """Return the sign between whole and fraction in rows, each with the index of its line.

    Raises:
        ValueError: if it is not clear.
    """
    commas = [(i, f) for i, row in rows for f in row if WITH_COMMA.fullmatch(f)]
    if not commas:
        return "."
    if any(grouped_by(f) == "," for _, row in rows for f in row):
        return "."
    line, example = commas[0]
    dots = [(i, f) for i, row in rows for f in row if "." in f and WITH_DOT.fullmatch(f)]
    if dots and not any(grouped_by(f) == "." for _, row in rows for f in row):
        raise ValueError(
            f"it must have one decimal sign, got {example!r} in line {line + 1} and "
            f"{dots[0][1]!r} in line {dots[0][0] + 1}; write all numbers with a point"
        )
    if delimiter == "," and all(THOUSANDS.fullmatch(f) for _, f in commas):
        raise ValueError(
            f"its numbers must be clear, got {example!r} in line {line + 1}, which is one number "
            "or a thousand times as much; write numbers with a point and without separators"
        )
    return ","
