"""Whether a model stays near what was measured when its inputs come in another order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sysid.data.records import Record
from sysid.models import Model

_PIECES = (10, 10, 10, 10, 40, 40, 40, 40, 160, 160, 160, 160)  # that the inputs are cut into
_MOST = 10_000  # samples of each order
_MARGIN = 0.25  # of the range of an output


def strays(model: Model, train: Sequence[Record], start: Record) -> bool:
    """Say whether a free run leaves the measured range on inputs in another order.

    A network may follow its records to the noise, and leave for another attractor from a state
    that they do not lead to; a held-out part that is short shows it by chance alone. The inputs of
    ``train`` are cut into pieces, long and short ones, and put together in random order.

    Args:
        model: trained.
        train: the records of which the inputs are taken, and the range of each output.
        start: a record whose first samples a free run starts from.

    Returns:
        whether any output goes beyond its range by more than a quarter of it.
    """
    y = np.concatenate([r.y for r in train])
    low, high = np.nanmin(y, axis=0), np.nanmax(y, axis=0)
    margin = _MARGIN * (high - low)
    u = np.concatenate([r.u for r in train])
    u = u[np.isfinite(u).all(axis=1)]
    n = model.scoring_start(start)
    random = np.random.default_rng(0)
    for pieces in _PIECES:
        parts = np.array_split(u, pieces)
        order = random.permutation(pieces)
        mixed = np.concatenate([start.u[:n], *(parts[i] for i in order)])[: n + _MOST]
        outputs = np.full((len(mixed), start.ny), np.nan)
        outputs[:n] = start.y[:n]
        y_hat = model.simulate(start.replace(u=mixed, y=outputs))[n:]
        if not ((y_hat >= low - margin) & (y_hat <= high + margin)).all():
            return True
    return False
