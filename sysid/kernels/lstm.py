"""Long short-term memory, one sample forward and back."""

from __future__ import annotations

from typing import Any, NamedTuple

from sysid.kernels.drivers import recurrence
from sysid.kernels.elementary import sigmoid, tanh
from sysid.kernels.products import add_product, fill


class LSTMTape(NamedTuple):
    """States, gates and weights of an LSTM over a batch of sequences.

    ::

        i, f, o = s(V_i u + W_i h + b_i), s(V_f u + W_f h + b_f), s(V_o u + W_o h + b_o)
        g = tanh(V_g u + W_g h + b_g),  c' = f c + i g,  h' = o tanh(c')
    """

    u: Any  # (T, B * inputs)
    h: Any  # (T + 1, B * H)
    c: Any  # (T + 1, B * H)
    gates: Any  # i, f, g, o: four of (T, B * H)
    v: Any  # V_i, V_f, V_g, V_o: four of (inputs, H), transposed as all weights are
    w: Any  # W_i, W_f, W_g, W_o: four of (H, H)
    w_t: Any  # their transposes
    biases: Any  # four of (H,)
    d_h: Any  # as h; starts as the gradient of the loss by h
    d_c: Any  # (1, B * H), starts as the gradient by the last c, ends as that by the first
    d_gates: Any  # as gates; by what they are taken of


def _step(tape: Any, t: int, b0: int, b1: int) -> None:
    h, c, (i, f, g, o) = tape.h, tape.c, tape.gates
    for k in range(4):
        fill(tape.gates[k], t, tape.biases[k], b0, b1)
        add_product(tape.gates[k], t, tape.u, t, tape.v[k], b0, b1)
        add_product(tape.gates[k], t, h, t, tape.w[k], b0, b1)
    size = tape.biases[0].shape[0]
    for j in range(b0 * size, b1 * size):
        i[t, j] = sigmoid(i[t, j])
        f[t, j] = sigmoid(f[t, j])
        g[t, j] = tanh(g[t, j])
        o[t, j] = sigmoid(o[t, j])
        c[t + 1, j] = f[t, j] * c[t, j] + i[t, j] * g[t, j]
        h[t + 1, j] = o[t, j] * tanh(c[t + 1, j])


def _step_back(tape: Any, t: int, b0: int, b1: int) -> None:
    c, (i, f, g, o) = tape.c, tape.gates
    d_h, d_c, (d_i, d_f, d_g, d_o) = tape.d_h, tape.d_c, tape.d_gates
    one = c.dtype.type(1)
    size = tape.biases[0].shape[0]
    for j in range(b0 * size, b1 * size):
        d, s = d_h[t + 1, j], tanh(c[t + 1, j])
        d_cell = d_c[0, j] + d * o[t, j] * (one - s * s)
        d_i[t, j] = d_cell * g[t, j] * i[t, j] * (one - i[t, j])
        d_f[t, j] = d_cell * c[t, j] * f[t, j] * (one - f[t, j])
        d_g[t, j] = d_cell * i[t, j] * (one - g[t, j] * g[t, j])
        d_o[t, j] = d * s * o[t, j] * (one - o[t, j])
        d_c[0, j] = d_cell * f[t, j]
    for k in range(4):
        add_product(d_h, t, tape.d_gates[k], t, tape.w_t[k], b0, b1)


recurrence(LSTMTape, _step, _step_back)
