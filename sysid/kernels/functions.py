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
    array,
    blocks,
    by_gates,
    by_input,
    gate_room,
    rows,
    trajectory_from,
    twice,
    weight,
    zeros,
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

    Arguments as for ``reference.lstm``, which goes sample by sample without compiled loops.
    """
    if not fused(u, h, c, w_ih, w_hh, b_ih, b_hh):
        hidden, cells = [h], [c]
        for v in u:
            last, c = reference.lstm(v[None], hidden[-1], cells[-1], w_ih, w_hh, b_ih, b_hh)
            hidden.append(last[-1])
            cells.append(c)
        return torch.stack(hidden), torch.stack(cells)
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


def _plan(u: Tensor, h0: Tensor, w_ih: Tensor, w_hh: Tensor) -> Any:
    """Return how the work of a layer is cut."""
    from sysid.kernels.drivers import plan

    return plan(len(u), len(h0), w_hh.numel() + w_ih.numel(), len(w_hh))


class _RNN(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, h0: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor,
        activation: str,
    ) -> Tensor:  # fmt: skip
        from sysid.kernels.drivers import run_forward
        from sysid.kernels.elementary import ACTIVATION_CODES
        from sysid.kernels.rnn import RNNTape

        u, h = u.contiguous(), trajectory_from(h0, len(u))
        tape = RNNTape(
            rows(u), rows(h), weight(w_ih.T), weight(w_hh.T), weight(b_ih + b_hh),
            ACTIVATION_CODES[activation],
        )  # fmt: skip
        run_forward(tape, _plan(u, h0, w_ih, w_hh))
        ctx.save_for_backward(u, h0, w_ih, w_hh, b_ih, b_hh, h)
        ctx.activation = activation
        return h[1:]

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> Grads:
        from sysid.kernels.drivers import run_back
        from sysid.kernels.elementary import ACTIVATION_CODES
        from sysid.kernels.rnn import RNNGradients

        *arguments, h = ctx.saved_tensors
        if torch.is_grad_enabled():
            plain = partial(reference.rnn, activation=ctx.activation)
            return (*twice(plain, arguments, (d_out,)), None)
        u, h0, w_ih, w_hh, _, _ = arguments
        plan, (size, inputs) = _plan(u, h0, w_ih, w_hh), w_ih.shape
        d_h, d_u = zeros(h0, 1, h0.numel()), by_input(u, ctx.needs_input_grad[0])
        sums = zeros(h0, plan.threads, size * (inputs + size + 1))
        run_back(
            RNNGradients(
                rows(u), rows(h), weight(w_ih), weight(w_hh), ACTIVATION_CODES[ctx.activation],
                rows(d_out.contiguous()), d_h, array(h0, plan.piece, h0.numel()), rows(d_u), sums,
            ),
            plan,
        )  # fmt: skip
        by_u, by_h, d_b = by_gates(sums, 1, inputs, size, 1)
        d_h0 = torch.from_numpy(d_h).view(h0.shape)
        return d_u if len(d_u) else None, d_h0, by_u, by_h, d_b, d_b, None


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, u: Tensor, h0: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
    ) -> Tensor:
        from sysid.kernels.drivers import run_forward
        from sysid.kernels.gru import GRUTape

        u, h = u.contiguous(), trajectory_from(h0, len(u))
        gates, parts = gate_room(h0, len(u), 4)
        (b_r, b_z, b_n), (a_r, a_z, a_n) = blocks(b_ih, 3, False), blocks(b_hh, 3, False)
        tape = GRUTape(
            rows(u), rows(h), parts, blocks(w_ih, 3, True), blocks(w_hh, 3, True),
            (b_r + a_r, b_z + a_z, b_n, a_n),
        )  # fmt: skip
        run_forward(tape, _plan(u, h0, w_ih, w_hh))
        ctx.save_for_backward(u, h0, w_ih, w_hh, b_ih, b_hh, h, gates)
        return h[1:]

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> Grads:
        from sysid.kernels.drivers import run_back
        from sysid.kernels.gru import GRUGradients

        *arguments, h, gates = ctx.saved_tensors
        if torch.is_grad_enabled():
            return twice(reference.gru, arguments, (d_out,))
        u, h0, w_ih, w_hh, _, _ = arguments
        plan, size, inputs = _plan(u, h0, w_ih, w_hh), h0.shape[1], u.shape[2]
        d_h, d_u = zeros(h0, 1, h0.numel()), by_input(u, ctx.needs_input_grad[0])
        sums = zeros(h0, plan.threads, size * (3 * inputs + 3 * size + 4))
        run_back(
            GRUGradients(
                rows(u), rows(h), tuple(rows(g) for g in gates), blocks(w_ih, 3, False),
                blocks(w_hh, 3, False), rows(d_out.contiguous()), d_h,
                gate_room(h0, plan.piece, 4)[1], rows(d_u), sums,
            ),
            plan,
        )  # fmt: skip
        by_u, by_h, d_b = by_gates(sums, 3, inputs, size, 4)
        d_b_ih, d_b_hh = d_b[: 3 * size], torch.cat([d_b[: 2 * size], d_b[3 * size :]])
        d_h0 = torch.from_numpy(d_h).view(h0.shape)
        return d_u if len(d_u) else None, d_h0, by_u, by_h, d_b_ih, d_b_hh


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
        from sysid.kernels.lstm import LSTMGradients

        *arguments, h, c, gates = ctx.saved_tensors
        if torch.is_grad_enabled():
            return twice(reference.lstm, arguments, (d_out, d_last))
        u, h0, _, w_ih, w_hh, _, _ = arguments
        plan, size, inputs = _plan(u, h0, w_ih, w_hh), h0.shape[1], u.shape[2]
        d_h, d_u = zeros(h0, 1, h0.numel()), by_input(u, ctx.needs_input_grad[0])
        d_c = d_last.clone(memory_format=torch.contiguous_format)
        sums = zeros(h0, plan.threads, 4 * size * (inputs + size + 1))
        run_back(
            LSTMGradients(
                rows(u), rows(h), rows(c), tuple(rows(g) for g in gates), blocks(w_ih, 4, False),
                blocks(w_hh, 4, False), rows(d_out.contiguous()), d_h, rows(d_c[None]),
                gate_room(h0, plan.piece, 4)[1], rows(d_u), sums,
            ),
            plan,
        )  # fmt: skip
        by_u, by_h, d_b = by_gates(sums, 4, inputs, size, 4)
        d_h0 = torch.from_numpy(d_h).view(h0.shape)
        return d_u if len(d_u) else None, d_h0, d_c, by_u, by_h, d_b, d_b


def _run_lstm(
    u: Tensor, h0: Tensor, c0: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return all states and gates."""
    from sysid.kernels.drivers import run_forward
    from sysid.kernels.lstm import LSTMTape

    h, c = trajectory_from(h0, len(u)), trajectory_from(c0, len(u))
    gates, parts = gate_room(h0, len(u), 4)
    tape = LSTMTape(
        rows(u), rows(h), rows(c), parts, blocks(w_ih, 4, True), blocks(w_hh, 4, True),
        blocks(b_ih + b_hh, 4, False),
    )  # fmt: skip
    run_forward(tape, _plan(u, h0, w_ih, w_hh))
    return h, c, gates
