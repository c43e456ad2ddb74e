"""Linear ARX models by least squares, in one pass over records of any length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from sysid.data.records import Array, Record
from sysid.data.regressors import narx_regressors

CHUNK = 1 << 17  # rows of the regression that are in memory together
_MOST = 1 << 23  # samples that are looked at: more change no digit that matters


def fit_arx(pieces: Iterable[Record], na: int, nb: int, nk: int) -> Array | None:
    """Fit ``y(k) = W phi(k) + c`` with the regressors of ``narx_regressors``.

    The regression is reduced piece by piece to its triangular factor, so that memory does not
    grow with the records.

    Args:
        pieces: records, or pieces of records that overlap by the largest lag.
        na: largest output lag.
        nb: largest input lag.
        nk: smallest input lag.

    Returns:
        ``[W, c]'`` of shape ``(columns of phi + 1, ny)``; ``None`` if there are too few rows.
    """
    triangle: Array | None = None
    rows = ny = 0
    for piece in pieces:
        if len(piece) <= max(na, nb):
            continue
        phi, target = narx_regressors(piece, na, nb, nk)
        ny = target.shape[1]
        block = np.hstack([phi, np.ones((len(phi), 1)), target])
        rows += len(block)
        stacked = block if triangle is None else np.vstack([triangle, block])
        triangle = np.asarray(np.linalg.qr(stacked, mode="r"), dtype=np.float64)
    if triangle is None or rows < triangle.shape[1]:
        return None
    solution = np.linalg.lstsq(triangle[:, :-ny], triangle[:, -ny:], rcond=None)[0]
    return np.asarray(solution, dtype=np.float64)


def regression_pieces(records: list[Record], lag: int, most: int = _MOST) -> Iterator[Record]:
    """Yield pieces of records for a regression, of very long ones evenly spaced pieces only.

    Args:
        records: the records.
        lag: samples by which pieces overlap.
        most: about how many samples the pieces hold together.
    """
    total = sum(len(r) for r in records)
    every = max(1, -(-total // most))
    size = CHUNK if every == 1 else min(CHUNK, max(most // 8, 1000))
    count = 0
    for record in records:
        for piece in record.pieces(size, lag):
            if count % every == 0:
                yield piece
            count += 1
