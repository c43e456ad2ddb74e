"""Elementary functions for compiled loops: exact to rounding, and made of what vectorises.

Each is written once, over the ``Real`` of ``vectors``: for both precisions and any width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numba

from sysid.kernels.backends import COMPILED_ACTIVATIONS
from sysid.kernels.vectors import Real, choose, elementwise

#: How everything is compiled. Without "nnan" and "ninf": a NaN that goes in has to come out. A
#: division does not check its divisor, and a function is part of the loop that calls it: either
#: would end vectorisation. Nothing is allocated inside, so nothing needs to be counted ("_nrt").
OPTIONS = {
    "fastmath": {"contract", "reassoc", "nsz", "arcp", "afn"},
    "error_model": "numpy",
    "forceinline": True,
    "_nrt": False,
}

#: Decorates a compiled function: cached on disk, and without the interpreter's lock.
compiled: Callable[[Any], Any] = numba.njit(cache=True, nogil=True, **OPTIONS)

TANH, SIGMOID, RELU, ELU, SOFTPLUS, SINH = range(6)
ACTIVATION_CODES = {name: code for code, name in enumerate(COMPILED_ACTIVATIONS)}


def polynomial(x: Real, coefficients: Sequence[float]) -> Real:
    """Return ``c[0] + c[1] x + ...``, in as few steps one after another as there are: two by two.

    At one sequence each step of a recurrence waits for this.
    """
    terms: list[Any] = list(coefficients)
    while len(terms) > 1:
        pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
        terms = [p[0] + p[1] * x if len(p) > 1 else p[0] for p in pairs]
        x = x * x
    value: Real = terms[0]
    return value


def exp_parts(x: Real) -> tuple[Real, Real]:
    """Return ``p`` and ``scale`` with ``exp(x) = scale (1 + p)``, for ``x <= 0``.

    ``x = n ln 2 + r`` with ``|r| <= ln 2 / 2``; ``scale = 2^n`` is exact, and ``p = exp(r) - 1``
    by a Taylor polynomial, with a small relative error. ``n`` is rounded by adding a number so
    large that its last bit is worth 1: it then also stands in the last bits.
    """
    if x.single:
        least, large, terms = -87.0, 1.5 * 2**23, 8
        high, low = 0.693359375, math.log(2) - 0.693359375
    else:
        least, large, terms = -708.0, 1.5 * 2**52, 14
        high, low = 0.693145751953125, 1.42860682030941723212e-6
    x = choose(x < least, least, x)
    shifted = x * (1 / math.log(2)) + large
    n = shifted - large
    r = x - n * high - n * low
    p = polynomial(r, [1 / math.factorial(i) for i in range(2, terms)])
    return p * r * r + r, shifted.power_of_two()


def expm1_negative(x: Real) -> Real:
    """Return ``exp(x) - 1`` for ``x <= 0``, with a small relative error down to ``x = 0``."""
    p, scale = exp_parts(x)
    return scale * p + (scale - 1.0)


def tanh(x: Real) -> Real:
    """Return the hyperbolic tangent."""
    e = expm1_negative(-2.0 * abs(x))
    t = e / (2.0 + e)  # -tanh |x|
    return choose(x < 0.0, t, -t)


def sigmoid(x: Real) -> Real:
    """Return ``1 / (1 + exp(-x))``."""
    p, scale = exp_parts(-abs(x))
    e = scale * p + scale
    return choose(x < 0.0, e, 1.0) / (1.0 + e)


def softplus(x: Real) -> Real:
    """Return ``ln(1 + exp(x))``, as ``max(x, 0) + ln(1 + e)`` with ``e = exp(-|x|)``."""
    p, scale = exp_parts(-abs(x))
    e = scale * p + scale
    s = e / (2.0 + e)  # at most 1/3: ln(1 + e) = 2 artanh(s)
    terms = 8 if x.single else 17
    rest = 2.0 * s * polynomial(s * s, [1 / (2 * i + 1) for i in range(terms)])
    return choose(x < 0.0, 0.0, x) + rest


def elu(x: Real) -> Real:
    """Return ``x``, and ``exp(x) - 1`` below zero."""
    return choose(x < 0.0, expm1_negative(-abs(x)), x)


def sinh(x: Real) -> Real:
    """Return ``(exp(x) - exp(-x)) / 2``, with a small relative error down to ``x = 0``.

    With ``h = exp(-|x| / 2)``, ``sinh |x| = (1/h - h) (1/h + h) / 2``, infinite where it is.
    """
    p, scale = exp_parts(-0.5 * abs(x))
    h, m = scale * p + scale, scale * p + (scale - 1.0)  # m = h - 1
    s = 0.5 * m * (2.0 + m) / h * ((1.0 + h * h) / h)  # -sinh |x|
    return choose(x < 0.0, s, -s)


@elementwise
def _tanh(x: Real) -> Real:
    return tanh(x)


@elementwise
def _sigmoid(x: Real) -> Real:
    return sigmoid(x)


@elementwise
def _relu(x: Real) -> Real:
    return choose(x < 0.0, 0.0, x)


@elementwise
def _elu(x: Real) -> Real:
    return elu(x)


@elementwise
def _softplus(x: Real) -> Real:
    return softplus(x)


@elementwise
def _sinh(x: Real) -> Real:
    return sinh(x)


@elementwise
def _by_tanh(d: Real, y: Real) -> Real:
    return d * (1.0 - y * y)


@elementwise
def _by_sigmoid(d: Real, y: Real) -> Real:
    return d * (y * (1.0 - y))


@elementwise
def _by_relu(d: Real, y: Real) -> Real:
    return choose(y > 0.0, d, 0.0)


@elementwise
def _by_elu(d: Real, y: Real) -> Real:
    return choose(y > 0.0, d, d * (y + 1.0))


@elementwise
def _by_softplus(d: Real, y: Real) -> Real:
    return -d * expm1_negative(-y)


@elementwise
def _by_sinh(d: Real, y: Real) -> Real:
    size = abs(y)
    return d * choose(size > 1e9, size, (1.0 + y * y).sqrt())  # y * y may be infinite


@compiled
def activate(code: int, x: Any, t: int, a: int, c: int) -> None:
    """Replace ``x[t, a:c]`` by its activation."""
    if code == TANH:
        _tanh(a, c, (x,), (t,), (x,), (t,))
    elif code == SIGMOID:
        _sigmoid(a, c, (x,), (t,), (x,), (t,))
    elif code == RELU:
        _relu(a, c, (x,), (t,), (x,), (t,))
    elif code == ELU:
        _elu(a, c, (x,), (t,), (x,), (t,))
    elif code == SOFTPLUS:
        _softplus(a, c, (x,), (t,), (x,), (t,))
    else:
        _sinh(a, c, (x,), (t,), (x,), (t,))


@compiled
def times_slope(code: int, y: Any, t: int, d: Any, s: int, a: int, c: int) -> None:
    """Multiply ``d[s, a:c]`` by the activation's slope, which its value ``y[t, a:c]`` tells."""
    if code == TANH:
        _by_tanh(a, c, (d, y), (s, t), (d,), (s,))
    elif code == SIGMOID:
        _by_sigmoid(a, c, (d, y), (s, t), (d,), (s,))
    elif code == RELU:
        _by_relu(a, c, (d, y), (s, t), (d,), (s,))
    elif code == ELU:
        _by_elu(a, c, (d, y), (s, t), (d,), (s,))
    elif code == SOFTPLUS:
        _by_softplus(a, c, (d, y), (s, t), (d,), (s,))
    else:
        _by_sinh(a, c, (d, y), (s, t), (d,), (s,))
