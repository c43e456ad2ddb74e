"""What linear regressions say of a plant before training: delay, orders, memory, direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sysid.data.records import Array, Record
from sysid.data.regressors import narx_regressors

_ROWS = 40_000  # samples that are enough for these regressions
_ORDERS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15)
_NEGLIGIBLE = 0.02  # share of the input's contribution that a lag may lose unnoticed


@dataclass(frozen=True)
class Delay:
    """Samples before an input acts on an output.

    ``lag`` is the first that an F test sees, with its ``p_value``, or 0 where it sees none in
    time; ``latest`` the largest that the data do not speak against. They differ where the input
    is smooth.
    """

    lag: int
    latest: int
    p_value: float


@dataclass(frozen=True)
class Response:
    """What one output does after its inputs.

    ``order`` is that of the ARX model with the least BIC; ``settling`` the lag after which the
    impulse responses stay below 2 % of their peaks, ``pole`` the largest modulus of its poles,
    ``fit`` the share of the output's variance that its free run explains.
    """

    order: int
    settling: int
    pole: float
    fit: float

    @property
    def integrates(self) -> bool:
        """Whether a disturbance stays for good, or for longer than 2000 samples."""
        return self.pole > 0.9995


def shortened(record: Record) -> Record:
    """Return the first samples of a long record, enough for a regression."""
    return record[:_ROWS]


def delay(record: Record, output: int, source: int, longest: int = 30) -> Delay | None:
    """Estimate the delay from an input to an output; ``None`` where no influence is seen.

    ARX models with input lags ``nk ... longest``: leaving out lags before the delay costs
    nothing, leaving out the first that acts does.

    Args:
        record: a record.
        output: position of the output.
        source: position of the input.
        longest: largest lag that is looked at.
    """
    na = 6
    longest = min(longest, max(2, len(record) // 20))
    one = _channels(shortened(record), output, [source])
    try:
        phi, target = narx_regressors(one, na, longest)
    except ValueError:
        return None
    if len(phi) < 4 * phi.shape[1]:
        return None
    full = _loss(phi, target)
    none = _loss(phi[:, :na], target)
    rest = len(phi) - phi.shape[1] - 1
    contribution = none - full
    if not contribution > 0 or _p_value(none, full, longest + 1, rest) > 1e-4:
        return None
    first: tuple[int, float] | None = None
    for nk in range(1, longest + 2):
        without = np.delete(phi, slice(na, na + nk), axis=1)
        loss = _loss(without, target)
        p = _p_value(loss, full, nk, rest)
        if first is None and p < 1e-4:
            first = nk - 1, p
        if first is not None and loss - full > _NEGLIGIBLE * contribution:
            break
    # A smooth input hides its first lags from the F test; a short numerator still finds them.
    pairs = [na + lag + np.arange(2) for lag in range(longest)]
    losses = np.array([_loss(phi[:, [*range(na), *pair]], target) for pair in pairs])
    near = len(phi) * np.log(losses / max(losses.min(), 1e-300)) < 10  # as likely as the best
    short = int(np.flatnonzero(near)[-1])
    if first is None or first[0] > short:
        return Delay(0, short, 1.0)
    return Delay(first[0], nk - 1, first[1])


def response(record: Record, output: int) -> Response | None:
    """Estimate order and memory of the plant; ``None`` where the record is too short."""
    one = _channels(shortened(record), output, range(record.nu))
    best: tuple[float, int, Array] | None = None
    for n in _ORDERS:
        try:
            phi, target = narx_regressors(one, n, n if one.nu else 0)
        except ValueError:
            break
        if len(phi) < 3 * phi.shape[1] + 10:
            break
        theta = np.linalg.lstsq(phi, target - target.mean(), rcond=None)[0][:, 0]
        loss = float(np.mean((target[:, 0] - target.mean() - phi @ theta) ** 2))
        bic = len(phi) * np.log(max(loss, 1e-300)) + phi.shape[1] * np.log(len(phi))
        if best is None or bic < best[0] - 1e-9 * abs(best[0]):
            best = (bic, n, theta)
    if best is None:
        return None
    _, n, theta = best
    a = np.concatenate([[1.0], -theta[:n]])
    poles = np.abs(np.roots(a))
    b = theta[n:].reshape(n + 1, one.nu).T if one.nu else np.empty((0, n + 1))
    return Response(n, _settling(a, b), float(poles.max(initial=0.0)), _explained(one, a, b))


def granger(record: Record, output: int, source: int, lags: int = 10) -> tuple[float, float]:
    """Return by how much the past of ``u`` helps to predict ``y``, and the past of ``y`` ``u``.

    Each is the share of the one-step variance, left by a series' own past, that the strict
    past of the other one explains.

    Source: C. W. J. Granger, Econometrica 37(3), 1969.
    """
    one = _channels(shortened(record), output, [source])
    forwards = _helped(Record(one.u, one.y), lags)
    return forwards, _helped(Record(one.y, one.u), lags)


def frequencies(u: Array) -> float:
    """Return about how many frequencies an input holds: 1 for a sine, thousands for noise.

    ``(sum p)^2 / sum p^2`` over its periodogram, halved since a Hann window spreads a sine
    over that many lines. A sum of ``m`` sines is persistently exciting of order ``2 m``.
    """
    v = u[np.isfinite(u)]
    p = np.abs(np.fft.rfft((v - v.mean()) * np.hanning(len(v)))) ** 2
    return float(p.sum() ** 2 / max(float((p**2).sum()), 1e-300) / 2)


def band(u: Array) -> tuple[float, float]:
    """Return the frequencies between which 98 % of an input's power lies, of Nyquist's."""
    from scipy.signal import welch

    v = u[np.isfinite(u)]
    f, power = welch(v - v.mean(), fs=2.0, nperseg=min(len(v), 2048))
    share = np.cumsum(power) / max(float(power.sum()), 1e-300)
    low, high = np.searchsorted(share, [0.01, 0.99])
    return float(f[low]), float(f[min(int(high), len(f) - 1)])


def trend(record: Record, output: int, lags: int = 30) -> tuple[float, float]:
    """Return how far an output drifts over the record, in its std, and the t-statistic.

    The slope of a line beside a finite impulse response; its error allows for residuals that
    are correlated from sample to sample.
    """
    one = _channels(record, output, range(record.nu))
    lags = min(lags, len(one) // 10)
    phi, target = narx_regressors(one, 0, lags if one.nu else 0) if one.nu else _bare(one)
    n = len(phi)
    if n < 2 * phi.shape[1] + 20:
        return 0.0, 0.0
    time = np.linspace(-0.5, 0.5, n)
    rows = np.column_stack([phi, np.ones(n)])
    # Frisch and Waugh: the slope of what the rest leaves of y on what it leaves of time.
    left = time - rows @ np.linalg.lstsq(rows, time, rcond=None)[0]
    y = target[:, 0] - rows @ np.linalg.lstsq(rows, target[:, 0], rcond=None)[0]
    slope = float(left @ y / (left @ left))
    e = y - slope * left
    rho = min(float(e[1:] @ e[:-1] / max(e @ e, 1e-300)), 0.999)
    error = np.sqrt(max(e @ e, 1e-300) / n / (left @ left) * (1 + rho) / (1 - rho))
    return slope / float(target.std() or 1.0), slope / float(error)


def _channels(record: Record, output: int, sources: range | list[int]) -> Record:
    """Return some channels of a record, in units of their std."""
    y = _scaled(np.asarray(record.y[:, [output]]))
    u = _scaled(np.asarray(record.u[:, list(sources)])) if len(sources) else None
    return Record(u, y)


def _scaled(block: Array) -> Array:
    std = np.nanstd(block, axis=0)
    out: Array = (block - np.nanmean(block, axis=0)) / np.where(std > 0, std, 1.0)
    return out


def _bare(one: Record) -> tuple[Array, Array]:
    y = one.y[~np.isnan(one.y).any(axis=1)]
    return np.empty((len(y), 0)), y


def _loss(phi: Array, target: Array) -> float:
    rows = np.column_stack([phi, np.ones(len(phi))])
    e = target - rows @ np.linalg.lstsq(rows, target, rcond=None)[0]
    return float(np.sum(e**2))


def _p_value(small: float, full: float, extra: int, rest: int) -> float:
    from scipy.stats import f

    statistic = max(small - full, 0.0) / extra / max(full / rest, 1e-300)
    return float(f.sf(statistic, extra, rest))


def _helped(one: Record, lags: int) -> float:
    try:
        phi, target = narx_regressors(one, lags, lags, 1)
    except ValueError:
        return 0.0
    if len(phi) < 4 * phi.shape[1]:
        return 0.0
    own = _loss(phi[:, :lags], target)
    if not own > 1e-9 * len(target):  # it predicts itself: nothing to help with
        return 0.0
    return 1 - _loss(phi, target) / own


def _settling(a: Array, b: Array, longest: int = 5000) -> int:
    from scipy.signal import lfilter

    impulse = np.zeros(longest)
    impulse[0] = 1.0
    last = 0
    for row in b:
        g = np.abs(lfilter(row, a, impulse))
        if np.isfinite(g).all() and g.max() > 0:
            last = max(last, int(np.flatnonzero(g > 0.02 * g.max())[-1]))
    return last


def _explained(one: Record, a: Array, b: Array) -> float:
    from scipy.signal import lfilter

    if not one.nu or np.isnan(one.u).any():
        return float("nan")
    with np.errstate(over="ignore", invalid="ignore"):
        y_hat = sum(lfilter(row, a, one.u[:, i]) for i, row in enumerate(b))
        e = one.y[:, 0] - y_hat
        share = 1 - float(np.nanvar(e)) / max(float(np.nanvar(one.y)), 1e-300)
    return float(share) if np.isfinite(share) else float("-inf")
