"""Linear ARX models by least squares, in one pass over records of any length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from sysid.data.records import Array, Record
from sysid.data.regressors import narx_regressors
from sysid.data.scaling import Scaling
from sysid.data.slow_outputs import slow
from sysid.models.linear import estimate_state_space

CHUNK = 1 << 17  # rows of the regression that are in memory together
_SETTLED = 200  # samples at the start of a simulation that do not count
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


def fit_scaled_arx(
    records: list[Record], scaling: Scaling, na: int, nb: int, nk: int
) -> Array | None:
    """Do the same for whole records in physical units, which may have slow outputs.

    Args:
        records: the experiments.
        scaling: what they are scaled by; the coefficients are those of scaled records.
        na: largest output lag.
        nb: largest input lag.
        nk: smallest input lag.
    """
    lag = max(na, nb)
    if na and records[0].nu and any(slow(r.y).any() for r in records):
        simulated = with_slow_outputs_simulated([scaling.scaled(r) for r in records], na)
        return fit_arx(regression_pieces(simulated, lag), na, nb, nk)
    return fit_arx((scaling.scaled(p) for p in regression_pieces(records, lag)), na, nb, nk)


def with_slow_outputs_simulated(records: list[Record], order: int) -> list[Record]:
    """Return records with outputs at every row, where slow ones leave no row of a regression.

    Between its samples, an output that is measured at every tenth row is not known, and a line
    drawn there would be learned. So all outputs are those of a linear state-space model that fits
    the measured ones in free run; a regression on them finds that model, or what is near it.

    Args:
        records: near zero mean.
        order: lags of outputs in the regression.

    Returns:
        The records themselves where there are too few samples for such a model.
    """
    try:
        model = estimate_state_space([(r.u, r.y) for r in records], order * records[0].ny)
    except ValueError:
        return records
    out = []
    for record in records:
        states = model.states(record.u)
        y = states @ model.C.T + np.nan_to_num(record.u) @ model.D.T + model.constant
        y[: min(_SETTLED, len(y) // 4)] = np.nan  # records start from rest there
        out.append(Record(record.u, y))
    return out


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
