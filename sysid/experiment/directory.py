"""The run directory: made, locked while a training writes to it, and gone on with."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sysid.data.atomic import write_text

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
CHECKPOINT_FILE = "checkpoint.pt"
_LOCK_FILE = ".lock"
_LOG = logging.getLogger(__name__)


class RunError(RuntimeError):
    """A run that could not be finished; its message says how to go on."""


@contextmanager
def run_directory(out: Path | None, name: str, resume: bool) -> Iterator[Path]:
    """Lend a run directory to this process alone.

    Args:
        out: the directory; ``runs/NAME``, with a number where that exists, if ``None``.
        name: of the run.
        resume: whether ``out`` is a run to go on with; otherwise it must be new or empty.

    Raises:
        ValueError: if another process uses it, it is not what it has to be, or cannot be written.
    """
    if resume:
        _check_unfinished(out)
    path = _made(out, name)
    if not resume:
        _check_empty(path)  # before a lock is left in somebody's directory
    with _locked(path):
        # What another process did until the lock was ours counts.
        if resume:
            _check_unfinished(path)
        else:
            _check_empty(path)
        for partial in path.glob(".*.partial"):  # of a process that was killed
            partial.unlink()
        yield path
        if not (path / CHECKPOINT_FILE).exists():
            (path / _LOCK_FILE).unlink(missing_ok=True)


def new_directory(out: Path) -> Path:
    """Return a directory to write in, made if it is not there.

    Raises:
        ValueError: if it holds something, or cannot be made.
    """
    path = _made(out, out.name)
    _check_empty(path)
    return path


def next_directory(name: str) -> Path:
    """Return a new directory ``runs/NAME``, with a number where that exists."""
    return _made(None, name)


def is_begun(path: Path) -> bool:
    """Return whether a directory holds a run that can be gone on with."""
    return (path / CHECKPOINT_FILE).is_file()


def _check_unfinished(path: Path | None) -> None:
    if path is None or not path.is_dir():
        raise ValueError(f"resume must name a run directory, got {path}")
    if is_begun(path):
        return
    if (path / MODEL_FILE).exists():
        raise ValueError(
            f"resume must name a run directory with a {CHECKPOINT_FILE}, got {path}, which is "
            "finished; train into another directory to train longer"
        )
    if not (path / CONFIG_FILE).is_file():
        raise ValueError(
            f"resume must name a run directory with a {CHECKPOINT_FILE}, got {path}; "
            "leave --resume out to begin"
        )


def _check_empty(path: Path) -> None:
    found = [p.name for p in path.iterdir() if p.name != _LOCK_FILE and p.suffix != ".partial"]
    if found:
        hint = "or go on in it with --resume" if is_begun(path) else "choose another directory"
        raise ValueError(f"out must be new or empty, got {path}; {hint}")


def _made(out: Path | None, name: str) -> Path:
    """Return the directory, made if it is not there; a name that is taken gets a number."""
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            return out
        Path("runs").mkdir(exist_ok=True)
        number = 1
        while True:
            path = Path("runs") / (name if number == 1 else f"{name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
            else:
                return path
    except OSError as error:
        raise ValueError(
            f"out must be a directory that can be written, got {out}: {error.strerror}"
        ) from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the directory's lock, which the system takes from a process that dies."""
    from filelock import FileLock, Timeout

    lock = FileLock(path / _LOCK_FILE, timeout=0)
    holder = _holder(path)
    this = {"process": os.getpid(), "host": platform.node(), "since": time.ctime()}
    try:
        lock.acquire()
        (path / _LOCK_FILE).write_text(json.dumps(this), encoding="utf-8")
    except Timeout:
        raise ValueError(
            f"run directory must not be in use, {path} is by {holder or 'another process'}; "
            "wait for it, or choose another directory"
        ) from None
    except OSError as error:
        raise ValueError(
            f"out must be a directory that can be written, got {path}: {error.strerror}"
        ) from None
    try:
        if holder:
            _LOG.info("%s: the lock of %s is stale; it was taken over", path, holder)
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    """Return which process wrote the lock, as far as it can be read."""
    try:
        held: dict[str, Any] = json.loads((path / _LOCK_FILE).read_text(encoding="utf-8"))
        return f"process {held['process']} on {held['host']} since {held['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document, whole or not at all."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False))
