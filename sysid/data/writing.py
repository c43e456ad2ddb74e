"""Writers of records, one for each suffix."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from sysid.data.readers.tables import METADATA, StoredStamps
from sysid.data.records import Record


def writer(path: Path) -> Callable[[Record, Path], None]:
    """Return what writes a file of this suffix.

    Raises:
        ValueError: if nothing does.
    """
    if path.suffix.lower() not in _WRITERS:
        raise ValueError(f"file must end in {', '.join(_WRITERS)}, got {path}")
    return _WRITERS[path.suffix.lower()]


def _metadata(record: Record) -> str:
    fields = ("name", "sampling_time", "u_names", "y_names", "u_units", "y_units", "n_init")
    kept = {f: getattr(record, f) for f in fields}
    if record.stamps is not None:
        kept["stamps"] = StoredStamps.of(record.stamps).model_dump()
    return json.dumps(kept)


def _channels(record: Record) -> dict[str, Any]:
    frame = record.to_frame()
    return {c: frame[c].to_numpy() for c in (*record.u_names, *record.y_names)}


def _write_text(record: Record, path: Path, delimiter: str = ",") -> None:
    record.to_frame().to_csv(path, index=False, sep=delimiter)


def _write_parquet(record: Record, path: Path) -> None:
    frame = record.to_frame()
    frame.attrs[METADATA] = _metadata(record)
    frame.to_parquet(path, engine="pyarrow", index=False)


def _write_npz(record: Record, path: Path) -> None:
    with path.open("wb") as f:
        arrays: dict[str, Any] = {METADATA: np.array(_metadata(record)), **_channels(record)}
        np.savez(f, **arrays)


def _write_mat(record: Record, path: Path) -> None:
    from scipy.io import savemat

    with path.open("wb") as f:
        savemat(
            cast(Any, f), {METADATA: _metadata(record), **_channels(record)}, long_field_names=True
        )


_WRITERS: dict[str, Callable[[Record, Path], None]] = {
    ".csv": _write_text,
    ".tsv": lambda record, path: _write_text(record, path, "\t"),
    ".parquet": _write_parquet,
    ".mat": _write_mat,
    ".npz": _write_npz,
}
