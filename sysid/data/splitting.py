"""Splits into training and validation: by time with a gap, by experiment or by range of outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sysid.data.records import Array, Record, as_records


def split_time(
    records: Record | Iterable[Record], fraction: float, gap: int, blocks: int = 1
) -> tuple[list[Record], list[Record]]:
    """Hold out the last part of each record, or of each of several equal blocks of it.

    Args:
        records: the experiments.
        fraction: share of each record that is held out, in (0, 1).
        gap: samples beside a held-out part that neither side gets; at least the window or
            the largest lag, so that no validation sample was an input of a training row.
        blocks: parts that a record is cut into, one after the other, of each of which the end
            is held out: one part of a long record is easy or hard by chance.

    Returns:
        Training records and validation records.

    Raises:
        ValueError: if a record is too short to be split.

    Example:
        >>> train, valid = split_time(Record(None, range(100)), fraction=0.2, gap=5)
        >>> len(train[0]), len(valid[0])
        (75, 20)
        >>> train, valid = split_time(Record(None, range(100)), fraction=0.2, gap=5, blocks=2)
        >>> [len(r) for r in train], [len(r) for r in valid]
        ([35, 30], [10, 10])
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must be between 0 and 1, got {fraction}")
    if isinstance(gap, bool) or int(gap) != gap or gap < 0:
        raise ValueError(f"gap must be a whole number of samples, at least 0, got {gap!r}")
    if isinstance(blocks, bool) or int(blocks) != blocks or blocks < 1:
        raise ValueError(f"blocks must be a whole number of at least 1, got {blocks!r}")
    train, valid = [], []
    for record in as_records(records):
        for block in range(blocks):
            first, end = (len(record) * k // blocks for k in (block, block + 1))
            start = end - round(fraction * (end - first))
            first += gap if block else 0
            if start >= end or start - gap <= first:
                several = f" in each of {blocks} blocks" if blocks > 1 else ""
                raise ValueError(
                    f"record {record.name!r} must be long enough to split, got {len(record)} "
                    f"samples for fraction {fraction}{several} and a gap of {gap}; name "
                    "validation records instead"
                )
            train.append(record[first : start - gap])
            valid.append(record[start:end])
    return train, valid


def with_complete_inputs(record: Record, longer_than: int = 0) -> list[Record]:
    """Cut a record at its missing inputs, as a simulation needs them all.

    Args:
        record: the experiment.
        longer_than: samples that a piece has to have more than; shorter ones are left out.
    """
    missing = np.isnan(record.u).any(axis=1)
    if not missing.any():
        return [record]
    edges = np.flatnonzero(np.diff(np.concatenate([[True], missing, [True]]).astype(np.int8)))
    return [record[a:b] for a, b in edges.reshape(-1, 2) if b - a > longer_than]


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


def split_range(
    records: Record | Iterable[Record], share: float, shortest: int
) -> tuple[list[Record], list[Record]]:
    """Hold out the outputs beyond a range, to see what a model makes of what it never saw.

    Train on the first list, simulate the second and score it: of several models, the one with the
    smallest error there is the one to trust beyond the data, trained again on all of them.

    Args:
        records: the experiments.
        share: of the largest distance of each output from its mean, in (0, 1): within it is the
            range.
        shortest: samples of the shortest training record, at least 1; a NARX starts from measured
            samples, as many as its largest lag.

    Returns:
        Training records, the stretches in which all outputs are within the range, and validation
        records, whole but for their outputs: of these only the first ``n_init``, which a
        simulation starts from, and those beyond the range are left; the others are NaN, as for
        missing samples.

    Raises:
        ValueError: if no stretch is long enough.

    Example:
        >>> level = Record(None, [0.0, 1.0, -1.0, 4.0, 0.0, -4.0, 2.0, -2.0], name="level")
        >>> train, valid = split_range(level, share=0.6, shortest=2)
        >>> [r.y[:, 0].tolist() for r in train]
        [[0.0, 1.0, -1.0], [2.0, -2.0]]
        >>> valid[0].y[:, 0].tolist()
        [nan, nan, nan, 4.0, nan, -4.0, nan, nan]
    """
    if not 0 < share < 1:
        raise ValueError(f"share must be between 0 and 1, got {share}")
    pool = as_records(records)
    outputs = np.concatenate([r.y for r in pool])
    middle = np.nanmean(outputs, axis=0)
    limit = share * np.nanmax(np.abs(outputs - middle), axis=0)
    train, valid = [], []
    for record in pool:
        beyond = (np.abs(record.y - middle) > limit).any(axis=1)
        train += [record[a:b] for a, b in _stretches(~beyond) if b - a >= shortest]
        if beyond[record.n_init :].any():
            kept = beyond | (np.arange(len(record)) < record.n_init)
            valid.append(record.replace(y=np.where(kept[:, None], record.y, np.nan)))
    if not train:
        raise ValueError(f"shortest must leave a stretch within the range, got {shortest} samples")
    return train, valid


def _stretches(inside: Array) -> list[tuple[int, int]]:
    """Return where each run of true values begins and ends."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
