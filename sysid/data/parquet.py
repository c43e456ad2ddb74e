"""Parquet files that are larger than memory, as memory-mapped records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.columns import column, uniform_step
from sysid.data.files import METADATA
from sysid.data.records import Array, Record


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
    """
    import pyarrow.parquet as pq

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(f"folder must be empty, got {folder}; choose a new one")
    file = pq.ParquetFile(path)
    metadata = _stored(file)
    if not u and not y:
        u, y = metadata["u_names"], metadata["y_names"]
    step = _write_groups(file, folder, {"u": u, "y": y}, time)
    n = file.metadata.num_rows
    units = {}
    for kind, chosen in (("u", u), ("y", y)):
        known = dict(zip(metadata[f"{kind}_names"], metadata[f"{kind}_units"], strict=True))
        units[f"{kind}_units"] = [known.get(c, "") for c in chosen]
    return Record(
        _mapped(folder / "u.f64", n, len(u)),
        _mapped(folder / "y.f64", n, len(y)),
        step or sampling_time or metadata["sampling_time"],
        name=metadata["name"] or Path(path).stem,
        u_names=u,
        y_names=y,
        n_init=metadata["n_init"],
        **units,
    )


def _stored(file: Any) -> dict[str, Any]:
    """Return what ``sysid.write`` put beside the columns."""
    attributes = json.loads((file.schema_arrow.metadata or {}).get(b"PANDAS_ATTRS", b"{}"))
    known: dict[str, Any] = {
        "name": "", "sampling_time": None, "n_init": 0,
        "u_names": [], "y_names": [], "u_units": [], "y_units": [],
    }  # fmt: skip
    known.update(json.loads(attributes.get(METADATA, "{}")))
    return known


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
                uniform_step(column(joined, time, time_stamps=True), time)
                before = joined.iloc[-1:]
                stamps = pd.concat([stamps.iloc[:1] if len(stamps) else joined.iloc[:1], before])
    if time is None:
        return None
    first, last = column(stamps, time, time_stamps=True)
    return float((last - first) / (file.metadata.num_rows - 1))


def _mapped(path: Path, n: int, channels: int) -> Array | None:
    return np.memmap(path, np.float64, "r", shape=(n, channels)) if channels else None
