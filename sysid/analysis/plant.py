"""One record as the checks look at it: without faults and still channels, with its models."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from sysid.analysis import response as linear
from sysid.analysis.causality import rule
from sysid.analysis.delays import Delay, delay
from sysid.analysis.regression import constant, scaled
from sysid.data.records import Array, Record

_ROWS = 40_000  # samples that are enough for these regressions
_MOST = 8  # inputs, and outputs, between which relations are looked for


class Plant:
    """Channels of a record that move, scaled, with their delays and linear models.

    Args:
        record: a record whose faults are missing samples.

    ``inputs`` and ``outputs`` are positions in the record: the first few that move, and of equal
    inputs one.
    """

    def __init__(self, record: Record) -> None:
        self.record = record[:_ROWS]
        u, y = np.asarray(self.record.u), np.asarray(self.record.y)
        self.inputs: list[int] = []
        for i in range(u.shape[1]):
            if len(self.inputs) == _MOST:
                break
            if not constant(u[:, i]) and not any(
                np.array_equal(u[:, i], u[:, j], equal_nan=True) for j in self.inputs
            ):
                self.inputs.append(i)
        self.outputs = [i for i in range(y.shape[1]) if not constant(y[:, i])][:_MOST]
        self.u = [scaled(u[:, i]) for i in self.inputs]
        self.y = {i: scaled(y[:, i]) for i in self.outputs}

    def rate(self, output: int) -> int:
        """Return every how many samples an output is measured; 1 for each, or if none is steady."""
        return measured_every(self.y[output])

    @cached_property
    def delays(self) -> dict[tuple[int, int], Delay | None]:
        """Delay from each input to each output, by their positions in the record."""
        return {
            (i, j): delay(self.y[i], self.u, at, own=10 if self.rate(i) == 1 else 0)
            for i in self.outputs
            for at, j in enumerate(self.inputs)
        }

    def lags(self, output: int) -> list[int]:
        """Return the delay of each input to an output, 0 where it is not known."""
        found = [self.delays[output, j] for j in self.inputs]
        return [0 if d is None else d.lag for d in found]

    @cached_property
    def responses(self) -> dict[int, linear.Response | None]:
        """The linear model of each output."""
        return {
            i: linear.response(self.y[i], self.u, self.lags(i)) if self.rate(i) == 1 else None
            for i in self.outputs
        }

    @cached_property
    def laws(self) -> dict[int, str]:
        """Inputs that are computed from the outputs, with nothing added, and how."""
        outputs = [y for i, y in self.y.items() if self.rate(i) == 1]
        found = {j: rule(outputs, u) for j, u in zip(self.inputs, self.u, strict=True) if outputs}
        return {j: law for j, law in found.items() if law}

    def innovations(self, output: int) -> Array:
        """Return what the linear model leaves of an output."""
        found = self.responses[output]
        if found is None:
            return np.full(len(self.record), np.nan)
        return linear.innovations(self.y[output], self.u, self.lags(output), found.order)


def measured_every(x: Array) -> int:
    """Return every how many samples a channel has a value; 1 where that is not steady."""
    at = np.flatnonzero(np.isfinite(x))
    if len(at) < 10 or len(at) > 0.6 * len(x):
        return 1
    steps = np.diff(at)
    usual = int(np.median(steps))
    return usual if usual > 1 and np.mean(steps % usual == 0) > 0.95 else 1
