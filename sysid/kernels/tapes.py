"""Tensors as the arrays of a tape, and gradients by weights from what a tape is left with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sysid.kernels.backends import warn_once

Grads = tuple[Tensor | None, ...]
Parts = tuple[NDArray[Any], ...]

_ROWS = 500  # of a product's blocks, which stay in the cache


def rows(tensor: Tensor) -> NDArray[Any]:
    """Return the memory of a contiguous ``(time, batch, width)`` as ``(time, batch * width)``."""
    return tensor.detach().view(len(tensor), tensor.shape[1:].numel()).numpy()


def weight(tensor: Tensor) -> NDArray[Any]:
    """Return the memory of a weight, contiguous."""
    return tensor.detach().contiguous().numpy()


def blocks(tensor: Tensor, count: int, transposed: bool) -> tuple[NDArray[Any], ...]:
    """Return the weights of each gate by themselves."""
    return tuple(weight(w.T if transposed else w) for w in tensor.detach().chunk(count))


def room(like: Tensor, *shape: int) -> Tensor:
    """Return memory to be written, of the same precision.

    NumPy asks the system for huge pages, torch does not: several megabytes that are new at each
    step would else cost as much as the recurrence, a fault for each 4 KiB.
    """
    return torch.from_numpy(np.empty(shape, np.float32 if like.dtype == torch.float32 else float))


def gate_room(like: Tensor, steps: int, count: int) -> tuple[Tensor, tuple[NDArray[Any], ...]]:
    """Return room for ``count`` gates ``(T, B, H)``, as a whole and one by one."""
    whole = room(like, count, steps, *like.shape)
    return whole, tuple(rows(gate) for gate in whole)


def trajectory_from(first: Tensor, steps: int) -> Tensor:
    """Return room for a trajectory ``(steps + 1, B, H)`` that starts from ``(B, H)``."""
    out = room(first, steps + 1, *first.shape)
    out[0] = first
    return out


def gradients_from(d_out: Tensor) -> Tensor:
    """Return room for the gradient by a trajectory, set to that by its outputs."""
    out = room(d_out, d_out.shape[0] + 1, *d_out.shape[1:])
    out[0] = 0
    out[1:] = d_out
    return out


def outer(d: Tensor, x: Tensor) -> Tensor:
    """Return ``sum over rows of d x'``, ``(n, q)`` from ``(M, n)``, ``(M, q)``.

    Block by block: a library's product of two matrices that are tall and narrow runs at a
    fraction of the speed, in double precision at a fifth.
    """
    whole = len(d) // _ROWS * _ROWS
    rest = d[whole:].T @ x[whole:]
    if not whole:
        return rest
    d, x = (a[:whole].unflatten(0, (-1, _ROWS)) for a in (d, x))
    return (d.transpose(1, 2) @ x).sum(0) + rest


def outers(d_gates: Tensor, x: Tensor) -> Tensor:
    """Return the same of all gates, one below the other."""
    return torch.cat([outer(d.flatten(0, 1), x.flatten(0, 1)) for d in d_gates])


def by_layer(d_gates: Tensor, *inputs: Tensor) -> list[Tensor]:
    """Return the gradients by the weights of each input and by the bias, in one product a gate."""
    steps, batch = inputs[0].shape[:2]
    widths = [x.shape[2] for x in inputs]
    both = room(inputs[0], steps, batch, sum(widths) + 1)
    torch.cat([*inputs, inputs[0].new_ones(1, 1, 1).expand(steps, batch, 1)], dim=2, out=both)
    *by_weights, by_bias = outers(d_gates, both).split([*widths, 1], dim=1)
    return [*by_weights, by_bias[:, 0]]


def by_input(d_gates: Tensor, w_ih: Tensor) -> Tensor:
    """Return the gradient by ``u`` of ``gates = V u``, gates ``(G, T, B, H)``."""
    w = w_ih.view(len(d_gates), -1, w_ih.shape[1])
    return (d_gates.flatten(1, 2) @ w).sum(0).view(*d_gates.shape[1:3], -1)


def twice(plain: Any, arguments: Sequence[Tensor], d_out: Sequence[Tensor]) -> Grads:
    """Return gradients that can be differentiated again, from the reference."""
    warn_once("a gradient of a gradient was asked for")
    needed = [a for a in arguments if a.requires_grad]
    with torch.enable_grad():
        out = plain(*arguments)
        out = out if isinstance(out, tuple) else (out,)
        found = torch.autograd.grad(out, needed, d_out, create_graph=True, allow_unused=True)
    grads = iter(found)
    return tuple(next(grads) if a.requires_grad else None for a in arguments)
