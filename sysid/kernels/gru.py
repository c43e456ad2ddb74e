"""The gated recurrent unit, one sample forward and back."""

from __future__ import annotations

from typing import Any, NamedTuple

from sysid.kernels.drivers import recurrence
from sysid.kernels.elementary import SIGMOID, activate, tanh
from sysid.kernels.products import add_product, fill


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
    before, after = h[t, a:c], h[t + 1, a:c]
    r_t, z_t, n_t, q_t = r[t, a:c], z[t, a:c], n[t, a:c], q[t, a:c]
    activate(SIGMOID, r, t, a, c)
    activate(SIGMOID, z, t, a, c)
    for j in range(len(before)):
        n_t[j] = tanh(n_t[j] + r_t[j] * q_t[j])
    for j in range(len(before)):
        after[j] = n_t[j] + z_t[j] * (before[j] - n_t[j])


def _step_back(tape: Any, t: int, b0: int, b1: int) -> None:
    h, d_h, (r, z, n, q), (d_r, d_z, d_n, d_q) = tape.h, tape.d_h, tape.gates, tape.d_gates
    w_r, w_z, w_n = tape.w_t
    one = h.dtype.type(1)
    a, c = b0 * w_r.shape[0], b1 * w_r.shape[0]
    before, d_before, d_after = h[t, a:c], d_h[t, a:c], d_h[t + 1, a:c]
    r_t, z_t, n_t, q_t = r[t, a:c], z[t, a:c], n[t, a:c], q[t, a:c]
    to_r, to_z, to_n, to_q = d_r[t, a:c], d_z[t, a:c], d_n[t, a:c], d_q[t, a:c]
    # Several short loops: with many arrays, which might overlap, one would not be vectorised.
    for j in range(len(before)):
        to_n[j] = d_after[j] * (one - z_t[j]) * (one - n_t[j] * n_t[j])
    for j in range(len(before)):
        to_r[j] = to_n[j] * q_t[j] * r_t[j] * (one - r_t[j])
    for j in range(len(before)):
        to_z[j] = d_after[j] * (before[j] - n_t[j]) * z_t[j] * (one - z_t[j])
    for j in range(len(before)):
        to_q[j] = to_n[j] * r_t[j]
    for j in range(len(before)):
        d_before[j] += d_after[j] * z_t[j]
    add_product(d_h, t, d_r, t, w_r, b0, b1)
    add_product(d_h, t, d_z, t, w_z, b0, b1)
    add_product(d_h, t, d_q, t, w_n, b0, b1)


recurrence(GRUTape, _step, _step_back)
