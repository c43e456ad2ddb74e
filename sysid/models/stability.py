"""Stability of a free run: what keeps it bounded, and where it leaves all bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sysid.data.records import Array, Record

if TYPE_CHECKING:
    from sysid.models.narx import NARX
    from sysid.models.state_space import StateSpace

BOUNDED_ACTIVATIONS = ("tanh", "sigmoid")

# A free run that is so many times as far from the mean as any measured sample is no model of it.
_BOUND = 1e3


@dataclass(frozen=True)
class Boundedness:
    """What is known of a model's free run under bounded inputs, from any start.

    Args:
        growth: ``bounded``: outputs stay within bounds; ``linear``: the plant integrates, and
            outputs grow no faster than in proportion to time, being exact sums of something
            bounded; ``unknown``: nothing keeps a free run from running away.
        by_construction: whether that holds for any weights, and not only for those of now.
        reason: why, in one sentence.

    Example:
        >>> import sysid
        >>> bool(sysid.GRU(nu=1, ny=1, hidden_size=4).bounded)
        True
        >>> sysid.NARX(nu=1, ny=1, na=2, nb=2, activation="relu").bounded.growth
        'unknown'
    """

    growth: Literal["bounded", "linear", "unknown"]
    by_construction: bool
    reason: str

    def __bool__(self) -> bool:
        """Whether outputs stay within bounds."""
        return self.growth == "bounded"

    def __str__(self) -> str:
        """Say it in one line."""
        said = {
            "bounded": "bounded",
            "linear": "bounded but for exact sums",
            "unknown": "not known to be bounded",
        }[self.growth]
        return f"{said}: {self.reason}"


def of_state_space(model: StateSpace, radius: float) -> Boundedness:
    """Return what holds for a state space.

    Args:
        model: the model.
        radius: largest modulus of a pole of its linear part, its sums aside.
    """
    if model.f is not None and model.activation not in BOUNDED_ACTIVATIONS:
        return _unknown_activation(model.activation)
    if model.stable:
        reason = "the spectral norm of A is below 0.999 whatever the weights are"
    elif radius < 1:
        reason = f"the largest pole of A is {radius:.4g}"
    else:
        return Boundedness("unknown", False, f"A has a pole of modulus {radius:.4g}")
    if model.f is not None:
        reason += f", and the network beside it ends in {model.activation} neurons"
    if model.integrating and model.output_limits is None:
        return Boundedness("linear", model.stable, f"sums of something bounded, as {reason}")
    return Boundedness("bounded", model.stable, reason)


def of_narx(model: NARX, radius: float) -> Boundedness:
    """Return what holds for a NARX.

    Args:
        model: the model.
        radius: largest modulus of a pole of its linear path.
    """
    if model.na == 0:
        return Boundedness("bounded", True, "it looks back on inputs alone")
    if model.hidden_sizes and model.activation not in BOUNDED_ACTIVATIONS:
        return _unknown_activation(model.activation)
    network = f"its network ends in {model.activation} neurons"
    if model.hidden_sizes and model.linear_path is None:
        return Boundedness("bounded", True, network)
    network = f", and {network}" if model.hidden_sizes else ""
    if model.stable:
        reason = f"the poles of its linear path are within 0.999 whatever the weights are{network}"
        return Boundedness("bounded", True, reason)
    if radius < 1:
        reason = f"the largest pole of its linear path is {radius:.4g}{network}"
        return Boundedness("bounded", False, reason)
    return Boundedness("unknown", False, f"its linear path has a pole of modulus {radius:.4g}")


def _unknown_activation(name: str) -> Boundedness:
    return Boundedness("unknown", False, f"{name} is not bounded, and its network feeds itself")


def refuse_unbounded_activation(activation: str) -> None:
    """Raise where a network could grow with the state that it feeds.

    Raises:
        ValueError: for an activation that is not bounded.
    """
    if activation not in BOUNDED_ACTIVATIONS:
        raise ValueError(
            f"activation must be {' or '.join(BOUNDED_ACTIVATIONS)} with stable=True, got "
            f"{activation!r}: it grows with its argument, so the model could run away; choose a "
            "bounded activation, or set stable to false"
        )


class UnstableError(ArithmeticError):
    """A free run that exceeds all bounds, where a bounded one is needed."""


def first_unbounded(y_hat: Array, y: Array | None = None) -> tuple[int, int] | None:
    """Return sample and output where a free run exceeds all bounds for the first time.

    Args:
        y_hat: simulated outputs, ``(N, ny)``; NaN where nothing is said.
        y: measured ones, ``(N, ny)``. With them, a thousand times their largest distance from
            their mean is a bound; without them, what the floating-point numbers hold.
    """
    outside = np.isinf(y_hat)
    if y is not None and np.isfinite(y).any(axis=0).all():
        mean = np.nanmean(y, axis=0)
        farthest = np.nanmax(np.abs(y - mean), axis=0)
        with np.errstate(invalid="ignore"):
            outside |= np.abs(y_hat - mean) > _BOUND * np.where(farthest > 0, farthest, np.inf)
    places = np.argwhere(outside)
    return (int(places[0, 0]), int(places[0, 1])) if len(places) else None


def describe_unbounded(record: Record, y_names: tuple[str, ...], y_hat: Array) -> str | None:
    """Say in one line where the free run of a record exceeds all bounds, if it does."""
    place = first_unbounded(y_hat, record.y if record.ny else None)
    if place is None:
        return None
    k, output = place
    return (
        f"the free run of record {record.name!r} is unstable: output {y_names[output]!r} exceeds "
        f"all bounds at sample {k}"
    )


def refuse_unbounded(record: Record, y_names: tuple[str, ...], y_hat: Array) -> None:
    """Raise if a free run exceeds all bounds.

    Raises:
        UnstableError: with record, output and sample.
    """
    if (message := describe_unbounded(record, y_names, y_hat)) is not None:
        raise UnstableError(
            f"{message}; train the model on its simulation error (loss: subsequence)"
        )
