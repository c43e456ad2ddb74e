"""The linear recursion of forward sensitivities, compiled, for any recurrence.

``[y(k), x(k+1)]`` changes with the weights by

    transition(k) S(k) + sum over layers of by(k) (x) inputs(k),    S = dx / dtheta,

where a layer is ``a = W inputs + b`` and ``by = d[y, x] / da``: the derivative to ``W`` is the
outer product, which is never stored.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sysid.kernels.drivers import fingerprint
from sysid.kernels.elementary import compiled
from sysid.kernels.threads import side_by_side

Array = NDArray[Any]


class LayerArrays(NamedTuple):
    """One layer over a block of samples.

    ``weight`` and ``bias`` are the columns where their derivatives begin, ``bias`` -1 where
    there is none; ``first`` is the first of the rows that the layer is in.
    """

    by: Array  # (B, m, own rows, n)
    inputs: Array  # (B, m, q)
    weight: int
    bias: int
    first: int


def _recursion(sources: str) -> Any:
    """Return the compiled loop; ``sources`` as in ``drivers``."""

    @compiled
    def recursion(
        transition: Array, by: Array, inputs: Array, layers: Array, sensitivity: Array,
        change: Array, jacobian: Array, b: int, c0: int, c1: int,
    ) -> None:  # fmt: skip
        sources  # noqa: B018
        samples, rows, nx = transition.shape[1:]
        ny = jacobian.shape[2]
        kept = nx - rows if nx > rows else 0  # older outputs that only move on
        new = nx - kept  # rows of the change that are the new state, its last ones
        width = c1 - c0
        for k in range(samples):
            for i in range(rows):
                row = change[b, i, c0:c1]
                for c in range(width):
                    row[c] = 0
                for q in range(nx):
                    f = transition[b, k, i, q]
                    if f != 0:
                        old = sensitivity[b, q, c0:c1]
                        for c in range(width):
                            row[c] += f * old[c]
            for layer in range(layers.shape[0]):
                first, count, at, n, first_in, size, weight, bias = layers[layer]
                if weight + n * size > c0 and weight < c1:
                    for i in range(count):
                        for j in range(n):
                            d = by[b, k, at + i * n + j]
                            start = weight + j * size
                            low, high = max(start, c0), min(start + size, c1)
                            if d != 0:
                                for c in range(low, high):
                                    change[b, first + i, c] += (
                                        d * inputs[b, k, first_in + c - start]
                                    )
                if bias >= 0 and bias + n > c0 and bias < c1:
                    for i in range(count):
                        for j in range(max(0, c0 - bias), min(n, c1 - bias)):
                            change[b, first + i, bias + j] += by[b, k, at + i * n + j]
            for i in range(ny):
                to, row = jacobian[b, k, i, c0:c1], change[b, i, c0:c1]
                for c in range(width):
                    to[c] = row[c]
            for q in range(nx - 1, new - 1, -1):
                to, row = sensitivity[b, q, c0:c1], sensitivity[b, q - new, c0:c1]
                for c in range(width):
                    to[c] = row[c]
            for q in range(new):
                to, row = sensitivity[b, q, c0:c1], change[b, rows - new + q, c0:c1]
                for c in range(width):
                    to[c] = row[c]

    return recursion


_recursion_loop = _recursion(fingerprint())


def advance(
    transition: Array, layers: list[LayerArrays], sensitivity: Array, ny: int
) -> tuple[Array, Array]:
    """Run the recursion over a block of samples of a batch.

    Args:
        transition: ``(B, m, rows, nx)``; the last ``min(rows, nx)`` rows are the new state, and
            the state's other numbers are its own earlier ones, moved on.
        layers: the layers.
        sensitivity: ``(B, nx, columns)`` before the block.
        ny: rows at the start that are outputs.

    Returns:
        The outputs' Jacobian ``(B, m, ny, columns)``, and the sensitivity after the block.
    """
    batch, samples, rows, _ = transition.shape
    columns = sensitivity.shape[2]
    by = np.concatenate([x.by.reshape(batch, samples, -1) for x in layers], axis=2)
    inputs = np.concatenate([x.inputs for x in layers], axis=2)
    table, first_by, first_in = [], 0, 0
    for x in layers:
        n, width = x.by.shape[3], x.inputs.shape[2]
        own = x.by.shape[2]
        table.append((x.first, own, first_by, n, first_in, width, x.weight, x.bias))
        first_by, first_in = first_by + own * n, first_in + width
    after = np.array(sensitivity, order="C")
    change = np.empty((batch, rows, columns), transition.dtype)
    jacobian = np.empty((batch, samples, ny, columns), transition.dtype)
    given = (
        np.ascontiguousarray(transition), by, inputs, np.array(table, dtype=np.int64),
        after, change, jacobian,
    )  # fmt: skip
    # Columns do not see each other: any share of them is a piece of work of its own.
    shares = max(1, torch.get_num_threads() // batch) if columns >= 32 else 1
    edges = [columns * i // shares for i in range(shares + 1)]
    side_by_side(
        [
            partial(_recursion_loop, *given, b, c0, c1)
            for b in range(batch)
            for c0, c1 in pairwise(edges)
        ]
    )
    return jacobian, after
