"""Lags: which past outputs and inputs a linear model needs to simulate one output."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter, lfiltic

from sysid.data.records import Array, Record
from sysid.data.scaling import Scaling

_FOLDS = 4  # parts of the data, each of which is held out once
_ROWS = 10_000  # samples that choose the lags, over all records
_FEWEST = 2_500  # of them where there are many outputs, each of which has its own
_COLUMNS = 220  # regressors that are looked at together

_RECORDS = 400  # that choose the lags
_INPUTS = 12  # whose delays are looked for; of more, all lags begin at the present
_OWN = (10, 4, 2, 1, 0)  # past outputs; fewer where outputs are missing
_SCANNED = 4  # past outputs beside which a delay is looked for
_SIZES = ((1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (4, 4), (6, 6), (10, 10))
_STATIC = (1, 10, 30, 100)  # input lags of models without past outputs
_AS_GOOD = 1.02  # free-run errors that differ by no more than the data can tell
_BARELY = 1.02  # largest pole of an unstable estimate that is taken for an integrator
_EDGE = 1 - 1e-5  # where such a pole is put
_SPARE = 10  # rows more than twice the weights, so that few samples choose few weights
_NOTHING = 1e-9  # of a standard deviation


@dataclass(frozen=True)
class Lags:
    """Past outputs ``1 ... own``, and of input ``j`` the lags ``delays[j] ... + width - 1``."""

    own: int
    delays: tuple[int, ...]
    width: int

    @property
    def longest(self) -> int:
        """Samples that are reached back to."""
        return max([self.own, *(d + self.width - 1 for d in self.delays)])

    def columns(self) -> Iterator[tuple[int, int]]:
        """Yield input (-1: the output itself) and lag of each regressor."""
        yield from ((-1, lag) for lag in range(1, self.own + 1))
        for j, first in enumerate(self.delays):
            yield from ((j, lag) for lag in range(first, first + self.width))


@dataclass(frozen=True)
class _Piece:
    """A stretch of one record; its first ``lead`` samples belong to the stretch before."""

    fold: int
    u: Array
    y: Array  # (N,)
    lead: int


def choose_lags(records: list[Record], scaling: Scaling, output: int) -> list[Lags]:
    """Return lags for one output, the best first.

    Each part of the data is simulated in free run, from its first outputs, by a model of the
    others. Where the errors of several are as good as the same, the one with the smallest error
    one step ahead comes first. A model that is not stable is none.

    Args:
        records: training records.
        scaling: that brings them to a standard deviation of one.
        output: position of the output.
    """
    return _Search(records, scaling, output).ranked()


def scaled_channels(record: Record, scaling: Scaling) -> tuple[Array, Array]:
    """Return ``u`` and ``y`` in the units of a scaling; what is constant up to rounding is zero."""
    u = (record.u - scaling.u_offset.cpu().numpy()) / scaling.u_scale.cpu().numpy()
    y = (record.y - scaling.y_offset.cpu().numpy()) / scaling.y_scale.cpu().numpy()
    return np.where(np.abs(u) < _NOTHING, 0.0, u), np.where(np.abs(y) < _NOTHING, 0.0, y)


def regression(u: Array, y: Array, lags: Lags, first: int) -> Array:
    """Return the complete rows ``[regressors, 1, y]`` of the samples from ``first`` on.

    Args:
        u: ``(N, nu)``.
        y: ``(N,)``.
        lags: the regressors.
        first: at least the longest lag.
    """
    columns = [(y if j < 0 else u[:, j])[first - lag : len(y) - lag] for j, lag in lags.columns()]
    rows = np.column_stack([*columns, np.ones(len(y) - first), y[first:]])
    return rows[np.isfinite(rows).all(axis=1)]


def least_squares(rows: Array) -> Array:
    """Return the weights of all columns but the last that explain the last one best.

    Args:
        rows: ``(M, columns + 1)``, or their triangular factor.
    """
    return np.asarray(np.linalg.lstsq(rows[:, :-1], rows[:, -1], rcond=None)[0], dtype=np.float64)


def settled(theta: Array, own: int) -> Array | None:
    """Return ``[a, b, constant]`` with all poles inside the unit circle, ``None`` if there is none.

    A pole just outside is an integrator's, and is put just inside.
    """
    if not np.isfinite(theta).all():
        return None
    if own == 0:
        return theta
    poles = np.roots(np.concatenate([[1.0], -theta[:own]]))
    size = np.abs(poles)
    if (size > _BARELY).any():
        return None
    if (size < 1).all():
        return theta
    poles = np.where(size < 1, poles, poles / np.maximum(size, 1) * _EDGE)
    return np.concatenate([-np.real(np.poly(poles))[1:], theta[own:]])


class _Search:
    def __init__(self, records: list[Record], scaling: Scaling, output: int) -> None:
        self.nu = records[0].nu
        longest = max(len(r) for r in records)
        room = (_COLUMNS - _OWN[0]) // max(self.nu, 1)
        self.reach = max(1, min(room, longest // 8))  # largest input lag
        if len(records) > _RECORDS:
            records = records[:: -(-len(records) // _RECORDS)]
        self.pieces = list(_pieces(records, scaling, output, self.reach + _OWN[0]))
        for own in _OWN:
            self.own = own
            every = Lags(own, (0,) * self.nu, self.reach + 1)
            parts = [self._reduced(every, fold) for fold in range(_FOLDS)]
            if sum(rows for _, rows in parts) >= 4 * (own + 2 * self.nu + 1):
                break
        self.index = {column: i for i, column in enumerate(every.columns())}
        self.rows = sum(rows for _, rows in parts)
        self.parts = [part for part, _ in parts]
        self.others = [
            _triangle(np.vstack(self.parts[:f] + self.parts[f + 1 :])) for f in range(_FOLDS)
        ]

    def _reduced(self, every: Lags, fold: int) -> tuple[Array, int]:
        """Return the triangular factor of the rows of a fold, and their number."""
        width = sum(1 for _ in every.columns()) + 2
        rows = [
            regression(piece.u, piece.y, every, max(every.longest, piece.lead))
            for piece in self.pieces
            if piece.fold == fold and len(piece.y) > every.longest
        ]
        whole = np.vstack([np.empty((0, width)), *rows])
        return _triangle(whole), len(whole)

    def ranked(self) -> list[Lags]:
        delays = self._scanned() if 0 < self.nu <= _INPUTS else (0,) * self.nu
        tried: dict[Lags, tuple[float, float]] = {}
        for lags in self._candidates(delays):
            tried[lags] = self._errors(lags)
        if not tried:
            return []
        best = min(tried, key=lambda lags: tried[lags][0])
        for j in range(self.nu if self.nu <= _INPUTS else 0):
            best = self._moved(best, j, tried)
        limit = _AS_GOOD * tried[best][0] + _NOTHING

        def place(lags: Lags) -> tuple[float, float]:
            free, one = tried[lags]
            return (0.0, one) if free <= limit else (free, one)

        return sorted((lags for lags in tried if math.isfinite(tried[lags][0])), key=place)

    def _candidates(self, delays: tuple[int, ...]) -> Iterator[Lags]:
        sizes = [*_SIZES, *((0, width) for width in _STATIC if self.nu)]
        starts = {delays, tuple(max(d - 1, 0) for d in delays), (0,) * self.nu}
        for own, width in sizes:
            for start in starts:
                lags = Lags(own, start, width if self.nu else 1)
                if own <= self.own and self._fits(lags):
                    yield lags

    def _fits(self, lags: Lags) -> bool:
        count = lags.own + self.nu * lags.width + 1
        reach = all(d >= 0 and d + lags.width - 1 <= self.reach for d in lags.delays)
        reach = reach and count <= _COLUMNS
        return reach and self.rows * (_FOLDS - 1) // _FOLDS >= 2 * count + _SPARE

    def _moved(self, best: Lags, j: int, tried: dict[Lags, tuple[float, float]]) -> Lags:
        """Return the lags with the delay of one input moved to where the free run is best."""
        moved = [best]
        for shift in (-2, -1, 1, 2):
            delays = tuple(d + shift * (i == j) for i, d in enumerate(best.delays))
            lags = Lags(best.own, delays, best.width)
            if self._fits(lags):
                tried.setdefault(lags, self._errors(lags))
                moved.append(lags)
        return min(moved, key=lambda lags: tried[lags][0])

    def _scanned(self) -> tuple[int, ...]:
        """Return the delay of each input: the first of two lags that explain most.

        One input after the other is taken in, the one first that explains most; then each is
        looked at again beside all others.
        """
        own = [self.index[-1, lag] for lag in range(1, min(self.own, _SCANNED) + 1)]
        whole = _triangle(np.vstack(self.parts))
        constant, target = whole.shape[1] - 2, whole.shape[1] - 1
        found: dict[int, int] = {}

        def pairs(inputs: list[int]) -> list[int]:
            return [self.index[j, found[j] + more] for j in inputs for more in (0, 1)]

        def look(j: int, active: list[int]) -> Array:
            block = [self.index[j, lag] for lag in range(self.reach + 1)]
            return _gains(whole, [*own, constant, *active], block, target)

        while len(found) < self.nu:
            gains = {j: look(j, pairs(list(found))) for j in range(self.nu) if j not in found}
            best = max(gains, key=lambda j: float(gains[j].max()))
            found[best] = int(gains[best].argmax())
        for j in list(found):
            found[j] = int(look(j, pairs([i for i in found if i != j])).argmax())
        return tuple(found[j] for j in range(self.nu))

    def _errors(self, lags: Lags) -> tuple[float, float]:
        """Return root mean square errors of free run and of one step, over what was held out."""
        kept = [self.index[c] for c in lags.columns()]
        kept += [self.others[0].shape[1] - 2]
        free = one = 0.0
        samples = 0
        for fold in range(_FOLDS):
            train, held = self.others[fold], self.parts[fold]
            if not len(train):
                continue
            stable = settled(least_squares(train[:, [*kept, -1]]), lags.own)
            if stable is None:
                return math.inf, math.inf
            one += float(np.sum((held[:, kept] @ stable - held[:, -1]) ** 2))
            for piece in self.pieces:
                if piece.fold == fold and len(piece.y) > piece.lead:
                    error = _free_run_error(piece, lags, stable)
                    free += float(error @ error)
                    samples += len(error)
        if samples == 0 or not math.isfinite(free):
            return math.inf, math.inf
        return math.sqrt(free / samples), math.sqrt(one / max(self.rows, 1))


def _pieces(records: list[Record], scaling: Scaling, output: int, lead: int) -> Iterator[_Piece]:
    """Cut records into stretches, dealt out to the folds; of long ones the first part counts."""
    total = sum(len(r) for r in records)
    rows = max(_ROWS // records[0].ny, _FEWEST)
    share = min(1.0, rows / total)
    parts = 1 if len(records) >= _FOLDS else _FOLDS
    for i, record in enumerate(records):
        for part in range(parts):
            a, b = (p * len(record) // parts for p in (part, part + 1))
            b = a + max(int((b - a) * share), min(b - a, 50))
            before = max(a - lead, 0)
            if b - before > 1:
                u, y = scaled_channels(record[before:b], scaling)
                yield _Piece((i * parts + part) % _FOLDS, u, y[:, output], a - before)


def _triangle(rows: Array) -> Array:
    if len(rows) <= rows.shape[1]:
        return rows
    return np.asarray(np.linalg.qr(rows, mode="r"), dtype=np.float64)


def _gains(rows: Array, active: list[int], block: list[int], target: int) -> Array:
    """Return by how much each two neighbours in a block lower the squares of what is left."""
    basis = np.linalg.qr(rows[:, active])[0]
    left = rows[:, [*block, target]]
    left = left - basis @ (basis.T @ left)
    size = np.linalg.norm(left, axis=0)
    least = _NOTHING * float(np.linalg.norm(rows[:, target]))
    left = np.where(size > least, left / np.where(size > 0, size, 1), 0.0)
    a, b, r = left[:, :-2], left[:, 1:-1], left[:, -1]
    across = np.einsum("ij,ij->j", a, b)
    by_a, by_b = a.T @ r, b.T @ r
    by_b = by_b - across * by_a  # what b adds to a
    rest = 1 - across**2
    return np.asarray(by_a**2 + np.where(rest > 1e-6, by_b**2 / np.maximum(rest, 1e-6), 0.0))


def _free_run_error(piece: _Piece, lags: Lags, theta: Array) -> Array:
    """Return the errors of a free run where outputs were measured."""
    u, y = np.nan_to_num(piece.u), piece.y
    start = max(piece.lead, min(lags.own, len(y)))
    driven = np.full(len(y), theta[-1])
    for (j, lag), weight in zip(lags.columns(), theta[:-1], strict=True):
        if j >= 0:
            driven[lag:] += weight * u[: max(len(y) - lag, 0), j]
            driven[:lag] += weight * u[0, j]  # a lag before the first sample holds it
    if lags.own == 0:
        error = y - driven
        return np.asarray(error[start:][np.isfinite(y[start:])])
    past = without_gaps(y[start - lags.own : start])[::-1]
    a = np.concatenate([[1.0], -theta[: lags.own]])
    y_hat = lfilter([1.0], a, driven[start:], zi=lfiltic([1.0], a, past))[0]
    return np.asarray((y[start:] - y_hat)[np.isfinite(y[start:])])


def without_gaps(y: Array, otherwise: float = 0.0) -> Array:
    """Return values ``(N,)`` with a line over those that miss, or one value where all do."""
    seen = np.flatnonzero(np.isfinite(y))
    if not len(seen):
        return np.full(len(y), otherwise)
    return np.asarray(np.interp(np.arange(len(y)), seen, y[seen]), dtype=np.float64)
