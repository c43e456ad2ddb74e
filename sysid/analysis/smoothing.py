"""smooth: the outputs of a whole record, from what was measured before and after them."""

from __future__ import annotations

import numpy as np

from sysid.data.hiding import seen_record
from sysid.data.records import Array, Record
from sysid.models import Model


def smooth(model: Model, record: Record, folds: int = 10) -> Array:
    """Reconstruct missing outputs and denoise the others, knowing the whole record.

        y_hat(k) = E[ y(k) | u(0) ... u(N-1), all measured outputs but some, y(k) among them ]

    The measured outputs are dealt into ``folds``; each is hidden once and told from the others,
    so that its noise is averaged out and never copied. A missing one is the mean over the folds.
    This is no prediction: the future goes in. Where the model knows an output less well than it
    was measured, keep what was measured and take the missing ones alone.

    Args:
        model: a model that was trained on ``sysid.hide_outputs``, bidirectional for what it is
            made for; or a bidirectional model of inputs alone, whose simulation is returned.
        record: the experiment, in physical units; outputs may be missing.
        folds: passes over the record; more leave more to tell an output from.

    Returns:
        ``(N, ny)`` in physical units, complete.

    Raises:
        ValueError: if the model is none of these, or an output was never measured.

    Example:
        >>> import sysid
        >>> record = sysid.generate("linear", 60)
        >>> model = sysid.LSTM(nu=4, ny=1, hidden_size=4, bidirectional=True)  # see hide_outputs
        >>> _ = sysid.fit(model, sysid.hide_outputs(record), loss="full_sequence", max_epochs=1)
        >>> smooth(model, record).shape
        (60, 1)
    """
    if folds < 2:
        raise ValueError(f"folds must be at least 2, got {folds}")
    if not model.sees_outputs:
        if model.causal:
            raise ValueError(
                f"model must be bidirectional or trained on sysid.hide_outputs to smooth, got a "
                f"one-way {model.kind}; use simulate or predict"
            )
        return model.simulate(record)
    measured = ~np.isnan(record.y)
    # Dealt out at random, as the hidden ones were in training, and evenly.
    fold = np.random.default_rng(0).permuted(
        np.broadcast_to(np.arange(len(record))[:, None] % folds, record.y.shape), axis=0
    )
    total, count = np.zeros(record.y.shape), np.zeros(record.y.shape)
    for f in range(folds):
        seen = measured & (fold != f)
        if not seen.any(axis=0).all():
            raise ValueError(
                f"record {record.name!r} must have measured outputs in every channel in all but "
                "one fold, got too few; use more samples or folds"
            )
        fed, line = seen_record(record, seen, ~seen)
        y_hat = line + model.simulate(fed)
        total[~seen] += y_hat[~seen]
        count += ~seen
    return total / count
