"""The recurrences in plain PyTorch, step by step: what the compiled loops are compared with.

Time comes first: inputs are ``(time, batch, channel)``, states ``(batch, size)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

# From here on softplus is its argument to rounding; torch's own 20 leaves out 2e-9.
SOFTPLUS_THRESHOLD = 40.0
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "elu": nn.functional.elu,
    "softplus": partial(nn.functional.softplus, threshold=SOFTPLUS_THRESHOLD),
    "sinh": torch.sinh,
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
    v: Tensor,
    y_start: Tensor,
    linear: Tensor | None,
    layers: Sequence[tuple[Tensor, Tensor]],
    activation: str,
) -> Tensor:
    """Return the free run of a network that is fed its own last outputs.

    ::

        phi(k) = [y(k-1), ..., y(k-lags), v(k)]
        h_1    = s(W_1 phi(k) + b_1),  h_i = s(W_i h_(i-1) + b_i)
        y(k)   = L phi(k) + W h_last + b

    Args:
        v: what else is fed in, ``(T, B, m)``.
        y_start: ``y(-lags), ..., y(-1)``, oldest first, ``(lags, B, n)``.
        linear: ``L``, ``(n, lags * n + m)``; ``None`` where there is no linear path.
        layers: weight and bias of each layer, at last ``W`` and ``b``; with one layer,
            ``y(k) = (L + W) phi(k) + b``.
        activation: one of ``ACTIVATIONS``.

    Returns:
        ``y(-lags), ..., y(T-1)``: ``(lags + T, B, n)``.
    """
    s = ACTIVATIONS[activation]
    *hidden, (last, bias) = layers
    past = y_start.flip(0).transpose(0, 1).flatten(1)  # newest first, (B, lags * n)
    outputs = list(y_start.unbind(0))
    for given in v.unbind(0):
        phi = torch.cat([past, given], dim=1)
        h = phi
        for w, b in hidden:
            h = s(h @ w.T + b)
        y = h @ last.T + bias
        if linear is not None:
            y = y + phi @ linear.T
        outputs.append(y)
        past = torch.cat([y, past], dim=1)[:, : past.shape[1]]
    return _stacked(outputs, v, bias.expand(v.shape[1], -1))


def _stacked(parts: list[Tensor], like: Tensor, row: Tensor) -> Tensor:
    return torch.stack(parts) if parts else like.new_zeros(0, *row.shape)
