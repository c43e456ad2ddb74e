"""Simulated systems: records from known equations, to try a method on before there is a test bench.

In every system the input is held between samples (zero-order hold): ``u(k)`` acts from
``k T`` to ``(k+1) T`` and ``y(k)`` is the output at ``k T``. ``noise`` is the standard
deviation of white Gaussian noise that is added to each output, as a fraction of that
output's standard deviation without it. One ``seed`` makes the default excitation and the
noise, each from its own generator, so that the noise does not change the excitation.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import signal, special

from sysid.data import excitation
from sysid.data.differential import cascaded_tanks, duffing, motor
from sysid.data.excitation import positive, whole_number
from sysid.data.records import Record
from sysid.data.simulation import inputs, not_negative, record

Array = NDArray[np.float64]


def wiener_hammerstein(
    N: int | None = None,
    *,
    seed: int = 0,
    noise: float = 0.0,
    u: ArrayLike | None = None,
    cutoff: float = 4400.0,
    stopband: float = 5000.0,
    saturation_drop: float = 0.02,
    thermal_voltage: float = 0.05,
    sampling_time: float = 1 / 51200,
) -> Record:
    """Return a linear filter, a diode that clips one side of its output, and another filter.

    ::

        x = G1 u      third-order Chebyshev low pass, 0.5 dB ripple up to ``cutoff``
        x = v + R I_s (exp(v / v_t) - 1)     diode to ground behind a resistor, solved for v
        y = G2 v      third-order inverse Chebyshev low pass, 40 dB down from ``stopband`` on

    Both filters are discrete (bilinear transform), and at rest before the first sample.

    Args:
        N: samples; 8192 by default, or the length of ``u``.
        seed: of the excitation and the noise.
        noise: standard deviation of the noise over that of the output.
        u: input voltage, V; by default noise with a band of 10 kHz (or, where that is higher,
            0.4 of the sampling frequency) and a standard deviation of 0.64 V.
        cutoff: end of the passband of the first filter, Hz.
        stopband: start of the stopband of the second filter, Hz.
        saturation_drop: ``R I_s``, what the diode's saturation current drops over the
            resistor, V.
        thermal_voltage: ``v_t`` times the diode's ideality factor, V.
        sampling_time: seconds.

    Returns:
        a record with the input ``u`` and the output ``y``, both in V.

    Raises:
        ValueError: for an argument outside its range.

    Source:
        J. Schoukens, J. Suykens, L. Ljung, Wiener-Hammerstein benchmark, 15th IFAC Symposium
        on System Identification, 2009 (structure and filters; the diode is a simpler network).

    Example:
        >>> record = wiener_hammerstein(1000)
        >>> bool(-record.y.min() > record.y.max())
        True
    """
    frequency = 1.0 / positive("sampling_time", sampling_time)
    for name, value in {"cutoff": cutoff, "stopband": stopband}.items():
        if not 0.0 < value < frequency / 2:
            raise ValueError(
                f"{name} must be above 0 and below the Nyquist frequency {frequency / 2:g} Hz, "
                f"got {value}; lower it or sample faster"
            )
    positive("saturation_drop", saturation_drop)
    positive("thermal_voltage", thermal_voltage)

    def default(n: int) -> Array:
        edge = min(10e3, 0.4 * frequency)
        return excitation.filtered_noise(
            n, cutoff=edge, amplitude=0.64, sampling_time=sampling_time, seed=seed
        )

    block = inputs(u, N, 8192, 1, default)
    first = signal.cheby1(3, 0.5, cutoff, fs=frequency, output="sos")
    second = signal.cheby2(3, 40.0, stopband, fs=frequency, output="sos")
    x = np.asarray(signal.sosfilt(first, block[:, 0]), dtype=np.float64)
    y = signal.sosfilt(second, _diode(x, saturation_drop, thermal_voltage))
    return record(
        "wiener_hammerstein", block, np.asarray(y, dtype=np.float64), seed, noise, sampling_time,
        u_units=["V"], y_units=["V"],
    )  # fmt: skip


def linear(
    N: int | None = None,
    *,
    seed: int = 0,
    noise: float = 0.0,
    u: ArrayLike | None = None,
    gain: float = 1.0,
    natural_frequency: float = 1.0,
    damping: float = 0.3,
    sampling_time: float = 0.5,
) -> Record:
    """Return the answer of a linear second-order system at rest, exact at the samples.

    ::

        y'' + 2 damping w y' + w^2 y = gain w^2 u,   w = natural_frequency

    discretised for a held input, so that ``y(k) = b1 u(k-1) + b2 u(k-2) - a1 y(k-1) - a2 y(k-2)``.

    Args:
        N: samples; 2000 by default, or the length of ``u``.
        seed: of the excitation and the noise.
        noise: standard deviation of the noise over that of the output.
        u: input; by default a pseudo-random binary sequence of +-1.
        gain: at frequency 0.
        natural_frequency: rad/s.
        damping: damping ratio; 0 for none.
        sampling_time: seconds.

    Returns:
        a record with the input ``u`` and the output ``y``, without units.

    Raises:
        ValueError: for an argument outside its range.

    Source:
        G. Franklin, J. Powell, M. Workman, Digital Control of Dynamic Systems, 3rd ed.,
        Addison-Wesley 1998.

    Example:
        >>> bool(abs(linear(u=np.ones(200)).y[-1, 0] - 1) < 1e-9)
        True
    """
    w = positive("natural_frequency", natural_frequency)
    not_negative("damping", damping)
    if not np.isfinite(gain):
        raise ValueError(f"gain must be finite, got {gain}; give a number")
    positive("sampling_time", sampling_time)

    def default(n: int) -> Array:
        return excitation.prbs(n, hold=2, seed=seed)

    block = inputs(u, N, 2000, 1, default)
    plant = (np.array([gain * w * w]), np.array([1.0, 2.0 * damping * w, w * w]))
    b, a = signal.cont2discrete(plant, sampling_time, method="zoh")[:2]
    y = signal.lfilter(np.ravel(b), a, block[:, 0])
    return record("linear", block, np.asarray(y, dtype=np.float64), seed, noise, sampling_time)


def static(
    N: int | None = None,
    *,
    seed: int = 0,
    noise: float = 0.0,
    u: ArrayLike | None = None,
) -> Record:
    """Return a static function of four inputs: the impedance of a series resonant circuit.

    ::

        y(k) = sqrt(R^2 + (w L - 1 / (w C))^2),   u(k) = [R, w, L, C] at the same k

    There is no memory, so the rows can be in any order and there is no sampling time.

    Args:
        N: samples; 1000 by default, or the length of ``u``.
        seed: of the inputs and the noise.
        noise: standard deviation of the noise over that of the impedance.
        u: ``(N, 4)``: resistance, ohm; angular frequency, rad/s, above 0; inductance, H;
            capacitance, uF, above 0. By default independent and uniform on 0 to 100,
            40 pi to 560 pi, 0 to 1 and 1 to 11.

    Returns:
        a record with four inputs and the output ``impedance`` in ohm.

    Raises:
        ValueError: for an argument outside its range.

    Source:
        J. Friedman, Multivariate adaptive regression splines, Annals of Statistics 19, 1991.

    Example:
        >>> record = static(u=[[3.0, 1000.0, 0.005, 1000.0]])
        >>> float(record.y[0, 0].round(9))
        5.0
    """
    whole_number("seed", seed, 0)

    def default(n: int) -> Array:
        low = np.array([0.0, 40.0 * np.pi, 0.0, 1.0])
        high = np.array([100.0, 560.0 * np.pi, 1.0, 11.0])
        return np.random.default_rng(seed).uniform(low, high, size=(n, 4))

    block = inputs(u, N, 1000, 4, default)
    names = ["resistance", "frequency", "inductance", "capacitance"]
    for column in (1, 3):
        if block[:, column].min() <= 0.0:
            row = int(block[:, column].argmin())
            raise ValueError(
                f"u must have a {names[column]} above 0, got {block[row, column]:g} in row {row}; "
                "the impedance is not defined there"
            )
    R, w, L, C = block.T
    return record(
        "static", block, np.hypot(R, w * L - 1e6 / (w * C)), seed, noise, None,
        u_names=names, y_names=["impedance"], u_units=["ohm", "rad/s", "H", "uF"], y_units=["ohm"],
    )  # fmt: skip


SYSTEMS: dict[str, Callable[..., Record]] = {
    "cascaded_tanks": cascaded_tanks,
    "wiener_hammerstein": wiener_hammerstein,
    "duffing": duffing,
    "motor": motor,
    "linear": linear,
    "static": static,
}


def generate(
    name: str, N: int | None = None, *, seed: int = 0, noise: float = 0.0, **parameters: Any
) -> Record:
    """Return a record of the system with this name, one of ``SYSTEMS``.

    Args:
        name: of the system.
        N: samples; by default as many as the system suggests.
        seed: of the excitation and the noise.
        noise: standard deviation of the noise over that of the output.
        **parameters: further keywords of the system's function.

    Raises:
        ValueError: for an unknown name, or an argument outside its range.
        TypeError: for a keyword that the system does not have.

    Example:
        >>> generate("linear", 100, seed=1)
        Record('linear', N=100, nu=1, ny=1, sampling_time=0.5)
    """
    if name not in SYSTEMS:
        near = difflib.get_close_matches(str(name), SYSTEMS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else "choose one of these"
        raise ValueError(f"system must be one of {', '.join(SYSTEMS)}, got {name!r}; {hint}")
    return SYSTEMS[name](N, seed=seed, noise=noise, **parameters)


def _diode(x: Array, drop: float, thermal: float) -> Array:
    """Solve ``x = v + drop (exp(v / thermal) - 1)`` for v.

    With Wright's omega function, ``omega + log(omega) = z``, in place of Lambert's
    ``W(exp(z))``, which overflows for a large x.
    """
    z = np.log(drop / thermal) + (x + drop) / thermal
    return np.asarray(x + drop - thermal * special.wrightomega(z), dtype=np.float64)
