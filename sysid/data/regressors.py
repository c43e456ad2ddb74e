"""NARX regressors: rows of past outputs and inputs, and the outputs that follow them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sysid.data.records import Array, Record, as_records


@dataclass(frozen=True)
class Orders:
    """Lags of a NARX model: outputs ``1 ... na``, inputs ``nk ... nb``.

    Args:
        na: largest output lag; 0 for none.
        nb: largest input lag.
        nk: smallest input lag: 1 where the plant needs a sample to answer, 0 where it does not.

    Raises:
        TypeError: if one is not a whole number.
        ValueError: if ``na`` or ``nk`` is negative, or ``nb`` less than ``nk``.

    Example:
        >>> Orders(na=2, nb=3, nk=1).max_lag
        3
        >>> Orders.from_matlab(na=2, nb=3, nk=1)  # three input terms: lags 1, 2, 3
        Orders(na=2, nb=3, nk=1)
    """

    na: int
    nb: int
    nk: int = 0

    def __post_init__(self) -> None:
        for name in ("na", "nb", "nk"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name} must be a whole number, got {value!r}")
            if value < 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        if self.nb < self.nk:
            raise ValueError(
                f"nb must be at least nk={self.nk}, got {self.nb}; nb is the largest input lag "
                "(Orders.from_matlab converts a number of input terms)"
            )

    @property
    def max_lag(self) -> int:
        """Samples before ``k`` that ``phi(k)`` reaches back to."""
        return max(self.na, self.nb)

    @classmethod
    def from_matlab(cls, na: int, nb: int, nk: int) -> Orders:
        """Convert MATLAB's ``[na nb nk]``, where ``nb`` counts input terms.

        Args:
            na: number of output terms.
            nb: number of input terms.
            nk: delay, the lag of the first input term.

        Raises:
            ValueError: if the orders are none, as for the constructor.

        Example:
            >>> Orders.from_matlab(2, 2, 1)
            Orders(na=2, nb=2, nk=1)
        """
        return cls(na, nk + nb - 1, nk)


def narx_regressors(
    records: Record | Iterable[Record], na: int, nb: int, nk: int = 0
) -> tuple[Array, Array]:
    """Return regressors and targets of all records.

        phi(k) = [y(k-1), ..., y(k-na), u(k-nk), u(k-nk-1), ..., u(k-nb)]
        target(k) = y(k)

    Newest first, channels together within a lag. A row that would reach over the start of its
    record or over a missing sample is left out.

    Args:
        records: the experiments.
        na: largest output lag.
        nb: largest input lag.
        nk: smallest input lag.

    Returns:
        ``phi`` of shape ``(M, na*ny + (nb-nk+1)*nu)`` and ``target`` of shape ``(M, ny)``.

    Raises:
        ValueError: if the orders are longer than every record.

    Example:
        >>> phi, target = narx_regressors(Record([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]), 1, 1)
        >>> phi
        array([[4., 2., 1.],
               [5., 3., 2.]])
    """
    phi, target, _, _ = _rows(as_records(records), Orders(na, nb, nk))
    return phi, target


def regression_rows(
    records: Iterable[Record], na: int, nb: int, nk: int = 0
) -> tuple[Array, Array]:
    """Return the same, and the rows that miss some of their targets, but not all, as well.

    Args:
        records: the experiments.
        na: largest output lag.
        nb: largest input lag.
        nk: smallest input lag.
    """
    phi, target, _, _ = _rows(as_records(records), Orders(na, nb, nk), partly=True)
    return phi, target


def regressor_names(
    na: int, nb: int, nk: int, u_names: Sequence[str], y_names: Sequence[str]
) -> list[str]:
    """Return the name of each column of ``phi``.

    Args:
        na: largest output lag.
        nb: largest input lag.
        nk: smallest input lag.
        u_names: names of the inputs.
        y_names: names of the outputs.

    Example:
        >>> regressor_names(1, 1, 0, ["u1"], ["y1"])
        ['y1(k-1)', 'u1(k)', 'u1(k-1)']
    """
    Orders(na, nb, nk)
    lagged = [(name, lag) for lag in range(1, na + 1) for name in y_names]
    lagged += [(name, lag) for lag in range(nk, nb + 1) for name in u_names]
    return [f"{name}(k-{lag})" if lag else f"{name}(k)" for name, lag in lagged]


def narx_frame(
    records: Record | Iterable[Record], na: int, nb: int, nk: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return regressors and targets as DataFrames with named columns.

    As ``narx_regressors``; the index is ``(record, k)``, the record's position and the sample.

    Args:
        records: the experiments.
        na: largest output lag.
        nb: largest input lag.
        nk: smallest input lag.

    Returns:
        ``phi`` with the columns of ``regressor_names``, and ``target`` with one per output.

    Raises:
        ValueError: if the orders are longer than every record.

    Example:
        >>> phi, target = narx_frame(Record([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]), 1, 1)
        >>> phi.loc[(0, 2)].to_dict()  # of the first record, at k = 2
        {'y1(k-1)': 5.0, 'u1(k)': 3.0, 'u1(k-1)': 2.0}
    """
    pool = as_records(records)
    phi, target, which, k = _rows(pool, Orders(na, nb, nk))
    index = pd.MultiIndex.from_arrays([which, k], names=["record", "k"])
    columns = regressor_names(na, nb, nk, pool[0].u_names, pool[0].y_names)
    targets = [f"{name}(k)" for name in pool[0].y_names]
    return (
        pd.DataFrame(phi, index=index, columns=columns),
        pd.DataFrame(target, index=index, columns=targets),
    )


def _rows(
    records: list[Record], orders: Orders, partly: bool = False
) -> tuple[Array, Array, NDArray[np.intp], NDArray[np.intp]]:
    """Return phi, target, and of each row its record's position and its k.

    Rows with a missing target are left out; if ``partly``, those without any target.
    """
    left_out = np.all if partly else np.any
    first = orders.max_lag
    longest = max(len(r) for r in records)
    if longest <= first:
        raise ValueError(
            f"na and nb must be less than the longest record, which has {longest} samples, got "
            f"na={orders.na}, nb={orders.nb}; lower the orders"
        )
    parts = []
    for i, record in enumerate(records):
        n = len(record)
        if n <= first:
            continue
        past_y = _lags(record.y, first, 1, orders.na)
        past_u = _lags(record.u, first, orders.nk, orders.nb)
        phi, target = np.hstack([past_y, past_u]), np.asarray(record.y[first:], dtype=np.float64)
        good = ~(np.isnan(phi).any(axis=1) | left_out(np.isnan(target), axis=1))
        k = np.arange(first, n)[good]
        parts.append((phi[good], target[good], np.full(len(k), i), k))
    phi, target, which, k = (np.concatenate(p) for p in zip(*parts, strict=True))
    return phi, target, which, k


def _lags(block: Array, first: int, newest: int, oldest: int) -> Array:
    """Return ``[x(k-newest), ..., x(k-oldest)]`` for ``k = first ... N-1``, one row each."""
    n, channels = block.shape
    width = oldest - newest + 1
    if width == 0 or channels == 0:
        return np.empty((n - first, 0))
    windows = sliding_window_view(block[first - oldest : n - newest], width, axis=0)
    # (rows, channels, lags oldest first) -> (rows, lags newest first, channels)
    rows: Array = windows[:, :, ::-1].transpose(0, 2, 1).reshape(n - first, width * channels)
    return rows
