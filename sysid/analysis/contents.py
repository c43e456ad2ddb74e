"""Contents: what a report is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from sysid.analysis.advice import Advice
from sysid.analysis.compare import SIMULATION
from sysid.analysis.uncertainty import ConformalBands
from sysid.data.records import Record
from sysid.models import Model


@dataclass(frozen=True)
class Origin:
    """How a model came about: config as YAML, what it was made with, its history."""

    config: str
    environment: Mapping[str, Any]
    history: pd.DataFrame


@dataclass(frozen=True)
class Contents:
    """What a report is about.

    Args:
        title: the heading.
        models: name and model.
        records: the measured records that the models are judged on, and their ``part``.
        scores: a table of ``compare`` with these models; with a column ``part``, if it has one.
        part: what the records are called, such as ``test``.
        train: what the models were trained on, as far as known.
        valid: what chose their weights.
        bands: of the models that have some.
        origins: of the models that come from a run directory.
        advice: on the data.
    """

    title: str
    models: Mapping[str, Model]
    records: Sequence[Record]
    scores: pd.DataFrame
    part: str = "test"
    train: Sequence[Record] = ()
    valid: Sequence[Record] = ()
    bands: Mapping[str, ConformalBands] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    advice: Advice | None = None

    def free_runs(self) -> pd.DataFrame:
        """Return the rows of the fit table that are free runs of the records."""
        kept = self.scores["horizon"] == SIMULATION
        if "part" in self.scores:
            kept &= self.scores["part"] == self.part
        return self.scores[kept]
