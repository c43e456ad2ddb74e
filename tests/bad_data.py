"""Records that are hard on an automatic search, each with what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import sysid
from sysid.data.records import Array, Record


def plant(n: int, seed: int, gain: float = 1.0, u: Array | None = None) -> Record:
    """Return a second-order linear plant with a soft saturation behind it, 2 % noise."""
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.standard_normal(n // 5 + 1), 5)[:n] if u is None else u
    x = np.zeros(n)
    for k in range(2, n):
        x[k] = 1.5 * x[k - 1] - 0.6 * x[k - 2] + 0.1 * gain * u[k - 1]
    y = np.tanh(x) + 0.02 * x.std() * rng.standard_normal(n)
    return Record(u, y, sampling_time=0.1)


def thirty_samples() -> list[Record]:
    return [plant(30, 1)]


def constant_input() -> list[Record]:
    rng = np.random.default_rng(1)
    return [Record(np.ones(600), np.cumsum(rng.standard_normal(600)) / 50, sampling_time=0.1)]


def output_that_never_moves() -> list[Record]:
    return [plant(600, 1).replace(y=np.full(600, 3.0))]


def one_output_never_moves() -> list[Record]:
    record = plant(600, 1)
    return [Record(record.u, np.hstack([record.y, np.full((600, 1), 3.0)]), 0.1)]


def input_without_effect() -> list[Record]:
    record = plant(600, 1)
    idle = np.random.default_rng(2).standard_normal((600, 1))
    return [Record(np.hstack([record.u, idle]), record.y, 0.1)]


def closed_loop(pole: float = 0.9, n: int = 800) -> list[Record]:
    rng = np.random.default_rng(3)
    reference = np.repeat(rng.choice([-1.0, 1.0], n // 40 + 1), 40)[:n]
    u, y = np.zeros(n), np.zeros(n)
    for k in range(1, n):
        y[k] = pole * y[k - 1] + 0.2 * u[k - 1] + 0.01 * rng.standard_normal()
        u[k] = 2.0 * (reference[k] - y[k])
    return [Record(u, y, sampling_time=0.1)]


def unstable_in_closed_loop() -> list[Record]:
    return closed_loop(pole=1.1)


def contradicting_gains() -> list[Record]:
    return [plant(500, 1), plant(500, 2, gain=-1.0)]


def outliers() -> list[Record]:
    record = plant(800, 1)
    y = record.y.copy()
    y[[100, 333, 620]] = 100 * np.ptp(record.y)
    return [record.replace(y=y)]


def missing_stretches() -> list[Record]:
    record = plant(1200, 1)
    u, y = record.u.copy(), record.y.copy()
    u[200:230] = np.nan
    u[700:702] = np.nan
    y[400:470] = np.nan
    y[1190:] = np.nan
    return [record.replace(u=u, y=y)]


def every_tenth_row() -> list[Record]:
    record = plant(2500, 1)
    y = np.full_like(record.y, np.nan)
    y[::10] = record.y[::10]
    return [record.replace(y=y)]


def rest_and_motion() -> list[Record]:
    rng = np.random.default_rng(5)
    still = Record(np.zeros(500), 1e-3 * rng.standard_normal(500), sampling_time=0.1)
    return [still, plant(700, 1)]


def many_channels() -> list[Record]:
    rng = np.random.default_rng(6)
    u = rng.standard_normal((350, 10))
    y = np.zeros((350, 5))
    gains = rng.standard_normal((5, 10))
    for k in range(1, 350):
        y[k] = 0.8 * y[k - 1] + np.tanh(gains @ u[k - 1])
    return [Record(u, y, sampling_time=0.02)]


def thirty_short_records() -> list[Record]:
    return [plant(120, seed) for seed in range(30)]


def sticking_motor() -> list[Record]:
    return [sysid.generate("motor", 1500, seed=4, noise=0.02)]


BAD: dict[str, Callable[[], list[Record]]] = {
    make.__name__: make
    for make in (
        thirty_samples, constant_input, output_that_never_moves, one_output_never_moves,
        input_without_effect, closed_loop, unstable_in_closed_loop, contradicting_gains, outliers,
        missing_stretches, every_tenth_row, rest_and_motion, many_channels, thirty_short_records,
        sticking_motor,
    )
}  # fmt: skip
