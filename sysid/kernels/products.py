"""Matrix products of compiled loops, for the few rows of one time step.

A call to a BLAS costs more than such a product, and its own threads would get in the way of
those that share the batch. Blocks of four by four keep each weight that is read busy in sixteen
multiplications, which is what a core can do between two reads.

Arrays are ``(time, batch * width)``; row ``b`` at time ``t`` is
``x[t, b * width:(b + 1) * width]``. Inner loops run over such slices from zero: an index that could
be negative for all that is known would be checked each time, and end vectorisation.
"""

from __future__ import annotations

from typing import Any

from sysid.kernels.elementary import compiled

_FEW = 8  # columns below which dot products are faster


@compiled
def add_product(out: Any, t: int, x: Any, s: int, w: Any, b0: int, b1: int) -> None:
    """Add ``x(s) @ w`` to ``out(t)``, for rows ``b0 ... b1 - 1`` of the batch.

    Args:
        out: ``(time, batch * n)``.
        t: time index in ``out``.
        x: ``(time, batch * m)``.
        s: time index in ``x``.
        w: ``(m, n)``, contiguous.
        b0: first row of the batch.
        b1: row after the last.
    """
    b = b0
    while b + 4 <= b1:
        _add_four_rows(out, t, x, s, w, b)
        b += 4
    while b < b1:
        _add_row(out, t, x, s, w, b)
        b += 1


@compiled
def _add_four_rows(out: Any, t: int, x: Any, s: int, w: Any, b: int) -> None:
    m, n = w.shape
    o0, o1 = out[t, b * n : (b + 1) * n], out[t, (b + 1) * n : (b + 2) * n]
    o2, o3 = out[t, (b + 2) * n : (b + 3) * n], out[t, (b + 3) * n : (b + 4) * n]
    i0, i1, i2, i3 = b * m, (b + 1) * m, (b + 2) * m, (b + 3) * m
    i = 0
    while i + 4 <= m:
        p0, p1, p2, p3 = x[s, i0], x[s, i0 + 1], x[s, i0 + 2], x[s, i0 + 3]
        q0, q1, q2, q3 = x[s, i1], x[s, i1 + 1], x[s, i1 + 2], x[s, i1 + 3]
        r0, r1, r2, r3 = x[s, i2], x[s, i2 + 1], x[s, i2 + 2], x[s, i2 + 3]
        v0, v1, v2, v3 = x[s, i3], x[s, i3 + 1], x[s, i3 + 2], x[s, i3 + 3]
        for j in range(n):
            w0, w1, w2, w3 = w[i, j], w[i + 1, j], w[i + 2, j], w[i + 3, j]
            o0[j] += p0 * w0 + p1 * w1 + p2 * w2 + p3 * w3
            o1[j] += q0 * w0 + q1 * w1 + q2 * w2 + q3 * w3
            o2[j] += r0 * w0 + r1 * w1 + r2 * w2 + r3 * w3
            o3[j] += v0 * w0 + v1 * w1 + v2 * w2 + v3 * w3
        i, i0, i1, i2, i3 = i + 4, i0 + 4, i1 + 4, i2 + 4, i3 + 4
    if i + 2 <= m:
        p0, p1, q0, q1 = x[s, i0], x[s, i0 + 1], x[s, i1], x[s, i1 + 1]
        r0, r1, v0, v1 = x[s, i2], x[s, i2 + 1], x[s, i3], x[s, i3 + 1]
        for j in range(n):
            w0, w1 = w[i, j], w[i + 1, j]
            o0[j] += p0 * w0 + p1 * w1
            o1[j] += q0 * w0 + q1 * w1
            o2[j] += r0 * w0 + r1 * w1
            o3[j] += v0 * w0 + v1 * w1
        i, i0, i1, i2, i3 = i + 2, i0 + 2, i1 + 2, i2 + 2, i3 + 2
    if i < m:
        p0, q0, r0, v0 = x[s, i0], x[s, i1], x[s, i2], x[s, i3]
        for j in range(n):
            w0 = w[i, j]
            o0[j] += p0 * w0
            o1[j] += q0 * w0
            o2[j] += r0 * w0
            o3[j] += v0 * w0


@compiled
def _add_row(out: Any, t: int, x: Any, s: int, w: Any, b: int) -> None:
    """Add one row's: it waits for its own sums, so they are few and long."""
    m, n = w.shape
    row, at, i = out[t, b * n : (b + 1) * n], b * m, 0
    while i + 8 <= m:
        p0, p1, p2, p3 = x[s, at], x[s, at + 1], x[s, at + 2], x[s, at + 3]
        q0, q1, q2, q3 = x[s, at + 4], x[s, at + 5], x[s, at + 6], x[s, at + 7]
        for j in range(n):
            low = p0 * w[i, j] + p1 * w[i + 1, j] + p2 * w[i + 2, j] + p3 * w[i + 3, j]
            high = q0 * w[i + 4, j] + q1 * w[i + 5, j] + q2 * w[i + 6, j] + q3 * w[i + 7, j]
            row[j] += low + high
        i, at = i + 8, at + 8
    if i + 4 <= m:
        p0, p1, p2, p3 = x[s, at], x[s, at + 1], x[s, at + 2], x[s, at + 3]
        for j in range(n):
            row[j] += p0 * w[i, j] + p1 * w[i + 1, j] + p2 * w[i + 2, j] + p3 * w[i + 3, j]
        i, at = i + 4, at + 4
    if i + 2 <= m:
        p0, p1 = x[s, at], x[s, at + 1]
        for j in range(n):
            row[j] += p0 * w[i, j] + p1 * w[i + 1, j]
        i, at = i + 2, at + 2
    if i < m:
        p0 = x[s, at]
        for j in range(n):
            row[j] += p0 * w[i, j]


@compiled
def add_few(out: Any, t: int, x: Any, s: int, w: Any, w_t: Any, b0: int, b1: int) -> None:
    """As ``add_product``, by dot products where there are few columns; ``w_t`` is ``w.T``."""
    m, n = w.shape
    if n >= _FEW:
        add_product(out, t, x, s, w, b0, b1)
        return
    for b in range(b0, b1):
        row = x[s, b * m : (b + 1) * m]
        for j in range(n):
            total = out.dtype.type(0)
            for i in range(m):
                total += row[i] * w_t[j, i]
            out[t, b * n + j] += total


@compiled
def fill(out: Any, t: int, row: Any, b0: int, b1: int) -> None:
    """Set each of the rows ``b0 ... b1 - 1`` of ``out(t)`` to ``row``."""
    n = row.shape[0]
    for b in range(b0, b1):
        to = out[t, b * n : (b + 1) * n]
        for j in range(n):
            to[j] = row[j]
