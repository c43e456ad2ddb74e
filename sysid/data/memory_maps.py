"""Memory maps: arrays on a disk, read piece by piece, whose memory is given back."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 18  # samples of a piece

Array = NDArray[np.float64]


def chunks(block: Array, size: int = CHUNK) -> Iterator[Array]:
    """Yield the rows of a block in pieces; what was read of a memory map is let go after each."""
    for start in range(0, len(block), size):
        yield block[start : start + size]
        release(block)


def release(block: Array) -> None:
    """Let go of the memory that pages of a memory map take up; nothing that was written is lost.

    They stay in the system's cache, which takes them for itself when it needs to. Arrays in
    memory, and private copies of a file, are left alone.
    """
    if not isinstance(block, np.memmap) or block.mode == "c":
        return
    mapped: mmap.mmap | None = getattr(block, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
