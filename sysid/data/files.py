"""Data files to and from records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sysid.data.assembly import assembled
from sysid.data.atomic import replacing
from sysid.data.errors import one_line
from sysid.data.readers.experiments import chosen_part, experiments, only
from sysid.data.readers.opening import open_table, unreadable
from sysid.data.reading import Reading
from sysid.data.records import Record
from sysid.data.writing import writer


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
    resample: str | float | None = None,
    join: bool | None = None,
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
        resample: seconds between samples that the record shall have, or ``"auto"``: uneven time
            stamps are put on a grid of their usual step. Inputs are held, outputs interpolated
            and filtered, and gaps become missing samples.
        join: whether channels of several rates share the table: inputs are held between their
            samples, outputs missing there.

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
        resample=None if resample is None else str(resample),
        join=join,
    )
    return read_file(path, reading)


def read_file(path: str | Path, reading: Reading) -> Record:
    """Read one file as a record, with all that says how in one object; see ``read``."""
    path, part = chosen_part(path)
    table = open_table(path, reading)
    with _named_after(path):
        label, table = only(experiments(table, reading), part, path)
        return assembled(path, table, reading, label)


def read_experiments(path: str | Path, reading: Reading) -> list[Record]:
    """Read all experiments that a file holds, or the one that ``FILE#PART`` names."""
    path, part = chosen_part(path)
    if part is not None:
        return [read_file(f"{path}#{part}", reading)]
    table = open_table(path, reading)
    with _named_after(path):
        parts = experiments(table, reading)
        return [assembled(path, part, reading, label) for label, part in parts.items()]


@contextmanager
def _named_after(path: Path) -> Iterator[None]:
    """Put the file before each message."""
    try:
        yield
    except ValueError as error:
        raise type(error)(f"{path}: {one_line(error)}") from None
    except Exception as error:  # what the libraries that read a damaged file may raise
        raise ValueError(unreadable(path, error)) from None


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
    write_as = writer(path)
    try:
        with replacing(path) as partial:
            write_as(record, partial)
    except OSError as error:
        raise ValueError(f"file must be writable, got {path}: {error.strerror or error}") from None


def _listed(names: Sequence[str] | str | None) -> list[str] | None:
    """Return names as a list: one name by itself is not read letter by letter."""
    return [names] if isinstance(names, str) else None if names is None else list(names)


def column_names(path: str | Path, reading: Reading | None = None) -> list[str]:
    """Return the names of a file's columns; of the first experiment, if it holds several."""
    table = open_table(chosen_part(path)[0], reading or Reading())
    tables = [table] if table.names else [*table.experiments.values(), table]
    return [*tables[0].names, *tables[0].unusable, *tables[0].aliases]
