"""The experiments that one file holds: parts that it keeps apart, or numbers in a column."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.columns import unknown_column
from sysid.data.errors import shown
from sysid.data.readers.tables import Table
from sysid.data.reading import Reading

_FEWEST = 2  # samples of an experiment, in the mean


def chosen_part(path: str | Path) -> tuple[Path, str | None]:
    """Return a file and the part of it that ``FILE#PART`` names.

    Example:
        >>> chosen_part("log.xlsx#Run 2")[1]
        'Run 2'
    """
    file, _, part = str(path).rpartition("#")
    if file and not Path(path).exists():
        return Path(file), part
    return Path(path), None


def experiments(table: Table, reading: Reading) -> dict[str, Table]:
    """Return the tables of a file's experiments by their labels; one has an empty label.

    Raises:
        ValueError: if the column of experiments does not number them.
    """
    asked = [*(reading.u or []), *(reading.y or [])]
    if table.experiments and not _has(table, asked):
        found = {label: t for label, t in table.experiments.items() if _has(t, asked)}
        left_out = [label for label in table.experiments if found and label not in found]
        if left_out:
            wanted = shown(asked) or "columns called u or y"
            word = f"{shown(left_out)} left out, without {wanted}"
            found = {k: replace(t, words=(*t.words, word)) for k, t in found.items()}
        if len(found) > 1 and reading.experiment is None:
            return found
        if len(found) == 1:
            (table,) = found.values()
    return {"": table} if reading.experiment is None else _by_number(table, reading)


def only(parts: dict[str, Table], part: str | None, path: Path) -> tuple[str, Table]:
    """Return the one experiment of a file, or the one that is named, and its label.

    Raises:
        ValueError: if there are several, or there is none of this name.
    """
    if part is not None:
        if part not in parts:
            known = shown([label for label in parts if label]) or "none"
            raise ValueError(f"it must hold the part {part!r}, got {known}; choose one of them")
        return part, parts[part]
    if len(parts) > 1:
        first = next(iter(parts))
        raise ValueError(
            f"it holds {len(parts)} experiments, {shown(list(parts))}; read them all with "
            f"sysid.read_many, or one as {path.name}#{first}"
        )
    return next(iter(parts.items()))


def _has(table: Table, asked: Sequence[str]) -> bool:
    """Return whether a table has the columns asked for, or some called u or y."""
    known = [*table.names, *table.aliases]
    if not asked:
        return any(
            name[:1] in ("u", "y") and name[1:].isdigit() | (len(name) == 1) for name in known
        )
    stems = {*known, *(name.rstrip("0123456789") for name in known)}
    words = [
        word.strip() for text in asked for word in ([text] if text in stems else text.split(","))
    ]
    return all(word in stems for word in words)


def _by_number(table: Table, reading: Reading) -> dict[str, Table]:
    """Return a table for each value of the column that numbers the experiments."""
    name = str(reading.experiment)
    table = table.renamed([name])
    if name in table.unusable:
        raise ValueError(f"column {name!r} must {table.unusable[name]}")
    if name not in table.names:
        raise ValueError(unknown_column(name, [*table.names, *table.aliases]))
    labels = table.load([name])[name]
    if len(missing := np.flatnonzero(labels.isna())):
        raise ValueError(f"column {name!r} must number every row, row {missing[0]} has no number")
    codes, values = pd.factorize(labels)
    if _FEWEST * len(values) > len(codes):
        raise ValueError(
            f"column {name!r} must number experiments, got {len(values)} different values in "
            f"{len(codes)} rows"
        )
    rows = [np.flatnonzero(codes == code) for code in range(len(values))]
    if reading.time is None:
        for value, places in zip(values, rows, strict=True):
            if len(again := np.flatnonzero(np.diff(places) > 1)):
                raise ValueError(
                    f"experiment {_label(value)!r} must stand in one piece, it comes back in row "
                    f"{places[again[0] + 1]}; name the column of time stamps, or give the second "
                    "part another number"
                )
    # Each experiment asks for the same columns: the file is read once.
    loaded = functools.lru_cache(maxsize=1)(lambda names: table.load(list(names)))
    offered = [n for n in table.names if n != name]

    def part(places: Any) -> Table:
        return replace(
            table,
            names=offered,
            samples=len(places),
            load=lambda names: loaded(tuple(names)).iloc[places].reset_index(drop=True),
            stored=None,
            experiments={},
        )

    return {_label(v): part(places) for v, places in zip(values, rows, strict=True)}


def _label(value: Any) -> str:
    """Return a number without its fraction where that is zero, and a text as it is."""
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if whole else str(value)
