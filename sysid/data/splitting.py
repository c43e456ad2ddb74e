"""Splits into training and validation: by time with a gap, or by experiment; never shuffled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sysid.data.records import Record, as_records


def split_time(
    records: Record | Iterable[Record], fraction: float, gap: int
) -> tuple[list[Record], list[Record]]:
    """Hold out the last part of each record.

    Args:
        records: the experiments.
        fraction: share of each record that is held out, in (0, 1).
        gap: samples before the held-out part that neither side gets; at least the window or
            the largest lag, so that no validation sample was an input of a training row.

    Returns:
        Training records and validation records.

    Raises:
        ValueError: if a record is too short to be split.

    Example:
        >>> train, valid = split_time(Record(None, range(100)), fraction=0.2, gap=5)
        >>> len(train[0]), len(valid[0])
        (75, 20)
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1, got {fraction}")
    if isinstance(gap, bool) or int(gap) != gap or gap < 0:
        raise ValueError(f"gap must be a whole number of samples, at least 0, got {gap!r}")
    train, valid = [], []
    for record in as_records(records):
        start = len(record) - round(fraction * len(record))
        if start >= len(record) or start - gap < 1:
            raise ValueError(
                f"record {record.name!r} must be long enough to split, got {len(record)} samples "
                f"for fraction {fraction} and a gap of {gap}; name validation records instead"
            )
        train.append(record[: start - gap])
        valid.append(record[start:])
    return train, valid


def split_experiments(
    records: Iterable[Record], valid: Sequence[int | str]
) -> tuple[list[Record], list[Record]]:
    """Hold out whole experiments.

    Args:
        records: the experiments.
        valid: which are held out, by position or by name.

    Returns:
        Training records and validation records, in their order.

    Raises:
        ValueError: if one is not there, or none is left to train on.

    Example:
        >>> runs = [Record(None, [1.0, 2.0], name=name) for name in ("monday", "tuesday", "friday")]
        >>> train, valid = split_experiments(runs, valid=["tuesday"])
        >>> [r.name for r in train], [r.name for r in valid]
        (['monday', 'friday'], ['tuesday'])
    """
    pool = as_records(records)
    names = [r.name for r in pool]
    held: set[int] = set()
    for key in valid:
        if isinstance(key, str):
            if names.count(key) != 1:
                raise ValueError(
                    f"valid must name one record, got {key!r}, which names {names.count(key)} "
                    f"of {names}"
                )
            held.add(names.index(key))
        elif not -len(pool) <= key < len(pool):
            raise ValueError(f"valid must be a position among {len(pool)} records, got {key}")
        else:
            held.add(key % len(pool))
    if not held or len(held) == len(pool):
        raise ValueError(
            f"valid must hold out some records and leave some, got {len(held)} of {len(pool)}"
        )
    return (
        [r for i, r in enumerate(pool) if i not in held],
        [r for i, r in enumerate(pool) if i in held],
    )
