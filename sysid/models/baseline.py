"""Baseline: the mean and the linear ARX model that a network has to be better than."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sysid.data.records import Array, Record
from sysid.data.scaling import Scaling
from sysid.data.slow_outputs import slow
from sysid.models.arx import CHUNK, regression_pieces, with_slow_outputs_simulated
from sysid.models.lags import (
    Lags,
    choose_lags,
    least_squares,
    regression,
    scaled_channels,
    settled,
    without_gaps,
)
from sysid.models.narx import NARX

_MOST_INPUTS, _MOST_OUTPUTS = 50, 20  # of the linear model: beyond them there is the mean alone
_WORK = 1 << 33  # rows of the regression times their squared length
_SLOW_ORDER = 4  # states an output, of the model that stands in for slow outputs
_TRIED = 5  # lags whose model turns out unstable on all data


@dataclass(frozen=True, eq=False)
class Baseline:
    """``y = mean``, and ``y(k) = W phi(k) + c`` with the regressors of ``narx_regressors``.

    Fitted on the training records of the model that carries it, in physical units. The orders
    span the lags of all inputs and outputs; those that one does without have the weight zero.
    """

    orders: tuple[int, int, int]
    weight: Array | None  # (ny, na*ny + (nb-nk+1)*nu); None: too few samples for the orders
    constant: Array  # (ny,)
    mean: Array  # (ny,)

    @property
    def name(self) -> str:
        """What the linear model is called in tables."""
        return f"linear ARX({', '.join(map(str, self.orders))})"

    def arx(self) -> NARX | None:
        """Return the linear model, in float64, with the identity as its scaling."""
        if self.weight is None:
            return None
        na, nb, nk = self.orders
        nu = (self.weight.shape[1] - na * len(self.mean)) // (nb - nk + 1)
        with torch.random.fork_rng(devices=[]):
            model = NARX(nu, len(self.mean), na, nb, nk, hidden_sizes=(), linear=False).double()
        layer = model.network[0]
        if not isinstance(layer, nn.Linear):
            raise TypeError("a NARX without hidden layers must be one linear layer")
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(self.weight))
            layer.bias.copy_(torch.tensor(self.constant))
        return model

    def simulate(self, record: Record) -> Array:
        """Return the free run of the linear model from the first ``n_init`` outputs, ``(N, ny)``.

        A lag before the first sample holds it, and an output that misses among those to start
        from lies on the line between its neighbours. Where ``n_init`` is 0, inputs and outputs
        before the first sample are at their means.

        Args:
            record: measured, with at least the inputs complete.
        """
        return self._run(record, self._longest - record.n_init, None)

    def predict(self, record: Record, horizon: int) -> Array:
        """Return what the linear model predicts, ``(N, ny)``; it begins as in ``simulate``.

        Args:
            record: measured.
            horizon: row ``k`` uses measured outputs up to ``k - horizon``.
        """
        return self._run(record, self._longest + horizon - 1 - record.n_init, horizon)

    @property
    def _longest(self) -> int:
        return max(self.orders[:2])

    def _run(self, record: Record, before: int, horizon: int | None) -> Array:
        """Run the model over a record with ``before`` samples put in front of it."""
        model = self.arx()
        if model is None:
            raise ValueError("baseline must have a linear model to run, got the mean alone")
        before, start = max(before, 0), min(record.n_init, len(record))
        y = np.array(record.y, dtype=np.float64)
        for i in range(y.shape[1] if start else 0):
            y[:start, i] = without_gaps(y[:start, i], self.mean[i])
        u = np.array(record.u, dtype=np.float64)
        rest = (u[0], y[0]) if start else (u.mean(axis=0), self.mean)
        whole = Record(
            np.vstack([np.tile(rest[0], (before, 1)), u]) if record.nu else None,
            np.vstack([np.tile(rest[1], (before, 1)), y]),
            n_init=before + start,
        )
        y_hat = model.simulate(whole) if horizon is None else model.predict(whole, horizon)
        return y_hat[before:]

    def same(self, other: Baseline) -> bool:
        """Return whether two baselines come from the same data."""
        return self.to_json() == other.to_json()

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` takes; every bit is kept."""
        return {
            "orders": list(self.orders),
            "weight": None if self.weight is None else self.weight.tolist(),
            "constant": self.constant.tolist(),
            "mean": self.mean.tolist(),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Baseline:
        """Return the baseline of a model file's header."""
        na, nb, nk = document["orders"]
        mean = np.array(document["mean"], dtype=np.float64)
        constant = np.array(document["constant"], dtype=np.float64)
        if document["weight"] is None:
            return cls((na, nb, nk), None, constant, mean)
        weight = np.array(document["weight"], dtype=np.float64).reshape(len(mean), -1)
        return cls((na, nb, nk), weight, constant, mean)


def fit_baseline(records: list[Record], scaling: Scaling | None = None) -> Baseline:
    """Fit the mean, and the stable linear model that simulates held-out parts best.

    Each output has its own past and a stretch of lags of each input, which begins at the delay
    found for it; ``choose_lags`` says how. ``fit_baseline(records).arx()`` is that model as a
    NARX, ``None`` where the records are too short for any.

    Args:
        records: training records.
        scaling: standard scaling that was fitted to the records, to save a pass over them.
    """
    if scaling is None:
        scaling = Scaling(records[0].nu, records[0].ny).fit_(records)
    shift_u, scale_u = scaling.u_offset.cpu().numpy(), scaling.u_scale.cpu().numpy()
    shift_y, scale_y = scaling.y_offset.cpu().numpy(), scaling.y_scale.cpu().numpy()
    if records[0].nu and any(slow(r.y).any() for r in records):
        scaled = with_slow_outputs_simulated([scaling.scaled(r) for r in records], _SLOW_ORDER)
        records = [
            r.replace(y=np.asarray(s.y) * scale_y + shift_y)
            for r, s in zip(records, scaled, strict=True)
        ]
    nu, ny = len(shift_u), len(shift_y)
    nothing = Baseline((0, 0, 0), None, shift_y, shift_y)
    if nu > _MOST_INPUTS or ny > _MOST_OUTPUTS:
        return nothing
    found: list[tuple[Lags, Array]] = []
    for output in range(ny):
        if (one := _best(records, scaling, output)) is None:
            return nothing
        found.append(one)
    (na, nb, nk), weight, constant = _together(found, nu)
    # From scaled to physical units: phi_s = (phi - shift) / scale, column by column.
    shift = np.concatenate([np.tile(shift_y, na), np.tile(shift_u, nb - nk + 1)])
    scale = np.concatenate([np.tile(scale_y, na), np.tile(scale_u, nb - nk + 1)])
    weight = weight / scale * scale_y[:, None]
    constant = shift_y + scale_y * constant - weight @ shift
    return Baseline((na, nb, nk), weight, constant, shift_y)


def _best(records: list[Record], scaling: Scaling, output: int) -> tuple[Lags, Array] | None:
    """Return the lags and weights of the best model of one output that is stable on all data."""
    for lags in choose_lags(records, scaling, output)[:_TRIED]:
        width = sum(1 for _ in lags.columns()) + 2
        rows: list[Array] = []
        count = 0
        for piece in regression_pieces(records, lags.longest, _WORK // width**2):
            u, y = scaled_channels(piece, scaling)
            rows.append(regression(u, y[:, output], lags, lags.longest))
            count += len(rows[-1])
            if count > max(CHUNK // 2, 4 * width):
                rows = [np.asarray(np.linalg.qr(np.vstack(rows), mode="r"), dtype=np.float64)]
                count = width
        if count < width:
            continue
        if (stable := settled(least_squares(np.vstack(rows)), lags.own)) is not None:
            return lags, stable
    return None


def _together(
    found: list[tuple[Lags, Array]], nu: int
) -> tuple[tuple[int, int, int], Array, Array]:
    """Return orders that hold the lags of all outputs, weights with zeros between, constants."""
    ny = len(found)
    na = max(lags.own for lags, _ in found)
    delays = [d for lags, _ in found for d in lags.delays]
    nk = min(delays, default=0)
    nb = max((d + lags.width - 1 for lags, _ in found for d in lags.delays), default=0)
    weight = np.zeros((ny, na * ny + (nb - nk + 1) * nu))
    for output, (lags, theta) in enumerate(found):
        for (j, lag), value in zip(lags.columns(), theta[:-1], strict=True):
            at = (lag - 1) * ny + output if j < 0 else na * ny + (lag - nk) * nu + j
            weight[output, at] = value
    return (na, nb, nk), weight, np.array([theta[-1] for _, theta in found])
