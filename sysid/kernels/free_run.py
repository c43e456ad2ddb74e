"""The free run of a network as a differentiable function, by the compiled loops of ``network``.

What a call has around its loops is kept small: weights are packed by NumPy, the loops themselves
take in what is fed beside past outputs and sum the gradients by weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sysid.kernels import reference
from sysid.kernels.tapes import (
    Array,
    Grads,
    Parts,
    array,
    by_input,
    room,
    rows,
    split,
    twice,
    zeros,
)

_VECTOR_BYTES = 64


class FreeRun(torch.autograd.Function):
    """``reference.network`` of an activation's name and of tensors, the layers' flattened."""

    @staticmethod
    def forward(
        ctx: Any, activation: str, v: Tensor, y_start: Tensor, linear: Tensor | None,
        *layers: Tensor,
    ) -> Tensor:  # fmt: skip
        """Run from the first sample to the last."""
        from sysid.kernels.drivers import run_forward

        v = v.contiguous()
        (steps, batch, _), (lags, _, n) = v.shape, y_start.shape
        packed = _Packed.of(linear, layers, lags)
        y = room(v, lags + steps, batch, n)
        y[:lags] = y_start
        values = [room(v, steps, batch, size) for size in packed.sizes]
        run_forward(_tape(packed, activation, v, y, values), packed.plan(steps, batch))
        ctx.save_for_backward(v, y_start, linear, *layers, y, *values)
        ctx.activation, ctx.packed, ctx.count = activation, packed, len(layers)
        return y

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> Grads:
        """Take the gradient back from the last sample to the first."""
        from sysid.kernels.drivers import run_back

        v, y_start, linear, *rest = ctx.saved_tensors
        layers, (y, *values) = rest[: ctx.count], rest[ctx.count :]
        if torch.is_grad_enabled():
            return (None, *again(ctx.activation, v, y_start, linear, layers, d_out))
        (steps, batch, _), (lags, _, n), packed = v.shape, y_start.shape, ctx.packed
        plan = packed.plan(steps, batch)
        d_y, d_v = room(y, *y.shape).copy_(d_out), by_input(v, ctx.needs_input_grad[1])
        d_values = tuple(array(y, plan.piece, batch * size) for size in packed.sizes)
        shapes = packed.shapes()
        sums = zeros(y, plan.threads, sum(math.prod(shape) for shape in shapes))
        d_phi = array(y, 1, batch * _whole(lags * n))
        run_back(
            _gradients(packed, ctx.activation, v, y, values, d_y, d_phi, d_values, d_v, sums), plan
        )
        parts = list(split(sums, *shapes))
        d_direct, d_bias = _entering(parts[:3], lags, n, n)
        found = [None, d_v if len(d_v) else None, d_y[:lags], None if linear is None else d_direct]
        if not values:
            return *found, d_direct, d_bias
        found += _entering(parts[3:6], lags, n, len(layers[0]))
        for i, w in enumerate(layers[2::2]):
            by, *own = parts[6 + 2 * i : 8 + 2 * i]
            found.append(torch.from_numpy(by[: len(w), : w.shape[1]]))
            found += [torch.from_numpy(bias[: len(w)]) for bias in own]
        return *found, d_bias


def again(
    activation: str, v: Tensor, y_start: Tensor, linear: Tensor | None,
    layers: Sequence[Tensor], d_out: Tensor,
) -> Grads:  # fmt: skip
    """Return gradients that can be differentiated again."""

    def plain(v: Tensor, y_start: Tensor, *rest: Tensor) -> Tensor:
        first = None if linear is None else rest[0]
        flat = rest if linear is None else rest[1:]
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        return reference.network(v, y_start, first, pairs, activation)

    own = [v, y_start, *([] if linear is None else [linear]), *layers]
    found = twice(plain, own, (d_out,))
    return found if linear is not None else (*found[:2], None, *found[2:])


class _Packed(NamedTuple):
    """Weights as the loops read them: transposed, and padded to whole vectors."""

    of_past: Parts  # by past outputs, oldest first: of the output, and of the first hidden layer
    of_given: Parts  # the same by what else is given
    between: Parts  # (H_1, H_2), ..., (H_last, n); empty for one layer
    biases: Parts  # of the hidden layers, at last of the output

    @property
    def sizes(self) -> list[int]:
        """The hidden layers' neurons, padded."""
        return [len(w) for w in self.between]

    def plan(self, steps: int, batch: int) -> Any:
        """Return how the work is cut."""
        from sysid.kernels.drivers import plan

        work = sum(w.size for w in (*self.of_past, *self.of_given, *self.between))
        return plan(steps, batch, work, sum(self.sizes))

    def shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of what the loops sum up."""
        pairs = zip(self.of_past, self.of_given, strict=True)
        found = [s for p, g in pairs for s in (p.shape, g.shape, g.shape[1:])]
        for w in self.between[:-1]:
            found += [w.shape[::-1], w.shape[1:]]
        return found + [w.shape[::-1] for w in self.between[-1:]]

    @classmethod
    def of(cls, linear: Tensor | None, layers: Sequence[Tensor], lags: int) -> _Packed:
        """Pack an optional linear path and the weights and biases of layers."""
        weights = [w.detach().numpy() for w in layers[::2]]
        biases = [b.detach().numpy() for b in layers[1::2]]
        dtype, n = weights[0].dtype, len(weights[-1])
        vector = _VECTOR_BYTES // dtype.itemsize
        sizes = [-(-len(w) // vector) * vector for w in weights[:-1]]
        seen = weights[:1] if sizes else []
        if linear is None:
            direct = np.zeros_like(weights[0], shape=(n, weights[0].shape[1]))
        else:
            direct = linear.detach().numpy()
        direct = direct if sizes else direct + weights[0]
        past, given = lags * n, []
        of_past = []
        for w, size in zip((direct, *seen), (n, *sizes[:1]), strict=True):
            packed = np.zeros((w.shape[1], size), dtype)
            packed[past:, : len(w)] = w[:, past:].T
            by_lag = w[:, :past].T.reshape(lags, n, len(w))
            packed[:past, : len(w)].reshape(lags, n, len(w))[:] = by_lag[::-1]
            of_past.append(packed[:past])
            given.append(packed[past:])
        between = [
            _padded(w.T, (rows, size))
            for w, rows, size in zip(weights[1:], sizes, [*sizes, n][1:], strict=True)
        ]
        padded = [
            _padded(b[None], (1, size))[0] for b, size in zip(biases, [*sizes, n], strict=True)
        ]
        return cls(tuple(of_past), tuple(given), tuple(between), tuple(padded))


def _whole(columns: int) -> int:
    """Return how many columns are whole vectors, of the narrow ones that any processor has."""
    return -(-columns // 8) * 8


def _padded(matrix: Array, shape: tuple[int, int]) -> Array:
    """Return a matrix with zeros below and beside it."""
    out = np.zeros(shape, matrix.dtype)
    out[: matrix.shape[0], : matrix.shape[1]] = matrix
    return out


def _entering(parts: Sequence[Array], lags: int, n: int, size: int) -> tuple[Tensor, Tensor]:
    """Return gradients by weight and bias of what sees past outputs, newest first, and ``v``."""
    of_past, of_given, bias = parts
    newest_first = of_past.reshape(lags, n, of_past.shape[1])[::-1].reshape(of_past.shape)
    by = np.concatenate([newest_first, of_given])[:, :size].T
    return torch.from_numpy(np.ascontiguousarray(by)), torch.from_numpy(bias[:size])


def _tape(packed: _Packed, activation: str, v: Tensor, y: Tensor, values: Sequence[Tensor]) -> Any:
    from sysid.kernels.elementary import ACTIVATION_CODES
    from sysid.kernels.network import LinearTape, NetworkTape

    if not values:
        return LinearTape(
            rows(v), rows(y), packed.of_given[0], packed.of_past[0], packed.biases[0]
        )  # fmt: skip
    (direct, given), (linear, entry) = packed.of_given, packed.of_past
    return NetworkTape(
        rows(v), rows(y), tuple(map(rows, values)), direct, linear, given, entry,
        packed.between, packed.biases, ACTIVATION_CODES[activation],
    )  # fmt: skip


def _gradients(
    packed: _Packed, activation: str, v: Tensor, y: Tensor, values: Sequence[Tensor],
    d_y: Tensor, d_phi: Array, d_values: Parts, d_v: Tensor, sums: Array,
) -> Any:  # fmt: skip
    from sysid.kernels.elementary import ACTIVATION_CODES
    from sysid.kernels.network import LinearGradients, NetworkGradients

    of_given, between = (
        tuple(np.ascontiguousarray(w.T) for w in group)
        for group in (packed.of_given, packed.between)
    )
    of_past = [_padded(w.T, (w.shape[1], _whole(len(w)))) for w in packed.of_past]
    if not values:
        return LinearGradients(
            rows(v), rows(y), of_given[0], of_past[0], rows(d_y), d_phi, rows(d_v), sums
        )
    (direct, given), (linear, entry) = of_given, of_past
    return NetworkGradients(
        rows(v), rows(y), tuple(map(rows, values)), direct, linear, given, entry, between,
        ACTIVATION_CODES[activation], rows(d_y), d_phi, d_values, rows(d_v), sums,
    )  # fmt: skip
