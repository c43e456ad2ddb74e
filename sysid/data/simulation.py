"""What the simulated systems share: checked inputs, held-input integration, output noise."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate

from sysid.data.excitation import positive, whole_number
from sysid.data.records import Record

Array = NDArray[np.float64]


def integrated(
    rates: Callable[[float, Array, float], tuple[float, float]],
    start: Sequence[float],
    u: Array | Callable[[int, Array], float],
    sampling_time: float,
    *,
    N: int = 0,
    low: float = -np.inf,
    high: float = np.inf,
) -> Array:
    """Return the states ``(N, 2)`` at the samples, integrating over one hold of u at a time.

    ``u`` is an array, or a function of the sample and the state (a controller, then with
    ``N``). The states are limited to ``low`` and ``high``, which the solver may pass by its
    tolerance.

    Raises:
        ValueError: if the solver gives up.
    """
    T = positive("sampling_time", sampling_time)
    count = N if callable(u) else len(u)
    states = np.empty((count, 2))
    states[0] = start
    span = np.array([0.0, T])
    with warnings.catch_warnings():
        warnings.simplefilter("error", integrate.ODEintWarning)
        for k in range(count):
            held = u(k, states[k]) if callable(u) else float(u[k])
            if k + 1 == count:
                break
            try:
                end = integrate.odeint(
                    rates, states[k], span, args=(held,), tfirst=True, rtol=1e-8, atol=1e-10
                )
            except (integrate.ODEintWarning, OverflowError) as error:
                raise ValueError(
                    f"parameters must give equations that can be integrated, got none from "
                    f"sample {k} on; shorten sampling_time or lower u"
                ) from error
            states[k + 1] = np.clip(end[-1], low, high)
    return states


def inputs(
    given: ArrayLike | None,
    N: int | None,
    suggested: int,
    nu: int,
    default: Callable[[int], Array],
    name: str = "u",
) -> Array:
    """Return the input as ``(N, nu)``: what was given, or the default excitation."""
    if N is not None:
        whole_number("N", N, 1)
    if given is None:
        return default(suggested if N is None else N).reshape(-1, nu)
    block = np.array(given, dtype=np.float64)
    block = block[:, None] if block.ndim == 1 and nu == 1 else block
    if block.ndim != 2 or block.shape[1] != nu or len(block) == 0:
        raise ValueError(
            f"{name} must be (N, {nu}){' or (N,)' if nu == 1 else ''} with N at least 1, got "
            f"{np.shape(given)}; reshape it"
        )
    if N is not None and len(block) != N:
        raise ValueError(f"{name} must have N={N} samples, got {len(block)}; leave N out")
    if len(rows := np.flatnonzero(~np.isfinite(block).all(axis=1))):
        raise ValueError(
            f"{name} must be finite, got {block[rows[0]].tolist()} in row {rows[0]}; "
            "a simulation cannot have missing inputs"
        )
    return block


def record(
    name: str, u: Array, clean: Array, seed: int, noise: float, sampling_time: float | None,
    **metadata: Any,
) -> Record:  # fmt: skip
    """Add the noise to the output and name the record."""
    not_negative("noise", noise)
    rng = np.random.default_rng([whole_number("seed", seed, 0), 1])
    y = clean + noise * clean.std() * rng.standard_normal(len(clean))
    return Record(u, y, sampling_time, name=name, **metadata)


def state(name: str, value: Sequence[float]) -> tuple[float, float]:
    """Return a state at the start as two finite numbers."""
    if np.shape(value) != (2,) or not np.isfinite(value).all():
        raise ValueError(f"{name} must be two finite numbers, got {value!r}; give both states")
    return float(value[0]), float(value[1])


def not_negative(name: str, value: float) -> None:
    """Check that a value is finite and at least 0."""
    if not (np.isfinite(value) and value >= 0.0):
        raise ValueError(f"{name} must be finite and at least 0, got {value}; raise it")
