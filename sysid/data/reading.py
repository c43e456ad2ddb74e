"""How data files are read: which columns, how the text is laid out, how time runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _option(word: str, description: str, **constraints: Any) -> Any:
    """Return a field that may be left out.

    Args:
        word: stands for the value in the help of the command line.
        description: help of the command line and of the config reference.
        **constraints: checked by pydantic in a config.
    """
    known = {"word": word, "description": description, "constraints": constraints}
    return field(default=None, metadata=known)


@dataclass(frozen=True)
class Reading:
    """How to read data files. ``sysid.read``, configs and the command line share these fields.

    The descriptions are the help of the command line and the config reference.
    """

    u: list[str] | None = _option(
        "COLUMN", "input columns; by default those called u, u1, u2 and so on"
    )
    y: list[str] | None = _option(
        "COLUMN", "output columns; by default those called y, y1, y2 and so on"
    )
    time: str | None = _option(
        "COLUMN",
        "column of time stamps; by default one whose name or content is time; none ignores such "
        "a column",
    )
    sampling_time: float | None = _option(
        "SECONDS",
        "seconds between samples, for files without time stamps",
        gt=0,
        allow_inf_nan=False,
    )
    header: int | None = _option(
        "LINE", "line with the column names in a text file, from 1; 0 if it has none", ge=0
    )
    skip_rows: int | None = _option("LINES", "lines to leave out at the top of a text file", ge=0)
    pivot: str | None = _option(
        "TAG,VALUE",
        "for a text file of long form: the column that names the signal of each row, and the one "
        "that holds its values",
    )
    experiment: str | None = _option(
        "COLUMN", "column that numbers the experiments of a file; each becomes a record"
    )
    date_format: str | None = _option(
        "FORMAT",
        "how dates and times are written, in the codes of strptime, like %d/%m/%Y %H:%M:%S; "
        "by default as they show",
    )
    resample: str | None = _option(
        "auto|SECONDS",
        "step in seconds that the samples are brought to, or auto: uneven time stamps onto a grid "
        "of their usual step",
        coerce_numbers_to_str=True,
    )
    join: bool | None = _option(
        "",
        "the files are one experiment: their channels are put on the grid of the fastest, inputs "
        "held between samples, outputs missing there",
    )
