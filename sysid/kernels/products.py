"""Matrix products of compiled loops, by rows of a batch.

Arrays are ``(time, batch * width)``; row ``b`` at time ``t`` is
``x[t, b * width:(b + 1) * width]``.
"""

from __future__ import annotations

from typing import Any

from sysid.kernels.elementary import compiled
from sysid.kernels.matrices import product


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
    m, n = w.shape
    place = (out, t * out.shape[1] + b0 * n, n)
    given = (x, s * x.shape[1] + b0 * m, m, 1, 0)
    product(place, place, (b1 - b0, n, m, 1), given, (w, 0, n, 0), None, None)


@compiled
def add_few(out: Any, t: int, x: Any, s: int, w: Any, w_t: Any, b0: int, b1: int) -> None:
    """As ``add_product``."""
    add_product(out, t, x, s, w, b0, b1)


@compiled
def fill(out: Any, t: int, row: Any, b0: int, b1: int) -> None:
    """Set each of the rows ``b0 ... b1 - 1`` of ``out(t)`` to ``row``."""
    n = row.shape[0]
    for b in range(b0, b1):
        to = out[t, b * n : (b + 1) * n]
        for j in range(n):
            to[j] = row[j]
