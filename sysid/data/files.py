"""Data files: CSV, Parquet, MATLAB .mat and .npz to and from records."""

from __future__ import annotations

import csv
import json
import os
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from sysid.data.records import Record

# What a file keeps of a record beside its columns, as JSON under this name.
METADATA = "sysid_record"
# What a table keeps of the arrays that are not as long as the usual one.
_LENGTHS = "other_lengths"


def read(
    path: str | Path,
    u: Sequence[str] | None = None,
    y: Sequence[str] | None = None,
    time: str | None = None,
    sampling_time: float | None = None,
) -> Record:
    """Read one file as a record.

    The suffix says what it is: ``.csv``, ``.txt``, ``.tsv``, ``.parquet``, ``.mat`` (v5 and
    v7.3), ``.npz``. In the last two, a matrix ``u`` of ``k`` columns is read as ``u1 ... uk``.

    Args:
        path: the file.
        u: input columns. Where neither ``u`` nor ``y`` is given, columns called ``u``, ``u1``,
            ``u2``, ... are inputs, ``y``, ``y1``, ... outputs, ``t`` or ``time`` time stamps.
        y: output columns; none for a record that is to be simulated.
        time: column of time stamps.
        sampling_time: seconds between samples, where there is no ``time``.

    Returns:
        The record, named after the file unless the file holds a name.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or does not hold the columns asked for
            (``TimeStampError`` where the time stamps are at fault).
    """
    path = Path(path)
    frame, stored = _load(path)
    if not len(frame):
        raise ValueError(f"file must hold samples, got none in {path}")
    other_lengths: dict[str, int] = frame.attrs.get(_LENGTHS, {})
    names = [*map(str, frame.columns), *other_lengths]
    if u is None and y is None:
        if stored:
            u, y = stored["u_names"], stored["y_names"]
        else:
            u, y, guessed = guess_columns(names)
            time = time or (guessed if sampling_time is None else None)
            if not u and not y:
                raise ValueError(
                    f"columns must be named with u and y, or be called u1, y1, ..., got {names} in "
                    f"{path}"
                )
    elif not stored and time is None and sampling_time is None:
        time = guess_columns(names)[2]
    u, y = _expanded(u or [], names), _expanded(y or [], names)
    for name in (*u, *y):
        if name in other_lengths:
            raise ValueError(
                f"{path}: columns must have equal lengths, got {other_lengths[name]} samples of "
                f"{name!r} where {', '.join(map(repr, frame.columns[:3]))} have {len(frame)}"
            )
    metadata: dict[str, Any] = {"name": path.stem}
    if stored:
        metadata["name"] = stored["name"]
        metadata["n_init"] = stored["n_init"]
        for kind, chosen in (("u", u), ("y", y)):
            units = dict(zip(stored[f"{kind}_names"], stored[f"{kind}_units"], strict=True))
            metadata[f"{kind}_units"] = [units.get(c, "") for c in chosen]
        if time is None and sampling_time is None:
            sampling_time = stored["sampling_time"]
    try:
        return Record.from_frame(frame, u, y, time, sampling_time, **metadata)
    except ValueError as error:
        raise type(error)(f"{path}: {error}") from None


def write(record: Record, path: str | Path) -> None:
    """Write a record to one file, by suffix ``.csv``, ``.tsv``, ``.parquet``, ``.mat`` or ``.npz``.

    All but text files keep the metadata too. The file is complete or not there at all.

    Raises:
        ValueError: for another suffix.
    """
    path = Path(path)
    writer = _choose(_WRITERS, path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        writer(record, partial)
        os.replace(partial, path)
    except OSError as error:
        raise ValueError(f"file must be writable, got {path}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def column_names(path: str | Path) -> list[str]:
    """Return the names of a file's columns."""
    frame, _ = _load(Path(path))
    return [*map(str, frame.columns), *frame.attrs.get(_LENGTHS, {})]


def guess_columns(names: Sequence[str]) -> tuple[list[str], list[str], str | None]:
    """Return the columns that are inputs, outputs and time stamps by their names.

    Example:
        >>> guess_columns(["t", "u1", "u2", "y", "note"])
        (['u1', 'u2'], ['y'], 't')
    """
    u, y = ([n for n in names if re.fullmatch(rf"{k}\d*", n)] for k in "uy")
    return u, y, next((n for n in names if n in ("t", "time")), None)


def _expanded(asked: Sequence[str], names: list[str]) -> list[str]:
    """Replace the name of a matrix by those of its columns."""
    out: list[str] = []
    for name in asked:
        columns = [n for n in names if re.fullmatch(rf"{re.escape(name)}\d+", n)]
        out += columns if name not in names and columns else [name]
    return out


Loaded = tuple[pd.DataFrame, dict[str, Any] | None]


def _load(path: Path) -> Loaded:
    if not path.exists():
        raise FileNotFoundError(f"file must exist, got {path}")
    reader = _choose(_READERS, path)
    if not path.is_file():
        raise ValueError(f"data must be a file, got the directory {path}")
    if path.stat().st_size == 0:
        raise ValueError(f"file must hold samples, {path} is empty")
    try:
        loaded: Loaded = reader(path)
        return loaded
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"file must be readable as {path.suffix}, got {path}: {reason}") from None


def _choose(table: dict[str, Callable[..., Any]], path: Path) -> Callable[..., Any]:
    if path.suffix.lower() not in table:
        raise ValueError(f"file must end in {', '.join(table)}, got {path}")
    return table[path.suffix.lower()]


def _read_text(path: Path) -> Loaded:
    with path.open(encoding="utf-8-sig", newline="") as f:
        head = f.readline()
    try:
        delimiter = csv.Sniffer().sniff(head, delimiters=",;\t").delimiter
    except csv.Error:
        delimiter = ","
    frame = pd.read_csv(path, sep=delimiter, encoding="utf-8-sig", skipinitialspace=True)
    return frame.rename(columns=lambda c: str(c).strip()), None


def _read_parquet(path: Path) -> Loaded:
    frame = pd.read_parquet(path, engine="pyarrow")
    stored = frame.attrs.get(METADATA)
    return frame, json.loads(stored) if stored else None


def _read_npz(path: Path) -> Loaded:
    with np.load(path, allow_pickle=False) as archive:
        return _frame({k: archive[k] for k in archive.files})


def _read_mat(path: Path) -> Loaded:
    import h5py

    if not h5py.is_hdf5(path):
        from scipy.io import loadmat

        values = loadmat(path)
        return _frame({k: v for k, v in values.items() if not k.startswith("__")})
    with h5py.File(path) as f:  # MATLAB writes columns first
        return _frame({k: v[()].T for k, v in f.items() if isinstance(v, h5py.Dataset)})


def _frame(arrays: dict[str, Any]) -> Loaded:
    """Lay numeric arrays of the usual length side by side."""
    stored = None
    columns: dict[str, Any] = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        if name == METADATA:
            text = array.item() if array.size == 1 else "".join(chr(int(c)) for c in array.ravel())
            stored = json.loads(str(text))
            continue
        if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or array.size < 2:
            continue
        if array.ndim == 2 and 1 in array.shape:
            array = array.ravel()
        if array.ndim == 1:
            columns[name] = array
        else:
            columns.update({f"{name}{i + 1}": c for i, c in enumerate(array.T)})
    lengths = {name: len(c) for name, c in columns.items()}
    if not lengths:
        raise ValueError("it holds no numeric arrays of two samples or more")
    usual = statistics.mode(lengths.values())
    frame = pd.DataFrame({n: c for n, c in columns.items() if len(c) == usual})
    frame.attrs[_LENGTHS] = {n: k for n, k in lengths.items() if k != usual}
    return frame, stored


def _metadata(record: Record) -> str:
    fields = ("name", "sampling_time", "u_names", "y_names", "u_units", "y_units", "n_init")
    return json.dumps({f: getattr(record, f) for f in fields})


def _channels(record: Record) -> dict[str, Any]:
    return {c: record.to_frame()[c].to_numpy() for c in (*record.u_names, *record.y_names)}


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


_READERS: dict[str, Callable[..., Loaded]] = {
    ".csv": _read_text,
    ".txt": _read_text,
    ".tsv": _read_text,
    ".parquet": _read_parquet,
    ".mat": _read_mat,
    ".npz": _read_npz,
}
_WRITERS: dict[str, Callable[..., None]] = {
    ".csv": _write_text,
    ".tsv": lambda record, path: _write_text(record, path, "\t"),
    ".parquet": _write_parquet,
    ".mat": _write_mat,
    ".npz": _write_npz,
}
