"""Uncertainty: bands around a model's output, from held-out errors or from several models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sysid.analysis.compare import SIMULATION, run
from sysid.data.records import Array, Record, as_records
from sysid.models import Model


@dataclass(frozen=True)
class Band:
    """An output with a lower and an upper bound, ``(N, ny)``, in physical units.

    Args:
        y_hat: the model's output.
        lower: what few samples are below.
        upper: what few samples are above.

    Example:
        >>> band = Band(np.array([[1.0]]), np.array([[0.8]]), np.array([[1.2]]))
        >>> bool((band.lower < band.y_hat).all())
        True
    """

    y_hat: Array
    lower: Array
    upper: Array


@dataclass(frozen=True)
class ConformalBands:
    """Half widths of bands, for each horizon and output, at one level.

    Args:
        level: share of the samples that the bands shall hold.
        widths: of each horizon, ``(ny,)`` half widths in physical units.
        samples: of each horizon, how many errors the widths rest on.

    Example:
        >>> import sysid
        >>> record = sysid.generate("linear", 400, noise=0.05)
        >>> model = sysid.NARX(nu=1, ny=1, na=2, nb=2, hidden_sizes=())
        >>> _ = sysid.fit(model, record[:150], loss="one_step", max_epochs=1)
        >>> bands = conformal_bands(model, record[150:300], level=0.9)
        >>> band = bands.band(model, record[300:])
        >>> band.lower.shape, bool((band.lower < band.upper).all())
        ((100, 1), True)
    """

    level: float
    widths: dict[int | str, Array]
    samples: dict[int | str, Array]

    def band(self, model: Model, record: Record, horizon: int | str = SIMULATION) -> Band:
        """Return the model's output on a record with its band.

        Args:
            model: the model that was calibrated.
            record: a record to simulate or predict.
            horizon: one of those calibrated.

        Raises:
            ValueError: for a horizon that was not calibrated.
        """
        if horizon not in self.widths:
            known = ", ".join(map(str, self.widths))
            raise ValueError(f"horizon must be one of those calibrated, {known}, got {horizon!r}")
        y_hat = run(model, record, horizon)
        width = self.widths[horizon]
        return Band(y_hat, y_hat - width, y_hat + width)


def conformal_bands(
    model: Model,
    calibration: Record | Iterable[Record],
    level: float = 0.9,
    horizons: Sequence[int | str] = (SIMULATION,),
) -> ConformalBands:
    """Learn from held-out errors how wide a band has to be to hold a share of the samples.

    The half width is the ``ceil((n + 1) level)``-th smallest of the ``n`` absolute errors, for
    each horizon by itself, so that bands of predictions grow with the horizon as the errors do.
    It holds on average over records like those of the calibration, whatever the model is. It
    is not a promise for each sample, nor where a free run's error grows with time, as it does
    behind an integrator.

    Args:
        model: the model.
        calibration: records that were not trained on. Where they chose the best weights, as
            validation records do, bands come out a little narrow.
        level: share of the samples that the band shall hold.
        horizons: steps ahead, and ``"simulation"``.

    Raises:
        ValueError: if ``level`` is out of range, or the errors are too few for it.

    Example:
        >>> import sysid
        >>> record = sysid.generate("linear", 400, noise=0.05)
        >>> model = sysid.NARX(nu=1, ny=1, na=2, nb=2, hidden_sizes=())
        >>> _ = sysid.fit(model, record[:150], loss="one_step", max_epochs=1)
        >>> bands = conformal_bands(model, record[150:300], horizons=(1, "simulation"))
        >>> list(bands.widths), bands.widths[1].shape
        ([1, 'simulation'], (1,))

    Source:
        J. Lei, M. G'Sell, A. Rinaldo, R. J. Tibshirani and L. Wasserman, Journal of the
        American Statistical Association 113(523), 2018, algorithm 2 (split conformal).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    widths: dict[int | str, Array] = {}
    samples: dict[int | str, Array] = {}
    records = as_records(calibration)
    for horizon in horizons:
        errors = []
        for record in records:
            start = model.scoring_start(record)
            errors.append(np.abs(record.y - run(model, record, horizon))[start:])
        widths[horizon], samples[horizon] = _quantile(np.concatenate(errors), level)
    return ConformalBands(level, widths, samples)


def _quantile(errors: Array, level: float) -> tuple[Array, Array]:
    counts = (~np.isnan(errors)).sum(axis=0)
    width = np.empty(errors.shape[1])
    for i, n in enumerate(counts):
        rank = math.ceil(round((n + 1) * level, 9))  # 0.55 * 100 is a little more than 55
        if rank > n:
            least = math.ceil(round(level / (1 - level), 9))
            raise ValueError(
                f"calibration must hold at least {least} samples for a level of {level}, got {n}; "
                "use longer records or a lower level"
            )
        width[i] = np.sort(errors[:, i])[rank - 1]  # NaN is sorted to the end
    return width, counts.astype(np.float64)


def ensemble_band(models: Sequence[Model], record: Record, level: float = 0.9) -> Band:
    """Return the mean of several models' free runs, and the spread between them.

    The band is ``mean -+ z std`` of the models' outputs: it shows where models that fit the
    training data alike disagree, as they do outside the range they have seen. It holds no
    measurement noise, so it is not a band for measured samples.

    Args:
        models: models of the same plant, such as those of several seeds.
        record: a record to simulate.
        level: share that ``z`` stands for under a normal distribution.

    Raises:
        ValueError: if there are fewer than two models, or ``level`` is out of range.

    Example:
        >>> import sysid
        >>> models = [sysid.StateSpace(1, 1, nx=2).fresh(seed) for seed in range(3)]
        >>> ensemble_band(models, sysid.generate("linear", 20)).y_hat.shape
        (20, 1)
    """
    from scipy.stats import norm

    if len(models) < 2:
        raise ValueError(f"models must be at least two, got {len(models)}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    runs = np.stack([m.simulate(record) for m in models])
    mean, spread = runs.mean(axis=0), runs.std(axis=0, ddof=1) * norm.ppf(0.5 + level / 2)
    return Band(mean, mean - spread, mean + spread)


def coverage(
    bands: ConformalBands,
    model: Model,
    records: Record | Iterable[Record],
) -> pd.DataFrame:
    """Return how much of measured records the bands hold.

    Args:
        bands: widths that ``conformal_bands`` learned.
        model: the model they were learned for.
        records: measured records that neither trained nor calibrated it.

    Returns:
        A row per record, horizon and output: record, horizon, output, level, coverage (share of
        the scored samples inside), width (of the whole band), unit (of the width),
        relative_width (over the output's standard deviation), samples.

    Example:
        >>> import sysid
        >>> record = sysid.generate("linear", 400, noise=0.05)
        >>> model = sysid.NARX(nu=1, ny=1, na=2, nb=2, hidden_sizes=())
        >>> _ = sysid.fit(model, record[:150], loss="one_step", max_epochs=1)
        >>> bands = conformal_bands(model, record[150:300])
        >>> row = coverage(bands, model, record[300:]).loc[0]
        >>> bool(0.7 < row.coverage <= 1)
        True
    """
    rows = []
    for record in as_records(records):
        start = model.scoring_start(record)
        for horizon, width in bands.widths.items():
            error = np.abs(record.y - run(model, record, horizon))[start:]
            for i, output in enumerate(record.y_names):
                seen = ~np.isnan(error[:, i])
                spread = float(np.nanstd(record.y[start:, i]))
                rows.append(
                    {
                        "record": record.name,
                        "horizon": str(horizon),
                        "output": output,
                        "level": bands.level,
                        "coverage": float((error[seen, i] <= width[i]).mean())
                        if seen.any()
                        else math.nan,
                        "width": 2 * float(width[i]),
                        "unit": record.y_units[i],
                        "relative_width": 2 * float(width[i]) / spread if spread else math.nan,
                        "samples": int(seen.sum()),
                    }
                )
    return pd.DataFrame(rows)
