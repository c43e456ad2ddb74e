"""Systems given by differential equations: cascaded tanks, Duffing oscillator, motor."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import signal

from sysid.data import excitation
from sysid.data.excitation import positive
from sysid.data.records import Record
from sysid.data.simulation import inputs, integrated, not_negative, record, state

Array = NDArray[np.float64]


def cascaded_tanks(
    N: int | None = None,
    *,
    seed: int = 0,
    noise: float = 0.0,
    u: ArrayLike | None = None,
    k1: float = 0.06,
    k2: float = 0.06,
    k3: float = 0.06,
    k4: float = 0.045,
    height: float = 10.0,
    spill: float = 0.5,
    initial_levels: tuple[float, float] = (4.0, 4.0),
    sampling_time: float = 4.0,
) -> Record:
    """Return the level of the lower of two tanks, the upper one filled by a pump and overflowing.

    ::

        x1' = -k1 sqrt(x1) + k4 u                             while x1 < height
        x2' =  k2 sqrt(x1) - k3 sqrt(x2) + spill * overflow   while x2 < height
        y   =  x2

    A tank that is full stays full while more flows in than out; what the upper one gains
    too much is ``overflow``, a part of which falls into the lower tank, the rest out. It
    sets in over the last 0.1 % of the height, so that the equations stay continuous.

    Args:
        N: samples; 1024 by default, or the length of ``u``.
        seed: of the excitation and the noise.
        noise: standard deviation of the noise over that of the level.
        u: pump voltage, V, not negative; by default steps of random height and length.
        k1: outflow of the upper tank, V^0.5/s.
        k2: inflow of the lower tank from the upper one, V^0.5/s.
        k3: outflow of the lower tank, V^0.5/s.
        k4: inflow by the pump, 1/s.
        height: of both tanks, V of the level sensor.
        spill: part of the overflow that reaches the lower tank, 0 to 1.
        initial_levels: of the upper and the lower tank, V, 0 to ``height``.
        sampling_time: seconds.

    Returns:
        a record with the input ``pump`` and the output ``level``, both in V.

    Raises:
        ValueError: for an argument outside its range.

    Source:
        M. Schoukens, P. Mattsson, T. Wigren, J.-P. Noel, Cascaded tanks benchmark combining
        soft and hard nonlinearities, 2016 (equations; the numbers are rounded to its range).

    Example:
        >>> record = cascaded_tanks(200, seed=1)
        >>> record.y_names, bool(record.y.max() <= 10)
        (('level',), True)
    """
    for name, value in {"k1": k1, "k2": k2, "k3": k3, "k4": k4, "height": height}.items():
        positive(name, value)
    if not 0.0 <= spill <= 1.0:
        raise ValueError(f"spill must be between 0 and 1, got {spill}; it is a part of the whole")
    start = state("initial_levels", initial_levels)
    if min(start) < 0.0 or max(start) > height:
        raise ValueError(
            f"initial_levels must lie between 0 and height={height:g} V, got {initial_levels}; "
            "lower them"
        )

    def default(n: int) -> Array:
        return excitation.aprbs(n, amplitude=2.75, offset=3.25, hold=(5, 60), seed=seed)

    block = inputs(u, N, 1024, 1, default)
    if block.min() < 0.0:
        row = int(block.argmin())
        raise ValueError(
            f"u must be at least 0 V, got {block[row, 0]:g} in row {row}; "
            "the pump does not run backwards"
        )

    def rates(_: float, x: Array, voltage: float) -> tuple[float, float]:
        x1, x2 = float(x[0]), float(x[1])
        # The solver tries levels a little outside the tank.
        root1 = min(max(x1, 0.0), height) ** 0.5
        root2 = min(max(x2, 0.0), height) ** 0.5
        dx1 = k4 * voltage - k1 * root1
        overflow = max(dx1, 0.0) * _full(x1, height)
        dx2 = k2 * root1 - k3 * root2 + spill * overflow
        return dx1 - overflow, dx2 - max(dx2, 0.0) * _full(x2, height)

    states = integrated(rates, start, block[:, 0], sampling_time, low=0.0, high=height)
    return record(
        "cascaded_tanks", block, states[:, 1], seed, noise, sampling_time,
        u_names=["pump"], y_names=["level"], u_units=["V"], y_units=["V"],
    )  # fmt: skip


def duffing(
    N: int | None = None,
    *,
    seed: int = 0,
    noise: float = 0.0,
    u: ArrayLike | None = None,
    m: float = 5.3e-6,
    d: float = 2.3e-4,
    k1: float = 0.97,
    k3: float = 4.0,
    initial_state: tuple[float, float] = (0.0, 0.0),
    sampling_time: float = 1 / 610.35,
) -> Record:
    """Return the position of a mass on a hardening spring (Duffing's equation, the Silverbox).

    ::

        m y'' + d y' + k1 y + k3 y^3 = u

    The units are those of the electronic circuit: position and force are voltages. With
    the defaults the resonance is near 68 Hz and the damping ratio near 0.05.

    Args:
        N: samples; 8192 by default, or the length of ``u``.
        seed: of the excitation and the noise.
        noise: standard deviation of the noise over that of the position.
        u: force, V; by default a random-phase multisine up to 200 Hz (or 0.4 of the sampling
            frequency, where that is lower) and 0.15 V.
        m: mass, s^2.
        d: damping, s; 0 for none.
        k1: linear stiffness, 1.
        k3: cubic stiffness, 1/V^2; 0 for a linear spring.
        initial_state: position, V, and velocity, V/s, at the first sample.
        sampling_time: seconds.

    Returns:
        a record with the input ``force`` and the output ``position``, both in V.

    Raises:
        ValueError: for an argument outside its range.

    Source:
        T. Wigren, J. Schoukens, Three free data sets for development and benchmarking in
        nonlinear system identification, European Control Conference 2013 (equation; the
        numbers are rounded to its range).

    Example:
        >>> duffing(100).y_names
        ('position',)
    """
    positive("m", m)
    positive("k1", k1)
    not_negative("d", d)
    not_negative("k3", k3)
    start = state("initial_state", initial_state)
    positive("sampling_time", sampling_time)

    def default(n: int) -> Array:
        edge = min(200.0, 0.4 / sampling_time)
        return excitation.multisine(
            n, band=(0.0, edge), amplitude=0.15, period=max(n, 8), sampling_time=sampling_time,
            seed=seed,
        )  # fmt: skip

    block = inputs(u, N, 8192, 1, default)

    def rates(_: float, x: Array, force: float) -> tuple[float, float]:
        y, v = float(x[0]), float(x[1])
        return v, (force - d * v - k1 * y - k3 * y * y * y) / m

    states = integrated(rates, start, block[:, 0], sampling_time)
    return record(
        "duffing", block, states[:, 0], seed, noise, sampling_time,
        u_names=["force"], y_names=["position"], u_units=["V"], y_units=["V"],
    )  # fmt: skip


def motor(
    N: int | None = None,
    *,
    seed: int = 0,
    noise: float = 0.0,
    u: ArrayLike | None = None,
    reference: ArrayLike | None = None,
    mass: float = 95.0,
    viscous: float = 204.0,
    coulomb: float = 20.4,
    offset: float = -3.2,
    gain: float = 35.15,
    kp: float = 160.0,
    kv: float = 243.0,
    max_voltage: float = 10.0,
    sliding_speed: float = 1e-3,
    initial_state: tuple[float, float] = (0.0, 0.0),
    sampling_time: float = 1e-3,
) -> Record:
    """Return the position of a motor with friction, which integrates, in a position loop or open.

    ::

        mass q'' = gain u - viscous q' - coulomb tanh(q' / sliding_speed) - offset
        u(k)     = kv (kp (r(k) - q(k)) - q'(k)),   limited to +-max_voltage

    The second line, a sampled proportional-derivative loop, is left out where ``u`` is given.
    The loop sees position and velocity without noise. ``tanh`` stands for the sign of the
    velocity, so that the equation has a solution at rest.

    Args:
        N: samples; 10000 by default, or the length of ``u`` or ``reference``.
        seed: of the reference and the noise.
        noise: standard deviation of the noise over that of the position.
        u: motor voltage, V, within ``max_voltage``; then there is no loop.
        reference: position that the loop is to follow, m; by default smoothed steps within
            0.1 m.
        mass: kg.
        viscous: viscous friction, N s/m; 0 for none.
        coulomb: Coulomb friction, N; 0 for none.
        offset: constant force, N.
        gain: of the drive, N/V.
        kp: of the position loop, 1/s.
        kv: of the velocity loop, V s/m.
        max_voltage: V.
        sliding_speed: velocity at which the Coulomb friction has reached 76 %, m/s.
        initial_state: position, m, and velocity, m/s, at the first sample.
        sampling_time: seconds.

    Returns:
        a record with the input ``voltage`` in V and the output ``position`` in m.

    Raises:
        ValueError: for an argument outside its range, or ``u`` together with ``reference``.

    Source:
        A. Janot, M. Gautier, M. Brunot, Data set and reference models of EMPS, Workshop on
        Nonlinear System Identification Benchmarks, 2019 (equations, and rounded numbers).

    Example:
        >>> motor(100).u_units, motor(100).y_units
        (('V',), ('m',))
    """
    checks = {"mass": mass, "gain": gain, "kp": kp, "kv": kv, "max_voltage": max_voltage}
    for name, value in (checks | {"sliding_speed": sliding_speed}).items():
        positive(name, value)
    not_negative("viscous", viscous)
    not_negative("coulomb", coulomb)
    if not np.isfinite(offset):
        raise ValueError(f"offset must be finite, got {offset}; give a number")
    start = state("initial_state", initial_state)
    positive("sampling_time", sampling_time)
    if u is not None and reference is not None:
        raise ValueError("u and reference must not both be given; leave one out")

    def default(n: int) -> Array:
        hold = (max(1, round(0.5 / sampling_time)), max(1, round(2.0 / sampling_time)))
        targets = excitation.aprbs(n, amplitude=0.1, hold=hold, seed=seed)
        # Four lags of 100 ms each: smooth enough that the voltage limit is hardly reached.
        pole = float(np.exp(-sampling_time / 0.1))
        for _ in range(4):
            targets = np.asarray(signal.lfilter([1.0 - pole], [1.0, -pole], targets))
        return targets

    def rates(_: float, x: Array, voltage: float) -> tuple[float, float]:
        v = float(x[1])
        friction = viscous * v + coulomb * float(np.tanh(v / sliding_speed))
        return v, (gain * voltage - friction - offset) / mass

    if u is not None:
        block = inputs(u, N, 10000, 1, default)
        if len(rows := np.flatnonzero(np.abs(block[:, 0]) > max_voltage)):
            raise ValueError(
                f"u must stay within +-{max_voltage:g} V, got {block[rows[0], 0]:g} in row "
                f"{rows[0]}; raise max_voltage or lower u"
            )
        states = integrated(rates, start, block[:, 0], sampling_time)
    else:
        wanted = inputs(reference, N, 10000, 1, default, name="reference")[:, 0]
        block = np.empty((len(wanted), 1))

        def controller(k: int, x: Array) -> float:
            voltage = kv * (kp * (wanted[k] - x[0]) - x[1])
            block[k] = min(max(voltage, -max_voltage), max_voltage)
            return float(block[k, 0])

        states = integrated(rates, start, controller, sampling_time, N=len(wanted))
    return record(
        "motor", block, states[:, 0], seed, noise, sampling_time,
        u_names=["voltage"], y_names=["position"], u_units=["V"], y_units=["m"],
    )  # fmt: skip


def _full(level: float, height: float) -> float:
    """Return 0 for a tank below the last 0.1 % of its height, rising to 1 at its brim."""
    return min(max((level / height - 0.999) / 0.001, 0.0), 1.0)
