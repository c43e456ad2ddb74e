"""The gated recurrent unit, one sample forward and back."""

from __future__ import annotations

from typing import Any, NamedTuple

from sysid.kernels.drivers import recurrence
from sysid.kernels.elementary import sigmoid, tanh
from sysid.kernels.products import add_outer, add_product, add_rows, same, set_product
from sysid.kernels.segments import Roles
from sysid.kernels.vectors import Real, elementwise


class GRUTape(NamedTuple):
    """States, gates and weights of a GRU over a batch of sequences.

    ::

        r = s(V_r u + W_r h + b_r),  z = s(V_z u + W_z h + b_z),  q = W_n h + b_q
        n = tanh(V_n u + b_n + r q),  h' = (1 - z) n + z h
    """

    u: Any  # (T, B * inputs)
    h: Any  # (T + 1, B * H)
    gates: Any  # r, z, n, q: four of (T, B * H)
    v: Any  # V_r, V_z, V_n: three of (inputs, H), transposed as all weights are
    w: Any  # W_r, W_z, W_n: three of (H, H)
    biases: Any  # b_r, b_z, b_n, b_q: four of (H,)


class GRUGradients(NamedTuple):
    """What is taken back through the tape."""

    u: Any  # these as in the tape
    h: Any
    gates: Any
    v_t: Any  # three of (H, inputs)
    w_t: Any  # three of (H, H)
    d_out: Any  # by the states, (T, B * H)
    d_h: Any  # by the state after a step, (1, B * H), ends as that by the first
    d_gates: Any  # four of (piece, B * H), by what the functions are taken of, and by q
    d_u: Any  # (T, B * inputs), or no rows
    sums: Any  # (1, numbers): by V of each gate, (inputs, H), by W as they are, and by b


@elementwise
def _gates(r: Real, z: Real, n: Real, q: Real, h: Real) -> tuple[Real, ...]:
    r, z = sigmoid(r), sigmoid(z)
    n = tanh(n + r * q)
    return r, z, n, n + z * (h - n)


@elementwise
def _gates_back(
    r: Real, z: Real, n: Real, q: Real, h: Real, d_h: Real, d_out: Real
) -> tuple[Real, ...]:
    d = d_h + d_out
    d_n = d * (1.0 - z) * (1.0 - n * n)
    d_z = d * (h - n) * z * (1.0 - z)
    return d_n * q * r * (1.0 - r), d_z, d_n, d_n * r, d * z


def _prepare(tape: Any, t: int, steps: int, b0: int, b1: int) -> None:
    for k in range(3):
        set_product(tape.gates[k], t, same(tape.biases[k]), tape.u, t, tape.v[k], steps, b0, b1)


def _step(tape: Any, t: int, i: int, b0: int, b1: int) -> None:
    h, (r, z, n, q), (w_r, w_z, w_n) = tape.h, tape.gates, tape.w
    add_product(r, t, h, t, w_r, b0, b1)
    add_product(z, t, h, t, w_z, b0, b1)
    set_product(q, t, same(tape.biases[3]), h, t, w_n, 1, b0, b1)
    size = w_n.shape[0]
    rows = (t, t, t, t, t)
    _gates(b0 * size, b1 * size, (r, z, n, q, h), rows, (r, z, n, h), (t, t, t, t + 1))


def _step_back(tape: Any, t: int, i: int, b0: int, b1: int) -> None:
    h, d_h, (r, z, n, q), (d_r, d_z, d_n, d_q) = tape.h, tape.d_h, tape.gates, tape.d_gates
    w_r, w_z, w_n = tape.w_t
    size = w_n.shape[0]
    _gates_back(
        b0 * size, b1 * size, (r, z, n, q, h, d_h, tape.d_out), (t, t, t, t, t, 0, t),
        (d_r, d_z, d_n, d_q, d_h), (i, i, i, i, 0),
    )  # fmt: skip
    add_product(d_h, 0, d_r, i, w_r, b0, b1)
    add_product(d_h, 0, d_z, i, w_z, b0, b1)
    add_product(d_h, 0, d_q, i, w_n, b0, b1)


def _collect(tape: Any, t: int, steps: int, b0: int, b1: int) -> None:
    sums, d_gates, (d_r, d_z, d_n, d_q) = tape.sums, tape.d_gates, tape.d_gates
    size, inputs = tape.v_t[0].shape
    at = 0
    for d in (d_r, d_z, d_n):
        at = add_outer(sums, at, tape.u, t, inputs, d, 0, size, steps, b0, b1)
    for d in (d_r, d_z, d_q):
        at = add_outer(sums, at, d, 0, size, tape.h, t, size, steps, b0, b1)
    for d in d_gates:
        at = add_rows(sums, at, d, 0, size, steps, b0, b1)
    if tape.d_u.shape[0]:
        set_product(tape.d_u, t, None, d_r, 0, tape.v_t[0], steps, b0, b1)
        for s in range(steps):
            add_product(tape.d_u, t + s, d_z, s, tape.v_t[1], b0, b1)
            add_product(tape.d_u, t + s, d_n, s, tape.v_t[2], b0, b1)


recurrence(GRUTape, Roles(("u", "gates"), ("h",)), prepare=_prepare, step=_step)
recurrence(
    GRUGradients, Roles(("u", "gates"), ("h",), "d_out", ("d_h",), ("d_gates",), "d_u"),
    step_back=_step_back, collect=_collect,
)  # fmt: skip
