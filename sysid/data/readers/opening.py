"""Which reader opens a file: by its suffix, or by what is in it."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path

from sysid.data.errors import one_line
from sysid.data.readers.arrays import open_feather, open_mat, open_npy, open_npz, open_parquet
from sysid.data.readers.conversions import CONVERTED
from sysid.data.readers.hdf5 import open_hdf5
from sysid.data.readers.json_files import open_json
from sysid.data.readers.loggers import open_mf4, open_tdms
from sysid.data.readers.spreadsheets import open_excel
from sysid.data.readers.tables import Table
from sysid.data.readers.text import open_text
from sysid.data.reading import Reading

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


def open_table(path: Path, reading: Reading) -> Table:
    """Return what a file offers.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read.
        ImportError: if an optional library is missing, with the command that installs it.
    """
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
    of_text = [n for n in ("header", "skip_rows", "pivot") if getattr(reading, n) is not None]
    if of_text and opener is not open_text:
        raise ValueError(
            f"{path} is no text file, so {', '.join(of_text)} cannot be used; leave it out, or "
            "save the table as .csv"
        )
    try:
        table: Table = opener(path, reading)
    except ImportError as error:
        raise ImportError(f"{path}: {error}") from None
    except Exception as error:
        raise ValueError(unreadable(path, error)) from None
    return table


def _opener(path: Path) -> Callable[[Path, Reading], Table]:
    """Return what opens a file: by its suffix, or by what is in it where that says nothing."""
    suffix = path.suffix.lower()
    if suffix == ".gz" and Path(path.stem).suffix.lower() in ("", *_TEXTS):
        return open_text
    if suffix in _OPENERS or suffix in _OTHERS or not path.is_file():
        return _by_suffix(path)
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


def unreadable(path: Path, error: Exception) -> str:
    """Return the message about a file that a library could not read."""
    return f"file must be readable as {path.suffix}, got {path}: {one_line(error)}"


def _by_suffix(path: Path) -> Callable[[Path, Reading], Table]:
    if path.suffix.lower() not in _OPENERS:
        raise ValueError(f"file must end in {', '.join(_OPENERS)}, got {path}")
    return _OPENERS[path.suffix.lower()]
