"""The data page: what records look like before any training, on one page of HTML."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sysid.analysis import data_plots, plots, tables
from sysid.analysis.advice import advice
from sysid.analysis.gallery import Drawing, drawing
from sysid.analysis.pages import render, script_data
from sysid.analysis.timeline import channels_timeline
from sysid.data.atomic import write_text
from sysid.data.records import Record, as_records

_POINTS = 400_000  # of all series on a page: 2.1 MB
_TIMELINES = 8
_CHANNELS = 40  # drawn over time, of all records


def write_data_page(
    path: str | Path, records: Record | Iterable[Record], title: str = "Records"
) -> None:
    """Write a page about records: tables, advice, each channel over time, spectra, histograms.

    Args:
        path: the ``.html`` file, which needs no other file and no network.
        records: at least one; all with the same channels.
        title: the page's heading.

    Raises:
        ValueError: if there is no record, or their channels differ.

    Example:
        >>> import sysid
        >>> write_data_page("tanks.html", sysid.generate("cascaded_tanks", 300))
        >>> Path("tanks.html").stat().st_size > 100_000
        True
    """
    known = as_records(records)
    drawn = _drawn(known)
    notes = []
    if len(drawn) < len(known):
        notes.append(
            f"{len(drawn)} of {len(known)} records are drawn, evenly spread over the list; the "
            "tables, spectra and histograms are of all."
        )
    page = render(
        "data.html",
        title=title,
        subtitle=_subtitle(known),
        cards=_cards(known),
        data=tables.record_rows({"": known}),
        channels=_channel_rows(known),
        advice=advice(known),
        timelines=[_timeline(i, r, len(drawn)) for i, r in enumerate(drawn)],
        notes=notes,
        figures=_figures(known),
    )
    write_text(Path(path), page)


def _drawn(records: list[Record]) -> list[Record]:
    """Return the records that are drawn over time: all, or some spread over the list."""
    channels = max(1, records[0].nu + records[0].ny)
    room = max(1, min(_TIMELINES, _CHANNELS // channels))
    if len(records) <= room:
        return records
    return [records[int(i)] for i in np.linspace(0, len(records) - 1, room).round()]


def _subtitle(records: list[Record]) -> str:
    samples, count = sum(len(r) for r in records), len(records)
    nu, ny = records[0].nu, records[0].ny
    channels = f"{nu} input{'s' * (nu != 1)} and {ny} output{'s' * (ny != 1)}"
    return f"{count} record{'s' * (count > 1)}, {samples:,} samples of {channels}"


def _cards(records: list[Record]) -> list[dict[str, Any]]:
    step = records[0].sampling_time
    samples = sum(len(r) for r in records)
    missing = sum(int(np.isnan(b).sum()) for r in records for b in (r.u, r.y))
    values = samples * (records[0].nu + records[0].ny)
    rate = "Time and frequency are in samples." if step is None else f"{1 / step:.4g} Hz"
    longest = max(len(r) for r in records)
    return [
        {
            "where": "samples",
            "big": f"{samples:,}",
            "lines": [f"the longest record has {longest:,}"] if len(records) > 1 else [],
        },
        {
            "where": "sampling time",
            "big": "unknown" if step is None else f"{step:.6g} s",
            "lines": [rate],
        },
        {
            "where": "missing",
            "big": f"{missing / max(values, 1):.2%}",
            "lines": [f"{missing:,} of {values:,} values"],
        },
    ]


def _channel_rows(records: list[Record]) -> list[dict[str, Any]]:
    """Return a row of figures for each channel, over all records."""
    first = records[0]
    rows = []
    for kind, names, units in (
        ("input", first.u_names, first.u_units),
        ("output", first.y_names, first.y_units),
    ):
        for i, (name, unit) in enumerate(zip(names, units, strict=True)):
            x = np.concatenate([(r.u if kind == "input" else r.y)[:, i] for r in records])
            seen = x[~np.isnan(x)]
            figures = (
                (float(seen.min()), float(seen.mean()), float(seen.max()), float(seen.std()))
                if len(seen)
                else (np.nan,) * 4
            )
            rows.append(
                {"channel": name, "unit": unit, "kind": kind}
                | dict(zip(("least", "mean", "largest", "std"), figures, strict=True))
                | {"values": len(np.unique(seen)), "missing": int(np.isnan(x).sum())}
            )
    return rows


def _timeline(number: int, record: Record, count: int) -> dict[str, Any]:
    name = f"timeline-{number}"
    channels = record.nu + record.ny
    data = channels_timeline(name, record, max(1000, _POINTS // (count * channels)))
    caption = f"{record.name or 'record'}: {len(record):,} samples"
    if (size := data["samples_per_point"]) > 1:
        caption += f"; the page holds the smallest and the largest of every {2 * size} samples"
    return {
        "id": name,
        "caption": caption,
        "legend": [],
        "svg": drawing(data_plots.channels(record), caption).svg,
        "json": script_data(data),
        "height": data["height"],
        "worst": False,
    }


def _figures(records: list[Record]) -> list[Drawing]:
    return [
        drawing(
            data_plots.channel_spectra(records),
            "Power spectral density of each channel (Welch, less the mean), the longest "
            "complete stretch of each record.",
        ),
        drawing(plots.histograms(records), "How often each channel takes which value."),
    ]
