"""Memory: how much of it this process can still have, and refusing what needs more."""

from __future__ import annotations

from pathlib import Path

# Limits of a control group, as containers and batch systems set them: (limit, in use).
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)
_SMALL = 1 << 28  # bytes; reading takes a few times as many
_SWELLING = 1000  # times, about as much as zlib reaches


def free_memory() -> int:
    """Return the bytes that this process can still have: the machine's or its container's."""
    import psutil

    free = int(psutil.virtual_memory().available)
    for limit, in_use in _CGROUPS:
        try:
            left = int(Path(limit).read_text()) - int(Path(in_use).read_text())
        except (OSError, ValueError):  # no such group, or "max"
            continue
        free = min(free, max(left, 0))
    return free


def refuse_too_large(what: str, needed: float, hint: str) -> None:
    """Raise if something needs more memory than there is.

    Args:
        what: what it is, for the message.
        needed: estimated bytes.
        hint: what to do about it.

    Raises:
        ValueError: with the estimate and what is free.
    """
    free = free_memory()
    if needed > free:
        raise ValueError(
            f"{what} must fit in memory, got an estimate of {gigabytes(needed)} where "
            f"{gigabytes(free)} are free; {hint}"
        )


def refuse_swollen(what: str, unpacked: float, path: Path) -> None:
    """Raise if a file unpacks to more than a measurement can.

    A few bytes can stand for gigabytes, by compression or because they only claim them. What is
    measured is not packed a thousandfold; what is small is let through however it is packed.

    Args:
        what: what it is, for the message.
        unpacked: the bytes it claims to be.
        path: the file.

    Raises:
        ValueError: with both sizes.
    """
    size = path.stat().st_size
    if unpacked > max(_SMALL, _SWELLING * size):
        raise ValueError(
            f"{what} must be at most {_SWELLING} times as large as the file, got "
            f"{gigabytes(unpacked)} in a file of {size} bytes; it is damaged, or made to fill "
            "the memory"
        )


def gigabytes(count: float) -> str:
    """Return a number of bytes as text."""
    return f"{count / 1e9:.3g} GB"
