"""Nested values of a file, structures, cells and groups, laid out as named columns.

A structure's field is called as MATLAB calls it, ``data.u`` or ``signals(2).values``. The shortest
ending that only one column has, ``u``, is the name that the table offers; the longer ones are
aliases of it.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.fields import far_more_channels
from sysid.data.readers.tables import METADATA, StoredRecord, Table, distinct
from sysid.data.reading import Reading

_CHANNELS = 1 << 16  # most channels of a file
_KINDS = {"c": "complex numbers", "U": "text", "S": "text"}


@dataclass(frozen=True)
class Structure:
    """A structure array, a group or a table: a dictionary of fields for each element."""

    elements: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Cells:
    """A cell array, its elements in MATLAB's order."""

    elements: tuple[Any, ...]


@dataclass(frozen=True)
class Unreadable:
    """A value that is not read, with the rule it breaks: "be saved as ..."."""

    rule: str


@dataclass(frozen=True)
class Measured:
    """An array with the unit that its file gives."""

    array: Any
    unit: str


@dataclass(frozen=True)
class _Leaf:
    """A column to be: its full name, its values or the rule they break, its own label and unit."""

    name: str
    value: Any
    label: str = ""
    unit: str = ""


def laid_out(values: dict[str, Any], reading: Reading) -> Table:
    """Return the numeric arrays among nested values as a table.

    Args:
        values: arrays, texts, ``Structure``, ``Cells``, ``Measured`` and ``Unreadable`` by name.
        reading: the columns asked for; other columns must have their length.

    Raises:
        ValueError: if there is no numeric array.
    """
    stored = None
    if METADATA in values:
        stored = StoredRecord.from_json(text_of(values[METADATA]))
        values = {name: value for name, value in values.items() if name != METADATA}
    parts = {label: laid_out(part, reading) for label, part in _experiments(values)}
    table = _side_by_side(list(_leaves(values)), reading, stored)
    return replace(table, experiments=parts) if parts else table


def text_of(value: Any) -> str:
    """Return the text that a value holds, as a string or as MATLAB's character codes."""
    array = np.asarray(value)
    if array.dtype.kind in "US" and array.size:
        text = array.ravel()[0]
        return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    if array.dtype.kind in "iuf" and array.size:
        return "".join(chr(int(code)) for code in array.ravel(order="F"))
    return ""


def _label(value: Any) -> str:
    """Return a text where the value is one."""
    is_text = isinstance(value, np.ndarray) and value.dtype.kind in "US"
    return text_of(value).strip() if is_text else ""


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[_Leaf]:
    for name, value in values.items():
        yield from _leaf(f"{prefix}{name}", value)


def _leaf(name: str, value: Any, label: str = "", unit: str = "") -> Iterator[_Leaf]:
    """Yield the columns below one value."""
    if isinstance(value, Structure):
        several = len(value.elements) > 1
        for i, fields in enumerate(value.elements, start=1):
            yield from _fields(f"{name}({i})" if several else name, fields)
    elif isinstance(value, Cells):
        several = len(value.elements) > 1
        for i, element in enumerate(value.elements, start=1):
            yield from _leaf(f"{name}{{{i}}}" if several else name, element)
    elif isinstance(value, Measured):
        yield _Leaf(name, value.array, label, value.unit)
    else:
        yield _Leaf(name, value, label, unit)


def _fields(name: str, fields: dict[str, Any]) -> Iterator[_Leaf]:
    """Yield the columns of one structure; those of the usual exports have labels of their own."""
    if isinstance(signals := fields.get("signals"), Structure) and "time" in fields:
        yield from _leaf(f"{name}.time", fields["time"], "time")
        yield from _signals(f"{name}.signals", signals)
    elif isinstance(fields.get("X"), Structure) and isinstance(fields.get("Y"), Structure):
        yield from _axes(f"{name}.X", fields["X"], "time")
        yield from _axes(f"{name}.Y", fields["Y"], "")
    elif "Time" in fields and "Data" in fields:  # a timeseries turned into a structure
        yield from _leaf(f"{name}.Time", fields["Time"])
        yield from _leaf(f"{name}.Data", _over_time(fields["Data"]), _label(fields.get("Name")))
    else:
        yield from _leaves(fields, f"{name}.")


def _signals(name: str, signals: Structure) -> Iterator[_Leaf]:
    """Yield the signals of Simulink's structure with time."""
    several = len(signals.elements) > 1
    for i, signal in enumerate(signals.elements, start=1):
        place = f"{name}({i})" if several else name
        label = _label(signal.get("label"))
        yield from _leaf(f"{place}.values", _over_time(signal.get("values")), label)


def _axes(name: str, axes: Structure, default: str) -> Iterator[_Leaf]:
    """Yield the axes of a dSPACE recording, called by their names."""
    several = len(axes.elements) > 1
    for i, axis in enumerate(axes.elements, start=1):
        label = _label(axis.get("Name")) or ("" if several else default)
        place = f"{name}({i})" if several else name
        yield from _leaf(f"{place}.Data", axis.get("Data"), label, _label(axis.get("Unit")))


def _over_time(value: Any) -> Any:
    """Return ``(N, channels)`` of an array whose last of three dimensions is time."""
    if isinstance(value, np.ndarray) and value.ndim == 3:
        return value.reshape(-1, value.shape[2], order="F").T
    return value


def _experiments(values: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the experiments that values hold by their labels; none if they are one.

    They are the elements of cell arrays of equal length, those of structure arrays, or structures
    with the same fields beside each other.
    """
    structures = {n: v for n, v in values.items() if isinstance(v, Structure)}
    if len(values) == len(structures) == 1:
        (only,) = structures.values()
        if len(only.elements) == 1:
            return _experiments(only.elements[0])
    listed = {
        name: value.elements
        for name, value in values.items()
        if isinstance(value, Cells | Structure)
        and len(value.elements) > 1
        and all(map(_holds_arrays, value.elements))
    }
    counts = {len(elements) for elements in listed.values()}
    if len(counts) == 1:
        shared = {n: v for n, v in values.items() if n not in listed}
        (count,) = counts
        return [
            (str(k + 1), shared | {n: _alone(elements[k]) for n, elements in listed.items()})
            for k in range(count)
        ]
    fields = {n: frozenset(v.elements[0]) for n, v in structures.items() if len(v.elements) == 1}
    alike = [n for n in fields if list(fields.values()).count(fields[n]) > 1]
    runs = [n for n in alike if _holds_arrays(structures[n].elements[0])]
    if len(runs) < 2 or len({fields[n] for n in runs}) > 1:
        return []
    shared = {n: v for n, v in values.items() if n not in runs}
    return [(n, shared | structures[n].elements[0]) for n in runs]


def _alone(element: Any) -> Any:
    return Structure((element,)) if isinstance(element, dict) else element


def _holds_arrays(element: Any) -> bool:
    """Return whether an experiment may be in a cell, or in the fields of a structure."""
    if isinstance(element, Structure):
        return len(element.elements) == 1 and _holds_arrays(element.elements[0])
    if isinstance(element, dict):
        return any(map(_is_signal, element.values()))
    return _is_signal(element)


def _is_signal(value: Any) -> bool:
    array = value.array if isinstance(value, Measured) else value
    return isinstance(array, np.ndarray) and array.dtype.kind in "biuf" and array.size > 1


def _side_by_side(leaves: Sequence[_Leaf], reading: Reading, stored: StoredRecord | None) -> Table:
    """Lay numeric arrays of one length side by side."""
    unusable: dict[str, str] = {}
    usable = []
    for leaf in leaves:
        rule = _broken_rule(leaf.value)
        if rule is None:
            usable.append(leaf)
        else:
            unusable[leaf.name] = rule
    lengths = {n for leaf in usable if (n := _length_of_vector(leaf.value)) is not None}
    columns: list[_Leaf] = []
    words: list[str] = []
    for leaf in usable:
        turned, rule = _upright(leaf, lengths, words)
        channels = turned.value.shape[1] if turned.value.ndim == 2 else 1
        if rule is None and len(columns) + channels > _CHANNELS:
            rule = f"have a channel in each column, got the shape {leaf.value.shape}"
        if rule is not None:
            unusable[leaf.name] = rule
        else:
            columns += _columns(turned)
    if not columns and not unusable:
        raise ValueError("it holds no numeric arrays")
    if not columns:
        name, rule = next(iter(unusable.items()))
        raise ValueError(f"it holds no numeric arrays; {name!r} must {rule}")
    return replace(_table(columns, unusable, reading, stored), words=tuple(words))


def _broken_rule(value: Any) -> str | None:
    """Return the rule that a value breaks which no channel can be made of."""
    if isinstance(value, Unreadable):
        return value.rule
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        return f"hold real numbers, got {_KINDS.get(array.dtype.kind, 'objects')}"
    if array.ndim not in (1, 2) or array.size == 0:
        return f"be a vector or a matrix, got the shape {array.shape}"
    return None


def _length_of_vector(array: Any) -> int | None:
    is_vector = array.size > 1 and (array.ndim == 1 or 1 in array.shape)
    return array.size if is_vector else None


def _upright(leaf: _Leaf, lengths: set[int], words: list[str]) -> tuple[_Leaf, str | None]:
    """Return a leaf with samples in its rows, and the rule that it breaks if that is in doubt.

    What is transposed is said in ``words``.
    """
    array = leaf.value
    if _length_of_vector(array) is not None or array.size == 1:
        return replace(leaf, value=array.ravel()), None
    rows, columns = array.shape
    if columns in lengths and rows not in lengths:
        why = f"other signals have {columns} samples"
    elif not far_more_channels(rows, columns):
        return leaf, None
    elif np.isfinite(array[0]).all() and (np.diff(array[0].astype(np.float64)) > 0).all():
        why = "its first row rises, as time does in the files of Simulink's To File"
        leaf = replace(leaf, label=leaf.label or "time")
    else:
        return leaf, (
            f"have its samples in rows, its shape {array.shape} has far more columns than rows; "
            "transpose it and save it again"
        )
    words.append(f"{leaf.name!r} of the shape {array.shape} is read transposed, as {why}")
    return replace(leaf, value=array.T), None


def _columns(leaf: _Leaf) -> list[_Leaf]:
    """Return a leaf for each column of a matrix."""
    if leaf.value.ndim == 1:
        return [leaf]
    if leaf.label == "time":  # a To File matrix: its other rows are signals without names
        labels = ["time"] + [""] * (leaf.value.shape[1] - 1)
    else:
        labels = [leaf.label and f"{leaf.label}{i + 1}" for i in range(leaf.value.shape[1])]
    return [
        replace(leaf, name=f"{leaf.name}{i + 1}", value=column, label=label)
        for i, (column, label) in enumerate(zip(leaf.value.T, labels, strict=True))
    ]


def _table(
    columns: list[_Leaf], unusable: dict[str, str], reading: Reading, stored: StoredRecord | None
) -> Table:
    """Return the columns that have one length, under their shortest names."""
    offered, aliases = _names(columns)
    values = {name: column.value for name, column in zip(offered, columns, strict=True)}
    usual = _usual_length(values, aliases, reading, stored)
    first = ", ".join([repr(n) for n, v in values.items() if len(v) == usual][:3])
    for name, value in values.items():
        if len(value) != usual:
            unusable[name] = (
                f"have equal lengths, got {len(value)} samples of {name!r} where {first} "
                f"have {usual}"
            )
    usable = {name: value for name, value in values.items() if name not in unusable}
    units = {n: leaf.unit for n, leaf in zip(offered, columns, strict=True) if leaf.unit}
    return Table(
        list(usable),
        usual,
        lambda names: pd.DataFrame({n: usable[n] for n in names}),
        units=units,
        stored=stored,
        unusable=unusable,
        aliases=aliases,
    )


def _names(columns: Sequence[_Leaf]) -> tuple[list[str], dict[str, str]]:
    """Return the name that each column is offered by, and the other names it may be called.

    A label counts where only one column has it.
    """
    full = distinct([leaf.name for leaf in columns])
    endings = [list(_endings(name)) for name in full]
    labels = [leaf.label for leaf in columns]
    count = Counter(ending for group in endings for ending in group)
    count.update(label for label, group in zip(labels, endings, strict=True) if label not in group)
    offered, aliases = [], {}
    for label, group in zip(labels, endings, strict=True):
        own = [ending for ending in group if count[ending] == 1 or ending == group[-1]]
        name = label if label and count[label] == 1 else own[0]
        offered.append(name)
        aliases.update({ending: name for ending in own if ending != name})
    return offered, aliases


def _endings(name: str) -> Iterator[str]:
    """Yield what is behind each dot of a name, the shortest first, and the whole name last."""
    words = name.split(".")
    for start in range(len(words) - 1, -1, -1):
        yield ".".join(words[start:])


def _usual_length(
    values: dict[str, Any],
    aliases: dict[str, str],
    reading: Reading,
    stored: StoredRecord | None,
) -> int:
    """Return the number of samples of what is asked for, or of most columns."""
    asked = [*(reading.u or []), *(reading.y or [])]
    if stored and not asked:
        asked = [*stored.u_names, *stored.y_names]
    words = {word.strip() for text in asked for word in (text, *text.split(","))} or {"u", "y"}
    found = [
        values[aliases.get(name, name)]
        for name in (*values, *aliases)
        if name in words or re.sub(r"\d+$", "", name) in words
    ]
    lengths = list(map(len, found or values.values()))
    # A constant such as a sampling rate is no channel, unless the record has one sample.
    return statistics.mode([n for n in lengths if n > 1] or lengths)
