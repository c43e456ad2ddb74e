"""Matrix products of compiled loops, by rows of a batch, and sums over the samples of a piece.

Arrays are ``(time, batch * width)``; row ``b`` at time ``t`` is
``x[t, b * width:(b + 1) * width]``. Rows are always ``b0 ... b1 - 1``.
"""

from __future__ import annotations

from typing import Any

from sysid.kernels.elementary import compiled
from sysid.kernels.matrices import product


@compiled
def add_product(out: Any, t: int, x: Any, s: int, w: Any, b0: int, b1: int) -> None:
    """Add ``x(s) @ w`` to ``out(t)``.

    Args:
        out: ``(time, batch * n)``.
        t: time index in ``out``.
        x: ``(time, batch * m)``.
        s: time index in ``x``.
        w: ``(m, n)``, contiguous.
        b0: first row of the batch.
        b1: row after the last.
    """
    m, n = w.shape
    place = (out, t * out.shape[1] + b0 * n, n)
    given = (x, s * x.shape[1] + b0 * m, m, 1, 0)
    product(place, place, (b1 - b0, n, m, 1), given, (w, 0, n, 0), None, None)


@compiled
def same(row: Any) -> Any:
    """Return what ``product`` starts from, for the same ``(n,)`` in each row."""
    return row, 0, 0


@compiled
def set_product(
    out: Any, t: int, start: Any, x: Any, s: int, w: Any, steps: int, b0: int, b1: int
) -> None:
    """Set ``out(t + i)`` to ``start + x(s + i) @ w``, for some steps.

    ``start`` is ``None`` or ``same(row)``.
    """
    m, n = w.shape
    rows = b1 - b0
    if b0 == 0 and b1 * n == out.shape[1]:  # one step follows the other in memory
        rows, steps = steps * rows, 1
    for i in range(steps):
        place = (out, (t + i) * out.shape[1] + b0 * n, n)
        given = (x, (s + i) * x.shape[1] + b0 * m, m, 1, 0)
        product(place, start, (rows, n, m, 1), given, (w, 0, n, 0), None, None)


@compiled
def add_outer(
    sums: Any, at: int, x: Any, s: int, m: int, y: Any, t: int, n: int,
    steps: int, b0: int, b1: int,
) -> int:  # fmt: skip
    """Add ``sum of x(s + i)' y(t + i)`` over some steps to ``sums[0, at:]``, ``(m, n)``.

    Returns:
        Where the next sum stands.
    """
    inner = b1 - b0
    if b0 == 0 and b1 * m == x.shape[1]:
        inner, steps = steps * inner, 1
    place = (sums, at, n)
    left = (x, s * x.shape[1] + b0 * m, 1, m, x.shape[1])
    right = (y, t * y.shape[1] + b0 * n, n, y.shape[1])
    product(place, place, (m, n, inner, steps), left, right, None, None)
    return at + m * n


@compiled
def add_rows(sums: Any, at: int, x: Any, s: int, n: int, steps: int, b0: int, b1: int) -> int:
    """Add the sum of all rows of ``x(s + i)`` to ``sums[0, at:]``, ``(n,)``; returns the next."""
    inner = b1 - b0
    if b0 == 0 and b1 * n == x.shape[1]:
        inner, steps = steps * inner, 1
    place = (sums, at, n)
    right = (x, s * x.shape[1] + b0 * n, n, x.shape[1])
    product(place, place, (1, n, inner, steps), None, right, None, None)
    return at + n
