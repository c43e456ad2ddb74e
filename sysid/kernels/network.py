"""A feed-forward network in a loop: the free run of a NARX, and the states of a state space."""

from __future__ import annotations

from typing import Any, NamedTuple

from sysid.kernels.drivers import recurrence
from sysid.kernels.elementary import activate, compiled, times_slope
from sysid.kernels.matrices import product
from sysid.kernels.products import add_outer, add_rows, same, set_product
from sysid.kernels.segments import Roles


class NetworkTape(NamedTuple):
    """Outputs, layers and weights of a network that is fed its own last outputs.

    ::

        phi(k) = [y(k-lags), ..., y(k-1)]
        h_1    = s(V v(k) + W_1 phi(k) + b_1),  h_i = s(W_i h_(i-1) + b_i)
        y(k)   = D v(k) + L phi(k) + W h_last + b

    Layers may be padded with neurons whose weights are zero.
    """

    v: Any  # what else is fed in, (T, B * m)
    y: Any  # (lags + T, B * n), the first lags rows are given
    layers: Any  # tuple of (T, B * H_i)
    direct: Any  # D, (m, n), transposed as all weights are
    linear: Any  # L, (lags * n, n)
    given: Any  # V, (m, H_1)
    entry: Any  # W_1, (lags * n, H_1)
    weights: Any  # tuple of (H_(i-1), H_i), and at last W, (H_last, n)
    biases: Any  # tuple of b_i, and at last b
    code: int  # of the activation s


class NetworkGradients(NamedTuple):
    """What is taken back through the tape."""

    v: Any  # these as in the tape
    y: Any
    layers: Any
    direct_t: Any  # (n, m)
    linear_t: Any  # (n, lags * n), padded to whole vectors
    given_t: Any  # (H_1, m)
    entry_t: Any  # (H_1, lags * n), padded alike
    weights_t: Any  # tuple of (H_i, H_(i-1)), and at last (n, H_last)
    code: int
    d_y: Any  # as y; starts as the gradient of the loss by y
    d_phi: Any  # (1, B * lags * n), padded alike
    d_layers: Any  # tuple of (piece, B * H_i), by what s is taken of
    d_v: Any  # as v, or no rows
    sums: Any  # (1, numbers): as ``add_entering`` has them of y and of h_1, W as they are, b_i


def _prepare(tape: Any, t: int, steps: int, b0: int, b1: int) -> None:
    lags = tape.y.shape[0] - tape.v.shape[0]
    set_product(tape.y, lags + t, same(tape.biases[-1]), tape.v, t, tape.direct, steps, b0, b1)
    set_product(tape.layers[0], t, same(tape.biases[0]), tape.v, t, tape.given, steps, b0, b1)


def _step(tape: Any, t: int, i: int, b0: int, b1: int) -> None:
    y, layers, w = tape.y, tape.layers, tape.weights[-1]
    after, n = t + y.shape[0] - tape.v.shape[0], w.shape[1]
    size = tape.entry.shape[1]
    add_past(layers[0], t, y, t, n, tape.entry, b0, b1, None, None)
    activate(tape.code, layers[0], t, b0 * size, b1 * size)
    for k in range(1, len(layers)):
        size = tape.biases[k].shape[0]
        weights = tape.weights[k - 1]
        set_product(layers[k], t, same(tape.biases[k]), layers[k - 1], t, weights, 1, b0, b1)
        activate(tape.code, layers[k], t, b0 * size, b1 * size)
    size = w.shape[0]
    last = (layers[-1], t * layers[-1].shape[1] + b0 * size, size, size)
    add_past(y, after, y, t, n, tape.linear, b0, b1, last, (w, 0, n))


def _step_back(tape: Any, t: int, i: int, b0: int, b1: int) -> None:
    d_y, d_layers = tape.d_y, tape.d_layers
    after = t + d_y.shape[0] - tape.v.shape[0]
    last = len(d_layers) - 1
    for k in range(last, -1, -1):
        w = tape.weights_t[k]
        size = w.shape[1]
        if k == last:
            set_product(d_layers[k], i, None, d_y, after, w, 1, b0, b1)
        else:
            set_product(d_layers[k], i, None, d_layers[k + 1], i, w, 1, b0, b1)
        times_slope(tape.code, tape.layers[k], t, d_layers[k], i, b0 * size, b1 * size)
    size = tape.entry_t.shape[0]
    first = (d_layers[0], i * d_layers[0].shape[1] + b0 * size, size, size)
    entry = (tape.entry_t, 0, tape.entry_t.shape[1])
    hand_back(d_y, t, after, tape.linear_t, tape.d_phi, b0, b1, first, entry)


def _collect(tape: Any, t: int, steps: int, b0: int, b1: int) -> None:
    sums, y, v, d_y, d_layers = tape.sums, tape.y, tape.v, tape.d_y, tape.d_layers
    after = t + y.shape[0] - v.shape[0]
    n, m = tape.direct_t.shape
    size = tape.given_t.shape[0]
    at = add_entering(sums, 0, y, v, t, m, n, d_y, after, n, steps, b0, b1)
    at = add_entering(sums, at, y, v, t, m, n, d_layers[0], 0, size, steps, b0, b1)
    for k in range(1, len(d_layers)):
        own, before = tape.weights_t[k - 1].shape
        x, d = tape.layers[k - 1], d_layers[k]
        at = add_outer(sums, at, d, 0, own, x, t, before, steps, b0, b1)
        at = add_rows(sums, at, d, 0, own, steps, b0, b1)
    size = tape.weights_t[-1].shape[1]
    add_outer(sums, at, d_y, after, n, tape.layers[-1], t, size, steps, b0, b1)
    if tape.d_v.shape[0]:
        size = tape.given_t.shape[0]
        width = d_layers[0].shape[1]
        for i in range(steps):
            place = (tape.d_v, (t + i) * v.shape[1] + b0 * m, m)
            of_y = (d_y, (after + i) * d_y.shape[1] + b0 * n, n, 1, 0)
            of_h = (d_layers[0], i * width + b0 * size, size, size)
            product(
                place, None, (b1 - b0, m, n, 1),
                of_y, (tape.direct_t, 0, m, 0), of_h, (tape.given_t, 0, m),
            )  # fmt: skip


recurrence(NetworkTape, Roles(("v", "layers"), ("y",)), prepare=_prepare, step=_step)
recurrence(
    NetworkGradients, Roles(("v", "layers"), ("y",), "d_y", ("d_y",), ("d_layers", "d_phi"), "d_v"),
    step_back=_step_back, collect=_collect,
)  # fmt: skip


class LinearTape(NamedTuple):
    """``y(k) = D v(k) + L phi(k) + b``: the tape of a network without a hidden layer."""

    v: Any  # these as in NetworkTape
    y: Any
    direct: Any
    linear: Any
    bias: Any


class LinearGradients(NamedTuple):
    """What is taken back through the tape."""

    v: Any  # these as in NetworkGradients
    y: Any
    direct_t: Any
    linear_t: Any
    d_y: Any
    d_phi: Any
    d_v: Any
    sums: Any  # as ``add_entering`` has them


def _linear_prepare(tape: Any, t: int, steps: int, b0: int, b1: int) -> None:
    lags = tape.y.shape[0] - tape.v.shape[0]
    set_product(tape.y, lags + t, same(tape.bias), tape.v, t, tape.direct, steps, b0, b1)


def _linear_step(tape: Any, t: int, i: int, b0: int, b1: int) -> None:
    after, n = t + tape.y.shape[0] - tape.v.shape[0], tape.linear.shape[1]
    add_past(tape.y, after, tape.y, t, n, tape.linear, b0, b1, None, None)


def _linear_step_back(tape: Any, t: int, i: int, b0: int, b1: int) -> None:
    after = t + tape.y.shape[0] - tape.v.shape[0]
    hand_back(tape.d_y, t, after, tape.linear_t, tape.d_phi, b0, b1, None, None)


def _linear_collect(tape: Any, t: int, steps: int, b0: int, b1: int) -> None:
    after = t + tape.y.shape[0] - tape.v.shape[0]
    n, m = tape.direct_t.shape
    add_entering(tape.sums, 0, tape.y, tape.v, t, m, n, tape.d_y, after, n, steps, b0, b1)
    if tape.d_v.shape[0]:
        for i in range(steps):
            set_product(tape.d_v, t + i, None, tape.d_y, after + i, tape.direct_t, 1, b0, b1)


recurrence(LinearTape, Roles(("v",), ("y",)), prepare=_linear_prepare, step=_linear_step)
recurrence(
    LinearGradients, Roles(("v",), ("y",), "d_y", ("d_y",), ("d_phi",), "d_v"),
    step_back=_linear_step_back, collect=_linear_collect,
)  # fmt: skip


@compiled
def add_past(
    out: Any, t: int, y: Any, k: int, n: int, w: Any, b0: int, b1: int, more: Any, more_w: Any
) -> None:
    """Add ``phi @ w`` to ``out(t)``, and what more ``product`` is given.

    ``phi`` are the outputs from ``y(k)`` on, oldest first, ``n`` channels each. It is never made:
    of one lag, or of one sequence, it is what stands in memory from there on.
    """
    past, columns = w.shape
    width = y.shape[1]
    inner, times, apart = past, 1, 1
    if width > n and past > n:
        inner, times, apart = (past, 1, width) if n == 1 else (n, past // n, 1)
    place = (out, t * out.shape[1] + b0 * columns, columns)
    product(
        place, place, (b1 - b0, columns, inner, times),
        (y, k * width + b0 * n, n, apart, width), (w, 0, columns, n * columns), more, more_w,
    )  # fmt: skip


@compiled
def hand_back(
    d_y: Any, t: int, after: int, linear_t: Any, d_phi: Any, b0: int, b1: int,
    more: Any, more_w: Any,
) -> None:  # fmt: skip
    """Add the gradient by ``phi`` to that by the outputs that it is made of, from ``t`` on.

    It is ``d_y(after) @ linear_t``, and what more ``product`` is given.
    """
    n, past = linear_t.shape
    width = d_y.shape[1]
    given = (d_y, after * width + b0 * n, n, 1, 0)
    size, w = (b1 - b0, past, n, 1), (linear_t, 0, past, 0)
    product((d_phi, b0 * past, past), None, size, given, w, more, more_w)
    for lag in range(after - t):
        for b in range(b0, b1):
            for j in range(n):
                d_y[t + lag, b * n + j] += d_phi[0, b * past + lag * n + j]


@compiled
def add_entering(
    sums: Any, at: int, y: Any, v: Any, t: int, m: int, n: int, d: Any, s: int, size: int,
    steps: int, b0: int, b1: int,
) -> int:  # fmt: skip
    """Add the gradients by the weights of ``phi`` and ``v``, and by the bias, to ``sums[0, at:]``.

    Args:
        sums: ``(1, numbers)``; ``(lags * n, size)``, ``(m, size)`` and ``(size,)`` are added to.
        at: where these begin.
        y: outputs; ``phi`` of sample ``t`` begins at ``y(t)``.
        v: what else is fed in.
        t: first sample.
        m: channels of ``v``.
        n: channels of ``y``.
        d: the gradient by what the weights lead to.
        s: first sample in ``d``.
        size: channels of ``d``.
        steps: samples.
        b0: first row of the batch.
        b1: row after the last.

    Returns:
        Where the next sum stands.
    """
    width, lags = y.shape[1], y.shape[0] - v.shape[0]
    rows, apart, pieces = lags * n, 1, 1
    if width > n and lags > 1:
        rows, apart, pieces = (lags, width, 1) if n == 1 else (n, 1, lags)
    inner, times = b1 - b0, steps
    if b0 == 0 and b1 * n == width:
        inner, times = steps * inner, 1
    right = (d, s * d.shape[1] + b0 * size, size, d.shape[1])
    for piece in range(pieces):
        left = (y, (t + piece) * width + b0 * n, apart, n, width)
        place = (sums, at, size)
        product(place, place, (rows, size, inner, times), left, right, None, None)
        at += rows * size
    at = add_outer(sums, at, v, t, m, d, s, size, steps, b0, b1)
    end: int = add_rows(sums, at, d, s, size, steps, b0, b1)
    return end
