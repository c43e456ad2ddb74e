"""Files of arrays: Parquet, MATLAB .mat (v4, v5 and v7.3) and .npz, opened as tables.

Nothing in them is unpickled, and no other file that they point to is opened.
"""

from __future__ import annotations

import math
import statistics
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.matlab import read_arrays
from sysid.data.memory import refuse_swollen, refuse_too_large
from sysid.data.reading import Reading
from sysid.data.tables import METADATA, StoredRecord, Table, distinct, repeated

_HINT = "read fewer columns, or cut the file"
_CHANNELS = 1 << 16  # of all matrices of a file
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


def open_npz(path: Path, reading: Reading) -> Table:
    """Return the columns of an .npz archive; a matrix gives one for each of its columns."""
    if not zipfile.is_zipfile(path):  # what numpy says then is how to unpickle it
        raise ValueError("it is no archive of arrays")
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    refuse_too_large("the archive unpacked", unpacked, _HINT)
    refuse_swollen("the archive unpacked", unpacked, path)
    with np.load(path, allow_pickle=False) as arrays:
        return _side_by_side({name: arrays[name] for name in arrays.files})


def open_mat(path: Path, reading: Reading) -> Table:
    """Return the columns of a .mat file; a matrix gives one for each of its columns."""
    import h5py

    if h5py.is_hdf5(path):
        with h5py.File(path) as f:
            return _side_by_side(_hdf5_arrays(f, path))
    return _side_by_side(read_arrays(path))


def _hdf5_arrays(f: Any, path: Path) -> dict[str, Any]:
    """Return the arrays at the top of a v7.3 file; links to other files are not followed."""
    import h5py

    found = {}
    for name in f:
        if not isinstance(f.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name!r} is a link to elsewhere, which is not followed")
        if isinstance(value := f[name], h5py.Dataset):
            if value.external or value.is_virtual:
                raise ValueError(f"the data of {name!r} are in another file, which is not opened")
            found[name] = value
    # A chunk is unpacked whole, however little of it belongs to the array.
    size = sum(max(v.size, math.prod(v.chunks or ())) * v.dtype.itemsize for v in found.values())
    refuse_too_large("the arrays", size, _HINT)
    refuse_swollen("the arrays", size, path)
    return {
        name: np.empty(0, object) if value.dtype.kind == "O" else value[()].T
        for name, value in found.items()  # MATLAB writes columns first
    }


def _side_by_side(arrays: dict[str, Any]) -> Table:
    """Lay numeric arrays of the usual length side by side."""
    stored: StoredRecord | None = None
    columns: dict[str, Any] = {}
    unusable: dict[str, str] = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        if name == METADATA:
            stored = StoredRecord.from_json(_text(array))
        elif array.dtype.kind not in "biuf":
            kind = {"c": "complex numbers", "U": "text", "S": "text"}.get(
                array.dtype.kind, "objects"
            )
            unusable[name] = f"hold real numbers, got {kind}"
        elif array.ndim not in (1, 2) or array.size == 0:
            unusable[name] = f"be a vector or a matrix, got the shape {array.shape}"
        elif array.ndim == 1 or 1 in array.shape:
            columns[name] = array.ravel()
        elif len(columns) + array.shape[1] > _CHANNELS:
            unusable[name] = f"have a channel in each column, got the shape {array.shape}"
        else:
            columns.update({f"{name}{i + 1}": c for i, c in enumerate(array.T)})
    lengths = [len(c) for c in columns.values()]
    # A constant such as a sampling rate is no channel, unless the record has one sample.
    counted = [n for n in lengths if n > 1] or lengths
    if not counted:
        raise ValueError("it holds no numeric arrays")
    usual = statistics.mode(counted)
    first = ", ".join([repr(n) for n, c in columns.items() if len(c) == usual][:3])
    for name, array in columns.items():
        if len(array) != usual:
            unusable[name] = (
                f"have equal lengths, got {len(array)} samples of {name!r} where {first} "
                f"have {usual}"
            )
    usable = {name: c for name, c in columns.items() if name not in unusable}
    return Table(
        list(usable),
        usual,
        lambda names: pd.DataFrame({n: usable[n] for n in names}),
        stored=stored,
        unusable=unusable,
    )


def _text(array: Any) -> str:
    """Return the text that an array holds, as a string or as MATLAB's character codes."""
    if array.dtype.kind in "US":
        text = array.ravel()[0]
        return text.decode() if isinstance(text, bytes) else str(text)
    return "".join(map(chr, array.ravel().tolist()))
