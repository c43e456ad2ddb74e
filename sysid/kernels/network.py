"""A feed-forward network in a loop: the free run of a NARX, and the states of a state space."""

from __future__ import annotations

from typing import Any, NamedTuple

from sysid.kernels.drivers import recurrence
from sysid.kernels.elementary import activate, compiled, times_slope
from sysid.kernels.products import add_few, add_product, fill


class NetworkTape(NamedTuple):
    """Outputs, layers and weights of a network that is fed its own last outputs.

    ::

        phi(k) = [y(k-1), ..., y(k-lags)]
        h_1    = s(given(k) + V phi(k)),  h_i = s(b_i + W_i h_(i-1))
        y(k)   = direct(k) + L phi(k) + W h_last

    ``y[lags:]`` holds ``direct`` before a step, ``layers[0]`` holds ``given``. Layers may be padded
    with neurons whose weights are zero.
    """

    y: Any  # (lags + T, B * n), the first lags rows are given
    phi: Any  # (T, B * lags * n)
    layers: Any  # tuple of (T, B * H_i)
    entry: Any  # V, (lags * n, H_1), transposed as all weights are
    entry_t: Any  # its transpose
    linear: Any  # L, (lags * n, n)
    linear_t: Any  # its transpose
    weights: Any  # tuple of (H_(i-1), H_i), and at last W, (H_last, n)
    weights_t: Any  # their transposes
    biases: Any  # tuple of b_i from the second layer on, and at last zeros (n,)
    code: int  # of the activation s
    d_y: Any  # as y; starts as the gradient of the loss by y
    d_phi: Any  # (1, B * lags * n)
    d_layers: Any  # as layers; by what s is taken of


def _step(tape: Any, t: int, b0: int, b1: int) -> None:
    layers, biases = tape.layers, tape.biases
    after = t + tape.y.shape[0] - tape.phi.shape[0]
    remember(tape.y, tape.phi, tape.linear, t, b0, b1)
    size = tape.entry.shape[1]
    add_product(layers[0], t, tape.phi, t, tape.entry, b0, b1)
    activate(tape.code, layers[0], t, b0 * size, b1 * size)
    for i in range(1, len(layers)):
        size = biases[i - 1].shape[0]
        fill(layers[i], t, biases[i - 1], b0, b1)
        add_product(layers[i], t, layers[i - 1], t, tape.weights[i - 1], b0, b1)
        activate(tape.code, layers[i], t, b0 * size, b1 * size)
    add_few(tape.y, after, tape.phi, t, tape.linear, tape.linear_t, b0, b1)
    add_few(tape.y, after, layers[-1], t, tape.weights[-1], tape.weights_t[-1], b0, b1)


def _step_back(tape: Any, t: int, b0: int, b1: int) -> None:
    d_y, d_phi, d_layers = tape.d_y, tape.d_phi, tape.d_layers
    after = t + tape.y.shape[0] - tape.phi.shape[0]
    last = len(d_layers) - 1
    for i in range(last, -1, -1):
        size = tape.weights[i].shape[0]
        clear(d_layers[i], t, b0 * size, b1 * size)
        if i == last:
            add_product(d_layers[i], t, d_y, after, tape.weights_t[i], b0, b1)
        else:
            add_product(d_layers[i], t, d_layers[i + 1], t, tape.weights_t[i], b0, b1)
        times_slope(tape.code, tape.layers[i], t, d_layers[i], t, b0 * size, b1 * size)
    clear(d_phi, 0, b0 * tape.entry.shape[0], b1 * tape.entry.shape[0])
    add_few(d_phi, 0, d_layers[0], t, tape.entry_t, tape.entry, b0, b1)
    add_few(d_phi, 0, d_y, after, tape.linear_t, tape.linear, b0, b1)
    hand_back(d_y, d_phi, tape.linear, t, b0, b1)


recurrence(NetworkTape, _step, _step_back)


class LinearTape(NamedTuple):
    """``y(k) = direct(k) + L phi(k)``: the tape of a network without a hidden layer."""

    y: Any  # these as in NetworkTape
    phi: Any
    linear: Any
    linear_t: Any
    d_y: Any
    d_phi: Any


def _linear_step(tape: Any, t: int, b0: int, b1: int) -> None:
    remember(tape.y, tape.phi, tape.linear, t, b0, b1)
    after = t + tape.y.shape[0] - tape.phi.shape[0]
    add_few(tape.y, after, tape.phi, t, tape.linear, tape.linear_t, b0, b1)


def _linear_step_back(tape: Any, t: int, b0: int, b1: int) -> None:
    after = t + tape.y.shape[0] - tape.phi.shape[0]
    clear(tape.d_phi, 0, b0 * tape.linear.shape[0], b1 * tape.linear.shape[0])
    add_few(tape.d_phi, 0, tape.d_y, after, tape.linear_t, tape.linear, b0, b1)
    hand_back(tape.d_y, tape.d_phi, tape.linear, t, b0, b1)


recurrence(LinearTape, _linear_step, _linear_step_back)


@compiled
def remember(y: Any, phi: Any, linear: Any, t: int, b0: int, b1: int) -> None:
    """Write ``phi(t)``: the last outputs, newest first."""
    width, n = linear.shape
    lags = width // n
    for b in range(b0, b1):
        for lag in range(lags):
            for j in range(n):
                phi[t, b * width + lag * n + j] = y[t + lags - 1 - lag, b * n + j]


@compiled
def hand_back(d_y: Any, d_phi: Any, linear: Any, t: int, b0: int, b1: int) -> None:
    """Add the gradient by ``phi(t)`` to that by the outputs that stand in it."""
    width, n = linear.shape
    lags = width // n
    for b in range(b0, b1):
        for lag in range(lags):
            for j in range(n):
                d_y[t + lags - 1 - lag, b * n + j] += d_phi[0, b * width + lag * n + j]


@compiled
def clear(x: Any, t: int, j0: int, j1: int) -> None:
    """Set ``x[t, j0:j1]`` to zero."""
    row = x[t, j0:j1]
    for j in range(len(row)):
        row[j] = 0
