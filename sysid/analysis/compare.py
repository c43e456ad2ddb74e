"""Compare: how well models predict and simulate records, in one tidy table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sysid.data.records import Array, Record, as_records
from sysid.metrics import all_metrics
from sysid.models import Model
from sysid.models.baseline import Baseline
from sysid.models.stability import first_unbounded

SIMULATION = "simulation"
FIGURES = ("rmse", "nrmse", "fit_index", "r2", "mae", "vaf")


def compare(
    models: Mapping[str, Model],
    records: Record | Iterable[Record],
    horizons: Sequence[int | str] = (1, 10, SIMULATION),
    *,
    baselines: bool = True,
) -> pd.DataFrame:
    """Score models on records, for each output and horizon, beside the mean and a linear model.

    The baselines are those that each model carries from its training: the mean of the training
    outputs, and a linear ARX model whose orders and delays were chosen by free run on parts of
    the training data. Of one record all models and baselines start from the same measured
    samples: its ``n_init``, or, where that is 0, as many as the model with the longest memory
    needs. These are not scored, and of the others those count that all models predict.

    Args:
        models: name and model; all with the same channels.
        records: measured experiments.
        horizons: steps ahead, and ``"simulation"`` for the free run.
        baselines: whether to show the mean and the ARX model.

    Returns:
        A row per record, output, horizon and model, in this order: model, record, output, unit,
        horizon (``"1"``, ..., ``"simulation"``), rmse and mae (in the unit), nrmse, fit_index and
        vaf (percent), r2, samples (how many count), n_init (measured samples at the start, which
        are not scored), note (what to know about the row).

    Raises:
        ValueError: if a record has no outputs or does not belong to a model, there is no
            model, or a horizon is none.

    Example:
        >>> import sysid
        >>> record = sysid.generate("linear", 200)
        >>> model = sysid.NARX(nu=1, ny=1, na=2, nb=2, hidden_sizes=())
        >>> _ = sysid.fit(model, record[:100], loss="one_step", max_epochs=1)
        >>> table = compare({"narx": model}, record[100:], horizons=(1, "simulation"))
        >>> table[["model", "horizon", "samples"]].head(2)
          model horizon  samples
        0  narx       1       98
        1  mean       1       98
    """
    if not models:
        raise ValueError("models must hold at least one model, got none")
    for horizon in horizons:
        _checked_horizon(horizon)
    rows: list[dict[str, Any]] = []
    for record in as_records(records):
        if record.ny == 0:
            raise ValueError(
                f"record {record.name!r} must have measured outputs to compare with, got none"
            )
        for model in models.values():
            model.check_record(record)
        begun = begun_together(models, record)
        linear = _baselines(models) if baselines else {}
        own: list[dict[str, Any]] = []
        for horizon in horizons:
            outputs = {name: run(model, begun, horizon) for name, model in models.items()}
            seen = ~np.any([np.isnan(y_hat) for y_hat in outputs.values()], axis=0)
            seen[: begun.n_init] = False
            for name, baseline in linear.items():
                outputs[name] = _baseline_output(baseline, begun, horizon)
            for name, y_hat in outputs.items():
                note = _note(models.get(name), horizon)
                own += _rows(name, begun, horizon, y_hat, seen, note)
        rows += sorted(own, key=lambda row: record.y_names.index(row["output"]))
    return pd.DataFrame(rows)


def begun_together(models: Mapping[str, Model], record: Record) -> Record:
    """Return a record with the ``n_init`` that all models can start from."""
    return record.replace(n_init=max(model.scoring_start(record) for model in models.values()))


def over_records(scores: pd.DataFrame) -> pd.DataFrame:
    """Return a row over all records for each output, horizon and model of a fit table.

    rmse is that of all samples together, and so is mae; the other figures are means over the
    records that have one. The note says on which record the fit is worst and best.

    Args:
        scores: a table of ``compare``; of its ``part`` by itself, where it has that column.

    Returns:
        Rows with the same columns, outputs first and then horizons; none for a single record.
    """
    keys = [c for c in ("part", "output", "horizon", "model") if c in scores]
    rows = []
    for _, group in scores.groupby(keys, sort=False) if len(scores) else ():
        if len(group) < 2:
            continue
        weights = group["samples"].to_numpy(dtype=float)
        row = group.iloc[0].to_dict()
        row |= {n: float(np.nanmean(group[n])) if group[n].notna().any() else math.nan
                for n in FIGURES}  # fmt: skip
        if weights.sum() > 0:
            scored = weights > 0
            squares = np.square(group["rmse"].to_numpy(dtype=float)[scored])
            row["rmse"] = float(np.sqrt(np.average(squares, weights=weights[scored])))
            row["mae"] = float(np.average(group["mae"].to_numpy()[scored], weights=weights[scored]))
        row["samples"] = int(weights.sum())
        row["record"] = f"all {len(group)} records"
        row["n_init"] = int(group["n_init"].max())
        row["note"] = _extremes(group)
        rows.append(row)
    table = pd.DataFrame(rows, columns=scores.columns)
    if table.empty:
        return table
    places = {name: i for i, name in enumerate(dict.fromkeys(scores["output"]))}
    return table.sort_values(
        "output", key=lambda names: names.map(places), kind="stable", ignore_index=True
    )


def _extremes(group: pd.DataFrame) -> str:
    fits = group["fit_index"].to_numpy(dtype=float)
    if not np.isfinite(fits).any():
        return ""
    worst, best = int(np.nanargmin(fits)), int(np.nanargmax(fits))
    names = [str(name) for name in group["record"]]
    return (
        f"fit from {fits[worst]:.2f} % ({names[worst] or f'record {worst + 1}'}) "
        f"to {fits[best]:.2f} % ({names[best] or f'record {best + 1}'})"
    )


def run(model: Model, record: Record, horizon: int | str) -> Array:
    """Return the free run or the prediction that a horizon names, ``(N, ny)``."""
    if isinstance(horizon, str):
        return model.simulate(record)
    return model.predict(record, horizon)


def scores_to_dict(scores: pd.DataFrame) -> dict[str, Any]:
    """Return the rows of one model as ``{record: {output: {horizon: figures}}}``.

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
        label = {SIMULATION: SIMULATION, "1": "one_step"}.get(key[1], f"{key[1]}_step")
        figures = {n: float(row[n]) for n in ("rmse", "nrmse", "fit_index", "r2")}
        out.setdefault(name, {}).setdefault(key[0], {})[label] = {
            n: v if math.isfinite(v) else None for n, v in figures.items()
        }
    return out


def _checked_horizon(horizon: int | str) -> None:
    if isinstance(horizon, str):
        if horizon != SIMULATION:
            raise ValueError(f'horizon must be a number or "simulation", got {horizon!r}')
    elif isinstance(horizon, bool) or horizon < 1:
        raise ValueError(f"horizon must be at least 1, got {horizon!r}")


def _baselines(models: Mapping[str, Model]) -> dict[str, Baseline | Array]:
    """Return the means and linear models to show, by name; of means nearly alike the first."""
    out: dict[str, Baseline | Array] = {}
    kept: list[Baseline] = []
    for name, model in models.items():
        baseline = model.baseline
        if baseline is None or any(baseline.same(b) for b in kept):
            continue
        near = 0.01 * model.scaling.y_scale.cpu().numpy()  # of a standard deviation
        if not any((np.abs(baseline.mean - b.mean) < near).all() for b in kept):
            out["mean" if "mean" not in out else f"mean of {name}"] = baseline.mean
        if baseline.weight is not None:
            label = baseline.name
            out[label if label not in out else f"{label} of {name}"] = baseline
        kept.append(baseline)
    return out


def _baseline_output(baseline: Baseline | Array, record: Record, horizon: int | str) -> Array:
    """Return what a baseline says, from the measured samples that the models start from."""
    if not isinstance(baseline, Baseline):
        return np.broadcast_to(baseline, record.y.shape)
    if isinstance(horizon, str):
        return baseline.simulate(record)
    return baseline.predict(record, horizon)


def _note(model: Model | None, horizon: int | str) -> str:
    if model is not None and model.output_error and not isinstance(horizon, str):
        return "equals the simulation"
    return ""


def _rows(
    name: str, record: Record, horizon: int | str, y_hat: Array, seen: Array, note: str
) -> list[dict[str, Any]]:
    seen = seen & ~np.isnan(y_hat)
    figures = all_metrics(np.where(seen, record.y, np.nan), y_hat)
    rows = []
    for i, output in enumerate(record.y_names):
        values = {n: float(figures[n][i]) for n in FIGURES}
        counted = int((seen[:, i] & ~np.isnan(record.y[:, i])).sum())
        notes = [note] if note else []
        if counted == 0:
            notes.append("no samples to compare")
        elif place := first_unbounded(np.where(seen, y_hat, np.nan)[:, [i]], record.y[:, [i]]):
            notes.append(f"unstable: the output exceeds all bounds at sample {place[0]}")
        elif math.isnan(values["fit_index"]):
            notes.append("the output is constant: its fit is undefined")
        if missing := int(np.isnan(record.y[:, i]).sum()):
            notes.append(f"{missing} missing samples left out")
        rows.append(
            {
                "model": name,
                "record": record.name,
                "output": output,
                "unit": record.y_units[i],
                "horizon": str(horizon),
                **values,
                "samples": counted,
                "n_init": record.n_init,
                "note": "; ".join(notes),
            }
        )
    return rows
