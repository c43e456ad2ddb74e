"""Stability of a free run: where it leaves all bounds."""

from __future__ import annotations

import numpy as np

from sysid.data.records import Array, Record


class UnstableError(ArithmeticError):
    """A free run that exceeds all bounds, where a bounded one is needed."""


def first_unbounded(y_hat: Array) -> tuple[int, int] | None:
    """Return sample and output where a free run is not finite for the first time.

    Args:
        y_hat: simulated outputs, ``(N, ny)``.
    """
    places = np.argwhere(~np.isfinite(y_hat))
    return (int(places[0, 0]), int(places[0, 1])) if len(places) else None


def describe_unbounded(record: Record, y_names: tuple[str, ...], y_hat: Array) -> str | None:
    """Say in one line where the free run of a record exceeds all bounds, if it does."""
    place = first_unbounded(y_hat)
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
