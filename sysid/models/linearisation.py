"""Steps of a model made linear: the derivatives of one sample, layer by layer, all samples at once.

Each layer is ``a = W inputs + b``; what is known of it is ``by``, the derivative to ``a`` of the
rows in question. The derivative to ``W`` is their outer product, left undone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """A layer: the names of its weight and bias, ``by`` (M, rows, n) and ``inputs`` (M, q).

    ``first`` is where its rows begin among all of a step.
    """

    weight: str
    bias: str | None
    by: Tensor
    inputs: Tensor
    first: int = 0

    def before(self, matrix: Tensor) -> Layer:
        """Return the layer's part in ``matrix rows``, for ``(M, or 1, new rows, rows)``."""
        return Layer(self.weight, self.bias, matrix @ self.by, self.inputs)

    def only(self, rows: slice) -> Layer:
        """Return some of the layer's rows."""
        return Layer(self.weight, self.bias, self.by[:, rows], self.inputs)

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


def linear(layer: nn.Linear, name: str, inputs: Tensor) -> Layer:
    """Return a linear layer by itself: its rows are its own outputs."""
    n = layer.out_features
    by = torch.eye(n, dtype=inputs.dtype).expand(len(inputs), n, n)
    return Layer(f"{name}.weight", None if layer.bias is None else f"{name}.bias", by, inputs)


def network(
    network: nn.Sequential, name: str, inputs: Tensor
) -> tuple[Tensor, Tensor, list[Layer]]:
    """Return output ``(M, n)``, derivative to the inputs ``(M, n, q)`` and layers of ``layers``."""
    given, slopes, values = [inputs], [], inputs
    linear = [(i, m) for i, m in enumerate(network) if isinstance(m, nn.Linear)]
    for module in network:
        if isinstance(module, nn.Linear):
            values = module(values)
        else:
            values, slope = with_slope(module, values)
            given.append(values)
            slopes.append(slope)
    by = torch.eye(values.shape[1], dtype=values.dtype).expand(len(values), -1, -1)
    layers = []
    for depth in range(len(linear) - 1, -1, -1):
        i, module = linear[depth]
        place = f"{name}.{i}"
        layers.append(Layer(f"{place}.weight", f"{place}.bias", by, given[depth]))
        by = by @ module.weight.detach()
        if depth:
            by = by * slopes[depth - 1][:, None]
    return values, by, layers


@torch.enable_grad()
def with_slope(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return an elementwise function and its derivative."""
    x = x.detach().requires_grad_()
    y = function(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    return y.detach(), slope
