"""The vanilla recurrent layer, one sample forward and back."""

from __future__ import annotations

from typing import Any, NamedTuple

from sysid.kernels.drivers import recurrence
from sysid.kernels.elementary import activate, times_slope
from sysid.kernels.products import add_product, fill


class RNNTape(NamedTuple):
    """States and weights of a vanilla recurrent layer, ``h(t) = s(V u(t) + W h(t-1) + b)``."""

    u: Any  # (T, B * inputs)
    h: Any  # (T + 1, B * H)
    v: Any  # V, (inputs, H), transposed as all weights are
    w: Any  # W, (H, H)
    w_t: Any  # its transpose
    bias: Any  # (H,)
    code: int  # of the activation s
    d_h: Any  # as h; starts as the gradient of the loss by h, ends as that by what s is taken of


def _step(tape: Any, t: int, b0: int, b1: int) -> None:
    h, size = tape.h, tape.bias.shape[0]
    fill(h, t + 1, tape.bias, b0, b1)
    add_product(h, t + 1, tape.u, t, tape.v, b0, b1)
    add_product(h, t + 1, h, t, tape.w, b0, b1)
    activate(tape.code, h, t + 1, b0 * size, b1 * size)


def _step_back(tape: Any, t: int, b0: int, b1: int) -> None:
    size = tape.bias.shape[0]
    times_slope(tape.code, tape.h, t + 1, tape.d_h, t + 1, b0 * size, b1 * size)
    add_product(tape.d_h, t, tape.d_h, t + 1, tape.w_t, b0, b1)


recurrence(RNNTape, _step, _step_back)
