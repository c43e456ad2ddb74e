"""Long short-term memory, one sample forward and back."""

from __future__ import annotations

from typing import Any, NamedTuple

from sysid.kernels.drivers import recurrence
from sysid.kernels.elementary import SIGMOID, TANH, activate, tanh
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
    a, e = b0 * size, b1 * size
    activate(SIGMOID, i, t, a, e)
    activate(SIGMOID, f, t, a, e)
    activate(TANH, g, t, a, e)
    activate(SIGMOID, o, t, a, e)
    i_t, f_t, g_t, o_t = i[t, a:e], f[t, a:e], g[t, a:e], o[t, a:e]
    c_before, c_after, h_after = c[t, a:e], c[t + 1, a:e], h[t + 1, a:e]
    for j in range(len(i_t)):
        c_after[j] = f_t[j] * c_before[j] + i_t[j] * g_t[j]
    for j in range(len(i_t)):
        h_after[j] = o_t[j] * tanh(c_after[j])


def _step_back(tape: Any, t: int, b0: int, b1: int) -> None:
    c, (i, f, g, o) = tape.c, tape.gates
    d_h, d_c, (d_i, d_f, d_g, d_o) = tape.d_h, tape.d_c, tape.d_gates
    one = c.dtype.type(1)
    size = tape.biases[0].shape[0]
    a, e = b0 * size, b1 * size
    i_t, f_t, g_t, o_t = i[t, a:e], f[t, a:e], g[t, a:e], o[t, a:e]
    c_before, c_after, d_after, cell = c[t, a:e], c[t + 1, a:e], d_h[t + 1, a:e], d_c[0, a:e]
    to_i, to_f, to_g, to_o = d_i[t, a:e], d_f[t, a:e], d_g[t, a:e], d_o[t, a:e]
    # Several short loops: with many arrays, which might overlap, one would not be vectorised.
    for j in range(len(i_t)):
        s = tanh(c_after[j])
        to_o[j] = d_after[j] * s * o_t[j] * (one - o_t[j])
        cell[j] += d_after[j] * o_t[j] * (one - s * s)
    for j in range(len(i_t)):
        to_i[j] = cell[j] * g_t[j] * i_t[j] * (one - i_t[j])
    for j in range(len(i_t)):
        to_f[j] = cell[j] * c_before[j] * f_t[j] * (one - f_t[j])
    for j in range(len(i_t)):
        to_g[j] = cell[j] * i_t[j] * (one - g_t[j] * g_t[j])
    for j in range(len(i_t)):
        cell[j] *= f_t[j]
    for k in range(4):
        add_product(d_h, t, tape.d_gates[k], t, tape.w_t[k], b0, b1)


recurrence(LSTMTape, _step, _step_back)
