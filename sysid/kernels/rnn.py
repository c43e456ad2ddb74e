"""The vanilla recurrent layer, one sample forward and back."""

from __future__ import annotations

from typing import Any, NamedTuple

from sysid.kernels.drivers import recurrence
from sysid.kernels.elementary import activate, times_slope
from sysid.kernels.products import add_outer, add_product, add_rows, same, set_product
from sysid.kernels.segments import Roles
from sysid.kernels.vectors import Real, elementwise


class RNNTape(NamedTuple):
    """States and weights of a vanilla recurrent layer, ``h(t) = s(V u(t) + W h(t-1) + b)``."""

    u: Any  # (T, B * inputs)
    h: Any  # (T + 1, B * H)
    v: Any  # V, (inputs, H), transposed as all weights are
    w: Any  # W, (H, H)
    bias: Any  # (H,)
    code: int  # of the activation s


class RNNGradients(NamedTuple):
    """What is taken back through the tape; ``d`` is by what ``s`` is taken of, of one piece."""

    u: Any  # these as in the tape
    h: Any
    v_t: Any  # (H, inputs)
    w_t: Any  # (H, H)
    code: int
    d_out: Any  # by the states, (T, B * H)
    d_h: Any  # by the state after a step, (1, B * H), ends as that by the first
    d: Any  # (piece, B * H)
    d_u: Any  # (T, B * inputs), or no rows
    sums: Any  # (1, numbers): by V, (inputs, H), by W as it is, and by b


@elementwise
def _added(a: Real, b: Real) -> Real:
    return a + b


def _prepare(tape: Any, t: int, steps: int, b0: int, b1: int) -> None:
    set_product(tape.h, t + 1, same(tape.bias), tape.u, t, tape.v, steps, b0, b1)


def _step(tape: Any, t: int, i: int, b0: int, b1: int) -> None:
    h, size = tape.h, tape.bias.shape[0]
    add_product(h, t + 1, h, t, tape.w, b0, b1)
    activate(tape.code, h, t + 1, b0 * size, b1 * size)


def _step_back(tape: Any, t: int, i: int, b0: int, b1: int) -> None:
    d, d_h, size = tape.d, tape.d_h, tape.w_t.shape[0]
    a, c = b0 * size, b1 * size
    _added(a, c, (tape.d_out, d_h), (t, 0), (d,), (i,))
    times_slope(tape.code, tape.h, t + 1, d, i, a, c)
    set_product(d_h, 0, None, d, i, tape.w_t, 1, b0, b1)


def _collect(tape: Any, t: int, steps: int, b0: int, b1: int) -> None:
    size, inputs = tape.v_t.shape
    at = add_outer(tape.sums, 0, tape.u, t, inputs, tape.d, 0, size, steps, b0, b1)
    at = add_outer(tape.sums, at, tape.d, 0, size, tape.h, t, size, steps, b0, b1)
    add_rows(tape.sums, at, tape.d, 0, size, steps, b0, b1)
    if tape.d_u.shape[0]:
        set_product(tape.d_u, t, None, tape.d, 0, tape.v_t, steps, b0, b1)


recurrence(RNNTape, Roles(("u",), ("h",)), prepare=_prepare, step=_step)
recurrence(
    RNNGradients, Roles(("u",), ("h",), "d_out", ("d_h",), ("d",), "d_u"),
    step_back=_step_back, collect=_collect,
)  # fmt: skip
