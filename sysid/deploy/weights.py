"""The weights of a model as arrays, in the order in which one step uses them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from sysid.data.records import Array
from sysid.models import FFN, NARX, Ensemble, Model, StateSpace
from sysid.models.recurrent import GRU, LSTM, RNN
from sysid.models.stable_weights import StableLinear

Recurrent = RNN | GRU | LSTM
"""The kinds whose state equation is a recurrent layer."""


@dataclass(frozen=True, eq=False)
class Layer:
    """``W x + b`` with ``W`` of shape ``(outputs, inputs)``."""

    weight: Array
    bias: Array


Chain = list[Layer]
"""Layers with the model's activation between them; an empty one adds nothing."""


@dataclass(frozen=True, eq=False)
class RecurrentLayer:
    """Weights of one recurrent layer; the rows of all gates in torch's order."""

    w_ih: Array  # (gates * hidden, inputs)
    w_hh: Array  # (gates * hidden, hidden)
    b_ih: Array
    b_hh: Array


def network_chain(network: nn.Module) -> Chain:
    """Return the linear layers of a feed-forward network."""
    return [
        Layer(array(m.weight), array(m.bias)) for m in network.modules() if isinstance(m, nn.Linear)
    ]


def chains(model: FFN | NARX | StateSpace) -> list[Chain]:
    """Return the chains whose sums a step computes.

    - FFN: ``y = chain0(u)``.
    - NARX: ``y = chain0(phi) + chain1(phi)``, the linear path and the network.
    - StateSpace: ``x(k+1) = chain0(z) + chain1(z)``, ``y(k) = chain2(z) + chain3(z)`` with
      ``z = [x, u]``: linear and neural parts in turn.
    """
    if isinstance(model, FFN):
        return [network_chain(model.network)]
    if isinstance(model, NARX):
        path = model.linear_path
        linear = [] if path is None else [Layer(array(path.weight), np.zeros(model.ny))]
        return [linear, network_chain(model.network)]
    nx, nu, ny = model.nx, model.nu, model.ny
    g = [] if model.g is None else network_chain(model.g)
    if g and not model.feedthrough:  # it does not look at u: zero weights on it
        first = g[0]
        padded = np.hstack([first.weight, np.zeros((len(first.weight), nu))])
        g = [Layer(padded, first.bias), *g[1:]]
    return [
        [_side_by_side(model.A, model.B, nx, nu)],
        [] if model.f is None else network_chain(model.f),
        [_side_by_side(model.C, model.D, ny, nu)],
        g,
    ]


def recurrent_layers(model: Recurrent, backwards: bool = False) -> list[RecurrentLayer]:
    """Return the layers of a recurrent model in one direction, the first one first."""
    named = dict(model.recurrence.named_parameters())
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    suffix = "_reverse" if backwards else ""
    return [
        RecurrentLayer(*(array(named[f"{kind}_l{i}{suffix}"]) for kind in kinds))
        for i in range(model.num_layers)
    ]


def array(tensor: Tensor) -> Array:
    """Return a tensor as a float64 array of its own."""
    out: Array = tensor.detach().cpu().double().numpy().copy()
    return out


def output_limits(model: Model) -> tuple[Array, Array] | None:
    """Return the least and largest value of each output, ``(ny,)`` in physical units, if limited.

    Only a state space is, which feeds no outputs back.
    """
    if not isinstance(model, StateSpace) or model.output_limits is None:
        return None
    low, high = np.array(model.output_limits).T
    return low, high


def refuse_ensemble(model: Model, what: str) -> None:
    """Raise for a model that is several.

    Raises:
        ValueError: if it is an ensemble.
    """
    if isinstance(model, Ensemble):
        raise ValueError(
            f"model must be a single network to {what}, got an ensemble of {len(model.members)}; "
            "take one of its models"
        )


def refuse_smoother(model: Model, what: str) -> None:
    """Raise for a model that sees the future: it cannot go sample by sample.

    Raises:
        ValueError: if the model is bidirectional, or was trained on hidden outputs.
    """
    if not model.causal:
        raise ValueError(
            f"model must be one-way to {what}, got a bidirectional {model.kind}: it sees the "
            "future, so it needs whole records; use sysid.smooth, or train a one-way model"
        )
    if model.sees_outputs:
        raise ValueError(
            f"model must predict to {what}, got a smoother: the outputs measured after a sample "
            "go into it, so it needs whole records; use sysid.smooth"
        )


def _side_by_side(
    left: nn.Linear | StableLinear, right: nn.Linear | None, rows: int, width: int
) -> Layer:
    other = np.zeros((rows, width)) if right is None else array(right.weight)
    bias = np.zeros(rows) if left.bias is None else array(left.bias)
    return Layer(np.hstack([array(left.weight), other]), bias)
