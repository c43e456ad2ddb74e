"""The loops over time of a network that is fed its own last outputs, in Triton's language.

The equations are those of ``network.NetworkTape``. A program has one sequence, ``b``; arrays are
``(time, batch, width)``, and values ``(layer, time, batch, width)``.
"""

# mypy: disallow-untyped-defs=false, disallow-untyped-calls=false, disallow-incomplete-defs=false
# Triton compiles these functions from their source, which has no types; its constants are capitals.
from __future__ import annotations

import triton
import triton.language as tl

# tanh 0, sigmoid 1, relu 2, elu 3, softplus 4, sinh 5: the places in COMPILED_ACTIVATIONS.


@triton.jit
def _activated(x, CODE: tl.constexpr):
    e = tl.exp(-tl.abs(x))
    if CODE == 0:
        t = (1 - e * e) / (1 + e * e)
        y = tl.where(x < 0, -t, t)
    elif CODE == 1:
        y = tl.where(x < 0, e, 1) / (1 + e)
    elif CODE == 2:
        y = tl.where(x < 0, 0, x)
    elif CODE == 3:
        y = tl.where(x < 0, e - 1, x)
    elif CODE == 4:
        y = tl.where(x < 0, 0, x) + tl.log(1 + e)
    else:
        s = (1 / e - e) / 2
        y = tl.where(x < 0, -s, s)
    return y


@triton.jit
def _slope(y, CODE: tl.constexpr):
    if CODE == 0:
        d = 1 - y * y
    elif CODE == 1:
        d = y * (1 - y)
    elif CODE == 2:
        d = tl.where(y > 0, 1, y * 0)
    elif CODE == 3:
        d = tl.where(y > 0, 1, y + 1)
    elif CODE == 4:
        d = 1 - tl.exp(-y)
    else:
        d = tl.sqrt(1 + y * y)
    return d


@triton.jit
def forward(
    y, values, entry, linear, between, biases, last, steps, batch, lags,
    N: tl.constexpr, OUT: tl.constexpr, PAST: tl.constexpr, H: tl.constexpr,
    LAYERS: tl.constexpr, CODE: tl.constexpr,
):  # fmt: skip
    """Fill ``y[lags:]``, which holds ``direct``, and values, whose first layer holds ``given``."""
    b = tl.program_id(0)
    p, h, o = tl.arange(0, PAST), tl.arange(0, H), tl.arange(0, OUT)
    seen, there = p < lags * N, o < N
    direct = tl.load(linear + p[:, None] * N + o[None, :], seen[:, None] & there[None, :], 0.0)
    if LAYERS > 0:
        to_first = tl.load(entry + p[:, None] * H + h[None, :], seen[:, None], 0.0)
        to_last = tl.load(last + h[:, None] * N + o[None, :], there[None, :], 0.0)
    for t in range(steps):
        # phi(t): the last outputs, newest first.
        past = y + ((t + lags - 1 - p // N) * batch + b) * N + p % N
        phi = tl.load(past, seen, 0.0)
        to = y + ((t + lags) * batch + b) * N + o
        out = tl.load(to, there, 0.0) + tl.sum(phi[:, None] * direct, 0)
        if LAYERS > 0:
            row = values + (t * batch + b) * H + h
            x = _activated(tl.load(row) + tl.sum(phi[:, None] * to_first, 0), CODE)
            tl.store(row, x)
            for i in tl.static_range(1, LAYERS):
                w = tl.load(between + (i - 1) * H * H + h[:, None] * H + h[None, :])
                a = tl.load(biases + (i - 1) * H + h) + tl.sum(x[:, None] * w, 0)
                x = _activated(a, CODE)
                tl.store(row + i * steps * batch * H, x)
            out += tl.sum(x[:, None] * to_last, 0)
        tl.store(to, out, there)
        tl.debug_barrier()  # what one thread wrote, another reads in the next step


@triton.jit
def back(
    y, values, d_y, d_values, entry_t, linear_t, between_t, last_t, steps, batch, lags,
    N: tl.constexpr, OUT: tl.constexpr, PAST: tl.constexpr, H: tl.constexpr,
    LAYERS: tl.constexpr, CODE: tl.constexpr,
):  # fmt: skip
    """Fill ``d_y``, which starts as the gradient by the outputs, and ``d_values``.

    Weights come transposed: sums then run over the axis that threads do not share.
    """
    b = tl.program_id(0)
    p, h, o = tl.arange(0, PAST), tl.arange(0, H), tl.arange(0, OUT)
    seen, there = p < lags * N, o < N
    at = o[:, None] * (lags * N) + p[None, :]
    direct = tl.load(linear_t + at, there[:, None] & seen[None, :], 0.0)
    if LAYERS > 0:
        of_first = tl.load(entry_t + h[:, None] * (lags * N) + p[None, :], seen[None, :], 0.0)
        of_last = tl.load(last_t + o[:, None] * H + h[None, :], there[:, None], 0.0)
    for s in range(steps):
        t = steps - 1 - s
        d_out = tl.load(d_y + ((t + lags) * batch + b) * N + o, there, 0.0)
        d_phi = tl.sum(d_out[:, None] * direct, 0)
        if LAYERS > 0:
            row = (t * batch + b) * H + h
            top = row + (LAYERS - 1) * steps * batch * H
            d = tl.sum(d_out[:, None] * of_last, 0) * _slope(tl.load(values + top), CODE)
            tl.store(d_values + top, d)
            for k in tl.static_range(1, LAYERS):
                i = LAYERS - 1 - k
                under = row + i * steps * batch * H
                w = tl.load(between_t + i * H * H + h[:, None] * H + h[None, :])
                d = tl.sum(d[:, None] * w, 0) * _slope(tl.load(values + under), CODE)
                tl.store(d_values + under, d)
            d_phi += tl.sum(d[:, None] * of_first, 0)
        past = d_y + ((t + lags - 1 - p // N) * batch + b) * N + p % N
        tl.store(past, tl.load(past, seen, 0.0) + d_phi, seen)
        tl.debug_barrier()
