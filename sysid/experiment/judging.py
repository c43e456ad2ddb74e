"""Judging: how far a trained model can be trusted, from many starts over short and long runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from sysid.data.records import Array, Record
from sysid.models import Ensemble, Model
from sysid.models.evaluating import evaluating
from sysid.models.stateful import StatefulModel
from sysid.training.full_sequence import usable_stretches

Integers = NDArray[np.int64]

# Runs of each length class: as a share of a held-out part, at most so many samples, and how many
# runs in all; a whole part is run once.
_LENGTHS = ((1.0, 20_000, 0.0), (1 / 3, 4_000, 1 / 3), (1 / 9, 1_000, 2 / 3))
_PARTS = 16  # stretches of time whose errors are compared
_STRESS = 800  # samples of a run that only has to stay in range
_PIECES = 20  # that the inputs of a run are cut into to come in another order
_BEYOND = 1.2  # factor on the inputs' deviation from their mean
_MARGIN = 1.0  # distance from the measured range, in ranges, at which a model runs away
_STILL = 0.01  # the same for an output that never moved, as a share of it


@dataclass(frozen=True, eq=False)
class Judgement:
    """What many free runs of a model came to; errors are relative to the outputs' deviation.

    ``parts`` are the mean square errors in stretches of time, the same for all models that one
    judge looks at, and ``weights`` the samples of each. ``outputs`` has an error per output,
    ``whole`` is that of runs through whole held-out parts and ``worst`` that of the worst run.
    ``recorded`` counts the runs with inputs as they were recorded that left the measured range,
    ``stressed`` those with inputs in another order or beyond their range; ``starts`` counts all
    runs. ``bounded`` says whether the model stays within bounds for any bounded input, or is an
    exact sum of what does.
    """

    parts: Array
    weights: Array
    outputs: Array
    whole: float
    worst: float
    recorded: int
    stressed: int
    starts: int
    bounded: bool

    @property
    def error(self) -> float:
        """The root mean square error over the outputs' standard deviation."""
        return math.sqrt(self._mean(self.parts))

    @property
    def standard_error(self) -> float:
        """The standard error of ``error`` over stretches of time; samples depend on each other."""
        if not math.isfinite(self.error) or self.error == 0:
            return 0.0
        return self._spread(self.parts) / (2 * self.error)

    def exceeds(self, other: Judgement) -> float:
        """Return by how many standard errors this model is worse than another.

        The two were judged on the same runs, so it is the differences in the same stretches of
        time that have a mean and a standard error.
        """
        difference = self.parts - other.parts
        if not np.isfinite(difference).all():
            return math.inf
        mean, spread = self._mean(difference), self._spread(difference)
        return mean / spread if spread > 0 else math.copysign(math.inf, mean) if mean else 0.0

    def _mean(self, parts: Array) -> float:
        return float(parts @ self.weights / self.weights.sum())

    def _spread(self, parts: Array) -> float:
        """Return the standard error of a weighted mean."""
        n = len(parts)
        if n < 2:
            return 0.0
        shares = self.weights / self.weights.sum()
        squares = (shares * (parts - self._mean(parts))) ** 2
        return float(np.sqrt(squares.sum() * n / (n - 1)))


@dataclass(frozen=True, eq=False)
class _Runs:
    """Runs side by side, ``(runs, samples, channels)``, and the stretch of time of each sample."""

    u: Array
    y: Array  # missing where nothing is scored
    part: Integers  # (runs, samples)
    lengths: Integers  # (runs,): samples before what was added to make the runs alike
    kind: Integers  # (runs,): the length class, or which inputs

    def some(self, chosen: slice) -> _Runs:
        """Return every so many of the runs."""
        return _Runs(*(getattr(self, f.name)[chosen] for f in fields(self)))


class Judge:
    """Judges models by free runs from many places, all of them batched.

    Args:
        held_out: the records that each of several models has not seen, which were trained on the
            same plant with other parts held out; one list for one model.
        records: all records; a model must not run away from anywhere in them.
        n_init: samples that a run starts from.
        bounded: whether the plant stays in its range whatever the inputs do; one that integrates
            does not.
        starts: runs that are scored; as many again only have to stay in range.
    """

    def __init__(
        self,
        held_out: Sequence[Sequence[Record]],
        records: Sequence[Record],
        n_init: int,
        bounded: bool = True,
        starts: int = 36,
    ) -> None:
        self.n_init, self.bounded = n_init, bounded
        y = np.concatenate([r.y for r in records])
        self.low, self.high = np.nanmin(y, axis=0), np.nanmax(y, axis=0)
        std = np.nanstd(y, axis=0)
        self.std = np.where(std > 0, std, 1.0)
        blocks = [[p for r in part for p in _stretches(r, n_init)] for part in held_out]
        if not all(blocks):
            raise ValueError(
                f"each held-out part must have more than the {n_init} samples that start a run, "
                "with complete inputs; give longer records, or fewer samples to start from"
            )
        count = sum(map(len, blocks))
        self.parts = max(1, round(_PARTS / count))
        first = 0
        self.scored: list[list[_Runs]] = []
        for several in blocks:
            self.scored.append(list(self._scored(several, first, starts / count)))
            first += len(several) * self.parts
        self.total = first
        self.stressed = self._stressed(records, starts)

    def judge(self, models: Sequence[Model]) -> Judgement:
        """Return what the runs of models come to, one for each list of held-out records."""
        sums, counts = np.zeros((2, len(_LENGTHS), self.total, len(self.std)))
        worst, recorded, stressed, starts = 0.0, 0, 0, 0
        for i, (model, batches) in enumerate(zip(models, self.scored, strict=True)):
            for runs in batches:
                y_hat = free_runs(model, runs.u, runs.y, self.n_init)
                recorded += int(self._left(y_hat, runs.lengths).sum())
                starts += len(y_hat)
                squares, seen = self._squares(y_hat, runs.y)
                worst = max(worst, _worst(squares, seen))
                self._add(squares, seen, runs, sums, counts)
            runs = self.stressed.some(slice(i, None, len(models)))
            left = self._left(free_runs(model, runs.u, runs.y, self.n_init), runs.lengths)
            recorded += int((left & (runs.kind == 0)).sum())
            stressed += int((left & (runs.kind > 0)).sum())
            starts += len(left)
        bounded = all(model.bounded.growth != "unknown" for model in models)
        return Judgement(*_averaged(sums, counts), worst, recorded, stressed, starts, bounded)

    def _add(self, squares: Array, seen: Array, runs: _Runs, sums: Array, counts: Array) -> None:
        """Add squares to the sums of their length class, stretch of time and output."""
        for output in range(len(self.std)):
            for kind in np.unique(runs.kind):
                of = runs.kind == kind
                at = runs.part[of][seen[of][..., output]]
                here = squares[of][..., output][seen[of][..., output]]
                sums[kind, :, output] += np.bincount(at, here, self.total)
                counts[kind, :, output] += np.bincount(at, minlength=self.total)

    def _squares(self, y_hat: Array, y: Array) -> tuple[Array, Array]:
        seen = ~np.isnan(y)
        seen[:, : self.n_init] = False
        with np.errstate(over="ignore", invalid="ignore"):
            squares = ((y_hat - y) / self.std) ** 2
        return np.where(np.isfinite(squares), squares, np.where(seen, np.inf, 0.0)), seen

    def _left(self, y_hat: Array, lengths: Integers) -> NDArray[np.bool_]:
        """Return for each run whether it is not finite or leaves the measured range."""
        margin = _MARGIN * (self.high - self.low) if self.bounded else np.inf
        margin = np.maximum(margin, _STILL * np.abs(self.high))
        with np.errstate(invalid="ignore"):
            inside = (y_hat >= self.low - margin) & (y_hat <= self.high + margin)
        inside &= np.isfinite(y_hat)
        sample = np.arange(y_hat.shape[1])
        counts = (sample >= self.n_init) & (sample < lengths[:, None])
        left: NDArray[np.bool_] = (counts & ~inside.all(axis=2)).any(axis=1)
        return left

    def _scored(self, blocks: list[Record], first: int, runs_each: float) -> Iterator[_Runs]:
        """Yield the runs through whole held-out blocks, and those through parts of them."""
        n = self.n_init
        rows: list[tuple[Record, Integers, int]] = []
        for kind, (share, most, of_runs) in enumerate(_LENGTHS):
            for i, block in enumerate(blocks):
                whole = len(block)
                length = min(max(int(share * whole), 2 * n + 10), most + n, whole)
                runs = max(math.ceil(of_runs * runs_each), 1)
                stretch = np.arange(whole) * self.parts // whole + first + i * self.parts
                for place in np.unique(np.linspace(0, whole - length, runs).astype(int)):
                    start = _startable(block.y, int(place), n, whole - length)
                    end = start + length
                    rows.append((block[start:end], stretch[start:end], kind))
        for wanted in ((0,), (1, 2)):
            some = [r for r in rows if r[2] in wanted]
            yield _side_by_side(
                [r for r, _, _ in some], [s for _, s, _ in some], [k for *_, k in some]
            )

    def _stressed(self, records: Sequence[Record], starts: int) -> _Runs:
        """Return runs from all over the records: as recorded, in another order, and beyond."""
        n = self.n_init
        pieces = [p for r in records for p in _stretches(r, n)]
        sizes = np.array([len(p) for p in pieces], dtype=float)
        random = np.random.default_rng(0)
        u_all = np.concatenate([p.u for p in pieces])
        length = min(_STRESS, len(u_all))
        rows, kinds = [], []
        for i in range(max(starts, 12)):
            piece = pieces[random.choice(len(pieces), p=sizes / sizes.sum())]
            last = max(len(piece) - n - 5, 0)
            rest = piece[_startable(piece.y, int(random.integers(last + 1)), n, last) :]
            kinds.append(i % 3)
            if kinds[-1] == 0:
                rows.append(rest[: n + length])
                continue
            parts = np.array_split(
                np.roll(u_all, -int(random.integers(len(u_all))), 0)[:length], _PIECES
            )
            u = np.concatenate([parts[k] for k in random.permutation(len(parts))])
            if kinds[-1] == 2:
                u = u_all.mean(axis=0) + _BEYOND * (u - u_all.mean(axis=0))
            y = np.full((n + length, rest.ny), np.nan)
            y[:n] = rest.y[:n]
            u = np.concatenate([rest.u[:n], u])  # the start as recorded, other inputs after it
            rows.append(rest.replace(u=u if rest.nu else None, y=y))
        return _side_by_side(rows, None, kinds)


@torch.no_grad()
def free_runs(model: Model, u: Array, y: Array, n_init: int) -> Array:
    """Return free runs side by side, each as ``simulate`` does for a record with ``n_init``.

    Args:
        model: trained.
        u: ``(runs, samples, nu)``, complete, in physical units.
        y: ``(runs, samples, ny)``, of which the first ``n_init`` samples are put to use.
        n_init: samples that start a run.

    Returns:
        ``(runs, samples, ny)``; infinite, never NaN, where a run is not bounded.
    """
    if isinstance(model, Ensemble):
        members = [m for m in model.models if isinstance(m, Model)]
        with np.errstate(over="ignore", invalid="ignore"):
            runs = np.mean([free_runs(m, u, y, n_init) for m in members], axis=0)
        return np.where(np.isnan(runs), np.inf, runs)
    own_u, own_y = model._scaled(u, "u"), model._scaled(y, "y")
    m = model.n_memory
    with evaluating(model):
        if m:
            # A lag before the first sample holds it.
            held, skipped = max(m - n_init, 0), max(n_init - m, 0)
            own_u = torch.cat([own_u[:, :1].expand(-1, held, -1), own_u], 1)[:, skipped:]
            own_y = torch.cat([own_y[:, :1].expand(-1, held, -1), own_y], 1)[:, skipped:]
            own = model.unfold(own_u, own_y)[0]
            own = torch.cat([own.new_zeros(len(own), skipped, model.ny), own[:, held:]], 1)
        elif n_init and model.estimates_state and isinstance(model, StatefulModel):
            state = model.estimated_states(own_u[:, :n_init], own_y[:, :n_init])
            own = model.unfold(own_u, own_y, n_init, state=state)[0]
        else:
            own = model.unfold(own_u, own_y, n_init)[0]
    y_hat = model._physical(own)
    return np.where(np.isnan(y_hat), np.inf, y_hat)


def _stretches(record: Record, n_init: int) -> list[Record]:
    """Return the pieces of a record with complete inputs that a run can go through."""
    return [p for p in usable_stretches(record, 0) if len(p) > n_init + 1 and _measured(p, n_init)]


def _measured(record: Record, n_init: int) -> bool:
    return not bool(np.isnan(record.y[n_init:]).all())


def _startable(y: Array, start: int, n: int, last: int) -> int:
    """Return the next place whose first ``n`` outputs are complete, or else ``start``."""
    places = [*range(start, last + 1), *range(start)]
    return next((p for p in places if not np.isnan(y[p : p + n]).any()), start)


def _side_by_side(
    records: Sequence[Record], parts: Sequence[Integers] | None, kinds: Sequence[int]
) -> _Runs:
    """Return records padded to the longest; what was added is not scored."""
    most = max(len(r) for r in records)
    u = np.stack([np.pad(r.u, ((0, most - len(r)), (0, 0)), mode="edge") for r in records])
    y = np.full((len(records), most, records[0].ny), np.nan)
    part = np.zeros((len(records), most), dtype=np.int64)
    for i, record in enumerate(records):
        y[i, : len(record)] = record.y
        if parts is not None:
            part[i, : len(record)] = parts[i]
    lengths = np.array([len(r) for r in records])
    return _Runs(u, y, part, lengths, np.array(kinds))


def _worst(squares: Array, seen: Array) -> float:
    """Return the largest root mean square error of a run."""
    counts = seen.sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        sums = np.where(seen, squares, 0.0).sum(axis=(1, 2))
    means = sums[counts > 0] / counts[counts > 0]
    return math.sqrt(float(means.max())) if len(means) else 0.0


def _averaged(sums: Array, counts: Array) -> tuple[Array, Array, Array, float]:
    """Return the error of each part, its samples, the error of each output and of whole runs.

    Args:
        sums: of squares, ``(lengths, parts, outputs)``.
        counts: of the samples in them; runs of each length count alike.
    """
    lengths = np.maximum((counts > 0).sum(axis=0), 1)
    by_part = (sums / np.maximum(counts, 1)).sum(axis=0) / lengths  # (parts, outputs)
    seen = counts.sum(axis=0)
    known = seen.sum(axis=1) > 0
    by_part, seen = by_part[known], seen[known]
    weights = seen.sum(axis=1)
    measured = (seen > 0) * weights[:, None]
    outputs = np.sqrt((by_part * measured).sum(axis=0) / np.maximum(measured.sum(axis=0), 1))
    parts = (by_part * measured).sum(axis=1) / measured.sum(axis=1)
    runs = counts[0].sum(axis=0)
    whole = (sums[0].sum(axis=0)[runs > 0] / runs[runs > 0]).mean() if runs.any() else math.inf
    return parts, weights, outputs, math.sqrt(whole)
