"""Text tables: how a file was written is found out, and its columns are read."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from sysid.data.readers.cells import numbers
from sysid.data.readers.dialects import Plain, beside, plain
from sysid.data.readers.headers import Header
from sysid.data.readers.layout import Layout, find_layout, table_bytes
from sysid.data.readers.lines import read_lines
from sysid.data.readers.long_form import Load, parse_pivot, pivoted, refuse_long_form, time_like
from sysid.data.readers.steps import stated_step, stated_units
from sysid.data.readers.tables import Table, distinct, repeated
from sysid.data.reading import Reading


def open_text(path: Path, reading: Reading) -> Table:
    """Return the columns of a text file.

    Read are UTF-8 (with a byte-order mark or without), UTF-16 with one and Windows-1252, also
    packed with gzip; fields between commas, semicolons, tabs, bars or blanks; numbers with a point
    or a comma; and above the data a preamble of any length, a line of names and one of units.

    Raises:
        ValueError: if the file is not such a table, with the line where it is not.
    """
    lines = read_lines(path)
    _refuse_other_texts(lines.raw)
    form = plain(lines, reading.header)
    header = 0 if form.names is not None else reading.header
    layout = find_layout(form.lines, header, reading.skip_rows or 0)
    if not any(layout.header.names) and form.names is None:
        settings = beside(form.lines, layout.first, layout.delimiter, layout.kinds)
        form = settings or form
    if form.names is not None:
        layout = replace(layout, header=Header(form.names))
    preamble = (
        layout.delimiter,
        layout.first if layout.header.line is None else layout.header.line,
        reading.skip_rows or 0,
    )
    if form.step is None:
        form = replace(form, step=stated_step(lines, *preamble))
    units = dict(zip(layout.header.names[1:], stated_units(lines, *preamble), strict=False))
    if not layout.header.units:
        form = replace(form, units={**units, **form.units})
    return _table(form, layout, reading)


def _refuse_other_texts(raw: bytes) -> None:
    """Raise for text that is no table."""
    top = raw[:200].lstrip()
    if top.startswith((b"<?xml", b"<!DOCTYPE", b"<html", b"<HTML")):
        raise ValueError("it is XML or HTML, not a table; export it as CSV")
    if top[:1] in (b"{", b"[") and raw.strip()[-1:] in (b"}", b"]") and raw.count(b"\n") < 2:
        raise ValueError("it is JSON, not a table; write it as CSV, with a column a signal")


def _table(form: Plain, layout: Layout, reading: Reading) -> Table:
    """Return the columns of a table whose layout is known."""
    header = layout.header
    names = distinct(header.names)
    units = {n: u for n, u in zip(names, header.units, strict=False) if u}
    units |= {n: u for n, u in form.units.items() if u}
    checked = functools.cache(lambda: table_bytes(form.lines, layout))

    def load(asked: Sequence[str]) -> pd.DataFrame:
        frame = _read(*checked(), layout, names, asked, units)
        for name, (start, step) in form.counters.items():
            if name in frame and pd.api.types.is_numeric_dtype(frame[name]):
                frame[name] = start + step * frame[name]
        return frame

    def load_channels(asked: Sequence[str]) -> pd.DataFrame:
        _refuse_two_clocks(load, asked, form)
        return load(asked)

    table = Table(
        [n for n in names if n not in form.unusable],
        len(form.lines) - layout.first,
        load_channels,
        units,
        unusable={**repeated(header.names), **form.unusable},
        step=form.step,
        refuse=lambda: refuse_long_form(load, names, layout.kinds),
    )
    if reading.pivot is None:
        return table
    tag, value = parse_pivot(reading.pivot, names)
    stamps = time_like(names, layout.kinds)
    found, rows, load_wide = pivoted(load, tag, value, reading.time, stamps)
    return replace(
        table, names=found, samples=rows, load=load_wide, unusable={}, refuse=lambda: None
    )


def _read(
    raw: bytes,
    samples: int,
    layout: Layout,
    names: list[str],
    asked: Sequence[str],
    units: dict[str, str],
) -> pd.DataFrame:
    """Read columns with pandas; ``units`` takes those that stand in their cells."""
    if not samples:
        raise ValueError("file must hold samples, got none")
    frame = pd.read_csv(
        io.BytesIO(raw),
        sep=layout.delimiter,
        decimal=layout.decimal,
        header=None,
        names=list(range(layout.fields)),
        usecols=sorted({names.index(n) for n in asked}),
        index_col=False,
        skipinitialspace=True,
        # In a file of one column, an empty line is a missing sample.
        skip_blank_lines=layout.fields > 1,
        low_memory=False,
    )
    if layout.fields == 1:
        last = np.flatnonzero(frame[0].notna())
        frame = frame.iloc[: last[-1] + 1 if len(last) else 0]
    elif len(frame) != samples:
        raise ValueError(
            f"it must have {samples} rows, got {len(frame)}; look for quotes that are not closed"
        )
    frame = frame.rename(columns=dict(enumerate(names)))
    for name in frame.select_dtypes(exclude=["number", "bool"]):
        frame[name], unit = numbers(frame[name], str(name), layout.decimal)
        if unit:
            units[str(name)] = unit
    return frame


def _refuse_two_clocks(load: Load, asked: Sequence[str], form: Plain) -> None:
    """Raise if channels that are asked for were sampled at times of their own."""
    clocks = list(dict.fromkeys(form.clocks[n] for n in asked if n in form.clocks))
    if len(clocks) < 2:
        return
    stamps = load(clocks)
    for other in clocks[1:]:
        differing = np.flatnonzero((stamps[other] != stamps[clocks[0]]).to_numpy())
        if len(differing):
            raise ValueError(
                f"columns {clocks[0]!r} and {other!r} must have the same times, they differ in row "
                f"{differing[0]}; read the channels from files of their own"
            )
