"""The linear recursion of forward sensitivities, compiled, for any recurrence.

``[y(k), x(k+1)]`` changes with the weights by

    transition(k) S(k) + sum over layers of by(k) (x) inputs(k),    S = dx / dtheta,

where a layer is ``a = W inputs + b`` and ``by = d[y, x] / da``: the derivative to ``W`` is the
outer product, which is never stored. Weights that no state depends on have no part in ``S``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sysid.kernels.drivers import fingerprint
from sysid.kernels.elementary import compiled
from sysid.kernels.products import add_product
from sysid.kernels.threads import side_by_side

Array = NDArray[Any]

_VECTOR = 8  # numbers; columns of a layer are padded to whole vectors


class LayerArrays(NamedTuple):
    """One layer over a block of samples.

    ``by`` is ``None`` where the layer's own outputs are the rows. ``weight`` and ``bias`` are the
    columns where their derivatives begin, ``bias`` -1 where there is none; ``first`` is the first
    of the rows that the layer is in.
    """

    by: Array | None  # (B, m, own rows, n)
    inputs: Array  # (B, m, q)
    n: int
    weight: int
    bias: int
    first: int

    @property
    def rows(self) -> int:
        """The rows that the layer is in."""
        return self.n if self.by is None else self.by.shape[2]


@dataclass
class _Columns:
    """Where the columns of ``S`` are kept: each layer's by input and not by neuron.

    A sample then adds to whole vectors, one for each input, where a neuron's few weights would
    leave most of a vector unused. ``inside[i]`` is the place of column ``outside[i]``.
    """

    width: int
    inside: Array
    outside: Array
    places: dict[int, tuple[int, int]]  # of a weight that moves the state, and of its bias


def _columns(layers: Sequence[LayerArrays], sensitivity: Array, first_state_row: int) -> _Columns:
    """Give places to the columns of which the state depends on now or will."""
    inside: list[Array] = []
    outside: list[Array] = []
    places: dict[int, tuple[int, int]] = {}
    width = 0
    biases = {x.weight: x.bias for x in layers}
    for x in layers:
        if x.first + x.rows <= first_state_row or x.weight in places:
            continue
        size, padded = x.inputs.shape[2], _padded(x.n)
        places[x.weight] = width, width + size * padded
        neuron, given = np.divmod(np.arange(x.n * size), size)
        inside.append(width + given * padded + neuron)
        outside.append(x.weight + np.arange(x.n * size))
        width += size * padded
        if biases[x.weight] >= 0:
            inside.append(width + np.arange(x.n))
            outside.append(x.bias + np.arange(x.n))
            width += padded
    moved: Array = np.asarray(sensitivity.any(axis=(0, 1)))
    moved[np.concatenate(outside) if outside else []] = False
    others = np.flatnonzero(moved)
    inside.append(width + np.arange(len(others)))
    outside.append(others)
    width += len(others)
    # Without a sign an index is not checked for counting from the end.
    places_in, places_out = (np.concatenate(i).astype(np.uintp) for i in (inside, outside))
    return _Columns(_padded(max(width, 1)), places_in, places_out, places)


def _padded(n: int) -> int:
    return -(-n // _VECTOR) * _VECTOR


def _recursion(sources: str) -> Any:
    """Return the compiled loop; ``sources`` as in ``drivers``."""

    @compiled
    def recursion(
        transition: Array, by: Array, inputs: Array, table: Array, states: Array, flat: Array,
        nx: int, rows: int, inside: Array, outside: Array, jacobian: Array,
    ) -> None:  # fmt: skip
        sources  # noqa: B018
        samples, ny = jacobian.shape[:2]
        width = states.shape[2]
        first = rows - nx if rows > nx else 0  # of the state's rows
        kept = nx - rows if nx > rows else 0
        for k in range(samples):
            now, then = k % 2, 1 - k % 2
            row = flat[then, 0 : rows * width]
            for c in range(len(row)):
                row[c] = 0
            add_product(flat, then, transition, k, states[now, first : first + nx], 0, rows)
            # Older outputs among the states only move on.
            to, old = flat[then, rows * width :], flat[now, 0 : kept * width]
            for c in range(len(old)):
                to[c] = old[c]
            for layer in range(table.shape[0]):
                if table[layer, 0]:
                    _add_moving(flat, then, width, by, inputs, k, table, layer)
            for i in range(ny):
                row, out = flat[then, i * width : (i + 1) * width], jacobian[k, i]
                for c in range(len(out)):
                    out[c] = 0
                for e in range(len(inside)):
                    out[outside[e]] = row[inside[e]]
            for layer in range(table.shape[0]):
                if not table[layer, 0]:
                    _add_fixed(jacobian, by, inputs, k, table, layer)

    @compiled
    def over_rows(
        transition: Array, by: Array, inputs: Array, table: Array, states: Array, flat: Array,
        nx: int, rows: int, inside: Array, outside: Array, jacobian: Array, b0: int, b1: int,
    ) -> None:  # fmt: skip
        sources  # noqa: B018
        for b in range(b0, b1):
            recursion(
                transition[b], by[b], inputs[b], table, states[b], flat[b],
                nx, rows, inside, outside, jacobian[b],
            )  # fmt: skip

    return over_rows


@compiled
def _add_moving(
    flat: Array, then: int, width: int, by: Array, inputs: Array, k: int, table: Array, layer: int
) -> None:
    """Add a layer's part to the rows it is in, one vector of neurons for each input."""
    _, first, rows, n, at, first_in, size, weight, bias = table[layer]
    padded = (n + _VECTOR - 1) // _VECTOR * _VECTOR
    given = inputs[k, first_in : first_in + size]
    for i in range(rows):
        row = flat[then, (first + i) * width : (first + i + 1) * width]
        if at < 0:
            for c in range(size):
                row[weight + c * padded + i] += given[c]
            if bias >= 0:
                row[bias + i] += 1
            continue
        d = by[k, at + i * padded : at + (i + 1) * padded]
        for c in range(size):
            to, x = row[weight + c * padded : weight + (c + 1) * padded], given[c]
            for j in range(len(d)):
                to[j] += x * d[j]
        if bias >= 0:
            to = row[bias : bias + padded]
            for j in range(len(d)):
                to[j] += d[j]


@compiled
def _add_fixed(jacobian: Array, by: Array, inputs: Array, k: int, table: Array, layer: int) -> None:
    """Add the part of a layer that is in outputs alone to their derivatives."""
    _, first, rows, n, at, first_in, size, weight, bias = table[layer]
    padded = (n + _VECTOR - 1) // _VECTOR * _VECTOR
    given = inputs[k, first_in : first_in + size]
    for i in range(rows):
        row = jacobian[k, first + i]
        for j in range(n):
            if at < 0 and i != j:
                continue
            d = 1 if at < 0 else by[k, at + i * padded + j]
            to = row[weight + j * size : weight + (j + 1) * size]
            for c in range(len(to)):
                to[c] += d * given[c]
            if bias >= 0:
                row[bias + j] += d


_recursion_loop = _recursion(fingerprint())


def advance(
    transition: Array, layers: Sequence[LayerArrays], sensitivity: Array, ny: int
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
    batch, samples, rows, nx = transition.shape
    columns = _columns(layers, sensitivity, rows - min(rows, nx))
    by, inputs, table = _tabulated(layers, columns, (batch, samples), transition.dtype)
    # Two states in turn, the one before and the one after a sample.
    states = np.zeros((batch, 2, max(rows, nx), columns.width), transition.dtype)
    own = slice(max(rows - nx, 0), max(rows, nx))
    states[:, 0, own, columns.inside] = sensitivity[:, :, columns.outside].transpose(2, 0, 1)
    jacobian = np.empty((batch, samples, ny, sensitivity.shape[2]), transition.dtype)
    loop = partial(
        _recursion_loop, transition.reshape(batch, samples, -1), by, inputs, table, states,
        states.reshape(batch, 2, -1), nx, rows, columns.inside, columns.outside, jacobian,
    )  # fmt: skip
    threads = min(torch.get_num_threads(), batch)
    edges = [batch * i // threads for i in range(threads + 1)]
    side_by_side([partial(loop, *own) for own in pairwise(edges)])
    after = np.zeros_like(sensitivity)
    after[:, :, columns.outside] = states[:, samples % 2, own][:, :, columns.inside]
    return jacobian, after


def _tabulated(
    layers: Sequence[LayerArrays], columns: _Columns, shape: tuple[int, int], dtype: Any
) -> tuple[Array, Array, Array]:
    """Return what layers are made of, side by side, and a row for each that says where."""
    table = []
    first_by, first_in = 0, 0
    for x in layers:
        moving = x.weight in columns.places
        weight, bias = columns.places[x.weight] if moving else (x.weight, x.bias)
        at, size = (-1 if x.by is None else first_by), x.inputs.shape[2]
        bias = -1 if x.bias < 0 else bias
        table.append((moving, x.first, x.rows, x.n, at, first_in, size, weight, bias))
        first_in += size
        first_by += 0 if x.by is None else x.rows * _padded(x.n)
    by = np.zeros((*shape, first_by), dtype)
    for x, (_, _, rows, n, at, *_) in zip(layers, table, strict=True):
        if x.by is not None:
            part = by[:, :, at : at + rows * _padded(n)]
            part.reshape(*shape, rows, _padded(n))[..., :n] = x.by
    inputs = np.concatenate([np.zeros((*shape, 0), dtype), *(x.inputs for x in layers)], axis=2)
    return by, inputs, np.array(table, dtype=np.int64).reshape(-1, 9)
