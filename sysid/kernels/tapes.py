"""Tensors as the arrays of a tape, and gradients by weights from what a tape is left with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sysid.kernels.backends import warn_once

Grads = tuple[Tensor | None, ...]
Array = NDArray[Any]
Parts = tuple[Array, ...]


def rows(tensor: Tensor) -> Array:
    """Return the memory of a contiguous ``(time, batch, width)`` as ``(time, batch * width)``."""
    return tensor.detach().view(len(tensor), tensor.shape[1:].numel()).numpy()


def weight(tensor: Tensor) -> Array:
    """Return the memory of a weight, contiguous."""
    return tensor.detach().contiguous().numpy()


def blocks(tensor: Tensor, count: int, transposed: bool) -> Parts:
    """Return the weights of each gate by themselves."""
    parts = np.split(tensor.detach().numpy(), count)
    return tuple(np.ascontiguousarray(w.T if transposed else w) for w in parts)


def array(like: Tensor, *shape: int) -> Array:
    """Return memory to be written, of the same precision.

    NumPy asks the system for huge pages, torch does not: several megabytes that are new at each
    step would else cost as much as the recurrence, a fault for each 4 KiB.
    """
    return np.empty(shape, np.float32 if like.dtype == torch.float32 else np.float64)


def zeros(like: Tensor, *shape: int) -> Array:
    """Return zeros of the same precision."""
    out = array(like, *shape)
    out.fill(0)
    return out


def room(like: Tensor, *shape: int) -> Tensor:
    """Return memory to be written, as a tensor."""
    return torch.from_numpy(array(like, *shape))


def gate_room(like: Tensor, steps: int, count: int) -> tuple[Tensor, Parts]:
    """Return room for ``count`` gates ``(T, B, H)``, as a whole and one by one."""
    whole = room(like, count, steps, *like.shape)
    return whole, tuple(rows(gate) for gate in whole)


def trajectory_from(first: Tensor, steps: int) -> Tensor:
    """Return room for a trajectory ``(steps + 1, B, H)`` that starts from ``(B, H)``."""
    out = room(first, steps + 1, *first.shape)
    out[0] = first
    return out


def by_input(u: Tensor, needed: bool) -> Tensor:
    """Return room for the gradient by ``u``, or none of it."""
    return room(u, *(u.shape if needed else (0, *u.shape[1:])))


def split(sums: Array, *shapes: tuple[int, ...]) -> Iterator[Array]:
    """Yield the parts of what the threads have summed up, added."""
    total = sums.sum(0) if len(sums) > 1 else sums[0]
    at = 0
    for shape in shapes:
        size = math.prod(shape)
        yield total[at : at + size].reshape(shape)
        at += size


def by_gates(
    sums: Array, count: int, inputs: int, units: int, biases: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by the stacked weights of gates, ``V`` and ``W``, and by biases."""
    by_u, by_h, by_b = split(
        sums, (count, inputs, units), (count * units, units), (biases * units,)
    )
    by_u = by_u.transpose(0, 2, 1).reshape(count * units, inputs)
    return torch.from_numpy(by_u), torch.from_numpy(by_h), torch.from_numpy(by_b)


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
