"""Excitation signals: the inputs with which a system is driven so that it shows its dynamics."""

from __future__ import annotations

from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Array = NDArray[np.float64]
Number = TypeVar("Number", int, float)

_MAX_BITS = 20  # a period of a million samples, which is still cheap to hold in memory


def multisine(
    N: int,
    *,
    band: tuple[float, float] = (0.0, 0.5),
    amplitude: float = 1.0,
    offset: float = 0.0,
    period: int | None = None,
    sampling_time: float | None = None,
    channels: int | None = None,
    seed: int = 0,
) -> Array:
    """Return a periodic signal with a flat amplitude spectrum in a band and nothing outside.

    With ``P`` the period and ``phi_l`` uniform on ``[0, 2 pi)``::

        u(k) = offset + c * sum over l of cos(2 pi l k / P + phi_l),   1 <= l < P/2 in the band

    where ``c`` makes the largest ``|u(k) - offset|`` in a period equal to ``amplitude``.
    Random phases keep the signal close to a Gaussian one.

    Args:
        N: samples; a whole number of periods has the exact spectrum.
        band: lowest and highest frequency, as fractions of the Nyquist frequency, or in Hz
            where ``sampling_time`` is given. Line 0 (the mean) and the Nyquist line stay empty.
        amplitude: largest deviation from ``offset``, in the input's unit.
        offset: mean, in the input's unit.
        period: samples per period; ``N`` if not given.
        sampling_time: seconds between samples; then ``band`` is in Hz.
        channels: ``None`` for ``(N,)``, else the columns of ``(N, channels)``, each with its
            own phases.
        seed: of the phases.

    Raises:
        ValueError: for a band without a line in it, or an argument outside its range.

    Source:
        R. Pintelon, J. Schoukens, System Identification: A Frequency Domain Approach,
        2nd ed., Wiley 2012.

    Example:
        >>> u = multisine(100, band=(0.1, 0.3), amplitude=2.0)
        >>> u.shape, float(abs(u).max().round(9))
        ((100,), 2.0)
        >>> np.flatnonzero(abs(np.fft.rfft(u)) > 1e-6)[[0, -1]].tolist()
        [5, 15]
    """
    N, seed, width = _common(N, seed, amplitude, offset, channels)
    P = N if period is None else whole_number("period", period, 1)
    low, high = _band(band, sampling_time)
    # A line counts as on the band's edge despite the rounding of l / (P/2).
    line = np.arange(1, (P + 1) // 2)
    fraction = 2.0 * line / P
    line = line[(fraction >= low - 1e-9) & (fraction <= high + 1e-9)]
    if len(line) == 0:
        raise ValueError(
            f"band must hold at least one of the lines 1/period, got {band} with a period of "
            f"{P} samples; widen the band or lengthen the period"
        )
    rng = np.random.default_rng(seed)
    spectrum = np.zeros((P // 2 + 1, width), dtype=np.complex128)
    spectrum[line] = np.exp(2j * np.pi * rng.random((len(line), width)))
    one = np.fft.irfft(spectrum, n=P, axis=0)
    one *= amplitude / np.abs(one).max(axis=0)
    return _shaped(np.resize(one, (N, width)) + offset, channels)


def prbs(
    N: int,
    *,
    amplitude: float = 1.0,
    offset: float = 0.0,
    hold: int = 1,
    bits: int | None = None,
    channels: int | None = None,
    seed: int = 0,
) -> Array:
    """Return a maximum-length pseudo-random binary sequence of ``offset`` +- ``amplitude``.

    Over one period of ``P = hold * (2**bits - 1)`` samples and for ``hold=1``, the
    autocorrelation of ``(u - offset)/amplitude`` is 1 at lag 0 and ``-1/P`` at every other.

    Args:
        N: samples.
        amplitude: distance of both values from ``offset``, in the input's unit.
        offset: middle of the two values, in the input's unit.
        hold: samples for which each bit stands.
        bits: length of the shift register, 2 to 20; by default the shortest whose period is
            not shorter than ``N`` samples.
        channels: ``None`` for ``(N,)``, else the columns of ``(N, channels)``, shifted against
            each other by equal parts of the period.
        seed: of the sample of the period with which the signal starts.

    Raises:
        ValueError: for an argument outside its range.

    Source:
        L. Ljung, System Identification: Theory for the User, 2nd ed., Prentice Hall 1999;
        ``scipy.signal.max_len_seq``.

    Example:
        >>> np.unique(prbs(200, amplitude=0.5, offset=2.0, hold=4)).tolist()
        [1.5, 2.5]
    """
    N, seed, width = _common(N, seed, amplitude, offset, channels)
    hold = whole_number("hold", hold, 1)
    count = -(-N // hold)
    if bits is None:
        bits = min(max(2, count.bit_length()), _MAX_BITS)
    bits = whole_number("bits", bits, 2)
    if bits > _MAX_BITS:
        raise ValueError(f"bits must be at most {_MAX_BITS}, got {bits}; raise hold instead")
    sequence = 2.0 * np.asarray(signal.max_len_seq(bits)[0], dtype=np.float64) - 1.0
    start = int(np.random.default_rng(seed).integers(len(sequence)))
    shift = start + np.arange(width) * len(sequence) // width
    values = sequence[(np.arange(count)[:, None] + shift) % len(sequence)]
    return _shaped(offset + amplitude * np.repeat(values, hold, axis=0)[:N], channels)


def aprbs(
    N: int,
    *,
    amplitude: float = 1.0,
    offset: float = 0.0,
    hold: tuple[int, int] = (5, 50),
    channels: int | None = None,
    seed: int = 0,
) -> Array:
    """Return steps of random height and random length (amplitude-modulated PRBS).

    Levels are uniform on ``[offset - amplitude, offset + amplitude]`` and each stands for a
    number of samples that is uniform on ``hold[0], ..., hold[1]``, so that a nonlinear
    system is seen at many operating points.

    Args:
        N: samples.
        amplitude: largest deviation from ``offset``, in the input's unit.
        offset: middle of the range, in the input's unit.
        hold: fewest and most samples for which a level stands.
        channels: ``None`` for ``(N,)``, else the columns of ``(N, channels)``.
        seed: of levels and lengths.

    Raises:
        ValueError: for an argument outside its range.

    Source:
        O. Nelles, Nonlinear System Identification, Springer 2001.

    Example:
        >>> u = aprbs(60, hold=(10, 20))
        >>> 2 <= int(np.count_nonzero(np.diff(u))) <= 5
        True
    """
    N, seed, width = _common(N, seed, amplitude, offset, channels)
    shortest, longest = (whole_number("hold", h, 1) for h in _pair("hold", hold))
    if longest < shortest:
        raise ValueError(f"hold must be (fewest, most) samples, got {hold}; swap them")
    rng = np.random.default_rng(seed)
    out = np.empty((N, width))
    most = -(-N // shortest)
    for column in range(width):
        lengths = rng.integers(shortest, longest + 1, size=most)
        levels = offset + amplitude * rng.uniform(-1.0, 1.0, size=most)
        out[:, column] = np.repeat(levels, lengths)[:N]
    return _shaped(out, channels)


def filtered_noise(
    N: int,
    *,
    cutoff: float = 0.25,
    amplitude: float = 1.0,
    offset: float = 0.0,
    order: int = 4,
    sampling_time: float | None = None,
    channels: int | None = None,
    seed: int = 0,
) -> Array:
    """Return Gaussian noise through a Butterworth low pass, with an exact mean and deviation.

    White noise passes the filter, whose transient is thrown away, and the result is shifted
    and scaled to the mean ``offset`` and the standard deviation ``amplitude``.

    Args:
        N: samples, at least 2.
        cutoff: -3 dB frequency, as a fraction of the Nyquist frequency, or in Hz where
            ``sampling_time`` is given.
        amplitude: standard deviation (the signal itself has no bound), in the input's unit.
        offset: mean, in the input's unit.
        order: of the filter, 1 to 10.
        sampling_time: seconds between samples; then ``cutoff`` is in Hz.
        channels: ``None`` for ``(N,)``, else the columns of ``(N, channels)``, independent.
        seed: of the noise.

    Raises:
        ValueError: for an argument outside its range.

    Source:
        ``scipy.signal.butter``.

    Example:
        >>> float(filtered_noise(1000, amplitude=3.0).std().round(9))
        3.0
    """
    N, seed, width = _common(N, seed, amplitude, offset, channels)
    whole_number("N", N, 2)
    order = whole_number("order", order, 1)
    if order > 10:
        raise ValueError(f"order must be at most 10, got {order}; lower it")
    limit = 1.0 if sampling_time is None else 0.5 / positive("sampling_time", sampling_time)
    if not 0.0 < cutoff < limit:
        unit = "of Nyquist" if sampling_time is None else "Hz"
        raise ValueError(
            f"cutoff must be above 0 and below {limit:g} {unit}, got {cutoff}; "
            "it is a fraction of Nyquist without sampling_time, and in Hz with it"
        )
    sos = signal.butter(order, cutoff / limit, output="sos")
    # A Butterworth filter forgets its start within some multiples of order/cutoff samples.
    settling = int(np.ceil(10.0 * order * limit / cutoff))
    white = np.random.default_rng(seed).standard_normal((settling + N, width))
    out = np.asarray(signal.sosfilt(sos, white, axis=0), dtype=np.float64)[settling:]
    out = (out - out.mean(axis=0)) / out.std(axis=0)
    return _shaped(offset + amplitude * out, channels)


def chirp(
    N: int,
    *,
    band: tuple[float, float] = (0.01, 0.5),
    amplitude: float = 1.0,
    offset: float = 0.0,
    sampling_time: float | None = None,
    method: Literal["linear", "logarithmic"] = "linear",
    channels: int | None = None,
    seed: int = 0,
) -> Array:
    """Return a sine whose frequency goes from one end of the band to the other.

    ``u(k) = offset + amplitude * cos(phi(k))``, where the phase ``phi`` grows at a rate that
    goes from ``band[0]`` at the first sample to ``band[1]`` at the last, linearly or
    geometrically, and starts at a random value.

    Args:
        N: samples, at least 2.
        band: first and last frequency, as fractions of the Nyquist frequency, or in Hz where
            ``sampling_time`` is given.
        amplitude: of the sine, in the input's unit.
        offset: mean, in the input's unit.
        sampling_time: seconds between samples; then ``band`` is in Hz.
        method: ``"linear"``, or ``"logarithmic"`` for equal time in each octave.
        channels: ``None`` for ``(N,)``, else the columns of ``(N, channels)``, which differ in
            the phase at the start.
        seed: of the phase at the start.

    Raises:
        ValueError: for an argument outside its range.

    Source:
        ``scipy.signal.chirp``.

    Example:
        >>> chirp(50, channels=2).shape
        (50, 2)
    """
    N, seed, width = _common(N, seed, amplitude, offset, channels)
    whole_number("N", N, 2)
    if method not in ("linear", "logarithmic"):
        raise ValueError(f"method must be 'linear' or 'logarithmic', got {method!r}; use one")
    low, high = _band(band, sampling_time)
    if method == "logarithmic" and low == 0.0:
        raise ValueError(f"band must start above 0 for a logarithmic chirp, got {band}; raise it")
    time = np.arange(N, dtype=np.float64)
    # One cycle per sample is twice the Nyquist frequency.
    phases = np.random.default_rng(seed).uniform(0.0, 360.0, size=width)
    columns = [
        signal.chirp(time, low / 2, float(N - 1), high / 2, method=method, phi=float(phase))
        for phase in phases
    ]
    return _shaped(offset + amplitude * np.column_stack(columns), channels)


def steps(
    N: int,
    *,
    levels: int = 5,
    hold: int = 50,
    amplitude: float = 1.0,
    offset: float = 0.0,
    channels: int | None = None,
    seed: int = 0,
) -> Array:
    """Return a staircase over equally spaced levels, in random order.

    The levels are ``offset + amplitude * linspace(-1, 1, levels)``; each stands for ``hold``
    samples, all of them come once before any comes again, and none follows itself.

    Args:
        N: samples.
        levels: number of levels, at least 2.
        hold: samples for which a level stands.
        amplitude: largest deviation from ``offset``, in the input's unit.
        offset: middle of the range, in the input's unit.
        channels: ``None`` for ``(N,)``, else the columns of ``(N, channels)``.
        seed: of the order.

    Raises:
        ValueError: for an argument outside its range.

    Example:
        >>> np.unique(steps(100, levels=3, hold=10)).tolist()
        [-1.0, 0.0, 1.0]
    """
    N, seed, width = _common(N, seed, amplitude, offset, channels)
    levels, hold = whole_number("levels", levels, 2), whole_number("hold", hold, 1)
    rng = np.random.default_rng(seed)
    rounds = -(-N // (hold * levels))
    order = rng.permuted(np.tile(np.arange(levels)[:, None, None], (1, rounds, width)), axis=0)
    for r in range(1, rounds):
        # Where a round would begin with the level that ended the last one, turn it around.
        same = order[0, r] == order[-1, r - 1]
        order[:, r, same] = order[::-1, r, same]
    values = np.linspace(-1.0, 1.0, levels)[order.swapaxes(0, 1).reshape(-1, width)]
    return _shaped(offset + amplitude * np.repeat(values, hold, axis=0)[:N], channels)


def whole_number(name: str, value: int, least: int) -> int:
    """Return ``value`` as an int that is at least ``least``.

    Raises:
        TypeError: for something that is not a whole number.
        ValueError: for one below ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be a whole number, got {value!r}; round it first")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}; raise it")
    return int(value)


def positive(name: str, value: float) -> float:
    """Return ``value`` as a float that is finite and above 0.

    Raises:
        ValueError: for anything else.
    """
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be finite and above 0, got {value}; give a positive number")
    return float(value)


def _common(
    N: int, seed: int, amplitude: float, offset: float, channels: int | None
) -> tuple[int, int, int]:
    """Check the arguments that every signal has; return N, the seed and the number of columns."""
    positive("amplitude", amplitude)
    if not np.isfinite(offset):
        raise ValueError(f"offset must be finite, got {offset}; give a number")
    width = 1 if channels is None else whole_number("channels", channels, 1)
    return whole_number("N", N, 1), whole_number("seed", seed, 0), width


def _pair(name: str, value: tuple[Number, Number]) -> tuple[Number, Number]:
    if isinstance(value, str) or np.ndim(np.asarray(value)) != 1 or len(value) != 2:
        raise ValueError(f"{name} must be two numbers, got {value!r}; write (low, high)")
    return value


def _band(band: tuple[float, float], sampling_time: float | None) -> tuple[float, float]:
    """Return the band as fractions of the Nyquist frequency."""
    low, high = (float(f) for f in _pair("band", band))
    nyquist = 1.0 if sampling_time is None else 0.5 / positive("sampling_time", sampling_time)
    if not 0.0 <= low <= high <= nyquist * (1 + 1e-12):
        unit = "of Nyquist" if sampling_time is None else "Hz"
        raise ValueError(
            f"band must be (low, high) within 0 and {nyquist:g} {unit}, got {band}; "
            "it is fractions of Nyquist without sampling_time, and Hz with it"
        )
    return low / nyquist, high / nyquist


def _shaped(columns: Array, channels: int | None) -> Array:
    return columns[:, 0] if channels is None else columns
