"""Elementary functions for compiled loops: exact to rounding, and made of what vectorises.

Calls into the C library would end the vectorisation of the loop they stand in. Each function is
written once and takes the precision of its argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from sysid.kernels.backends import COMPILED_ACTIVATIONS

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

TANH, SIGMOID, RELU, ELU, SOFTPLUS = range(5)
ACTIVATION_CODES = {name: code for code, name in enumerate(COMPILED_ACTIVATIONS)}


@intrinsic
def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    """Return the floating-point number that has these bits."""
    sizes = {
        types.int32: (types.float32, ir.FloatType()),
        types.int64: (types.float64, ir.DoubleType()),
    }
    if bits not in sizes:
        return None
    result, low = sizes[bits]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], low)

    return result(bits), generate


def exp_parts(x: Any) -> Any:
    """Return ``p`` and ``scale`` with ``exp(x) = scale (1 + p)``, for ``x <= 0``.

    ``x = n ln 2 + r`` with ``|r| <= ln 2 / 2``; ``scale = 2^n`` is exact, and ``p = exp(r) - 1``
    by a Taylor polynomial, with a small relative error.
    """
    raise NotImplementedError("for compiled code")


@overload(exp_parts, jit_options=OPTIONS)
def _exp_parts(x: Any) -> Any:
    if x == types.float32:
        single = np.float32
        log2_e, half = single(1 / math.log(2)), single(0.5)
        high, low = single(0.693359375), single(math.log(2) - 0.693359375)
        least = single(-87.0)
        c2, c3, c4, c5, c6, c7 = (single(1 / math.factorial(i)) for i in range(2, 8))

        def in_single(x: Any) -> Any:
            x = least if x < least else x
            n = np.floor(x * log2_e + half)
            r = x - n * high - n * low
            p = ((((c7 * r + c6) * r + c5) * r + c4) * r + c3) * r + c2
            scale = _float_of_bits(np.int32((np.int32(n) + np.int32(127)) << np.int32(23)))
            return p * r * r + r, scale

        return in_single
    if x == types.float64:
        log2_e64 = 1 / math.log(2)
        high64, low64 = 0.693145751953125, 1.42860682030941723212e-6
        d2, d3, d4, d5, d6, d7, d8, d9, d10, d11, d12, d13 = (
            1 / math.factorial(i) for i in range(2, 14)
        )

        def in_double(x: Any) -> Any:
            x = -708.0 if x < -708.0 else x
            n = np.floor(x * log2_e64 + 0.5)
            r = x - n * high64 - n * low64
            p = (((((d13 * r + d12) * r + d11) * r + d10) * r + d9) * r + d8) * r + d7
            p = ((((p * r + d6) * r + d5) * r + d4) * r + d3) * r + d2
            # By way of 32 bits: AVX2 has no conversion from double to 64-bit integers.
            scale = _float_of_bits((np.int64(np.int32(n)) + 1023) << 52)
            return p * r * r + r, scale

        return in_double
    return None


def expm1_negative(x: Any) -> Any:
    """Return ``exp(x) - 1`` for ``x <= 0``, with a small relative error down to ``x = 0``."""
    raise NotImplementedError("for compiled code")


@overload(expm1_negative, jit_options=OPTIONS)
def _expm1_negative(x: Any) -> Any:
    one = _real(x)(1)

    def implementation(x: Any) -> Any:
        p, scale = exp_parts(x)
        return scale * p + (scale - one)

    return implementation


def _real(x: Any) -> Any:
    """Return the precision of an argument's type."""
    return np.float32 if x == types.float32 else np.float64


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent."""
    raise NotImplementedError("for compiled code")


@overload(tanh, jit_options=OPTIONS)
def _tanh(x: Any) -> Any:
    zero, two = _real(x)(0), _real(x)(2)

    def implementation(x: Any) -> Any:
        e = expm1_negative(-two * abs(x))
        t = e / (two + e)  # -tanh |x|
        return t if x < zero else -t

    return implementation


def sigmoid(x: Any) -> Any:
    """Return ``1 / (1 + exp(-x))``."""
    raise NotImplementedError("for compiled code")


@overload(sigmoid, jit_options=OPTIONS)
def _sigmoid(x: Any) -> Any:
    zero, one = _real(x)(0), _real(x)(1)

    def implementation(x: Any) -> Any:
        p, scale = exp_parts(-abs(x))
        e = scale * p + scale
        top = e if x < zero else one
        return top / (one + e)

    return implementation


@compiled
def activate(code: int, x: Any, t: int, j0: int, j1: int) -> None:
    """Replace ``x[t, j0:j1]`` by its activation."""
    zero, one = x.dtype.type(0), x.dtype.type(1)
    row = x[t, j0:j1]
    if code == TANH:
        for j in range(len(row)):
            row[j] = tanh(row[j])
    elif code == SIGMOID:
        for j in range(len(row)):
            row[j] = sigmoid(row[j])
    elif code == RELU:
        for j in range(len(row)):
            row[j] = zero if row[j] < zero else row[j]
    elif code == ELU:
        for j in range(len(row)):
            row[j] = expm1_negative(-abs(row[j])) if row[j] < zero else row[j]
    else:
        for j in range(len(row)):
            rest = x.dtype.type(np.log1p(expm1_negative(-abs(row[j])) + one))
            row[j] = rest if row[j] < zero else row[j] + rest


@compiled
def times_slope(code: int, y: Any, t: int, d: Any, s: int, j0: int, j1: int) -> None:
    """Multiply ``d[s, j0:j1]`` by the activation's slope, which its value ``y[t, j0:j1]`` tells."""
    zero, one = y.dtype.type(0), y.dtype.type(1)
    value, row = y[t, j0:j1], d[s, j0:j1]
    if code == TANH:
        for j in range(len(row)):
            row[j] *= one - value[j] * value[j]
    elif code == SIGMOID:
        for j in range(len(row)):
            row[j] *= value[j] * (one - value[j])
    elif code == RELU:
        for j in range(len(row)):
            row[j] = row[j] if value[j] > zero else zero
    elif code == ELU:
        for j in range(len(row)):
            row[j] *= one if value[j] > zero else value[j] + one
    else:
        for j in range(len(row)):
            row[j] *= -expm1_negative(-value[j])
