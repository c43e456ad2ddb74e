"""Parquet files that are larger than memory, as memory-mapped records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.columns import column, unknown_column
from sysid.data.errors import TimeStampError
from sysid.data.readers.arrays import stored_record
from sysid.data.readers.tables import StoredRecord
from sysid.data.records import Array, Record
from sysid.data.stamps import Stamps, time_column

_NOTHING = StoredRecord(
    name="", sampling_time=None, u_names=[], y_names=[], u_units=[], y_units=[], n_init=0
)


def map_parquet(
    path: str | Path,
    folder: str | Path,
    u: Sequence[str] = (),
    y: Sequence[str] = (),
    time: str | None = None,
    sampling_time: float | None = None,
) -> Record:
    """Return the record of a Parquet file that is larger than memory.

    Row group by row group, the columns are written as they are to ``u.f64`` and ``y.f64`` in
    ``folder``, and the record is a memory map of these: random windows of a compressed file
    would decompress a row group each. The files are the caller's to delete.

    Args:
        path: a ``.parquet`` file.
        folder: an empty or new folder on a disk with room for 8 bytes a value.
        u: input columns; as stored, for a file that ``sysid.write`` wrote, if neither is given.
        y: output columns.
        time: column of time stamps, in uniform steps over the whole file.
        sampling_time: seconds between samples, where there is no ``time``.

    Raises:
        ValueError: if the folder is not empty, or for columns as in ``sysid.read``.

    Example:
        >>> from sysid import write
        >>> write(Record([1.0, 2.0], [3.0, 4.0], 0.5, name="tank"), "tank.parquet")
        >>> record = map_parquet("tank.parquet", "mapped")
        >>> record.on_disk, record.u_names
        (True, ('u1',))
    """
    import pyarrow.parquet as pq

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(f"folder must be empty, got {folder}; choose a new one")
    file = pq.ParquetFile(path)
    stored = stored_record(file) or _NOTHING
    if not u and not y:
        u, y = stored.u_names, stored.y_names
    known = file.schema_arrow.names
    for name in (*u, *y, *([time] if time else [])):
        if name not in known:
            raise ValueError(unknown_column(name, known))
    step, stamps = _write_groups(file, folder, {"u": u, "y": y}, time)
    n = file.metadata.num_rows
    units = stored.units
    return Record(
        _mapped(folder / "u.f64", n, len(u)),
        _mapped(folder / "y.f64", n, len(y)),
        step or sampling_time or stored.sampling_time,
        name=stored.name or Path(path).stem,
        u_names=u,
        y_names=y,
        u_units=[units.get(c, "") for c in u],
        y_units=[units.get(c, "") for c in y],
        n_init=stored.n_init,
        stamps=stamps or (stored.stamps.stamps() if stored.stamps else None),
    )


def _write_groups(
    file: Any, folder: Path, columns: dict[str, Sequence[str]], time: str | None
) -> tuple[float | None, Stamps | None]:
    """Append each row group to the files; return the step of the time stamps, and the first."""
    wanted = [c for chosen in columns.values() for c in chosen] + ([time] if time else [])
    before = pd.DataFrame()
    pieces: list[tuple[float, float, Stamps]] = []  # step, duration, stamps of each group
    with (folder / "u.f64").open("wb") as of_u, (folder / "y.f64").open("wb") as of_y:
        for group in range(file.num_row_groups):
            frame = file.read_row_group(group, columns=wanted).to_pandas()
            for out, kind in ((of_u, "u"), (of_y, "y")):
                if columns[kind]:
                    np.column_stack([column(frame, c) for c in columns[kind]]).tofile(out)
            if time is not None and len(frame):
                piece = time_column(pd.concat([before, frame[[time]]]), time)
                pieces.append((piece.step(), float(piece.seconds[-1]), piece.stamps))
                _refuse_other_step(pieces, group, time)
                before = frame[[time]].iloc[-1:]
    if not pieces:
        return None, None
    duration = sum(seconds for _, seconds, _ in pieces)
    return duration / (file.metadata.num_rows - 1), pieces[0][2]


def _refuse_other_step(pieces: list[tuple[float, float, Stamps]], group: int, time: str) -> None:
    """Raise if the last row group goes on with another step than the first one has."""
    (first, _, stamps), (step, _, own) = pieces[0], pieces[-1]
    if abs(step - first) > 0.01 * first or own.unit != stamps.unit:
        raise TimeStampError(
            f"time column {time!r} must be uniformly spaced, got steps of {step:.6g} s in row "
            f"group {group} where {first:.6g} s is usual; resample the data first"
        )


def _mapped(path: Path, n: int, channels: int) -> Array | None:
    return np.memmap(path, np.float64, "r", shape=(n, channels)) if channels else None
