"""Stability of a free run: where it leaves all bounds."""

from __future__ import annotations

import numpy as np

from sysid.data.records import Array, Record

# A free run that is so many times as far from the mean as any measured sample is no model of it.
_BOUND = 1e3


class UnstableError(ArithmeticError):
    """A free run that exceeds all bounds, where a bounded one is needed."""


def first_unbounded(y_hat: Array, y: Array | None = None) -> tuple[int, int] | None:
    """Return sample and output where a free run exceeds all bounds for the first time.

    Args:
        y_hat: simulated outputs, ``(N, ny)``; NaN where nothing is said.
        y: measured ones, ``(N, ny)``. With them, a thousand times their largest distance from
            their mean is a bound; without them, what the floating-point numbers hold.
    """
    outside = np.isinf(y_hat)
    if y is not None and np.isfinite(y).any(axis=0).all():
        mean = np.nanmean(y, axis=0)
        farthest = np.nanmax(np.abs(y - mean), axis=0)
        with np.errstate(invalid="ignore"):
            outside |= np.abs(y_hat - mean) > _BOUND * np.where(farthest > 0, farthest, np.inf)
    places = np.argwhere(outside)
    return (int(places[0, 0]), int(places[0, 1])) if len(places) else None


def describe_unbounded(record: Record, y_names: tuple[str, ...], y_hat: Array) -> str | None:
    """Say in one line where the free run of a record exceeds all bounds, if it does."""
    place = first_unbounded(y_hat, record.y if record.ny else None)
    if place is None:
        return None
    k, output = place
    return (
        f"the free run of record {record.name!r} is unstable: output {y_names[output]!r} exceeds "
        f"all bounds at sample {k}"
    )


def refuse_unbounded(record: Record, y_names: tuple[str, ...], y_hat: Array) -> None:
    """Raise if a free run exceeds all bounds.

    Raises:
        UnstableError: with record, output and sample.
    """
    if (message := describe_unbounded(record, y_names, y_hat)) is not None:
        raise UnstableError(
            f"{message}; train the model on its simulation error (loss: subsequence)"
        )
