"""Files of arrays: Parquet, Feather, MATLAB .mat, .npz and .npy, opened as tables.

Nothing in them is unpickled, and no other file that they point to is opened.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.fields import far_more_channels
from sysid.data.memory import refuse_swollen, refuse_too_large
from sysid.data.readers.hdf5 import open_hdf5
from sysid.data.readers.matlab import read_arrays
from sysid.data.readers.structures import Structure, laid_out
from sysid.data.readers.tables import METADATA, StoredRecord, Table, distinct, repeated
from sysid.data.reading import Reading

_HINT = "read fewer columns, or cut the file"
_ROWS_OF_TEXT = 1024  # read at a time, as they may be long
_TEXT_COPIES = 4  # of a text: pandas' own and Python's


def open_parquet(path: Path, reading: Reading) -> Table:
    """Return the columns of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    refuse_swollen("its columns unpacked", sum(g.total_byte_size for g in groups), path)
    names = distinct(schema.names)

    def load(columns: Sequence[str]) -> pd.DataFrame:
        places = [names.index(c) for c in columns]
        if any(pa.types.is_nested(schema.types[i]) for i in places):
            raise ValueError(f"its columns {list(columns)} must be plain ones")
        asked = [schema.names[i] for i in places]
        if all(_is_plain(schema.types[i]) for i in places):
            table = file.read(columns=asked, use_pandas_metadata=False)
        else:
            table = _read_texts(file, asked, path)
        if table.num_columns != len(places):
            raise ValueError(f"its columns {list(columns)} must be plain ones")
        return pd.DataFrame({c: table.column(i).to_pandas() for i, c in enumerate(columns)})

    return Table(
        names,
        max(file.metadata.num_rows, sum(g.num_rows for g in groups)),
        load,
        stored=stored_record(file),
        unusable=repeated(schema.names),
    )


def _is_plain(kind: Any) -> bool:
    """Return whether a column of this type takes no more in pandas than in Parquet."""
    import pyarrow.types as types

    plain = (types.is_integer, types.is_floating, types.is_boolean, types.is_timestamp)
    return any(is_kind(kind) for is_kind in plain)


def _read_texts(file: Any, columns: Sequence[str], path: Path) -> Any:
    """Read columns of texts piece by piece, as one text may stand for millions of rows."""
    import pyarrow as pa

    pieces, size = [], 0
    for batch in file.iter_batches(_ROWS_OF_TEXT, columns=columns, use_pandas_metadata=False):
        arrays = [
            c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns
        ]
        size += sum(c.nbytes for c in arrays)
        refuse_swollen("its texts unpacked", _TEXT_COPIES * size, path)
        pieces.append(pa.RecordBatch.from_arrays(arrays, batch.schema.names))
    return pa.Table.from_batches(pieces) if pieces else file.read(columns=columns)


def stored_record(file: Any) -> StoredRecord | None:
    """Return what ``write`` put beside the columns of an open Parquet file, if it wrote it."""
    attributes = (file.schema_arrow.pandas_metadata or {}).get("attributes") or {}
    text = attributes.get(METADATA)
    return None if text is None else StoredRecord.from_json(text)


def open_feather(path: Path, reading: Reading) -> Table:
    """Return the columns of a Feather or Arrow file."""
    import pyarrow as pa

    with pa.OSFile(str(path)) as source:
        try:
            file = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            file = pa.ipc.open_stream(source)
        frame = _joined(_batches(file), file.schema, path)
    names = distinct(file.schema.names)
    kinds = zip(names, file.schema.types, strict=True)
    nested = {n: "be a plain column" for n, kind in kinds if pa.types.is_nested(kind)}

    def load(columns: Sequence[str]) -> pd.DataFrame:
        return pd.DataFrame({c: frame.column(names.index(c)).to_pandas() for c in columns})

    return Table(
        [n for n in names if n not in nested],
        frame.num_rows,
        load,
        unusable=repeated(file.schema.names) | nested,
    )


def _batches(file: Any) -> Iterator[Any]:
    if hasattr(file, "num_record_batches"):
        return (file.get_batch(i) for i in range(file.num_record_batches))
    return iter(file)


def _joined(batches: Iterable[Any], schema: Any, path: Path) -> Any:
    """Return the table of all batches, refused where they swell."""
    import pyarrow as pa

    pieces, size = [], 0
    for batch in batches:
        size += batch.nbytes
        refuse_swollen("its columns unpacked", size, path)
        refuse_too_large("its columns unpacked", size, _HINT)
        pieces.append(batch)
    return pa.Table.from_batches(pieces, schema)


def open_npz(path: Path, reading: Reading) -> Table:
    """Return the columns of an .npz archive; a matrix gives one for each of its columns."""
    if not zipfile.is_zipfile(path):  # what numpy says then is how to unpickle it
        raise ValueError("it is no archive of arrays")
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    refuse_too_large("the archive unpacked", unpacked, _HINT)
    refuse_swollen("the archive unpacked", unpacked, path)
    with np.load(path, allow_pickle=False) as arrays:
        return laid_out({name: _fields(arrays[name]) for name in arrays.files}, reading)


def open_npy(path: Path, reading: Reading) -> Table:
    """Return the columns of one NumPy array, which are called 1, 2, ... or by its fields."""
    with path.open("rb") as f:
        array = np.lib.format.read_array(f, allow_pickle=False)
    if array.dtype.names:
        return laid_out(_fields(array).elements[0], reading)
    if array.ndim == 2 and not far_more_channels(*array.shape):
        return laid_out({str(i): c for i, c in enumerate(array.T, start=1)}, reading)
    return laid_out({"1" if array.ndim == 1 else path.stem: array}, reading)


def _fields(array: Any) -> Any:
    """Return an array of records as a structure, and any other as it is."""
    names = array.dtype.names
    return Structure(({n: array[n] for n in names},)) if names else array


def open_mat(path: Path, reading: Reading) -> Table:
    """Return the columns of a .mat file; a matrix gives one for each of its columns."""
    import h5py

    if h5py.is_hdf5(path):
        return open_hdf5(path, reading)
    return laid_out(read_arrays(path), reading)
