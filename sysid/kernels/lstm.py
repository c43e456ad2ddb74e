"""Long short-term memory, one sample forward and back."""

from __future__ import annotations

from typing import Any, NamedTuple

from sysid.kernels.drivers import recurrence
from sysid.kernels.elementary import sigmoid, tanh
from sysid.kernels.products import add_outer, add_product, add_rows, same, set_product
from sysid.kernels.segments import Roles
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
    biases: Any  # four of (H,)


class LSTMGradients(NamedTuple):
    """What is taken back through the tape."""

    u: Any  # these as in the tape
    h: Any
    c: Any
    gates: Any
    v_t: Any  # four of (H, inputs)
    w_t: Any  # four of (H, H)
    d_out: Any  # by the states, (T, B * H)
    d_h: Any  # by the state after a step, (1, B * H), ends as that by the first
    d_c: Any  # the same by the cells, starts as the gradient by the last
    d_gates: Any  # four of (piece, B * H), by what the functions are taken of
    d_u: Any  # (T, B * inputs), or no rows
    sums: Any  # (1, numbers): by V of each gate, (inputs, H), by W as they are, and by b


@elementwise
def _cell(i: Real, f: Real, g: Real, o: Real, c: Real) -> tuple[Real, ...]:
    i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
    c = f * c + i * g
    return i, f, g, o, c, o * tanh(c)


@elementwise
def _cell_back(
    i: Real, f: Real, g: Real, o: Real, before: Real, after: Real, d_h: Real, d_out: Real, d_c: Real
) -> tuple[Real, ...]:
    s, d_h = tanh(after), d_h + d_out
    d_o = d_h * s * o * (1.0 - o)
    d = d_c + d_h * o * (1.0 - s * s)
    d_i, d_f = d * g * i * (1.0 - i), d * before * f * (1.0 - f)
    return d_i, d_f, d * i * (1.0 - g * g), d_o, d * f


def _prepare(tape: Any, t: int, steps: int, b0: int, b1: int) -> None:
    for k in range(4):
        set_product(tape.gates[k], t, same(tape.biases[k]), tape.u, t, tape.v[k], steps, b0, b1)


def _step(tape: Any, t: int, k: int, b0: int, b1: int) -> None:
    h, c, (i, f, g, o), size = tape.h, tape.c, tape.gates, tape.biases[0].shape[0]
    for j in range(4):
        add_product(tape.gates[j], t, h, t, tape.w[j], b0, b1)
    _cell(
        b0 * size, b1 * size, (i, f, g, o, c), (t, t, t, t, t),
        (i, f, g, o, c, h), (t, t, t, t, t + 1, t + 1),
    )  # fmt: skip


def _step_back(tape: Any, t: int, k: int, b0: int, b1: int) -> None:
    c, (i, f, g, o), (d_i, d_f, d_g, d_o) = tape.c, tape.gates, tape.d_gates
    d_h, d_c, size = tape.d_h, tape.d_c, tape.v_t[0].shape[0]
    _cell_back(
        b0 * size, b1 * size,
        (i, f, g, o, c, c, d_h, tape.d_out, d_c), (t, t, t, t, t, t + 1, 0, t, 0),
        (d_i, d_f, d_g, d_o, d_c), (k, k, k, k, 0),
    )  # fmt: skip
    set_product(d_h, 0, None, d_i, k, tape.w_t[0], 1, b0, b1)
    for j in range(1, 4):
        add_product(d_h, 0, tape.d_gates[j], k, tape.w_t[j], b0, b1)


def _collect(tape: Any, t: int, steps: int, b0: int, b1: int) -> None:
    sums, d_gates = tape.sums, tape.d_gates
    size, inputs = tape.v_t[0].shape
    at = 0
    for d in d_gates:
        at = add_outer(sums, at, tape.u, t, inputs, d, 0, size, steps, b0, b1)
    for d in d_gates:
        at = add_outer(sums, at, d, 0, size, tape.h, t, size, steps, b0, b1)
    for d in d_gates:
        at = add_rows(sums, at, d, 0, size, steps, b0, b1)
    if tape.d_u.shape[0]:
        set_product(tape.d_u, t, None, d_gates[0], 0, tape.v_t[0], steps, b0, b1)
        for j in range(1, 4):
            for s in range(steps):
                add_product(tape.d_u, t + s, d_gates[j], s, tape.v_t[j], b0, b1)


recurrence(LSTMTape, Roles(("u", "gates"), ("h", "c")), prepare=_prepare, step=_step)
recurrence(
    LSTMGradients, Roles(("u", "gates"), ("h", "c"), "d_out", ("d_h", "d_c"), ("d_gates",), "d_u"),
    step_back=_step_back, collect=_collect,
)  # fmt: skip
