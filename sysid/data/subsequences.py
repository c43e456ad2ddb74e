"""Subsequences: overlapping windows of records, without copying the data."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sysid.data.memory_maps import CHUNK, release
from sysid.data.records import Array, Record, as_records
from sysid.data.scaling import Scaling
from sysid.data.slow_outputs import measured_numbers, window_runs


class Subsequences(Dataset[tuple[Tensor, Tensor]]):
    """All windows of ``length`` samples, ``stride`` apart, of some records.

    Item ``i`` is ``(u, y)`` of shapes ``(length, nu)`` and ``(length, ny)``. No window crosses
    from one record to another or holds a missing sample: in each complete stretch, windows
    start at its first sample. ``stride=length`` gives windows that do not overlap. With
    ``start``, outputs may be missing, as where a sensor is slower than the inputs; a window then
    has to hold measured ones, and to begin where a simulation can start.

    Windows are views of the records' own memory, and their starts are computed, not listed,
    so the dataset adds next to nothing to the data. With ``scaling``, ``dtype`` or ``device``
    the data are converted once into one block on the device, from which a batch is gathered
    by one indexing operation; records on disk stay there, and each batch is converted.

    Args:
        records: the experiments.
        length: samples of a window.
        stride: samples between the starts of windows.
        scaling: if given, windows are in the network's own units.
        dtype: if given, the type of the windows.
        device: if given, where the windows are.
        start: if given, outputs may be missing after the first ``start`` samples of a window;
            among these, only those of an output that is measured at every so many rows.

    Raises:
        ValueError: if no record has a stretch of ``length`` samples that can be a window.

    Example:
        >>> windows = Subsequences(Record(range(5), range(5)), length=3)
        >>> len(windows), windows[1][0].flatten().tolist()
        (3, [1.0, 2.0, 3.0])
    """

    def __init__(
        self,
        records: Record | Iterable[Record],
        length: int,
        stride: int = 1,
        *,
        scaling: Scaling | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        start: int | None = None,
    ) -> None:
        pool = as_records(records)
        for name, value in (("length", length), ("stride", stride)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name} must be a whole number, got {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.length, self.stride = int(length), int(stride)
        self._scaling, self._dtype, self._device = scaling, dtype, device
        runs = [_runs(r) for r in pool]
        self.incomplete = start is not None and any(
            len(r) != 1 or r[0, 1] - r[0, 0] < len(p) for p, r in zip(pool, runs, strict=True)
        )
        if self.incomplete:
            runs = [window_runs(r, self.length, start or 0) for r in pool]
        self._report = self._account(pool, runs)
        if not self._report["windows"].sum():
            raise ValueError(_no_window(pool, self.length, start))
        convert = scaling is not None or dtype is not None or device is not None
        self._convert_batches = convert and any(r.on_disk for r in pool)
        storages = [(_tensor(r.u), _tensor(r.y)) for r in pool]
        offsets = np.zeros(len(pool), dtype=np.int64)
        where = np.arange(len(pool))
        if convert and not self._convert_batches:
            storages = [self._one_block(pool)]
            offsets = np.cumsum([0, *(len(r) for r in pool[:-1])])
            where = np.zeros(len(pool), dtype=np.int64)
        self._storages = storages
        self._mapped = [b for r in pool for b in (r.u, r.y) if isinstance(b, np.memmap)]
        table = [
            (where[i], a + offsets[i], self._count(b - a))
            for i, record_runs in enumerate(runs)
            for a, b in record_runs
            if b - a >= self.length
        ]
        columns = torch.tensor(np.array(table, dtype=np.int64).T.copy())
        self._storage_of_run, self._first_of_run, counts = columns
        self._ends = counts.cumsum(0)
        self._pool, self._runs = (pool, runs) if self.incomplete else ([], [])

    def measured_share(self, first: int) -> float:
        """Return the share of outputs that are measured in all windows after ``first`` samples.

        Args:
            first: samples at the start of a window that do not count.

        Example:
            >>> slow = [0.0, float("nan"), 2.0, float("nan"), 4.0, float("nan")]
            >>> Subsequences(Record(range(6), slow), length=4, start=1).measured_share(1)
            0.3333333333333333
        """
        if not self.incomplete:
            return 1.0
        measured = 0
        for record, runs in zip(self._pool, self._runs, strict=True):
            parts = [np.arange(a, b - self.length + 1, self.stride) for a, b in runs]
            starts = np.concatenate([np.empty(0, dtype=np.int64), *parts])
            measured += measured_numbers(record.y, starts, self.length, first)
        return measured / (len(self) * (self.length - first) * self._pool[0].ny)

    @property
    def on_disk(self) -> bool:
        """Whether windows are read from a disk, and converted, batch by batch."""
        return self._convert_batches

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        i = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= i < len(self):
            raise IndexError(f"index must be within {len(self)} windows, got {index}")
        storage, start = self.locate(torch.tensor([i]))[0].tolist()
        u, y = self._storages[storage]
        part = slice(start, start + self.length)
        return self._converted(u[part], y[part])

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Gather windows in the order asked for.

        Args:
            indices: ``(B,)`` whole numbers.

        Returns:
            ``u`` of shape ``(B, length, nu)`` and ``y`` of shape ``(B, length, ny)``.

        Raises:
            IndexError: if an index is not that of a window.

        Example:
            >>> windows = Subsequences(Record(range(5), range(5)), length=3)
            >>> u, y = windows.batch(torch.tensor([2, 0]))
            >>> u.shape, u[0].flatten().tolist()
            (torch.Size([2, 3, 1]), [2.0, 3.0, 4.0])
        """
        return self.gather(self.locate(indices))

    def locate(self, indices: Tensor) -> Tensor:
        """Return where windows lie, for ``gather``: one look-up serves many batches.

        Args:
            indices: ``(B,)`` whole numbers.

        Returns:
            ``(B, 2)``: the storage, and the first sample in it.

        Raises:
            IndexError: if an index is not that of a window.

        Example:
            >>> windows = Subsequences([Record(range(3), range(3)), Record(range(4), range(4))], 3)
            >>> windows.locate(torch.tensor([0, 2]))  # the second record's second window
            tensor([[0, 0],
                    [1, 1]])
        """
        indices = torch.as_tensor(indices).long().cpu()
        if len(indices) and not (int(indices.min()) >= 0 and int(indices.max()) < len(self)):
            raise IndexError(f"indices must be within {len(self)} windows")
        run = torch.searchsorted(self._ends, indices, right=True)
        before = torch.where(run > 0, self._ends[(run - 1).clamp(min=0)], 0)
        start = self._first_of_run[run] + (indices - before) * self.stride
        return torch.stack([self._storage_of_run[run], start], dim=1)

    def gather(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Copy the windows at the places that ``locate`` found; shapes as for ``batch``.

        Of a record on a disk, their pages alone are read, and let go when they are copied.

        Args:
            places: ``(B, 2)``, as ``locate`` returned them.

        Example:
            >>> windows = Subsequences(Record(range(5), range(5)), length=3)
            >>> windows.gather(windows.locate(torch.tensor([1])))[1].flatten().tolist()
            [1.0, 2.0, 3.0]
        """
        u, y = self._copied(places)
        for block in self._mapped:
            release(block)
        return self._converted(u, y)

    def _copied(self, places: Tensor) -> tuple[Tensor, Tensor]:
        if len(self._storages) == 1:
            u, y = self._storages[0]
            start = places[:, 1].to(u.device)
            return self._gathered(u, start), self._gathered(y, start)
        shape = (len(places), self.length)
        out_u, out_y = (block.new_empty(*shape, block.shape[1]) for block in self._storages[0])
        for s in places[:, 0].unique().tolist():
            chosen = places[:, 0] == s
            u, y = self._storages[s]
            start = places[chosen, 1]
            out_u[chosen], out_y[chosen] = self._gathered(u, start), self._gathered(y, start)
        return out_u, out_y

    def _gathered(self, block: Tensor, start: Tensor) -> Tensor:
        """Copy windows out of a block by one indexing operation on the view of all windows."""
        if block.shape[1] == 0:
            return block.new_empty(len(start), self.length, 0)
        return block.unfold(0, self.length, 1)[start].transpose(1, 2)

    def report(self) -> pd.DataFrame:
        """Return, for each record, how many windows it gave and how many were dropped.

        Columns: record, samples, windows, dropped_missing (windows that only missing samples
        prevent), too_short.

        Example:
            >>> gap = [0.0, 1.0, float("nan"), 3.0, 4.0, 5.0]
            >>> Subsequences(Record(None, gap, name="run"), length=3).report().loc[0].to_dict()
            {'record': 'run', 'samples': 6, 'windows': 1, 'dropped_missing': 3, 'too_short': False}
        """
        return self._report.copy()

    def _count(self, samples: int) -> int:
        return max(0, (samples - self.length) // self.stride + 1)

    def _account(self, records: list[Record], runs: list[NDArray[np.int64]]) -> pd.DataFrame:
        rows = []
        for i, (record, record_runs) in enumerate(zip(records, runs, strict=True)):
            windows = sum(self._count(int(b - a)) for a, b in record_runs)
            rows.append(
                {
                    "record": record.name or str(i),
                    "samples": len(record),
                    "windows": windows,
                    "dropped_missing": max(0, self._count(len(record)) - windows),
                    "too_short": len(record) < self.length,
                }
            )
        return pd.DataFrame(rows)

    def _one_block(self, records: list[Record]) -> tuple[Tensor, Tensor]:
        parts = [self._converted(_tensor(r.u), _tensor(r.y)) for r in records]
        return torch.cat([u for u, _ in parts]), torch.cat([y for _, y in parts])

    def _converted(self, u: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and cast, unless the storage already is."""
        if hasattr(self, "_storages") and not self._convert_batches:
            return u, y
        if self._device is not None:
            u, y = u.to(self._device), y.to(self._device)
        if self._scaling is not None:
            u, y = self._scaling.scale_u(u.double()), self._scaling.scale_y(y.double())
        return (u, y) if self._dtype is None else (u.to(self._dtype), y.to(self._dtype))


def _no_window(records: list[Record], length: int, start: int | None) -> str:
    """Return what to say where there is no window."""
    longest = max(records, key=len)
    if start is not None and len(longest) >= length:
        return (
            f"no window of {length} samples has complete inputs, measured outputs and {start} "
            "samples to start from; use shorter windows, or a model that starts from fewer samples"
        )
    return (
        f"length must be at most that of the longest complete stretch, got {length}; the "
        f"longest record, {longest.name!r}, has {len(longest)} samples; use shorter windows"
    )


def _runs(record: Record) -> NDArray[np.int64]:
    """Return first and end of each stretch without missing samples, ``(runs, 2)``."""
    edges: list[NDArray[np.int64]] = []
    before = False
    for i, piece in enumerate(record.pieces()):
        complete = piece.complete()
        change = np.flatnonzero(np.diff(complete, prepend=before))
        edges.append(change.astype(np.int64) + i * CHUNK)
        before = bool(complete[-1])
    if before:
        edges.append(np.array([len(record)], dtype=np.int64))
    return np.concatenate(edges).reshape(-1, 2)


def _tensor(block: Array) -> Tensor:
    """Share a record's read-only memory with torch, which nothing here writes to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(block)
