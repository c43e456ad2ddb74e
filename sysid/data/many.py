"""Several data files in one go: named by globs and folders, and read side by side."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import starmap
from pathlib import Path
from typing import Any

from sysid.data.files import read_experiments
from sysid.data.joining import read_joined
from sysid.data.memory import refuse_too_large
from sysid.data.readers.experiments import chosen_part
from sysid.data.readers.opening import is_data_file
from sysid.data.reading import Reading
from sysid.data.records import Record

_LOG = logging.getLogger(__name__)
_PARALLEL = 1 << 25  # bytes of all files from which starting processes pays
_SHOWN = 1 << 27  # bytes of all files from which a bar is shown

Paths = str | Path | Iterable[str | Path]


def read_many(
    paths: Paths, *, workers: int | None = None, progress: bool | None = None, **options: Any
) -> list[Record]:
    r"""Read all experiments of several files, in several processes where that pays.

    Args:
        paths: a file, a folder of data files, or a glob such as ``"logs/run*.csv"``
            (``**`` for folders below), or several of these. Files of a folder or glob come in
            natural order, ``run2`` before ``run10``; those of a list in the order of the list.
        workers: processes; ``None`` for as many as there are processors, if the files are large.
        progress: whether to show a bar; ``None`` shows it for large files on a terminal.
        **options: as for ``read``. The column that ``experiment`` names splits each file;
            the sheets of a workbook, the cells or structures of a .mat file and the groups of an
            HDF5 file do so by themselves where each holds the columns.

    Returns:
        A record for each experiment. Its name is that of the file, with the experiment's number
        or its folder where that alone is not unique. All have the same channels.

    Raises:
        FileNotFoundError: if a file is missing, or a glob or folder has no data file.
        ValueError: as for ``read``; if files differ in their channels or units; if a file is
            named by two patterns; if the records do not fit in memory.

    Example:
        >>> for run in (1, 2, 10):
        ...     _ = Path(f"run{run}.csv").write_text(f"u,y\n{run},0\n1,{run}\n")
        >>> [record.name for record in read_many("run*.csv")]
        ['run1', 'run2', 'run10']
    """
    names = {name: [value] for name in ("u", "y") if isinstance(value := options.get(name), str)}
    return read_sources(paths, Reading(**(options | names)), workers=workers, progress=progress)


def read_sources(
    paths: Paths,
    reading: Reading,
    *,
    workers: int | None = None,
    progress: bool | None = None,
) -> list[Record]:
    """Read as ``read_many`` does, with all that says how in one object."""
    files = found_files(paths)
    if reading.join and len(files) > 1:
        return [read_joined(files, reading)]
    sizes = [_size(path) for path in files]
    if workers is None:
        workers = _processors() if sum(sizes) > _PARALLEL else 1
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    groups: list[list[Record]] = []
    with _bar(progress, sizes) as advance:
        for group, words in _read_each(files, reading, min(workers, len(files))):
            for word in words:
                _LOG.warning("%s", word)
            groups.append(group)
            _refuse_more_than_fits(groups, sizes)
            advance(sizes[len(groups) - 1])
    first = groups[0][0]
    records = [
        _alike(record, first, path, files[0])
        for path, group in zip(files, groups, strict=True)
        for record in group
    ]
    return _distinct(records, [p for p, g in zip(files, groups, strict=True) for _ in g])


def found_files(paths: Paths) -> list[str]:
    """Return the files that paths, globs and folders name.

    Raises:
        FileNotFoundError: if a glob or folder has no data file.
        ValueError: if a file is found twice by a pattern, or there is nothing named.

    Example:
        >>> Path("logs").mkdir()
        >>> Path("logs/b.csv").touch(); Path("logs/a.csv").touch(); Path("logs/notes.md").touch()
        >>> found_files("logs") == [str(Path("logs/a.csv")), str(Path("logs/b.csv"))]
        True
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if not given:
        raise ValueError("paths must name at least one file, got none")
    found: list[str] = []
    of_pattern: set[str] = set()
    for path in map(str, given):
        files = _matching(path)
        by_pattern = files != [path]
        for file in files:
            if file in of_pattern or (by_pattern and file in found):
                raise ValueError(f"{file} is named twice, the second time by {path}; name it once")
        if by_pattern:
            of_pattern.update(files)
        found += files
    return found


def refuse_shared(train: Sequence[str], test: Sequence[str]) -> None:
    """Raise if a file is to train on and to test on.

    Raises:
        ValueError: with the file.
    """
    known = {os.path.abspath(path) for path in train}
    for path in test:
        if os.path.abspath(path) in known:
            raise ValueError(f"{path} must be for training or for testing, it is named for both")


def _matching(path: str) -> list[str]:
    """Return the files that one path names, in natural order."""
    if os.path.isdir(path):
        return _of_folder(Path(path))
    if chosen_part(path)[0].exists() or not glob.has_magic(path):
        return [path]
    files = [p for p in glob.glob(path, recursive=True) if os.path.isfile(p)]
    if not files:
        raise FileNotFoundError(f"{path} must match at least one file, it matches none")
    return sorted(files, key=_naturally)


def _of_folder(folder: Path) -> list[str]:
    """Return the data files that are directly in a folder."""
    files = [p for p in folder.iterdir() if not p.name.startswith(".") and is_data_file(p)]
    if not files:
        below = sorted(p.name for p in folder.iterdir() if p.is_dir())
        hint = f"; it has the folders {', '.join(below[:8])}, name one of them" if below else ""
        raise FileNotFoundError(f"the folder {folder} must hold data files, it has none{hint}")
    stems = Counter(p.stem for p in files)
    if twice := sorted(p.name for p in files if stems[p.stem] > 1):
        raise ValueError(
            f"{twice[0]} and {twice[1]} in the folder {folder} may be the same experiment; "
            f"name the files by a glob, such as {folder / ('*' + Path(twice[0]).suffix)}"
        )
    return sorted(map(str, files), key=_naturally)


def _naturally(path: str) -> list[tuple[int, int, str]]:
    """Return a key by which numbers in names count as numbers."""
    words = re.split(r"(\d+)", path)
    return [(0, int(w), w) if w.isdecimal() else (1, 0, w) for w in words]


def _size(path: str) -> int:
    file, _ = chosen_part(path)
    return file.stat().st_size if file.is_file() else 0


def _processors() -> int:
    import joblib

    return int(joblib.cpu_count(only_physical_cores=False))


def _read_each(
    files: Sequence[str], reading: Reading, workers: int
) -> Iterator[tuple[list[Record], list[str]]]:
    """Yield the experiments of each file in turn, and what was said about them."""
    calls = [(path, reading) for path in files]
    if workers == 1:
        yield from starmap(_read_one, calls)
        return
    from joblib import Parallel, delayed

    # Processes: most of the time of a text file is spent in Python.
    run = Parallel(n_jobs=workers, backend="loky", inner_max_num_threads=1, return_as="generator")
    yield from run(delayed(_read_one)(*call) for call in calls)


def _read_one(path: str, reading: Reading) -> tuple[list[Record], list[str]]:
    """Read the experiments of a file; what is logged is returned, as a process logs for itself."""
    handler = _Collected()
    logger = logging.getLogger("sysid")
    propagates = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        return read_experiments(path, reading), handler.messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


class _Collected(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _refuse_more_than_fits(groups: Sequence[Sequence[Record]], sizes: Sequence[int]) -> None:
    """Raise as soon as the records read so far say that all of them do not fit in memory."""
    read, left = sum(sizes[: len(groups)]), sum(sizes[len(groups) :])
    held = sum(r.u.nbytes + r.y.nbytes for group in groups for r in group)
    if read:
        refuse_too_large(
            f"the records of the other {len(sizes) - len(groups)} files",
            held / read * left,
            "read fewer files or columns, or write them to Parquet and use map_parquet",
        )


@contextmanager
def _bar(progress: bool | None, sizes: Sequence[int]) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error, if it is a terminal; yields what moves it on by bytes."""
    from rich.console import Console

    console = Console(stderr=True)
    if not (console.is_terminal and sum(sizes) > _SHOWN if progress is None else progress):
        yield lambda count: None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("reading {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(f"{len(sizes)} files", total=sum(sizes))
        yield lambda count: bar.advance(task, count)


def _alike(record: Record, first: Record, path: str, first_path: str) -> Record:
    """Return a record with its channels in the order of the first one's.

    Raises:
        ValueError: if it has others, or others' units, with both files.
    """
    changes: dict[str, Any] = {}
    for kind in ("u", "y"):
        names, wanted = getattr(record, f"{kind}_names"), getattr(first, f"{kind}_names")
        if sorted(names) != sorted(wanted):
            what = "inputs" if kind == "u" else "outputs"
            raise ValueError(
                f"files must have the same {what}, got {', '.join(wanted) or 'none'} in "
                f"{first_path} and {', '.join(names) or 'none'} in {path}"
            )
        places = [names.index(name) for name in wanted]
        units = [getattr(record, f"{kind}_units")[i] for i in places]
        for name, unit, other in zip(wanted, units, getattr(first, f"{kind}_units"), strict=True):
            if unit and other and unit != other:
                raise ValueError(
                    f"{name} must be in the same unit in all files, got {other} in {first_path} "
                    f"and {unit} in {path}"
                )
        if names != wanted:
            block = getattr(record, kind)[:, places]
            changes |= {kind: block, f"{kind}_names": wanted, f"{kind}_units": units}
    return record.replace(**changes) if changes else record


def _distinct(records: Sequence[Record], paths: Sequence[str]) -> list[Record]:
    """Give records of the same name their folders, or else numbers, as part of the name."""
    out = list(records)
    count = Counter(record.name for record in out)
    for i, (record, path) in enumerate(zip(records, paths, strict=True)):
        if count[record.name] > 1:
            folder = Path(path).parent.name
            out[i] = record.replace(name=f"{folder}/{record.name}" if folder else record.name)
    seen: Counter[str] = Counter()
    count = Counter(record.name for record in out)
    for i, record in enumerate(out):
        seen[record.name] += 1
        if count[record.name] > 1:
            out[i] = record.replace(name=f"{record.name} ({seen[record.name]})")
    return out
