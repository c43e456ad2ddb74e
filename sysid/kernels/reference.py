"""The recurrences in plain PyTorch, step by step: what the compiled loops are compared with.

Time comes first: inputs are ``(time, batch, channel)``, states ``(batch, size)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "elu": nn.functional.elu,
    "softplus": nn.functional.softplus,
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
}


def rnn(
    u: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, activation: str
) -> Tensor:
    """Return the states of a vanilla recurrent layer, ``h(t) = s(W_ih u(t) + W_hh h(t-1) + b)``.

    Args:
        u: ``(T, B, inputs)``.
        h: initial state, ``(B, H)``.
        w_ih: ``(H, inputs)``.
        w_hh: ``(H, H)``.
        b_ih: ``(H,)``.
        b_hh: ``(H,)``.
        activation: ``tanh`` or ``relu``.

    Returns:
        ``h(0), ..., h(T-1)``: ``(T, B, H)``.
    """
    states = []
    for given in (u @ w_ih.T + b_ih).unbind(0):
        h = ACTIVATIONS[activation](given + h @ w_hh.T + b_hh)
        states.append(h)
    return _stacked(states, u, h)


def gru(u: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """Return the states of a GRU layer; arguments as for ``rnn``, the gates r, z, n stacked."""
    states = []
    for given in (u @ w_ih.T + b_ih).unbind(0):
        g_r, g_z, g_n = given.chunk(3, 1)
        a_r, a_z, a_n = (h @ w_hh.T + b_hh).chunk(3, 1)
        r, z = torch.sigmoid(g_r + a_r), torch.sigmoid(g_z + a_z)
        n = torch.tanh(g_n + r * a_n)
        h = (1 - z) * n + z * h
        states.append(h)
    return _stacked(states, u, h)


def lstm(
    u: Tensor,
    h: Tensor,
    c: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor,
    b_hh: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the states of an LSTM layer and its last cell state ``(B, H)``.

    Arguments as for ``rnn``, the gates i, f, g, o stacked, and ``c``, the initial cell state.
    """
    states = []
    for given in (u @ w_ih.T + b_ih).unbind(0):
        i, f, g, o = (given + h @ w_hh.T + b_hh).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        states.append(h)
    return _stacked(states, u, h), c


def network(
    given: Tensor,
    direct: Tensor,
    y_start: Tensor,
    entry: Tensor | None,
    linear: Tensor,
    hidden: Sequence[tuple[Tensor, Tensor]],
    output: Tensor | None,
    activation: str,
) -> Tensor:
    """Return the free run of a network that is fed its own last outputs.

    ::

        phi(k) = [y(k-1), ..., y(k-lags)]
        h_1    = s(given(k) + V phi(k)),  h_i = s(W_i h_(i-1) + b_i)
        y(k)   = direct(k) + L phi(k) + W h_last

    Args:
        given: what else enters the first layer, ``(T, B, H_1)``; of no matter without one.
        direct: what else adds to the output, ``(T, B, n)``.
        y_start: ``y(-lags), ..., y(-1)``, oldest first, ``(lags, B, n)``.
        entry: ``V``, ``(H_1, lags * n)``; ``None`` for a linear recurrence.
        linear: ``L``, ``(n, lags * n)``.
        hidden: ``W_i`` ``(H_i, H_(i-1))`` and ``b_i`` ``(H_i,)`` of the layers after the first.
        output: ``W``, ``(n, H_last)``; ``None`` with ``entry``.
        activation: one of ``ACTIVATIONS``.

    Returns:
        ``y(0), ..., y(T-1)``: ``(T, B, n)``.
    """
    s = ACTIVATIONS[activation]
    phi = y_start.flip(0).transpose(0, 1).flatten(1)  # newest first, (B, lags * n)
    outputs = []
    for k, y in enumerate(direct.unbind(0)):
        y = y + phi @ linear.T
        if entry is not None and output is not None:
            h = s(given[k] + phi @ entry.T)
            for weight, bias in hidden:
                h = s(h @ weight.T + bias)
            y = y + h @ output.T
        outputs.append(y)
        phi = torch.cat([y, phi], dim=1)[:, : phi.shape[1]]
    return _stacked(outputs, direct, direct[:0].sum(0))


def _stacked(parts: list[Tensor], like: Tensor, row: Tensor) -> Tensor:
    return torch.stack(parts) if parts else like.new_zeros(0, *row.shape)
