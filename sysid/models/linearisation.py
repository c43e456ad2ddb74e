"""Steps of a model made linear: the derivatives of one sample, layer by layer, all samples at once.

Each layer is ``a = W inputs + b``; what is known of it is ``by``, the derivative to ``a`` of the
rows in question. The derivative to ``W`` is their outer product, left undone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sysid.models.stable_weights import StableLinear


@dataclass(frozen=True)
class Layer:
    """A layer: the names of its weight and bias, ``by`` (M, rows, n) and ``inputs`` (M, q).

    ``by`` is ``None`` where the rows are its own ``n`` outputs. ``first`` is where its rows begin
    among all of a step.
    """

    weight: str
    bias: str | None
    by: Tensor | None
    inputs: Tensor
    n: int
    first: int = 0

    def before(self, matrix: Tensor) -> Layer:
        """Return the layer's part in ``matrix rows``, for ``(M, or 1, new rows, rows)``."""
        if self.by is None:
            raise ValueError(f"by of {self.weight} must be known, got None: its rows are its own")
        return replace(self, by=matrix @ self.by)

    def only(self, rows: slice) -> Layer:
        """Return some of the layer's rows."""
        if self.by is None:
            raise ValueError(f"by of {self.weight} must be known, got None: its rows are its own")
        return replace(self, by=self.by[:, rows])

    def starting(self, first: int) -> Layer:
        """Return the layer with its rows standing from another one on."""
        return replace(self, first=first)


@dataclass(frozen=True)
class Step:
    """``M`` steps made linear, each ``[y(k), x(k+1)]`` from ``x(k)``.

    Args:
        y: ``(M, ny)``.
        transition: derivative to the state, ``(M, rows, nx)``.
        layers: the layers, over all rows.
    """

    y: Tensor
    transition: Tensor
    layers: list[Layer]


def linear(layer: nn.Linear | StableLinear, name: str, inputs: Tensor) -> Layer:
    """Return a linear layer by itself: its rows are its own outputs."""
    bias = None if layer.bias is None else f"{name}.bias"
    return Layer(f"{name}.weight", bias, None, inputs, layer.out_features)


def network(
    network: nn.Sequential, name: str, inputs: Tensor
) -> tuple[Tensor, Tensor, list[Layer]]:
    """Return output ``(M, n)``, derivative to the inputs ``(M, or 1, n, q)`` and the layers."""
    given, slopes, values = [inputs], [], inputs
    *before, last = [(i, m) for i, m in enumerate(network) if isinstance(m, nn.Linear)]
    for module in network:
        if isinstance(module, nn.Linear):
            values = module(values)
        else:
            values, slope = with_slope(module, values)
            given.append(values)
            slopes.append(slope)
    layers = [linear(last[1], f"{name}.{last[0]}", given[-1])]
    by = last[1].weight.detach()[None]
    for (i, module), slope, seen in reversed(list(zip(before, slopes, given, strict=False))):
        by = by * slope[:, None]
        place = f"{name}.{i}"
        layers.append(Layer(f"{place}.weight", f"{place}.bias", by, seen, module.out_features))
        by = by @ module.weight.detach()
    return values, by, layers


# Of functions whose value tells their slope.
_SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Tanh: lambda y: 1 - y * y,
    nn.Sigmoid: lambda y: y * (1 - y),
    nn.ReLU: lambda y: (y > 0).to(y),
}


def with_slope(function: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return an elementwise function and its derivative."""
    if slope := _SLOPES.get(type(function)):
        y = function(x).detach()
        return y, slope(y)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = function(x)
        (by,) = torch.autograd.grad(y.sum(), x)
    return y.detach(), by
