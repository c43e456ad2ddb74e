"""The free run of a network as a differentiable function, by the compiled loops of ``network``.

What a call has around its loops is kept small: what is fed in beside past outputs enters by one
product over the whole record, with the biases as the weights of an input that is 1; hidden layers
are padded to whole vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sysid.kernels import reference
from sysid.kernels.tapes import Grads, outer, room, rows, twice

Array = NDArray[Any]

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

        (steps, batch, m), (lags, _, n) = v.shape, y_start.shape
        packed = _Packed.of(linear, layers, lags * n)
        given = room(v, steps, batch, m + 1)
        given[..., :-1] = v
        given[..., -1] = 1
        y, phi = room(v, lags + steps, batch, n), room(v, steps, batch, lags * n)
        y[:lags] = y_start
        values = [room(v, steps, batch, size) for size in packed.sizes]
        of_given = given.flatten(0, 1)
        for out, w in zip((y[lags:], *values[:1]), packed.of_given, strict=True):
            torch.mm(of_given, torch.from_numpy(w), out=out.view(-1, w.shape[1]))
        tape = _tape(packed, activation, y, phi, values, y, phi, values)
        run_forward(tape, steps, batch, packed.work)
        ctx.save_for_backward(v, y_start, linear, *layers, given, y, phi, *values)
        ctx.activation, ctx.packed, ctx.count = activation, packed, len(layers)
        return y

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> Grads:
        """Take the gradient back from the last sample to the first."""
        from sysid.kernels.drivers import run_back

        v, y_start, linear, *rest = ctx.saved_tensors
        layers, (given, y, phi, *values) = rest[: ctx.count], rest[ctx.count :]
        if torch.is_grad_enabled():
            return (None, *again(ctx.activation, v, y_start, linear, layers, d_out))
        (steps, batch, _), lags, packed = v.shape, len(y_start), ctx.packed
        d_y, d_phi = room(y, *y.shape).copy_(d_out), room(y, 1, *phi.shape[1:])
        d_values = [room(x, *x.shape) for x in values]
        tape = _tape(packed, ctx.activation, y, phi, values, d_y, d_phi, d_values)
        run_back(tape, steps, batch, packed.work)
        flat = [x.flatten(0, 1) for x in (d_y[lags:], *d_values)]
        d_direct, d_bias = _by_regressors(phi, given, flat[0])
        d_v = None
        if ctx.needs_input_grad[1]:
            both = zip(flat[:2], packed.of_given, strict=True)
            parts = [d @ torch.from_numpy(w[:-1].T) for d, w in both]
            d_v = torch.stack(parts).sum(0).view(v.shape)
        d_start, d_linear = d_y[:lags], None if linear is None else d_direct
        if not values:
            return None, d_v, d_start, d_linear, d_direct, d_bias
        d_layers = [*_by_regressors(phi, given, flat[1][:, : len(layers[0])])]
        for i, (x, d) in enumerate(zip(values, [*flat[2:], flat[0]], strict=True), start=1):
            w = layers[2 * i]
            by = outer(d, x.flatten(0, 1))[: len(w), : w.shape[1]]
            d_layers += [by, d.sum(0)[: len(w)] if i < len(values) else d_bias]
        return None, d_v, d_start, d_linear, *d_layers


def _by_regressors(phi: Tensor, given: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients by weight and bias of what sees past outputs and what is given."""
    by = torch.cat([outer(x.flatten(0, 1), d) for x in (phi, given)])
    return by[:-1].T, by[-1]


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

    of_past: list[Array]  # by past outputs: of the output, and of the first hidden layer
    of_given: list[Array]  # the same by what is given, biases last
    between: list[Array]  # (H_1, H_2), ..., (H_last, n); empty for one layer
    biases: list[Array]  # from the second hidden layer on

    @property
    def sizes(self) -> list[int]:
        """The hidden layers' neurons, padded."""
        return [len(w) for w in self.between]

    @property
    def work(self) -> int:
        """Multiplications in a step of one row."""
        return sum(w.size for w in (*self.of_past, *self.between))

    @classmethod
    def of(cls, linear: Tensor | None, layers: Sequence[Tensor], past: int) -> _Packed:
        """Pack an optional linear path and the weights and biases of layers."""
        weights = [w.detach().numpy() for w in layers[::2]]
        biases = [b.detach().numpy() for b in layers[1::2]]
        dtype, n = weights[0].dtype, len(weights[-1])
        direct = np.zeros((weights[0].shape[1], n), dtype)
        if linear is not None:
            direct += linear.detach().numpy().T
        if len(weights) == 1:
            direct += weights[0].T
        vector = _VECTOR_BYTES // dtype.itemsize
        sizes = [-(-len(w) // vector) * vector for w in weights[:-1]]
        before = [weights[0].shape[1], *sizes]
        padded = [
            (_padded(w.T, (rows, size)), _padded(b[None], (1, size)))
            for w, b, rows, size in zip(weights, biases, before, [*sizes, n], strict=True)
        ]
        seen = [(direct, padded[-1][1]), *(padded[:1] if sizes else [])]
        return cls(
            [w[:past] for w, _ in seen],
            [np.concatenate([w[past:], b]) for w, b in seen],
            [w for w, _ in padded[1:]],
            [b[0] for _, b in padded[1:-1]],
        )


def _padded(matrix: Array, shape: tuple[int, int]) -> Array:
    """Return a matrix with zeros below and beside it."""
    out = np.zeros(shape, matrix.dtype)
    out[: matrix.shape[0], : matrix.shape[1]] = matrix
    return out


def _tape(
    packed: _Packed, activation: str, y: Tensor, phi: Tensor, values: Sequence[Tensor],
    d_y: Tensor, d_phi: Tensor, d_values: Sequence[Tensor],
) -> Any:  # fmt: skip
    from sysid.kernels.elementary import ACTIVATION_CODES
    from sysid.kernels.network import LinearTape, NetworkTape

    (linear, linear_t), *entry = ((w, np.ascontiguousarray(w.T)) for w in packed.of_past)
    if not entry:
        return LinearTape(rows(y), rows(phi), linear, linear_t, rows(d_y), rows(d_phi))
    return NetworkTape(
        rows(y), rows(phi), tuple(map(rows, values)), *entry[0], linear, linear_t,
        tuple(packed.between), tuple(np.ascontiguousarray(w.T) for w in packed.between),
        (*packed.biases, np.zeros_like(linear, shape=linear.shape[1])),
        ACTIVATION_CODES[activation], rows(d_y), rows(d_phi), tuple(map(rows, d_values)),
    )  # fmt: skip
