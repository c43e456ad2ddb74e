"""The free run of a network on a CUDA device as a differentiable function, by Triton.

One program runs one sequence of the batch from its first sample to its last, with the weights of
its first layer and its output in registers: a step is no launch of a kernel, let alone one for
each operation. Weight gradients are matrix products over the whole record afterwards. Imported
only where there are Triton and a device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor, nn

from sysid.kernels import device_loops
from sysid.kernels.backends import COMPILED_ACTIVATIONS
from sysid.kernels.free_run import again
from sysid.kernels.tapes import Grads

_PER_THREAD = 32  # weights of a layer that a thread holds in its registers


class DeviceRun(torch.autograd.Function):
    """``reference.network`` of an activation's name and of tensors, the layers' flattened."""

    @staticmethod
    def forward(
        ctx: Any, activation: str, v: Tensor, y_start: Tensor, linear: Tensor | None,
        *layers: Tensor,
    ) -> Tensor:  # fmt: skip
        """Run from the first sample to the last."""
        (steps, batch, _), (lags, _, n) = v.shape, y_start.shape
        net = _Network.of(linear, layers, lags * n)
        y = v.new_empty(lags + steps, batch, n)
        y[:lags] = y_start
        y[lags:] = net.direct(v)
        values = v.new_empty(len(layers) // 2 - 1, steps, batch, net.width)
        if len(values):
            values[0] = v @ net.given.T + net.entry_bias
        _launch(device_loops.forward, net.weights, activation, y, values)
        ctx.save_for_backward(v, y_start, linear, *layers, y, values)
        ctx.activation, ctx.net = activation, net
        return y

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> Grads:
        """Take the gradient back from the last sample to the first."""
        v, y_start, linear, *layers, y, values = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (None, *again(ctx.activation, v, y_start, linear, layers, d_out))
        (lags, _, n), net = y_start.shape, ctx.net
        d_y = d_out.clone(memory_format=torch.contiguous_format)
        d_values = torch.empty_like(values)
        arrays = (y, values, d_y, d_values)
        _launch(device_loops.back, net.transposed, ctx.activation, *arrays)
        phi = torch.cat([_past(y[:-1], lags), v], 2) if lags else v
        d_last, seen = d_y[lags:], phi.flatten(0, 1)
        d_direct = d_last.flatten(0, 1).T @ seen
        d_v = None
        if ctx.needs_input_grad[1]:
            d_v = d_last @ net.direct_weight[:, lags * n :]
            d_v = d_v + d_values[0] @ net.given if len(values) else d_v
        d_bias = d_last.sum((0, 1))
        d_linear = None if linear is None else d_direct
        if not len(values):
            return None, d_v, d_y[:lags], d_linear, d_direct, d_bias
        inputs = [seen, *values.flatten(1, 2)]
        outputs = [*d_values.flatten(1, 2), d_last.flatten(0, 1)]
        d_layers: list[Tensor] = []
        for x, d, w in zip(inputs, outputs, layers[::2], strict=True):
            d_layers += [(d.T @ x)[: w.shape[0], : w.shape[1]], d.sum(0)[: w.shape[0]]]
        return None, d_v, d_y[:lags], d_linear, *d_layers


def _past(y: Tensor, lags: int) -> Tensor:
    """Return ``[y(k-1), ..., y(k-lags)]`` of each sample: ``(T, B, lags * n)``."""
    return y.unfold(0, lags, 1).flip(-1).transpose(2, 3).flatten(2)


class _Network(NamedTuple):
    """Weights as the loops read them: transposed, all hidden layers padded to one width."""

    direct_weight: Tensor  # (n, q): linear path, and the weights where there is one layer
    direct_bias: Tensor  # (n,)
    given: Tensor  # (H, m), of the first hidden layer, by what is given
    entry: Tensor  # (lags * n, H), by past outputs
    entry_bias: Tensor  # (H,)
    linear: Tensor  # (lags * n, n)
    between: Tensor  # (layers - 1, H, H)
    biases: Tensor  # (layers - 1, H)
    last: Tensor  # (H, n)

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """What the loop forward reads."""
        return self.entry, self.linear, self.between, self.biases, self.last

    @property
    def transposed(self) -> tuple[Tensor, ...]:
        """What the loop back reads."""
        weights = (self.entry, self.linear, self.between, self.last)
        return tuple(w.mT.contiguous() for w in weights)

    @property
    def width(self) -> int:
        """The hidden layers' neurons, padded."""
        return self.entry.shape[1]

    def direct(self, v: Tensor) -> Tensor:
        """Return what reaches the output past the neurons, from ``v``."""
        return v @ self.direct_weight[:, len(self.linear) :].T + self.direct_bias

    @classmethod
    def of(cls, linear: Tensor | None, layers: Sequence[Tensor], past: int) -> _Network:
        """Lay out an optional linear path and the weights and biases of layers."""
        first, n = layers[0], len(layers[-1])
        direct = first.new_zeros(n, first.shape[1]) if linear is None else linear
        if len(layers) == 2:
            direct = direct + first
            none = first.new_zeros(1, 16)
            return cls(
                direct, layers[1], none.T[:, :0], none, none[0], direct[:, :past].T.contiguous(),
                none, none, none,
            )  # fmt: skip
        hidden = layers[:-2]
        width = padded(max(len(b) for b in hidden[1::2]))
        entry = _to_size(first, width, first.shape[1])
        return cls(
            direct,
            layers[-1],
            entry[:, past:],
            entry[:, :past].T.contiguous(),
            _to_size(layers[1][None], 1, width)[0],
            direct[:, :past].T.contiguous(),
            _stacked([_to_size(w, width, width).T for w in hidden[2::2]], first),
            _stacked([_to_size(b[None], 1, width)[0] for b in hidden[3::2]], first),
            _to_size(layers[-2], n, width).T.contiguous(),
        )


def _stacked(parts: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(parts) if parts else like.new_zeros(1, 1)


def _to_size(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """Return a matrix with zeros below and beside it."""
    return nn.functional.pad(matrix, (0, columns - matrix.shape[1], 0, rows - len(matrix)))


def padded(size: int) -> int:
    """Return the power of two that a width is padded to."""
    return max(16, int(triton.next_power_of_2(size)))


def _launch(
    loop: Any, weights: Sequence[Tensor], activation: str, y: Tensor, values: Tensor,
    *gradients: Tensor,
) -> None:  # fmt: skip
    """Run a loop, one program for each sequence."""
    (layers, steps, _, width), (batch, n) = values.shape, y.shape[1:]
    lags = len(y) - steps
    past = padded(lags * n)
    broadest = max(width if layers > 1 else 0, past) * width
    loop[(batch,)](
        y, values, *gradients, *weights, steps, batch, lags,
        N=n, OUT=triton.next_power_of_2(n), PAST=past, H=width, LAYERS=layers,
        CODE=COMPILED_ACTIVATIONS.index(activation),
        num_warps=min(max(broadest // (32 * _PER_THREAD), 1), 8),
    )  # fmt: skip
