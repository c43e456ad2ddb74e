"""What a record may be made of: blocks of channels, their labels, and its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sysid.data.errors import shown
from sysid.data.memory_maps import CHUNK, chunks

_WIDE = 4  # channels over samples from which a block looks transposed
_FEW_CHANNELS = 4


def two_dimensional(values: ArrayLike | None, kind: str) -> NDArray[Any]:
    """Return ``(N, channels)``, of one channel where there is one dimension."""
    array = np.asanyarray(values)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim == 3:
        raise ValueError(
            f"{kind} must be (N, channels) or (N,), got 3 dimensions, {array.shape}; make a record "
            "of each experiment, and a list of the records"
        )
    if array.ndim != 2:
        raise ValueError(f"{kind} must be (N, channels) or (N,), got {array.ndim} dimensions")
    return array


def far_more_channels(samples: int, channels: int) -> bool:
    """Return whether a block looks transposed: at least four times as many channels as samples.

    Up to four channels are never suspected.
    """
    return channels > _FEW_CHANNELS and channels >= _WIDE * samples


def refuse_transposed(
    u: NDArray[Any], y: NDArray[Any], u_names: Any = None, y_names: Any = None
) -> None:
    """Raise if the blocks of a record hold a sample in each column.

    A block whose channels all have names is taken as it is, if it is as long as the other.

    Args:
        u: inputs, ``(N, nu)``.
        y: outputs, ``(N, ny)``.
        u_names: names of the inputs; ``None`` if they have none.
        y_names: names of the outputs; ``None`` if they have none.

    Raises:
        ValueError: with the shapes, and how to transpose them.
    """
    for kind, block, names, other in (("u", u, u_names, y), ("y", y, y_names, u)):
        rows, columns = block.shape
        fits_turned = rows != len(other) and columns > 1 and columns in other.shape
        if fits_turned or (names is None and far_more_channels(rows, columns)):
            samples = "1 sample" if rows == 1 else f"{rows} samples"
            raise ValueError(
                f"{kind} of the shape ({rows}, {columns}) would be {columns} channels of "
                f"{samples}; give it with samples in rows, {kind}.T, or name every channel in "
                f"{kind}_names if it is right"
            )


def channel_block(
    values: ArrayLike | None, kind: str, names: Sequence[str] | None, n: int
) -> NDArray[np.float64]:
    """Turn what the user gave into a checked, read-only ``(N, channels)`` block."""
    if values is None:
        empty = np.empty((n, 0))
        empty.setflags(write=False)
        return empty
    block = two_dimensional(values, kind)
    if isinstance(block, np.memmap):
        if block.dtype not in (np.float32, np.float64):
            raise TypeError(f"{kind} as a memory map must be float32 or float64, got {block.dtype}")
    else:
        if block.dtype.kind not in "biuf":
            raise TypeError(f"{kind} must be numbers, got {block.dtype}; convert it first")
        shared = block.dtype == np.float64 and not block.flags.writeable
        block = block if shared else np.array(block, dtype=np.float64, order="C")
        block.setflags(write=False)
    for start, piece in zip(range(0, len(block), CHUNK), chunks(block), strict=True):
        bad = np.argwhere(np.isinf(piece))
        if len(bad):
            row, column = int(bad[0, 0]) + start, int(bad[0, 1])
            label = names[column] if names is not None and column < len(names) else None
            raise ValueError(
                f"{label or f'{kind}{column + 1}'} must be finite, got "
                f"{block[row, column]} in row {row}; use NaN for a missing sample"
            )
    return block


def labels(
    given: Sequence[str] | None, what: str, count: int, default: str | None
) -> tuple[str, ...]:
    """Return a label per channel: those given, or the default with its number."""
    if given is None:
        return tuple(f"{default}{i + 1}" if default else "" for i in range(count))
    if isinstance(given, str):
        raise TypeError(f"{what} must be a list of strings, got {given!r}; write [{given!r}]")
    out = tuple(str(x) for x in given)
    if len(out) != count:
        raise ValueError(f"{what} must name {count} channels, got {len(out)}: {shown(out)}")
    if default is not None and len(set(out)) != count:
        twice = next(name for name in out if out.count(name) > 1)
        raise ValueError(f"{what} must differ from each other, got {twice!r} more than once")
    return out


def checked_sampling_time(value: float | None) -> float | None:
    """Return positive seconds, or ``None``."""
    if value is None:
        return None
    value = float(value)
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"sampling_time must be positive seconds, got {value}")
    return value


def checked_n_init(value: int) -> int:
    """Return a number of samples, at least 0."""
    if isinstance(value, bool) or int(value) != value or value < 0:
        raise ValueError(f"n_init must be a whole number of samples, at least 0, got {value!r}")
    return int(value)
