"""MATLAB's .mat files of version 4 to 7: their numeric arrays and texts.

Our own, because scipy's reader, which is in C, can be made to crash by a damaged file. The
formats are those of "MAT-File Format", The MathWorks, 2024; cells, structures, sparse arrays and
objects are not looked into.
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
_TEXT = 4  # classes of arrays
_NUMERIC = range(6, 16)
_COMPLEX = 0x800

Element = tuple[int, memoryview]


def read_arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of a file by their names.

    Returns:
        A numeric array as it is, a text as a string array, of complex numbers an empty array of
        their type, and ``None`` for what is none of them.

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
    for kind, body in _elements(memoryview(raw)[_HEADER:], order):
        if kind == _COMPRESSED:
            kind, body = _inflated(body, order)
            unpacked += len(body)
            refuse_swollen("its arrays unpacked", unpacked, path)
        if kind == _MATRIX:
            name, value = _matrix(body, order)
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
        yield name, _old_value(values, kind, bool(is_complex))


def _old_value(values: NDArray[Any], kind: int, is_complex: bool) -> Any:
    """Return what ``read_arrays`` promises of an array of version 4; texts lose their letters."""
    if kind == 0:
        return np.empty(0, dtype=np.complex128) if is_complex else values
    return np.empty(0, dtype=np.str_) if kind == 1 else None


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


def _matrix(body: memoryview, order: str) -> tuple[str, Any]:
    """Return an array's name and what is to be had of it."""
    parts = _elements(body, order)
    try:
        flags = int(_numbers(next(parts), order)[0])
        shape = tuple(int(n) for n in _numbers(next(parts), order))
        name = bytes(next(parts)[1]).decode("utf-8", "replace")
        kind = flags & 0xFF
        if kind not in _NUMERIC and kind != _TEXT:
            return name, None
        if flags & _COMPLEX:
            return name, np.empty(0, dtype=np.complex128)
        element = next(parts)
    except (StopIteration, IndexError):
        raise ValueError("it is cut off in an array") from None
    if kind == _TEXT:
        return name, _text(element, order)
    values = _numbers(element, order)
    if min(shape, default=0) < 0 or math.prod(shape) != len(values):
        raise ValueError(f"its array {name!r} of the shape {shape} holds {len(values)} numbers")
    return name, values.reshape(shape, order="F")


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
