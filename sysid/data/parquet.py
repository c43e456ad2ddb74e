"""Parquet files that are larger than memory, as memory-mapped records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.arrays import stored_record
from sysid.data.columns import column, seconds, uniform_step, unknown_column
from sysid.data.records import Array, Record
from sysid.data.tables import StoredRecord

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
    step = _write_groups(file, folder, {"u": u, "y": y}, time)
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
    )


def _write_groups(
    file: Any, folder: Path, columns: dict[str, Sequence[str]], time: str | None
) -> float | None:
    """Append each row group to the files; return the step of the time stamps."""
    wanted = [c for chosen in columns.values() for c in chosen] + ([time] if time else [])
    stamps = pd.DataFrame()
    before = pd.DataFrame()
    with (folder / "u.f64").open("wb") as of_u, (folder / "y.f64").open("wb") as of_y:
        for group in range(file.num_row_groups):
            frame = file.read_row_group(group, columns=wanted).to_pandas()
            for out, kind in ((of_u, "u"), (of_y, "y")):
                if columns[kind]:
                    np.column_stack([column(frame, c) for c in columns[kind]]).tofile(out)
            if time is not None:
                joined = pd.concat([before, frame[[time]]])
                uniform_step(seconds(joined, time), time)
                before = joined.iloc[-1:]
                stamps = pd.concat([stamps.iloc[:1] if len(stamps) else joined.iloc[:1], before])
    if time is None:
        return None
    first, last = seconds(stamps, time)
    return float((last - first) / (file.metadata.num_rows - 1))


def _mapped(path: Path, n: int, channels: int) -> Array | None:
    return np.memmap(path, np.float64, "r", shape=(n, channels)) if channels else None
