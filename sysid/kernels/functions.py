"""The recurrences as differentiable functions, by compiled loops where these can run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sysid.kernels import reference
from sysid.kernels.backends import fused, on_device
from sysid.kernels.free_run import FreeRun
from sysid.kernels.tapes import (
    Grads,
    Parts,
    blocks,
    by_input,
    by_layer,
    gate_room,
    gradients_from,
    rows,
    trajectory_from,
    twice,
    weight,
)


def rnn(
    u: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, activation: str
) -> Tensor:
    """As ``reference.rnn``."""
    arguments = (u, h, w_ih, w_hh, b_ih, b_hh)
    if fused(*arguments, activation=activation):
        return _applied(_RNN, *arguments, activation)
    return reference.rnn(u, h, w_ih, w_hh, b_ih, b_hh, activation)


def gru(u: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """As ``reference.gru``."""
    arguments = (u, h, w_ih, w_hh, b_ih, b_hh)
    return _applied(_GRU, *arguments) if fused(*arguments) else reference.gru(*arguments)


def lstm(
    u: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """As ``reference.lstm``."""
    arguments = (u, h, c, w_ih, w_hh, b_ih, b_hh)
    if not fused(*arguments):
        return reference.lstm(*arguments)
    h_all, c_last = _applied(_LSTM, *arguments)
    return h_all, c_last


@torch.no_grad()
def lstm_states(
    u: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """Return hidden and cell states of an LSTM layer, each ``(T + 1, B, H)``, the first ones too.

    By compiled loops; arguments as for ``reference.lstm``.
    """
    h_all, c_all, _ = _run_lstm(u.contiguous(), h, c, w_ih, w_hh, b_ih, b_hh)
    return h_all, c_all


def network(
    v: Tensor,
    y_start: Tensor,
    linear: Tensor | None,
    layers: Sequence[tuple[Tensor, Tensor]],
    activation: str,
) -> Tensor:
    """As ``reference.network``."""
    flat = [t for pair in layers for t in pair]
    given = [v, y_start, *flat] if linear is None else [v, y_start, linear, *flat]
    if len(layers) == 1:
        activation = "tanh"  # has none: any will do
    widest = max((len(b) for _, b in layers[:-1]), default=0)
    size = len(v) * v.shape[1] * max(widest * len(layers), flat[0].shape[1])
    if on_device(*given, activation=activation, width=widest, size=size):
        from sysid.kernels.device import DeviceRun

        return _applied(DeviceRun, activation, v, y_start, linear, *flat)
    if fused(*given, activation=activation):
        return _applied(FreeRun, activation, v, y_start, linear, *flat)
    return reference.network(v, y_start, linear, layers, activation)


def _applied(function: Any, *arguments: Any) -> Tensor:
    out: Tensor = function.apply(*arguments)
    return out


class _RNN(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, h0: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor,
        activation: str,
    ) -> Tensor:  # fmt: skip
        from sysid.kernels.drivers import run_forward

        u, h = u.contiguous(), trajectory_from(h0, len(u))
        tape = _rnn_tape(u, h, w_ih, w_hh, b_ih + b_hh, activation, h)
        run_forward(tape, len(u), len(h0), w_hh.numel() + w_ih.numel())
        ctx.save_for_backward(u, h0, w_ih, w_hh, b_ih, b_hh, h)
        ctx.activation = activation
        return h[1:]

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> Grads:
        from sysid.kernels.drivers import run_back

        *arguments, h = ctx.saved_tensors
        if torch.is_grad_enabled():
            plain = partial(reference.rnn, activation=ctx.activation)
            return (*twice(plain, arguments, (d_out,)), None)
        u, h0, w_ih, w_hh, b_ih, _ = arguments
        d_h = gradients_from(d_out)
        run_back(
            _rnn_tape(u, h, w_ih, w_hh, b_ih, ctx.activation, d_h), len(u), len(h0), w_hh.numel()
        )
        d = d_h[1:]
        d_u = d @ w_ih if ctx.needs_input_grad[0] else None
        d_w_ih, d_w_hh, d_b = by_layer(d[None], u, h[:-1])
        return d_u, d_h[0], d_w_ih, d_w_hh, d_b, d_b, None


def _rnn_tape(
    u: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor, activation: str, d_h: Tensor
) -> Any:
    from sysid.kernels.elementary import ACTIVATION_CODES
    from sysid.kernels.rnn import RNNTape

    return RNNTape(
        rows(u), rows(h), weight(w_ih.T), weight(w_hh.T), weight(w_hh), weight(bias),
        ACTIVATION_CODES[activation], rows(d_h),
    )  # fmt: skip


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, h0: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
    ) -> Tensor:
        from sysid.kernels.drivers import run_forward

        u, h = u.contiguous(), trajectory_from(h0, len(u))
        gates, parts = gate_room(h0, len(u), 4)
        b_n, b_q = b_ih.chunk(3)[2], b_hh.chunk(3)[2]
        b_rz = (b_ih + b_hh)[: 2 * h0.shape[1]]
        biases = blocks(torch.cat([b_rz, b_n, b_q]), 4, False)
        tape = _gru_tape(u, h, parts, w_ih, w_hh, biases, h, parts)
        run_forward(tape, len(u), len(h0), w_hh.numel() + w_ih.numel())
        ctx.save_for_backward(u, h0, w_ih, w_hh, b_ih, b_hh, h, gates)
        return h[1:]

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> Grads:
        from sysid.kernels.drivers import run_back

        *arguments, h, gates = ctx.saved_tensors
        if torch.is_grad_enabled():
            return twice(reference.gru, arguments, (d_out,))
        u, h0, w_ih, w_hh, b_ih, _ = arguments
        d_h, (d_gates, d_parts) = gradients_from(d_out), gate_room(h0, len(u), 4)
        biases = blocks(torch.cat([b_ih, b_ih.chunk(3)[0]]), 4, False)
        parts = tuple(rows(g) for g in gates)
        tape = _gru_tape(u, h, parts, w_ih, w_hh, biases, d_h, d_parts)
        run_back(tape, len(u), len(h0), w_hh.numel())
        d_u = by_input(d_gates[:3], w_ih) if ctx.needs_input_grad[0] else None
        by_u, by_h, d_b = (x.chunk(4) for x in by_layer(d_gates, u, h[:-1]))
        d_w_hh, d_b_hh = (torch.cat([x[0], x[1], x[3]]) for x in (by_h, d_b))
        return d_u, d_h[0], torch.cat(by_u[:3]), d_w_hh, torch.cat(d_b[:3]), d_b_hh


def _gru_tape(
    u: Tensor, h: Tensor, gates: Parts, w_ih: Tensor, w_hh: Tensor, biases: Parts,
    d_h: Tensor, d_gates: Parts,
) -> Any:  # fmt: skip
    from sysid.kernels.gru import GRUTape

    return GRUTape(
        rows(u), rows(h), gates, blocks(w_ih, 3, True), blocks(w_hh, 3, True),
        blocks(w_hh, 3, False), biases, rows(d_h), d_gates,
    )  # fmt: skip


class _LSTM(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, h0: Tensor, c0: Tensor,
        w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        u = u.contiguous()
        h, c, gates = _run_lstm(u, h0, c0, w_ih, w_hh, b_ih, b_hh)
        ctx.save_for_backward(u, h0, c0, w_ih, w_hh, b_ih, b_hh, h, c, gates)
        return h[1:], c[-1].clone()

    @staticmethod
    def backward(ctx: Any, d_out: Tensor, d_last: Tensor) -> Grads:
        from sysid.kernels.drivers import run_back

        *arguments, h, c, gates = ctx.saved_tensors
        if torch.is_grad_enabled():
            return twice(reference.lstm, arguments, (d_out, d_last))
        u, h0, _, w_ih, w_hh, b_ih, _ = arguments
        d_h, (d_gates, d_parts) = gradients_from(d_out), gate_room(h0, len(u), 4)
        d_c = d_last.clone(memory_format=torch.contiguous_format)[None]
        parts = tuple(rows(g) for g in gates)
        tape = _lstm_tape(u, h, c, parts, w_ih, w_hh, b_ih, d_h, d_c, d_parts)
        run_back(tape, len(u), len(h0), w_hh.numel())
        d_u = by_input(d_gates, w_ih) if ctx.needs_input_grad[0] else None
        d_w_ih, d_w_hh, d_b = by_layer(d_gates, u, h[:-1])
        return d_u, d_h[0], d_c[0], d_w_ih, d_w_hh, d_b, d_b


def _run_lstm(
    u: Tensor, h0: Tensor, c0: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return all states and gates."""
    from sysid.kernels.drivers import run_forward

    h, c = trajectory_from(h0, len(u)), trajectory_from(c0, len(u))
    gates, parts = gate_room(h0, len(u), 4)
    tape = _lstm_tape(u, h, c, parts, w_ih, w_hh, b_ih + b_hh, h, c, parts)
    run_forward(tape, len(u), len(h0), w_hh.numel() + w_ih.numel())
    return h, c, gates


def _lstm_tape(
    u: Tensor, h: Tensor, c: Tensor, gates: Parts, w_ih: Tensor, w_hh: Tensor, bias: Tensor,
    d_h: Tensor, d_c: Tensor, d_gates: Parts,
) -> Any:  # fmt: skip
    from sysid.kernels.lstm import LSTMTape

    return LSTMTape(
        rows(u), rows(h), rows(c), gates, blocks(w_ih, 4, True), blocks(w_hh, 4, True),
        blocks(w_hh, 4, False), blocks(bias, 4, False), rows(d_h), rows(d_c), d_gates,
    )  # fmt: skip
