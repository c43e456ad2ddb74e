"""MATLAB's .mat files of version 4 to 7: their arrays, texts, structures and cells.

Our own, because scipy's reader, which is in C, can be made to crash by a damaged file. The
formats are those of "MAT-File Format", The MathWorks, 2024. Sparse arrays, objects and functions
are not looked into.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sysid.data.memory import refuse_swollen, refuse_too_large
from sysid.data.readers.matlab_classes import unreadable
from sysid.data.readers.structures import Cells, Structure

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
    16: "u1",
    17: "u2",
    18: "u4",  # text in UTF-8, UTF-16, UTF-32
}
_VERSION_4 = ("f8", "f4", "i4", "i2", "u2", "u1")
_CELL, _STRUCTURE, _OBJECT, _TEXT, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17  # classes
_NUMERIC = range(6, 16)
_COMPLEX = 0x800
_DEEPEST = 16  # structures within each other
_MOST_VALUES = 1 << 16  # in all structures and cells of a file

Element = tuple[int, memoryview]


def read_arrays(path: Path) -> dict[str, Any]:
    """Return the values of a file by their names.

    Returns:
        A numeric array as it is, a text as a string array, of complex numbers an empty array of
        their type, ``Structure`` and ``Cells``, and ``Unreadable`` for what is none of them.

    Raises:
        ValueError: if the file is damaged, or needs more memory than there is.
    """
    raw = path.read_bytes()
    if 0 in raw[:4]:  # where later versions have a text
        return dict(_old_arrays(memoryview(raw)))
    order = {b"IM": "<", b"MI": ">"}.get(raw[126:_HEADER])
    if order is None:
        raise ValueError("it is no .mat file of version 4 to 7.3")
    found = {}
    unpacked = 0
    reader = _Reader(order)
    for kind, body in _elements(memoryview(raw)[_HEADER:], order):
        if kind == _COMPRESSED:
            kind, body = _inflated(body, order)
            unpacked += len(body)
            refuse_swollen("its arrays unpacked", unpacked, path)
        if kind == _MATRIX:
            name, value = reader.matrix(body)
            if name:  # MATLAB keeps data of its own under none
                found[name] = value
    return found


def _old_arrays(data: memoryview) -> Iterator[tuple[str, Any]]:
    """Yield the name of each array of a file of version 4, and what is to be had of it."""
    order = "<" if int.from_bytes(data[:4], "little") < 1000 else ">"
    at = 0
    while at < len(data):
        if at + 20 > len(data):
            raise ValueError("it is cut off, or its sizes are wrong")
        # Thousands, hundreds, tens and ones: the machine, nothing, the numbers, the class.
        kind, rows, columns, is_complex, length = struct.unpack_from(f"{order}5i", data, at)
        machine, numbers, kind = kind // 100, kind // 10 % 10, kind % 10
        sizes = (rows, columns, length)
        if machine != 10 * (order == ">") or numbers >= len(_VERSION_4) or min(sizes) < 0:
            raise ValueError("it is no .mat file of version 4 to 7.3")
        dtype = np.dtype(order + _VERSION_4[numbers])
        first = at + 20 + length
        after = first + rows * columns * dtype.itemsize
        at = after + (after - first if is_complex else 0)
        if at > len(data):
            raise ValueError("it is cut off, or its sizes are wrong")
        name = bytes(data[first - length : first]).rstrip(b"\0").decode("utf-8", "replace")
        values = np.frombuffer(data[first:after], dtype).reshape((rows, columns), order="F")
        yield name, _old_value(name, values, kind, bool(is_complex))


def _old_value(name: str, values: NDArray[Any], kind: int, is_complex: bool) -> Any:
    """Return what ``read_arrays`` promises of an array of version 4; texts lose their letters."""
    if kind == 0:
        return np.empty(0, dtype=np.complex128) if is_complex else values
    return np.empty(0, dtype=np.str_) if kind == 1 else unreadable("sparse", name)


def _elements(data: memoryview, order: str) -> Iterator[Element]:
    """Yield the type and the bytes of each element."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # a small element: size and type share four bytes, the data are the rest
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            after = at + 8
        else:
            start = at + 8
            after = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if start + size > min(after, len(data)):
            raise ValueError("it is cut off, or its sizes are wrong")
        yield kind, data[start : start + size]
        at = after


def _inflated(packed: memoryview, order: str) -> Element:
    """Return the one element that a compressed one holds."""
    inflater = zlib.decompressobj()
    kind, size = struct.unpack(f"{order}II", inflater.decompress(packed, 8))
    refuse_too_large("its arrays unpacked", 2 * size, "read it in parts")
    body = inflater.decompress(inflater.unconsumed_tail, size) if size else b""
    if len(body) < size:
        raise ValueError("it is cut off in a compressed array")
    return kind, memoryview(body)


class _Reader:
    """Reads the arrays of one file, as many and as deep as a measurement may have them."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.depth = 0
        self.values = 0

    def matrix(self, body: memoryview) -> tuple[str, Any]:
        """Return an array's name and what is to be had of it."""
        parts = _elements(body, self.order)
        try:
            flags = int(_numbers(next(parts), self.order)[0])
            kind = flags & 0xFF
            if kind == _OPAQUE:  # it has no shape
                name, _, class_name = [_word(next(parts)) for _ in range(3)]
                return name, unreadable(class_name, name)
            shape = tuple(int(n) for n in _numbers(next(parts), self.order))
            name = _word(next(parts))
            if flags & _COMPLEX:
                return name, np.empty(0, dtype=np.complex128)
            return name, self._value(kind, shape, name, parts)
        except (StopIteration, IndexError):
            raise ValueError("it is cut off in an array") from None

    def _value(self, kind: int, shape: tuple[int, ...], name: str, parts: Iterator[Element]) -> Any:
        if kind == _TEXT:
            return _text(next(parts), self.order)
        if kind == _OBJECT:
            return unreadable(_word(next(parts)), name)
        if kind in (_CELL, _STRUCTURE):
            return self._nested(kind, math.prod(shape), parts)
        if kind not in _NUMERIC:
            return unreadable({_SPARSE: "sparse", _FUNCTION: "function_handle"}.get(kind, ""), name)
        values = _numbers(next(parts), self.order)
        if min(shape, default=0) < 0 or math.prod(shape) != len(values):
            raise ValueError(f"its array {name!r} of the shape {shape} holds {len(values)} numbers")
        return values.reshape(shape, order="F")

    def _nested(self, kind: int, count: int, parts: Iterator[Element]) -> Structure | Cells:
        """Return a structure array or a cell array of so many elements."""
        fields: list[str] = []
        if kind == _STRUCTURE:
            width = int(_numbers(next(parts), self.order)[0])
            text = bytes(next(parts)[1])
            if width < 1:
                raise ValueError("its names of fields have no letters")
            fields = [
                text[i : i + width].split(b"\0")[0].decode("utf-8", "replace")
                for i in range(0, len(text), width)
            ]
        self.values += max(count, 0) * max(len(fields), 1)
        if self.depth >= _DEEPEST or self.values > _MOST_VALUES or count < 0:
            raise ValueError(
                f"its structures must be at most {_DEEPEST} deep and hold at most {_MOST_VALUES} "
                "values; save the signals by themselves"
            )
        self.depth += 1
        if kind == _CELL:
            found: Structure | Cells = Cells(tuple(self._inner(parts) for _ in range(count)))
        else:
            found = Structure(
                tuple({field: self._inner(parts) for field in fields} for _ in range(count))
            )
        self.depth -= 1
        return found

    def _inner(self, parts: Iterator[Element]) -> Any:
        try:
            kind, body = next(parts)
        except StopIteration:  # which would end the loop over the elements
            raise ValueError("it is cut off in a structure") from None
        if kind != _MATRIX:
            raise ValueError("it holds a structure whose values are no arrays")
        return self.matrix(body)[1] if len(body) else np.empty((0, 0))


def _word(element: Element) -> str:
    return bytes(element[1]).rstrip(b"\0").decode("utf-8", "replace")


def _numbers(element: Element, order: str) -> NDArray[Any]:
    kind, data = element
    if kind not in _NUMBERS:
        raise ValueError(f"it holds numbers of an unknown type, {kind}")
    return np.frombuffer(data, dtype=f"{order}{_NUMBERS[kind]}")


def _text(element: Element, order: str) -> NDArray[np.str_]:
    kind, data = element
    if kind == 16:
        return np.array(bytes(data).decode("utf-8"))
    codes = _numbers(element, order)
    if codes.dtype.kind == "f" or not len(codes):
        return np.array("")
    # As NumPy keeps a text: lists of characters would take a hundred bytes for each.
    return codes.astype("<u4").view(f"<U{len(codes)}").reshape(())
