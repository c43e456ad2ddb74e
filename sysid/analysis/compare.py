"""Compare: how well a model predicts and simulates records, in one tidy table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.records import Record, as_records
from sysid.metrics import all_metrics
from sysid.models import Model


def evaluate(
    model: Model,
    records: Record | Iterable[Record],
    horizons: Sequence[int | str] = (1, "simulation"),
) -> pd.DataFrame:
    """Score a model on records, for each output and horizon.

    Only samples that the model does not start from count, ``k >= model.scoring_start(record)``.

    Args:
        model: the model.
        records: measured experiments.
        horizons: steps ahead, and ``"simulation"`` for the free run.

    Returns:
        A row per record, output and horizon: record, output, unit, horizon (``"1"``, ...,
        ``"simulation"``), rmse (in the unit), nrmse, fit_index, r2, mae, vaf.

    Raises:
        ValueError: if a record has no outputs, or a horizon is none.
    """
    rows: list[dict[str, Any]] = []
    for record in as_records(records):
        if record.ny == 0:
            raise ValueError(
                f"record {record.name!r} must have measured outputs to compare with, got none"
            )
        start = model.scoring_start(record)
        for horizon in horizons:
            if horizon == "simulation":
                y_hat = model.simulate(record)
            elif isinstance(horizon, str):
                raise ValueError(f'horizon must be a number or "simulation", got {horizon!r}')
            else:
                y_hat = model.predict(record, horizon)
            figures = all_metrics(np.asarray(record.y[start:]), y_hat[start:])
            for i, output in enumerate(record.y_names):
                row = {
                    "record": record.name,
                    "output": output,
                    "unit": record.y_units[i],
                    "horizon": str(horizon),
                }
                rows.append(row | {name: float(v[i]) for name, v in figures.items()})
    return pd.DataFrame(rows)


def scores_to_dict(scores: pd.DataFrame) -> dict[str, Any]:
    """Return a table of ``evaluate`` as ``{record: {output: {horizon: figures}}}``.

    Horizon ``1`` is called ``one_step``, ``10`` is ``10_step``; figures are rmse, nrmse,
    fit_index and r2, with ``None`` for one that is not a number. A record without a name, or
    with one that stands already, gets its position.
    """
    out: dict[str, Any] = {}
    seen: set[tuple[str, str]] = set()
    position, name, previous = 0, "", None
    for row in scores.to_dict(orient="records"):
        key = (str(row["output"]), str(row["horizon"]))
        if position == 0 or row["record"] != previous or key in seen:
            position, seen = position + 1, set()
            taken = not row["record"] or row["record"] in out
            name = f"{row['record']}#{position}" if taken else str(row["record"])
        previous = row["record"]
        seen.add(key)
        label = {"simulation": "simulation", "1": "one_step"}.get(key[1], f"{key[1]}_step")
        figures = {n: float(row[n]) for n in ("rmse", "nrmse", "fit_index", "r2")}
        out.setdefault(name, {}).setdefault(key[0], {})[label] = {
            n: v if math.isfinite(v) else None for n, v in figures.items()
        }
    return out
