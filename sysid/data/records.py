"""Record: one experiment, its measured inputs and outputs and what is known about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sysid.data.columns import column
from sysid.data.fields import (
    channel_block,
    checked_n_init,
    checked_sampling_time,
    labels,
    refuse_transposed,
    two_dimensional,
)
from sysid.data.memory_maps import CHUNK, chunks, release
from sysid.data.stamps import Stamps, time_column

Array = NDArray[np.float64]


class Record:
    """One experiment: inputs ``u`` and outputs ``y`` sampled at the same instants.

    A record is immutable. ``u`` is ``(N, nu)`` and ``y`` is ``(N, ny)``, in physical units;
    one-dimensional arrays are taken as one channel. NaN marks a missing sample. A
    ``numpy.memmap`` of float32 or float64 stays on disk as it is; all else becomes a
    read-only float64 array of the record's own.

    Args:
        u: inputs, ``(N, nu)`` or ``(N,)``; ``None`` for a system without inputs.
        y: outputs, ``(N, ny)`` or ``(N,)``; ``None`` for a record that is to be simulated.
        sampling_time: seconds between samples; ``None`` if unknown.
        name: what the experiment is called in tables and messages.
        u_names: one name per input; ``u1``, ``u2``, ... if not given.
        y_names: one name per output; ``y1``, ``y2``, ... if not given.
        u_units: one unit per input; empty strings if not given.
        y_units: one unit per output; empty strings if not given.
        n_init: samples at the start that may be used to initialise a simulation and that
            are not scored.
        stamps: time of the first sample, and how the time stamps are written in a file; without
            it, seconds from the first sample on.

    Raises:
        ValueError: for infinite values, unequal lengths, no samples, or metadata that does
            not fit the channels; for samples in columns, which are at least four times as many
            channels as samples, more than four, without ``u_names`` or ``y_names``.
        TypeError: for values that are not numbers.

    Example:
        >>> record = Record([0.0, 1.0, 1.0], [0.0, 0.0, 0.5], sampling_time=0.1, name="step")
        >>> record
        Record('step', N=3, nu=1, ny=1, sampling_time=0.1)
        >>> record[1:].y.shape
        (2, 1)
    """

    __slots__ = (
        "_n_init",
        "_name",
        "_sampling_time",
        "_stamps",
        "_u",
        "_u_names",
        "_u_units",
        "_y",
        "_y_names",
        "_y_units",
    )

    def __init__(
        self,
        u: ArrayLike | None,
        y: ArrayLike | None,
        sampling_time: float | None = None,
        *,
        name: str = "",
        u_names: Sequence[str] | None = None,
        y_names: Sequence[str] | None = None,
        u_units: Sequence[str] | None = None,
        y_units: Sequence[str] | None = None,
        n_init: int = 0,
        stamps: Stamps | None = None,
    ) -> None:
        if u is None and y is None:
            raise ValueError("record must have u or y, got neither; give at least one of them")
        n = len(two_dimensional(u if u is not None else y, "u" if u is not None else "y"))
        self._u = channel_block(u, "u", u_names, n)
        self._y = channel_block(y, "y", y_names, n)
        refuse_transposed(self._u, self._y, u_names, y_names)
        if len(self._u) != len(self._y):
            raise ValueError(
                f"u and y must have equal lengths, got {len(self._u)} and {len(self._y)} samples"
            )
        if n == 0:
            raise ValueError("record must have at least one sample, got an empty one")
        self._u_names = labels(u_names, "u_names", self._u.shape[1], "u")
        self._y_names = labels(y_names, "y_names", self._y.shape[1], "y")
        if twice := sorted(set(self._u_names) & set(self._y_names)):
            raise ValueError(f"channel names must differ, got {twice[0]!r} as input and output")
        self._u_units = labels(u_units, "u_units", self._u.shape[1], None)
        self._y_units = labels(y_units, "y_units", self._y.shape[1], None)
        self._sampling_time = checked_sampling_time(sampling_time)
        self._n_init = checked_n_init(n_init)
        if stamps is not None and self._sampling_time is None:
            raise ValueError("stamps must come with a sampling_time, got none; give both")
        self._stamps = stamps
        self._name = str(name)

    @classmethod
    def from_frame(
        cls,
        df: pd.DataFrame,
        u: Sequence[str] | str = (),
        y: Sequence[str] | str = (),
        time: str | None = None,
        sampling_time: float | None = None,
        **metadata: Any,
    ) -> Record:
        """Take the named columns of a DataFrame as a record.

        Args:
            df: one row per sample.
            u: input columns, in order.
            y: output columns, in order.
            time: column of time stamps, uniformly spaced: numbers in seconds unless the
                name gives another unit (``time_ms``), or dates.
            sampling_time: seconds between samples, where there is no ``time``.
            **metadata: ``name``, ``u_units``, ``y_units``, ``n_init``, ``stamps``.

        Raises:
            ValueError: for an unknown column, text or infinity in a column (with its row),
                or time stamps that are not uniform.

        Example:
            >>> df = pd.DataFrame({"t": [0.0, 0.5, 1.0], "pump": [1, 1, 2], "level": [3, 4, 5]})
            >>> Record.from_frame(df, u="pump", y="level", time="t", name="tank")
            Record('tank', N=3, nu=1, ny=1, sampling_time=0.5)
        """
        u = [u] if isinstance(u, str) else list(u)
        y = [y] if isinstance(y, str) else list(y)
        if time is not None and sampling_time is not None:
            raise ValueError("time and sampling_time must not both be given; leave one out")
        if time is not None:
            stamps = time_column(df, time)
            sampling_time = stamps.step()
            metadata = {"stamps": stamps.stamps} | metadata

        def block(names: list[str]) -> Array | None:
            if not names:
                return None
            values = np.column_stack([column(df, c) for c in names])
            values.setflags(write=False)  # its own already: no second copy
            return values

        return cls(block(u), block(y), sampling_time, u_names=u, y_names=y, **metadata)

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame: the time and a column per channel.

        The time is what the record was read with, dates for dates; ``t`` in seconds without that,
        and ``k`` in samples where the sampling time is unknown.

        Example:
            >>> Record([1.0, 2.0], [3.0, 4.0], sampling_time=0.5).to_frame()
                 t   u1   y1
            0  0.0  1.0  3.0
            1  0.5  2.0  4.0
        """
        data: dict[str, Any] = {}
        if self._sampling_time is None:
            data["k"] = np.arange(len(self))
        else:
            stamps = self._stamps or Stamps()
            taken = stamps.name in (*self._u_names, *self._y_names)
            data["t" if taken else stamps.name] = stamps.column(len(self), self._sampling_time)
        data.update({n: self._u[:, i] for i, n in enumerate(self._u_names)})
        data.update({n: self._y[:, i] for i, n in enumerate(self._y_names)})
        return pd.DataFrame(data)

    @property
    def u(self) -> Array:
        """Inputs, ``(N, nu)``, read-only."""
        return self._u

    @property
    def y(self) -> Array:
        """Outputs, ``(N, ny)``, read-only."""
        return self._y

    @property
    def sampling_time(self) -> float | None:
        """Seconds between samples, or ``None``."""
        return self._sampling_time

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self._name

    @property
    def u_names(self) -> tuple[str, ...]:
        """One name per input."""
        return self._u_names

    @property
    def y_names(self) -> tuple[str, ...]:
        """One name per output."""
        return self._y_names

    @property
    def u_units(self) -> tuple[str, ...]:
        """One unit per input, empty where unknown."""
        return self._u_units

    @property
    def y_units(self) -> tuple[str, ...]:
        """One unit per output, empty where unknown."""
        return self._y_units

    @property
    def n_init(self) -> int:
        """Samples at the start that may initialise a simulation and are not scored."""
        return self._n_init

    @property
    def stamps(self) -> Stamps | None:
        """Time of the first sample and the form of the time stamps, or ``None`` if unknown."""
        return self._stamps

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return int(self._u.shape[1])

    @property
    def ny(self) -> int:
        """Number of outputs."""
        return int(self._y.shape[1])

    @property
    def on_disk(self) -> bool:
        """Whether a channel block is a memory map."""
        return isinstance(self._u, np.memmap) or isinstance(self._y, np.memmap)

    def complete(self) -> NDArray[np.bool_]:
        """Return ``(N,)``: whether nothing is missing at sample ``k``.

        Example:
            >>> Record([1.0, 2.0], [3.0, float("nan")]).complete()
            array([ True, False])
        """
        u, y = ([np.isnan(p).any(axis=1) for p in chunks(b)] for b in (self._u, self._y))
        return ~(np.concatenate(u) | np.concatenate(y))

    def pieces(self, size: int = CHUNK, overlap: int = 0) -> Iterator[Record]:
        """Yield pieces of ``size`` samples more than the ``overlap`` with the one before.

        What was read of a memory map is let go after each.

        Args:
            size: samples that a piece has beside the overlap.
            overlap: samples that a piece shares with the one before.

        Example:
            >>> [len(piece) for piece in Record(None, range(5)).pieces(2, overlap=1)]
            [3, 3]
        """
        for start in range(0, len(self) - overlap, size):
            yield self[start : start + size + overlap]
            release(self._u)
            release(self._y)

    def resample(self, step: float) -> Record:
        """Return the record at another sampling time.

        A new input is the mean of the held input over the new step. Outputs are filtered without
        delay by a low-pass that leaves nothing above half the new rate, and taken at the new
        instants; an output that has fewer samples keeps them, in the rows nearest to them. What
        is missing stays missing, at a longer step with the new samples next to it. ``n_init``
        covers the same time.

        Args:
            step: seconds between the new samples.

        Raises:
            ValueError: if the record has no sampling time, or ``step`` is not a positive number
                or more than 10 000 times longer or shorter.

        Example:
            >>> record = Record([0.0, 1.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0], sampling_time=0.1)
            >>> record.resample(0.2).u.ravel()
            array([0.5, 2. ])
        """
        from sysid.data.resampling import checked_step, resampled

        if (old := self._sampling_time) is None:
            raise ValueError(
                f"record {self._name!r} has no sampling time to resample from; give it one with "
                "record.replace(sampling_time=...)"
            )
        if (new := checked_step(step)) is None or abs(new - old) <= 1e-9 * old:
            return self
        u, y = resampled(self._u, self._y, old, new)
        n_init = max(round(self._n_init * old / new), min(self._n_init, 1))
        return self.replace(
            u=u if self.nu else None, y=y if self.ny else None, sampling_time=new, n_init=n_init
        )

    def replace(self, **changes: Any) -> Record:
        """Return a record with some arguments of the constructor changed.

        Args:
            **changes: new values, by the constructor's names.

        Raises:
            TypeError: for a name that the constructor does not have.
            ValueError: as for the constructor.

        Example:
            >>> Record(None, [1.0, 2.0]).replace(name="decay").name
            'decay'
        """
        now: dict[str, Any] = {
            "u": self._u if self.nu else None,
            "y": self._y if self.ny else None,
            "sampling_time": self._sampling_time,
            "name": self._name,
            "u_names": self._u_names,
            "y_names": self._y_names,
            "u_units": self._u_units,
            "y_units": self._y_units,
            "n_init": self._n_init,
            "stamps": self._stamps,
        }
        if unknown := sorted(set(changes) - set(now)):
            raise TypeError(f"replace must name fields of a record, got {unknown[0]!r}")
        return Record(**(now | changes))

    def __len__(self) -> int:
        return len(self._u)

    def __getitem__(self, index: slice) -> Record:
        if not isinstance(index, slice):
            raise TypeError(
                f"index must be a slice, got {index!r}; use record[k:k+1] for one sample"
            )
        start, stop, step = index.indices(len(self))
        if step < 1:
            raise ValueError(f"slice step must be at least 1, got {step}; time runs forwards")
        if stop <= start:
            raise ValueError(
                f"slice must hold at least one sample, got [{start}:{stop}] of {len(self)}"
            )
        part = object.__new__(Record)
        for slot in Record.__slots__:
            setattr(part, slot, getattr(self, slot))
        part._u, part._y = self._u[start:stop:step], self._y[start:stop:step]
        if self._sampling_time is not None:
            part._sampling_time = self._sampling_time * step
            if self._stamps is not None:
                part._stamps = self._stamps.after(start * self._sampling_time)
        return part

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("a record is not iterable; use record.u and record.y")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        if (self._stamps or Stamps()) != (other._stamps or Stamps()):
            return False
        return all(
            np.array_equal(getattr(self, s), getattr(other, s), equal_nan=True)
            if s in ("_u", "_y")
            else getattr(self, s) == getattr(other, s)
            for s in Record.__slots__
            if s != "_stamps"
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, ({s: getattr(self, s) for s in Record.__slots__},)

    def __repr__(self) -> str:
        step = "" if self._sampling_time is None else f", sampling_time={self._sampling_time:.6g}"
        start = f", n_init={self._n_init}" if self._n_init else ""
        return f"Record({self._name!r}, N={len(self)}, nu={self.nu}, ny={self.ny}{step}{start})"


def as_records(records: Record | Iterable[Record]) -> list[Record]:
    """Return a list of records that have the same channels, from one record or several.

    Raises:
        TypeError: if something in it is not a ``Record``.
        ValueError: if there is none, or they differ in channels or sampling time.
    """
    out = [records] if isinstance(records, Record) else list(records)
    if not out:
        raise ValueError("records must hold at least one record, got none")
    for r in out:
        if not isinstance(r, Record):
            raise TypeError(f"records must be sysid.Record, got {type(r).__name__}")
    first = out[0]
    for i, r in enumerate(out[1:], start=2):
        if (r.nu, r.ny) != (first.nu, first.ny):
            raise ValueError(
                f"records must have the same channels, got nu={first.nu}, ny={first.ny} in "
                f"{_called(first, 1)} and nu={r.nu}, ny={r.ny} in {_called(r, i)}"
            )
        if not same_sampling_time(r.sampling_time, first.sampling_time):
            raise ValueError(
                f"records must have the same sampling time, got {first.sampling_time} s in "
                f"{_called(first, 1)} and {r.sampling_time} s in {_called(r, i)}; resample one "
                "of them"
            )
    return out


def _called(record: Record, place: int) -> str:
    return f"record {place} ({record.name!r})" if record.name else f"record {place}"


def same_sampling_time(a: float | None, b: float | None) -> bool:
    """Return whether two sampling times agree to 0.1 %, an unknown one with any."""
    return a is None or b is None or abs(a - b) <= 1e-3 * max(a, b)


def _restore(slots: dict[str, Any]) -> Record:
    record = object.__new__(Record)
    record._stamps = None  # which a record that was pickled by an older version does not have
    for name, value in slots.items():
        if name in ("_u", "_y") and not isinstance(value, np.memmap):
            value.setflags(write=False)
        setattr(record, name, value)
    return record
