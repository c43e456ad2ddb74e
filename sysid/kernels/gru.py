"""The gated recurrent unit, one sample forward and back."""

from __future__ import annotations

from typing import Any, NamedTuple

from sysid.kernels.drivers import recurrence
from sysid.kernels.elementary import sigmoid, tanh
from sysid.kernels.products import add_product, fill
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
    w_t: Any  # their transposes
    biases: Any  # b_r, b_z, b_n, b_q: four of (H,)
    d_h: Any  # as h; starts as the gradient of the loss by h
    d_gates: Any  # as gates; by what r, z and n are taken of, and by q


@elementwise
def _gates(r: Real, z: Real, n: Real, q: Real, h: Real) -> tuple[Real, ...]:
    r, z = sigmoid(r), sigmoid(z)
    n = tanh(n + r * q)
    return r, z, n, n + z * (h - n)


@elementwise
def _gates_back(
    r: Real, z: Real, n: Real, q: Real, h: Real, d: Real, d_out: Real
) -> tuple[Real, ...]:
    d_n = d * (1.0 - z) * (1.0 - n * n)
    d_z = d * (h - n) * z * (1.0 - z)
    return d_n * q * r * (1.0 - r), d_z, d_n, d_n * r, d_out + d * z


def _step(tape: Any, t: int, b0: int, b1: int) -> None:
    h, (r, z, n, q), (w_r, w_z, w_n), (v_r, v_z, v_n) = tape.h, tape.gates, tape.w, tape.v
    b_r, b_z, b_n, b_q = tape.biases
    fill(r, t, b_r, b0, b1)
    fill(z, t, b_z, b0, b1)
    fill(n, t, b_n, b0, b1)
    fill(q, t, b_q, b0, b1)
    add_product(r, t, tape.u, t, v_r, b0, b1)
    add_product(z, t, tape.u, t, v_z, b0, b1)
    add_product(n, t, tape.u, t, v_n, b0, b1)
    add_product(r, t, h, t, w_r, b0, b1)
    add_product(z, t, h, t, w_z, b0, b1)
    add_product(q, t, h, t, w_n, b0, b1)
    a, c = b0 * b_r.shape[0], b1 * b_r.shape[0]
    _gates(a, c, (r, z, n, q, h), (t, t, t, t, t), (r, z, n, h), (t, t, t, t + 1))


def _step_back(tape: Any, t: int, b0: int, b1: int) -> None:
    h, d_h, (r, z, n, q), (d_r, d_z, d_n, d_q) = tape.h, tape.d_h, tape.gates, tape.d_gates
    w_r, w_z, w_n = tape.w_t
    a, c = b0 * w_r.shape[0], b1 * w_r.shape[0]
    _gates_back(
        a, c, (r, z, n, q, h, d_h, d_h), (t, t, t, t, t, t + 1, t),
        (d_r, d_z, d_n, d_q, d_h), (t, t, t, t, t),
    )  # fmt: skip
    add_product(d_h, t, d_r, t, w_r, b0, b1)
    add_product(d_h, t, d_z, t, w_z, b0, b1)
    add_product(d_h, t, d_q, t, w_n, b0, b1)


recurrence(GRUTape, _step, _step_back)
