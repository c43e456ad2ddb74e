"""Writing a file so that a crash or a full disk leaves the new one or the old one, whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend the path of a new file, which takes the place of ``path`` once it is on the disk.

    Where the block fails, what was written is deleted and ``path`` stays as it was.

    Raises:
        OSError: if it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as f:
            os.fsync(f.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    _flush_directory(path.parent)


def _flush_directory(folder: Path) -> None:
    """Put a rename on the disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, or leave the one before it."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
