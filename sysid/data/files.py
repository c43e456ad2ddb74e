"""Data files: CSV, Parquet, MATLAB .mat and .npz to and from records."""

from __future__ import annotations

import codecs
import csv
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from sysid.data.arrays import open_feather, open_mat, open_npy, open_npz, open_parquet
from sysid.data.atomic import replacing
from sysid.data.columns import unknown_column
from sysid.data.conversions import CONVERTED
from sysid.data.errors import TimeStampError, one_line, shown
from sysid.data.experiments import chosen_part, experiments, only
from sysid.data.hdf5 import open_hdf5
from sysid.data.json_files import open_json
from sysid.data.loggers import open_mf4, open_tdms
from sysid.data.memory import refuse_swollen, refuse_too_large
from sysid.data.reading import Reading
from sysid.data.records import Record
from sysid.data.spreadsheets import open_excel
from sysid.data.stamps import TimeColumn
from sysid.data.tables import METADATA, StoredStamps, Table
from sysid.data.text import open_text
from sysid.data.time_columns import NO_TIME, find_time, time_names
from sysid.data.time_names import Rank, rank

_LOG = logging.getLogger(__name__)
_COPIES = 3  # of a column at the peak: the file's, the frame's and the record's


def read(
    path: str | Path,
    u: Sequence[str] | str | None = None,
    y: Sequence[str] | str | None = None,
    time: str | None = None,
    sampling_time: float | None = None,
    date_format: str | None = None,
    header: int | None = None,
    skip_rows: int | None = None,
    pivot: str | None = None,
    experiment: str | None = None,
) -> Record:
    r"""Read one file as a record.

    The suffix says what it is: text (``.csv``, ``.txt``, ``.tsv``, ``.dat``, ``.asc``, ``.log``,
    ``.lvm``, ``.prn``, ``.data``, also packed, ``.csv.gz``), ``.parquet``, ``.feather``, ``.mat``
    (v4, v5 and v7.3), ``.h5``, ``.npz``, ``.npy``, ``.json``, ``.xlsx``, ``.tdms``, ``.mf4``; a
    file of another suffix is read if it holds text. In files of arrays, a matrix ``u`` of ``k``
    columns is read as ``u1 ... uk``, and a field of a structure or group is called ``data.u``, or
    ``u`` where only one is called so. ``log.xlsx#Run 2`` is a sheet, or an experiment, of a file
    that holds several.
    A text file may use commas, semicolons, tabs or blanks, decimal points or commas, a preamble of
    any length, a line of units under the names, and units in the cells. Columns without a name are
    called by their number, ``u=["2"]`` or ``u=["column 2"]``. Nothing is guessed about values: what
    cannot be read without doubt is refused, with its place.

    Args:
        path: the file.
        u: input columns. Where neither ``u`` nor ``y`` is given, columns called ``u``, ``u1``,
            ``u2``, ... are inputs, ``y``, ``y1``, ... outputs.
        y: output columns; none for a record that is to be simulated.
        time: column of time stamps, in seconds unless its name or the file gives another unit,
            or dates. Without it, a column whose name or content is time is found; it is checked,
            too, and ``"none"`` ignores it.
        sampling_time: seconds between samples, where there are no time stamps; it must agree
            with those that are there.
        date_format: how dates are written, in the codes of ``strptime``; without it, as they
            show.
        header: the line of a text file that holds the names, from 1; 0 if none does.
        skip_rows: lines to leave out at the top of a text file.
        pivot: ``"TAG,VALUE"`` for a text file in long form, in which a row holds one signal: the
            column that names it and the one of its values. Each tag becomes a column.
        experiment: column that numbers the experiments; ``read_many`` reads a file of several.

    Returns:
        The record, named after the file unless the file holds a name.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or does not hold the columns asked for
            (``TimeStampError`` where the time stamps are at fault).

    Example:
        >>> _ = Path("tank.csv").write_text("t;pump;level\n0;1,0;0,00\n4;1,0;0,25\n")
        >>> read("tank.csv", u=["pump"], y=["level"], time="t")
        Record('tank', N=2, nu=1, ny=1, sampling_time=4)
    """
    reading = Reading(
        _listed(u),
        _listed(y),
        time,
        sampling_time,
        date_format=date_format,
        header=header,
        skip_rows=skip_rows,
        pivot=pivot,
        experiment=experiment,
    )
    return read_file(path, reading)


def read_file(path: str | Path, reading: Reading) -> Record:
    """Read one file as a record, with all that says how in one object; see ``read``."""
    path, part = chosen_part(path)
    table = _open(path, reading)
    with _named_after(path):
        label, table = only(experiments(table, reading), part, path)
        return _record(path, table, reading, label)


def read_experiments(path: str | Path, reading: Reading) -> list[Record]:
    """Read all experiments that a file holds, or the one that ``FILE#PART`` names."""
    path, part = chosen_part(path)
    if part is not None:
        return [read_file(f"{path}#{part}", reading)]
    table = _open(path, reading)
    with _named_after(path):
        parts = experiments(table, reading)
        return [_record(path, part, reading, label) for label, part in parts.items()]


@contextmanager
def _named_after(path: Path) -> Iterator[None]:
    """Put the file before each message."""
    try:
        yield
    except ValueError as error:
        raise type(error)(f"{path}: {one_line(error)}") from None
    except Exception as error:  # what the libraries that read a damaged file may raise
        raise ValueError(_unreadable(path, error)) from None


def write(record: Record, path: str | Path) -> None:
    """Write a record to one file, by suffix ``.csv``, ``.tsv``, ``.parquet``, ``.mat`` or ``.npz``.

    All but text files keep the metadata too. The file is complete or not there at all.

    Args:
        record: what to write.
        path: the file; its directory must exist.

    Raises:
        ValueError: for another suffix, or if it cannot be written.

    Example:
        >>> record = Record([1.0, 2.0], [3.0, 4.0], 0.5, name="tank", u_units=["V"])
        >>> write(record, "tank.parquet")
        >>> read("tank.parquet") == record
        True
    """
    path = Path(path)
    writer = _choose(_WRITERS, path)
    try:
        with replacing(path) as partial:
            writer(record, partial)
    except OSError as error:
        raise ValueError(f"file must be writable, got {path}: {error.strerror or error}") from None


def _listed(names: Sequence[str] | str | None) -> list[str] | None:
    """Return names as a list: one name by itself is not read letter by letter."""
    return [names] if isinstance(names, str) else None if names is None else list(names)


def column_names(path: str | Path, reading: Reading | None = None) -> list[str]:
    """Return the names of a file's columns; of the first experiment, if it holds several."""
    table = _open(chosen_part(path)[0], reading or Reading())
    tables = [table] if table.names else [*table.experiments.values(), table]
    return [*tables[0].names, *tables[0].unusable, *tables[0].aliases]


def guess_columns(names: Sequence[str]) -> tuple[list[str], list[str], str | None]:
    """Return the columns that are inputs, outputs and time stamps by their names.

    Example:
        >>> guess_columns(["t", "u1", "u2", "y", "note"])
        (['u1', 'u2'], ['y'], 't')
    """
    u, y = ([n for n in names if re.fullmatch(rf"{k}\d*", n)] for k in "uy")
    return u, y, next((n for n in names if rank(n) is Rank.CERTAIN), None)


def _record(path: Path, table: Table, reading: Reading, label: str = "") -> Record:
    """Read the columns that are asked for, or those that the names tell."""
    for word in table.words:
        _LOG.warning("%s: %s", path, word)
    table = table.renamed(_aliased(table, reading))
    u: Sequence[str] | None = reading.u
    y: Sequence[str] | None = reading.y
    stored = table.stored
    names = [*table.names, *table.unusable]
    if u is None and y is None:
        if stored:
            u, y = stored.u_names, stored.y_names
        else:
            u, y, _ = guess_columns(names)
            if not u and not y:
                if names == [f"column {i + 1}" for i in range(len(names))]:
                    raise ValueError(
                        f"no line names the columns, which are called {shown(names)}; say by number "
                        'which are inputs and outputs, as in u=["2"] and y=["3"] (--u 2 --y 3)'
                    )
                raise ValueError(
                    "columns must be named with u and y, or be called u1, y1, ..., got "
                    f"{shown(names)}"
                )
    u, y = _expanded(u or [], names), _expanded(y or [], names)
    reading = _named_as_read(reading, names)
    time = [reading.time] if reading.time is not None and reading.time != NO_TIME else []
    asked = list(dict.fromkeys([*u, *y, *time]))
    for name in asked:
        if name in table.unusable:
            raise ValueError(f"column {name!r} must {table.unusable[name]}")
    known = set(table.names)
    if unknown := [name for name in asked if name not in known]:
        raise ValueError(unknown_column(unknown[0], names))
    searched = time or not (stored or reading.time == NO_TIME)
    candidates = time_names(table.names, [*u, *y], table.units) if searched else []
    frame = _loaded(path, table, list(dict.fromkeys([*asked, *candidates])))
    found = find_time(frame, candidates, table.units, reading)
    sampling_time = _sampling_time(reading, found, table)
    metadata: dict[str, Any] = {"name": f"{_stem(path)} {label}".strip()}
    units = dict(table.units)
    if stored:
        metadata.update(name=stored.name, n_init=stored.n_init)
        units.update(stored.units)
    metadata.update(
        {f"{k}_units": [units.get(c, "") for c in cs] for k, cs in (("u", u), ("y", y))}
    )
    if found is not None:
        metadata["stamps"] = found.stamps
    elif stored and stored.stamps and sampling_time is not None:
        metadata["stamps"] = stored.stamps.stamps()
    record = Record.from_frame(frame, u, y, None, sampling_time, **metadata)
    _compare_stated(record, table, reading)
    for block, channels in ((record.u, u), (record.y, y)):
        if len(empty := np.flatnonzero(np.isnan(block).all(axis=0))):
            raise ValueError(
                f"column {channels[empty[0]]!r} must hold numbers, all its {len(block)} samples "
                "are missing; leave it out"
            )
    return record


def _stem(path: Path) -> str:
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def _compare_stated(record: Record, table: Table, reading: Reading) -> None:
    """Raise if the file states another sampling time than its stamps have or than was given."""
    step = record.sampling_time
    if table.step is None or step is None or abs(step - table.step[0]) <= 0.01 * step:
        return
    raise ValueError(
        f"the file has {table.step[1]}, which is {table.step[0]:g} s between samples, "
        f"where {'sampling_time is' if reading.sampling_time else 'its time stamps have'} "
        f"{step:g} s; leave that line out with skip_rows if it is wrong"
    )


def _aliased(table: Table, reading: Reading) -> list[str]:
    """Return the other names of columns that are asked for."""
    asked = [*(reading.u or []), *(reading.y or []), *([reading.time] if reading.time else [])]
    # The rows of a To File matrix are signals, but for that of time.
    signals = [alias for alias, name in table.aliases.items() if name != "time"]
    names = _expanded(asked, [*table.names, *signals])
    return [name for name in names if name in table.aliases]


def _named_as_read(reading: Reading, names: Sequence[str]) -> Reading:
    """Return the reading with the sign of a comment before the name of ``time`` dropped."""
    plain = (reading.time or "").lstrip("#% ")
    return replace(reading, time=plain) if reading.time not in names and plain in names else reading


def _loaded(path: Path, table: Table, names: list[str]) -> pd.DataFrame:
    """Return columns of a table, if there is memory for them."""
    columns, needed = f"{len(names)} columns of {table.samples} samples", len(names) * table.samples
    refuse_swollen(columns, 8 * needed, path)
    refuse_too_large(
        columns,
        8 * _COPIES * needed,
        "name fewer columns with u and y, or cut the file",
    )
    frame = table.load(names)
    if not len(frame):
        raise ValueError("file must hold samples, got none")
    return frame


def _sampling_time(reading: Reading, found: TimeColumn | None, table: Table) -> float | None:
    """Return the sampling time, which what is given and what the file tells must agree on."""
    given = reading.sampling_time
    if found is not None:
        step: float | None = found.step()
    else:
        step = table.stored.sampling_time if table.stored else None
        if step is None and table.step:
            step = table.step[0]
    if given is None or step is None:
        return step if given is None else given
    if abs(step - given) > 0.01 * step and reading.time != NO_TIME:
        where = f"column {found.name!r} has" if found else "the record in the file has"
        raise TimeStampError(
            f"sampling_time must be that of the time stamps, got {given:g} s where {where} "
            f"{step:g} s; leave sampling_time out, or give time='none' to ignore the file's"
        )
    return given


def _expanded(asked: Sequence[str], names: list[str]) -> list[str]:
    """Split text with commas that is no column itself; a matrix stands for its columns."""
    out: list[str] = []
    known = set(names)
    for name in _split_names(asked, known):
        columns = []
        if name not in known:
            columns = [n for n in names if re.fullmatch(rf"{re.escape(name)}\d+", n)]
            if name.isdigit() and f"column {name}" in known:
                columns = [f"column {name}"]
        out += columns or [name]
    return out


def _split_names(asked: Sequence[str], known: set[str]) -> list[str]:
    """Return names one by one: ``"a,b"`` is two, unless a column is called so."""
    out: list[str] = []
    for text in asked:
        if text in known or "," not in text:
            out.append(text)
        else:
            names = next(csv.reader([text], skipinitialspace=True))
            out += [n.strip() for n in names if n.strip()]
    return out


def _open(path: Path, reading: Reading) -> Table:
    if not path.exists():
        raise FileNotFoundError(f"file must exist, got {path}")
    if path.suffix.lower() in CONVERTED:
        raise ValueError(f"{path} is not read: {CONVERTED[path.suffix.lower()]}")
    opener = _opener(path)
    if not path.is_file():
        raise ValueError(
            f"data must be a file, got {'the directory ' if path.is_dir() else ''}{path}"
        )
    if path.stat().st_size == 0:
        raise ValueError(f"file must hold samples, {path} is empty")
    try:
        table: Table = opener(path, reading)
    except ImportError as error:
        raise ImportError(f"{path}: {error}") from None
    except Exception as error:
        raise ValueError(_unreadable(path, error)) from None
    return table


def _opener(path: Path) -> Callable[[Path, Reading], Table]:
    """Return what opens a file: by its suffix, or by what is in it where that says nothing."""
    suffix = path.suffix.lower()
    if suffix == ".gz" and Path(path.stem).suffix.lower() in ("", *_TEXTS):
        return open_text
    if suffix in _OPENERS or suffix in _OTHERS or not path.is_file():
        return _choose(_OPENERS, path)
    with path.open("rb") as f:
        head = f.read(1 << 12)
    if b"\0" in head and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"file must end in {', '.join(_OPENERS)}, or hold text, got {path}")
    return open_text


def is_data_file(path: Path) -> bool:
    """Return whether a file's suffix says that it can be read."""
    return path.is_file() and (
        path.suffix.lower() in _OPENERS
        or (path.suffix.lower() == ".gz" and Path(path.stem).suffix.lower() in _TEXTS)
    )


def _choose(table: dict[str, Callable[..., Any]], path: Path) -> Callable[..., Any]:
    if path.suffix.lower() not in table:
        raise ValueError(f"file must end in {', '.join(table)}, got {path}")
    return table[path.suffix.lower()]


def _unreadable(path: Path, error: Exception) -> str:
    return f"file must be readable as {path.suffix}, got {path}: {one_line(error)}"


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


_TEXTS = (".csv", ".txt", ".tsv", ".dat", ".asc", ".log", ".lvm", ".prn", ".data")
# More suffixes that say that a file is no table of text.
_OTHERS = {
    *(".doc", ".docx", ".pdf", ".html", ".htm", ".xml", ".gz", ".rar", ".tar", ".bz2", ".xz"),
    *(".zst", ".db", ".sqlite", ".py", ".ipynb", ".yaml", ".yml", ".toml", ".png", ".jpg", ".svg"),
}
_OPENERS: dict[str, Callable[[Path, Reading], Table]] = {
    **dict.fromkeys(_TEXTS, open_text),
    ".parquet": open_parquet,
    ".mat": open_mat,
    ".npz": open_npz,
    ".npy": open_npy,
    ".feather": open_feather,
    ".arrow": open_feather,
    ".h5": open_hdf5,
    ".hdf5": open_hdf5,
    ".json": open_json,
    ".jsonl": open_json,
    ".ndjson": open_json,
    ".xlsx": open_excel,
    ".xlsm": open_excel,
    ".tdms": open_tdms,
    ".mf4": open_mf4,
    ".mdf": open_mf4,
}
_WRITERS: dict[str, Callable[..., None]] = {
    ".csv": _write_text,
    ".tsv": lambda record, path: _write_text(record, path, "\t"),
    ".parquet": _write_parquet,
    ".mat": _write_mat,
    ".npz": _write_npz,
}
