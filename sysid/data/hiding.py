"""Hidden outputs: records from which a model learns to tell an output from all the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from sysid.data.records import Array, Record, as_records


def hide_outputs(
    records: Record | Iterable[Record],
    share: float = 0.2,
    *,
    length: int | None = None,
    copies: int = 1,
    seed: int = 0,
) -> list[Record]:
    """Return records on which a smoother is trained: measured outputs go in, some are asked for.

    In each copy another random share of the measured outputs is hidden. The inputs are those of
    the record and, for each output, the line through what is seen of it (straight between two
    seen values, flat before the first and after the last), the line's step from the sample
    before, and 1 or 0 for seen or not. The outputs are what has to be added to the line at the
    hidden samples, and missing elsewhere. A model that is trained on them, with
    ``loss="full_sequence"``, is what ``sysid.smooth`` wants.

    Args:
        records: measured experiments; outputs may be missing, inputs may not.
        share: of the measured outputs that is hidden, in (0, 1).
        length: samples of the pieces that records are cut to; ``None``: whole records.
        copies: of each record, with other outputs hidden in each.
        seed: of the choice.

    Raises:
        ValueError: if a number is out of its range, or a record has no measured output.

    Example:
        >>> record = Record([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 9.0])
        >>> (hidden,) = hide_outputs(record, 0.25, seed=1)
        >>> hidden.u_names
        ('u1', 'y1 line', 'y1 step', 'y1 seen')
        >>> hidden.y.T  # the third is hidden: the line through 6 and 9 says 7.5
        array([[ nan,  nan, -0.5,  nan]])
    """
    if not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1, got {share}")
    for name, value in (("length", length), ("copies", copies)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    rng = np.random.default_rng(seed)
    out = []
    for record in as_records(records):
        for _ in range(copies):
            for piece in _pieces(record, length):
                measured = ~np.isnan(piece.y)
                hidden = (rng.random(piece.y.shape) < share) & measured
                if (measured & ~hidden).any(axis=0).all() and hidden.any():
                    out.append(seen_record(piece, measured & ~hidden, hidden)[0])
    if not out:
        raise ValueError(
            "records must have measured outputs to see and to hide in every channel, got none; "
            "use longer records or pieces, or another share"
        )
    return out


def seen_record(
    record: Record, seen: NDArray[np.bool_], wanted: NDArray[np.bool_]
) -> tuple[Record, Array]:
    """Return the record that a smoother is fed with, and the line that its outputs add to.

    Args:
        record: a measured experiment.
        seen: ``(N, ny)``: which outputs go in; at least one of each channel.
        wanted: ``(N, ny)``: which outputs are asked for; the others are missing.
    """
    k = np.arange(len(record))
    line = np.column_stack(
        [np.interp(k, k[seen[:, i]], record.y[seen[:, i], i]) for i in range(record.ny)]
    )
    step = np.diff(line, axis=0, prepend=line[:1])
    u_names, y_names = _smoother_names(record.u_names, record.y_names)
    fed = Record(
        np.hstack([record.u, line, step, seen]),
        np.where(wanted, record.y - line, np.nan),
        record.sampling_time,
        name=record.name,
        u_names=u_names,
        y_names=y_names,
        u_units=(*record.u_units, *record.y_units, *record.y_units, *("",) * record.ny),
        y_units=record.y_units,
    )
    return fed, line


def measured_channels(
    u_names: tuple[str, ...], y_names: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return the inputs and outputs of the records that a smoother is for.

    Args:
        u_names: a model's inputs.
        y_names: a model's outputs.

    Returns:
        Names of inputs and of outputs; ``None`` if the model is no smoother.
    """
    u = u_names[: max(len(u_names) - 3 * len(y_names), 0)]
    y = tuple(name.removesuffix(_CORRECTION) for name in y_names)
    return (u, y) if _smoother_names(u, y) == (u_names, y_names) else None


_CORRECTION = " correction"


def _smoother_names(
    u_names: Sequence[str], y_names: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what the inputs and outputs of a smoother are called."""
    added = [f"{y} {what}" for what in ("line", "step", "seen") for y in y_names]
    return (*u_names, *added), tuple(f"{y}{_CORRECTION}" for y in y_names)


def _pieces(record: Record, length: int | None) -> list[Record]:
    """Cut a record into pieces of one length, the last of which may reach back into another."""
    n = len(record)
    if length is None or n <= length:
        return [record]
    starts = [*range(0, n - length, length), n - length]
    return [record[start : start + length] for start in starts]
