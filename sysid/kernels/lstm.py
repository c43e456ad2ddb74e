"""Long short-term memory, one sample forward and back."""

from __future__ import annotations

from typing import Any, NamedTuple

from sysid.kernels.drivers import recurrence
from sysid.kernels.elementary import sigmoid, tanh
from sysid.kernels.products import add_product, fill
from sysid.kernels.vectors import Real, elementwise


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


@elementwise
def _cell(i: Real, f: Real, g: Real, o: Real, c: Real) -> tuple[Real, ...]:
    i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
    c = f * c + i * g
    return i, f, g, o, c, o * tanh(c)


@elementwise
def _cell_back(
    i: Real, f: Real, g: Real, o: Real, before: Real, after: Real, d_h: Real, d_c: Real
) -> tuple[Real, ...]:
    s = tanh(after)
    d_o = d_h * s * o * (1.0 - o)
    d = d_c + d_h * o * (1.0 - s * s)
    d_i, d_f = d * g * i * (1.0 - i), d * before * f * (1.0 - f)
    return d_i, d_f, d * i * (1.0 - g * g), d_o, d * f


def _step(tape: Any, t: int, b0: int, b1: int) -> None:
    h, c, (i, f, g, o) = tape.h, tape.c, tape.gates
    for k in range(4):
        fill(tape.gates[k], t, tape.biases[k], b0, b1)
        add_product(tape.gates[k], t, tape.u, t, tape.v[k], b0, b1)
        add_product(tape.gates[k], t, h, t, tape.w[k], b0, b1)
    size = tape.biases[0].shape[0]
    a, e = b0 * size, b1 * size
    _cell(a, e, (i, f, g, o, c), (t, t, t, t, t), (i, f, g, o, c, h), (t, t, t, t, t + 1, t + 1))


def _step_back(tape: Any, t: int, b0: int, b1: int) -> None:
    c, (i, f, g, o) = tape.c, tape.gates
    d_h, d_c, (d_i, d_f, d_g, d_o) = tape.d_h, tape.d_c, tape.d_gates
    size = tape.biases[0].shape[0]
    a, e = b0 * size, b1 * size
    _cell_back(
        a, e, (i, f, g, o, c, c, d_h, d_c), (t, t, t, t, t, t + 1, t + 1, 0),
        (d_i, d_f, d_g, d_o, d_c), (t, t, t, t, 0),
    )  # fmt: skip
    for k in range(4):
        add_product(d_h, t, tape.d_gates[k], t, tape.w_t[k], b0, b1)


recurrence(LSTMTape, _step, _step_back)
