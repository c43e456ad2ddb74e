"""HDF5 files, and MATLAB's .mat files of version 7.3, which are HDF5 files of a certain kind.

Links to other files are not followed, and data that are kept in other files are not opened.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from sysid.data.memory import refuse_swollen, refuse_too_large
from sysid.data.readers.matlab_classes import unreadable
from sysid.data.readers.structures import Cells, Measured, Structure, Unreadable, laid_out, text_of
from sysid.data.readers.tables import Table
from sysid.data.reading import Reading

_DEEPEST = 16  # groups within each other
_MOST_VALUES = 1 << 16  # in all groups and cells of a file
_OWN = ("#refs#", "#subsystem#")  # where MATLAB keeps what references point to
_UNITS = ("unit", "units", "Unit", "Units")  # attributes that name the unit of a dataset
_HINT = "cut the file, or save the signals that you need by themselves"


def open_hdf5(path: Path, reading: Reading) -> Table:
    """Return the columns of an HDF5 file; groups are part of the names, ``run1.u``."""
    import h5py

    with h5py.File(path) as f:
        return laid_out(_Reader(path, f).group(f), reading)


class _Reader:
    """Reads the values of one file, as many and as deep as a measurement may have them."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        self.file = file
        self.of_matlab = path.suffix.lower() == ".mat"  # which writes columns first
        self.depth = 0
        self.values = 0
        self.size = 0

    def group(self, group: Any) -> dict[str, Any]:
        """Return the values of a group by their names."""
        import h5py

        self.depth += 1
        found = {}
        for name in group:
            if name in _OWN:
                continue
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{name!r} is a link to elsewhere, which is not followed")
            found[name] = self._value(group[name], name)
        self.depth -= 1
        return found

    def _value(self, item: Any, name: str) -> Any:
        import h5py

        self._count()
        class_name = _attribute(item, "MATLAB_class")
        if "MATLAB_object_decode" in item.attrs:
            return unreadable(class_name, name)
        if isinstance(item, h5py.Group):
            if "pandas_type" in item.attrs:
                return Unreadable("be a plain dataset, got a pandas table; save it by to_parquet")
            return self._structures(item)
        if not isinstance(item, h5py.Dataset):
            return None
        if item.external or item.is_virtual:
            raise ValueError(f"the data of {name!r} are in another file, which is not opened")
        if item.shape is None or "MATLAB_empty" in item.attrs:
            return np.empty((0, 0))
        self._weigh(item)
        if item.dtype.names:  # a table
            table = item[()]
            return Structure(({n: table[n] for n in item.dtype.names},))
        if item.dtype.kind == "O":
            return self._objects(item, name)
        values = item[()].T if class_name or self.of_matlab else item[()]
        if class_name == "char":
            return np.array(text_of(values))
        unit = next((u for n in _UNITS if (u := _attribute(item, n))), "")
        return Measured(values, unit) if unit else values

    def _structures(self, group: Any) -> Structure:
        """Return a group; MATLAB keeps a structure array as arrays of references in one."""
        fields = self.group(group)
        lengths = {len(v.elements) for v in fields.values() if isinstance(v, Cells)}
        is_array = _attribute(group, "MATLAB_class") == "struct" and len(lengths) == 1
        if not is_array or not all(
            isinstance(v, Cells) and "MATLAB_class" not in group[n].attrs for n, v in fields.items()
        ):
            return Structure((fields,))
        (count,) = lengths
        return Structure(tuple({n: v.elements[i] for n, v in fields.items()} for i in range(count)))

    def _objects(self, item: Any, name: str) -> Any:
        """Return what an array of references points to; other objects are not read."""
        import h5py

        if h5py.check_ref_dtype(item.dtype) is not h5py.Reference:
            return np.empty(0, object)
        self.depth += 1
        self._count(item.size)
        targets = [self.file[r] if r else None for r in item[()].T.ravel(order="F")]
        found = tuple(None if t is None else self._value(t, name) for t in targets)
        self.depth -= 1
        return Cells(found)

    def _count(self, values: int = 1) -> None:
        self.values += values
        if self.depth > _DEEPEST or self.values > _MOST_VALUES:
            raise ValueError(
                f"its groups must be at most {_DEEPEST} deep and hold at most {_MOST_VALUES} "
                "values; save the signals by themselves"
            )

    def _weigh(self, item: Any) -> None:
        """Refuse what would not fit in memory before it is read."""
        # A chunk is unpacked whole, however little of it belongs to the array.
        self.size += max(item.size, math.prod(item.chunks or ())) * item.dtype.itemsize
        refuse_too_large("the arrays", self.size, _HINT)
        refuse_swollen("the arrays", self.size, self.path)


def _attribute(item: Any, name: str) -> str:
    """Return an attribute that is a text."""
    value = item.attrs.get(name, "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
