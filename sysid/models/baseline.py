"""Baseline: the mean and the linear ARX model that a network has to be better than."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sysid.data.records import Array, Record
from sysid.data.regressors import Orders
from sysid.data.scaling import Scaling
from sysid.models.arx import fit_arx, regression_pieces
from sysid.models.narx import NARX


@dataclass(frozen=True, eq=False)
class Baseline:
    """``y = mean``, and ``y(k) = W phi(k) + c`` with the regressors of ``narx_regressors``.

    Fitted on the training records of the model that carries it, in physical units.
    """

    orders: tuple[int, int, int]
    weight: Array | None  # (ny, na*ny + (nb-nk+1)*nu); None: too few samples for the orders
    constant: Array  # (ny,)
    mean: Array  # (ny,)

    @property
    def name(self) -> str:
        """What the linear model is called in tables."""
        return f"ARX({', '.join(map(str, self.orders))})"

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


def fit_baseline(
    records: list[Record], na: int, nb: int, nk: int = 0, scaling: Scaling | None = None
) -> Baseline:
    """Fit mean and ARX model by least squares.

    Args:
        records: training records.
        na: largest output lag.
        nb: largest input lag.
        nk: smallest input lag.
        scaling: standard scaling that was fitted to the records, to save a pass over them.
    """
    lag = Orders(na, nb, nk).max_lag
    if scaling is None:
        scaling = Scaling(records[0].nu, records[0].ny).fit_(records)
    shift_u, scale_u = scaling.u_offset.cpu().numpy(), scaling.u_scale.cpu().numpy()
    shift_y, scale_y = scaling.y_offset.cpu().numpy(), scaling.y_scale.cpu().numpy()
    pieces = (scaling.scaled(p) for p in regression_pieces(records, lag))
    solution = fit_arx(pieces, na, nb, nk)
    if solution is None:
        return Baseline((na, nb, nk), None, shift_y, shift_y)
    # From scaled to physical units: phi_s = (phi - shift) / scale, column by column.
    shift = np.concatenate([np.tile(shift_y, na), np.tile(shift_u, nb - nk + 1)])
    scale = np.concatenate([np.tile(scale_y, na), np.tile(scale_u, nb - nk + 1)])
    weight = solution[:-1].T / scale * scale_y[:, None]
    constant = shift_y + scale_y * solution[-1] - weight @ shift
    return Baseline((na, nb, nk), weight, constant, shift_y)
