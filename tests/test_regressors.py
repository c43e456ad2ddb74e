"""NARX regressors against a double loop written from the equation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sysid.data.records import Record
from sysid.data.regressors import Orders, narx_frame, narx_regressors, regressor_names


@st.composite
def records_with_gaps(draw: st.DrawFn) -> list[Record]:
    nu, ny = draw(st.integers(0, 2)), draw(st.integers(1, 2))
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.integers(1, 25))
        u, y = rng.standard_normal((n, nu)), rng.standard_normal((n, ny))
        for block in (u, y):
            if block.size and draw(st.booleans()):
                block[draw(st.integers(0, n - 1)), draw(st.integers(0, block.shape[1] - 1))] = (
                    np.nan
                )
        out.append(Record(u if nu else None, y))
    return out


@settings(max_examples=150, deadline=None)
@given(records_with_gaps(), st.integers(0, 4), st.integers(0, 3), st.integers(0, 3))
def test_rows_are_those_of_the_double_loop(
    records: list[Record], na: int, nk: int, extra: int
) -> None:
    nb = nk + extra
    rows, targets, index = [], [], []
    for i, r in enumerate(records):
        for k in range(max(na, nb), len(r)):
            phi = [r.y[k - lag, c] for lag in range(1, na + 1) for c in range(r.ny)]
            phi += [r.u[k - lag, c] for lag in range(nk, nb + 1) for c in range(r.nu)]
            if not np.isnan([*phi, *r.y[k]]).any():
                rows.append(phi)
                targets.append(r.y[k])
                index.append((i, k))
    if max(len(r) for r in records) <= max(na, nb):
        with pytest.raises(ValueError, match="less than the longest record"):
            narx_regressors(records, na, nb, nk)
        return
    phi, target = narx_regressors(records, na, nb, nk)
    width = na * records[0].ny + (nb - nk + 1) * records[0].nu
    assert_array_equal(phi, np.array(rows).reshape(len(rows), width))
    assert_array_equal(target, np.array(targets).reshape(len(rows), records[0].ny))
    frame, target_frame = narx_frame(records, na, nb, nk)
    assert_array_equal(frame.to_numpy(), phi)
    assert list(frame.index) == list(target_frame.index) == index
    assert frame.index.names == target_frame.index.names == ["record", "k"]
    assert frame.shape[1] == width


def test_names() -> None:
    assert regressor_names(2, 2, 1, ["a", "b"], ["y"]) == [
        "y(k-1)",
        "y(k-2)",
        "a(k-1)",
        "b(k-1)",
        "a(k-2)",
        "b(k-2)",
    ]
    assert regressor_names(1, 1, 0, ["a"], ["y"]) == ["y(k-1)", "a(k)", "a(k-1)"]


def test_orders_of_matlab() -> None:
    orders = Orders.from_matlab(2, 3, 1)
    assert (orders.na, orders.nb, orders.nk, orders.max_lag) == (2, 3, 1, 3)


@pytest.mark.parametrize(
    ("orders", "match"),
    [
        ((-1, 1), "na must be at least 0"),
        ((1, 1, 2), "nb must be at least nk"),
        ((1.5, 1), "whole"),
    ],
)
def test_wrong_orders_are_refused(orders: tuple[int, ...], match: str) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        Orders(*orders)
