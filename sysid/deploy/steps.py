"""One compiled step of each kind of model: scale, advance the state, return the output.

All steps have one signature, so that each is compiled once and kept on disk:

    step(u, y, x, scaling, w, sizes, a, b) -> whether u was finite

``u`` and ``y`` are one sample in physical units, ``x`` the state, which is advanced in place;
``scaling`` holds u_offset, u_scale, y_offset and y_scale, ``w`` all weights, ``sizes`` the whole
numbers that say how they lie; ``a`` and ``b`` are room to work in. Weights lie transposed,
``(inputs, outputs)``, so that the innermost loop runs over neighbours and vectorises.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from sysid.data.records import Array
from sysid.deploy.weights import Chain, Recurrent, chains, recurrent_layers
from sysid.models import FFN, NARX, Model, StateSpace
from sysid.models.ffn import ACTIVATIONS

Sizes = NDArray[np.int64]
Step = Callable[[Array, Array, Array, Array, Array, Sizes, Array, Array], bool]

F = TypeVar("F", bound=Callable[..., Any])

_TANH, _SIGMOID, _RELU, _GELU, _SILU, _ELU, _SOFTPLUS, _SINH = range(len(ACTIVATIONS))


def _compiled(function: F) -> F:
    """Compile at the first call, or load what an earlier process left on disk."""
    dispatcher: Any = numba.njit(cache=True, error_model="numpy")(function)
    compiled: F = dispatcher
    return compiled


@_compiled
def _activate(code: int, a: Array, n: int) -> None:
    """Apply activation number ``code`` of ``ACTIVATIONS`` to the first ``n`` values."""
    for j in range(n):
        v = a[j]
        if code == _TANH:
            a[j] = math.tanh(v)
        elif code == _SIGMOID:
            a[j] = 1 / (1 + math.exp(-v))
        elif code == _RELU:
            a[j] = max(v, 0.0)
        elif code == _GELU:
            a[j] = 0.5 * v * (1 + math.erf(v / math.sqrt(2)))
        elif code == _SILU:
            a[j] = v / (1 + math.exp(-v))
        elif code == _ELU:
            a[j] = v if v > 0 else math.expm1(v)
        elif code == _SOFTPLUS:
            a[j] = max(v, 0.0) + math.log1p(math.exp(-abs(v)))
        elif code == _SINH:
            a[j] = math.sinh(v)


@_compiled
def _multiply(out: Array, x: Array, w: Array, at: int, n: int, m: int) -> None:
    """Add ``W x`` to the first ``m`` values of ``out``; ``W`` lies at ``w[at:]``, ``(n, m)``."""
    for i in range(n):
        xi = x[i]
        for j in range(m):
            out[j] += xi * w[at + i * m + j]


@_compiled
def _add_chain(
    out: Array, x: Array, w: Array, at: int, sizes: Sizes, first: int, a: Array, b: Array
) -> tuple[int, int]:
    """Add a chain's result for ``x`` to ``out``; return where the next one's numbers are.

    ``sizes[first:]`` holds the activation, the number of layers and their widths.
    """
    code, depth, n = sizes[first], sizes[first + 1], sizes[first + 2]
    for i in range(n):
        a[i] = x[i]
    for layer in range(depth):
        m = sizes[first + 3 + layer]
        for j in range(m):
            b[j] = w[at + n * m + j]
        _multiply(b, a, w, at, n, m)
        if layer < depth - 1:
            _activate(code, b, m)
        a, b, n, at = b, a, m, at + n * m + m
    if depth:
        for j in range(n):
            out[j] += a[j]
    return at, first + 3 + depth


@_compiled
def _scaled_in(u: Array, scaling: Array, own: Array) -> bool:
    """Put the inputs in own units into ``own``; return whether all are finite."""
    nu = len(u)
    for i in range(nu):
        if not math.isfinite(u[i]):
            return False
        own[i] = (u[i] - scaling[i]) / scaling[nu + i]
    return True


@_compiled
def _scaled_out(y: Array, scaling: Array, nu: int) -> None:
    """Turn outputs in own units into physical ones, in place."""
    ny = len(y)
    for i in range(ny):
        y[i] = y[i] * scaling[2 * nu + ny + i] + scaling[2 * nu + i]


@_compiled
def _step_ffn(
    u: Array, y: Array, x: Array, scaling: Array, w: Array, sizes: Sizes, a: Array, b: Array
) -> bool:
    own = np.empty(len(u))
    if not _scaled_in(u, scaling, own):
        return False
    y[:] = 0.0
    _add_chain(y, own, w, 0, sizes, 0, a, b)
    _scaled_out(y, scaling, len(u))
    return True


@_compiled
def _step_narx(
    u: Array, y: Array, x: Array, scaling: Array, w: Array, sizes: Sizes, a: Array, b: Array
) -> bool:
    """``x`` holds ``y(k-1) ... y(k-na)``, ``u(k) ... u(k-nb)`` in own units after the step.

    ``sizes`` starts with ``na``, ``nk`` and the length of ``phi``.
    """
    nu, ny, past = len(u), len(y), sizes[0] * len(y)
    own = np.empty(nu)
    if not _scaled_in(u, scaling, own):
        return False
    for i in range(len(x) - 1, past + nu - 1, -1):
        x[i] = x[i - nu]
    x[past : past + nu] = own
    phi = np.empty(sizes[2])
    phi[:past] = x[:past]
    phi[past:] = x[past + sizes[1] * nu :]
    y[:] = 0.0
    at, first = _add_chain(y, phi, w, 0, sizes, 3, a, b)
    _add_chain(y, phi, w, at, sizes, first, a, b)
    for i in range(past - 1, ny - 1, -1):
        x[i] = x[i - ny]
    if past:
        x[:ny] = y
    _scaled_out(y, scaling, nu)
    return True


@_compiled
def _step_state_space(
    u: Array, y: Array, x: Array, scaling: Array, w: Array, sizes: Sizes, a: Array, b: Array
) -> bool:
    nx, nu = len(x), len(u)
    z = np.empty(nx + nu)
    if not _scaled_in(u, scaling, z[nx:]):
        return False
    z[:nx] = x
    x[:] = 0.0
    y[:] = 0.0
    at, first = _add_chain(x, z, w, 0, sizes, 0, a, b)
    at, first = _add_chain(x, z, w, at, sizes, first, a, b)
    at, first = _add_chain(y, z, w, at, sizes, first, a, b)
    _add_chain(y, z, w, at, sizes, first, a, b)
    _scaled_out(y, scaling, nu)
    return True


@_compiled
def _gates(out: Array, v: Array, h: Array, w: Array, at: int) -> int:
    """Put ``W_ih v + b_ih`` and ``W_hh h + b_hh`` into the two halves of ``out``."""
    m, n, hidden = len(out) // 2, len(v), len(h)
    for j in range(m):
        out[j] = w[at + n * m + j]
    _multiply(out[:m], v, w, at, n, m)
    at += n * m + m
    for j in range(m):
        out[m + j] = w[at + hidden * m + j]
    _multiply(out[m:], h, w, at, hidden, m)
    return at + hidden * m + m


@_compiled
def _sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


@_compiled
def _output(y: Array, x: Array, h: Array, w: Array, at: int, feedback: int) -> None:
    """``y = W h + b``, kept at the end of the state where it is fed back."""
    ny = len(y)
    for j in range(ny):
        y[j] = w[at + len(h) * ny + j]
    _multiply(y, h, w, at, len(h), ny)
    if feedback:
        x[len(x) - ny :] = y


@_compiled
def _inputs(u: Array, y: Array, x: Array, scaling: Array, feedback: int) -> tuple[bool, Array]:
    """Return whether the inputs are finite, and ``[u, y(k-1)]`` in own units."""
    nu, ny = len(u), len(y)
    v = np.empty(nu + ny * feedback)
    finite = _scaled_in(u, scaling, v[:nu])
    if feedback:
        v[nu:] = x[len(x) - ny :]
    return finite, v


@_compiled
def _step_rnn(
    u: Array, y: Array, x: Array, scaling: Array, w: Array, sizes: Sizes, a: Array, b: Array
) -> bool:
    """``sizes``: hidden, layers, feedback, activation; ``x``: h of each layer, fed-back y."""
    hidden = sizes[0]
    finite, v = _inputs(u, y, x, scaling, sizes[2])
    if not finite:
        return False
    at = 0
    for layer in range(sizes[1]):
        h = x[layer * hidden : (layer + 1) * hidden]
        at = _gates(a[: 2 * hidden], v, h, w, at)
        for j in range(hidden):
            h[j] = a[j] + a[hidden + j]
        _activate(sizes[3], h, hidden)
        v = h
    _output(y, x, v, w, at, sizes[2])
    _scaled_out(y, scaling, len(u))
    return True


@_compiled
def _step_gru(
    u: Array, y: Array, x: Array, scaling: Array, w: Array, sizes: Sizes, a: Array, b: Array
) -> bool:
    """``sizes`` and ``x`` as for the RNN; the gates' order is r, z, n."""
    hidden = sizes[0]
    finite, v = _inputs(u, y, x, scaling, sizes[2])
    if not finite:
        return False
    at, m = 0, 3 * hidden
    for layer in range(sizes[1]):
        h = x[layer * hidden : (layer + 1) * hidden]
        at = _gates(a[: 2 * m], v, h, w, at)
        for j in range(hidden):
            r = _sigmoid(a[j] + a[m + j])
            z = _sigmoid(a[hidden + j] + a[m + hidden + j])
            n = math.tanh(a[2 * hidden + j] + r * a[m + 2 * hidden + j])
            h[j] = (1 - z) * n + z * h[j]
        v = h
    _output(y, x, v, w, at, sizes[2])
    _scaled_out(y, scaling, len(u))
    return True


@_compiled
def _step_lstm(
    u: Array, y: Array, x: Array, scaling: Array, w: Array, sizes: Sizes, a: Array, b: Array
) -> bool:
    """``x``: h of each layer, c of each layer, fed-back y; the gates' order is i, f, g, o."""
    hidden, layers = sizes[0], sizes[1]
    finite, v = _inputs(u, y, x, scaling, sizes[2])
    if not finite:
        return False
    at, m = 0, 4 * hidden
    for layer in range(layers):
        h = x[layer * hidden : (layer + 1) * hidden]
        c = x[(layers + layer) * hidden : (layers + layer + 1) * hidden]
        at = _gates(a[: 2 * m], v, h, w, at)
        for j in range(hidden):
            i = _sigmoid(a[j] + a[m + j])
            f = _sigmoid(a[hidden + j] + a[m + hidden + j])
            g = math.tanh(a[2 * hidden + j] + a[m + 2 * hidden + j])
            o = _sigmoid(a[3 * hidden + j] + a[m + 3 * hidden + j])
            c[j] = f * c[j] + i * g
            h[j] = o * math.tanh(c[j])
        v = h
    _output(y, x, v, w, at, sizes[2])
    _scaled_out(y, scaling, len(u))
    return True


STEPS: dict[str, Step] = {
    "ffn": _step_ffn,
    "narx": _step_narx,
    "rnn": _step_rnn,
    "gru": _step_gru,
    "lstm": _step_lstm,
    "state_space": _step_state_space,
}
"""The compiled step of each kind."""


def pack(model: Model) -> tuple[Array, Sizes, int]:
    """Return a model's weights and sizes as its step wants them, and the room that it needs."""
    if isinstance(model, Recurrent):
        return _pack_recurrent(model)
    if not isinstance(model, (FFN, NARX, StateSpace)):
        raise TypeError(f"model must be of a kind that has a step, got {type(model).__name__}")
    parts: list[Array] = []
    sizes: list[int] = []
    if isinstance(model, NARX):
        sizes = [model.na, model.nk, model.example_input().shape[1]]
    room = 1
    for chain in chains(model):
        sizes += _chain_sizes(chain, model.activation)
        for layer in chain:
            parts += [layer.weight.T.ravel(), layer.bias]
            room = max(room, *layer.weight.shape)
    return np.concatenate(parts), np.array(sizes, dtype=np.int64), room


def _chain_sizes(chain: Chain, activation: str) -> list[int]:
    widths = [chain[0].weight.shape[1], *(len(layer.bias) for layer in chain)] if chain else [0]
    return [list(ACTIVATIONS).index(activation), len(chain), *widths]


def _pack_recurrent(model: Recurrent) -> tuple[Array, Sizes, int]:
    parts: list[Array] = []
    layers = recurrent_layers(model)
    for layer in layers:
        parts += [layer.w_ih.T.ravel(), layer.b_ih, layer.w_hh.T.ravel(), layer.b_hh]
    weight, bias = (p.detach().cpu().double().numpy() for p in model.output.parameters())
    nonlinearity = list(ACTIVATIONS).index(getattr(model, "nonlinearity", "tanh"))
    sizes = [model.hidden_size, model.num_layers, int(model.feedback), nonlinearity]
    return (
        np.concatenate([*parts, weight.T.ravel(), bias]),
        np.array(sizes, dtype=np.int64),
        2 * len(layers[0].b_ih),
    )
