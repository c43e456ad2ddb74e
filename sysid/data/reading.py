"""How data files are read: which columns, how the text is laid out, how time runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _option(description: str, **constraints: Any) -> Any:
    """Return a field that may be left out; pydantic checks the constraints in a config."""
    return field(default=None, metadata={"description": description, **constraints})


@dataclass(frozen=True)
class Reading:
    """How to read data files. ``sysid.read``, configs and the command line share these fields.

    The descriptions are the help of the command line and the config reference.
    """

    u: list[str] | None = _option("input columns; without it, those called u, u1, u2, ...")
    y: list[str] | None = _option("output columns; without it, those called y, y1, y2, ...")
    time: str | None = _option(
        "column of time stamps; without it, one whose name or content is time"
    )
    sampling_time: float | None = _option(
        "seconds between samples, for files without time stamps", gt=0, allow_inf_nan=False
    )
