"""Tables with uneven time stamps, or with channels of several rates, as they are read."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from sysid.data.columns import Array, column
from sysid.data.reading import Reading
from sysid.data.resampling import checked_step, held, on_grid
from sysid.data.stamps import TimeColumn

_LOG = logging.getLogger(__name__)


def put_on_grid(
    frame: pd.DataFrame,
    u: Sequence[str],
    y: Sequence[str],
    time: TimeColumn,
    reading: Reading,
    label: str,
) -> tuple[pd.DataFrame, float | None]:
    """Return a table with a row each sampling time, and that time; what was done is said.

    Args:
        frame: the table as read.
        u: input columns.
        y: output columns.
        time: its time stamps, which increase.
        reading: how it is read; ``resample`` is the step, or ``"auto"``.
        label: what the table is called where something is said about it.

    Raises:
        ValueError: for a sampling time beside the step.
    """
    if reading.sampling_time is not None:
        raise ValueError(
            "sampling_time and resample are both given, and the time stamps are uneven; "
            "leave sampling_time out"
        )
    step = checked_step(reading.resample or "auto")
    done = on_grid(time.seconds, _block(frame, u), _block(frame, y), step)
    _LOG.warning("%s: %s", label, done.said)
    return pd.DataFrame(np.hstack([done.u, done.y]), columns=[*u, *y]), done.step


def with_held_inputs(frame: pd.DataFrame, u: Sequence[str]) -> pd.DataFrame:
    """Return a table with inputs held between their samples, where these are every so many rows.

    Args:
        frame: the table as read.
        u: input columns.
    """
    return frame.assign(**dict(zip(u, held(_block(frame, u)).T, strict=True)))


def _block(frame: pd.DataFrame, names: Sequence[str]) -> Array:
    """Return columns as numbers, ``(N, columns)``."""
    return np.column_stack([np.empty((len(frame), 0)), *(column(frame, n) for n in names)])
