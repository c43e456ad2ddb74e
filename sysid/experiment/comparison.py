"""Several finished runs on the same data: the table and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sysid.analysis.compare import compare
from sysid.analysis.report import write_report
from sysid.data.reading import Reading
from sysid.data.records import Record
from sysid.experiment.config import read_config
from sysid.experiment.data import load_data, read_all, remarks
from sysid.experiment.evaluation import compare_contents, going_on
from sysid.experiment.run import open_models


@dataclass(frozen=True)
class Comparison:
    """The fit table of several models, what to know of the records, and where the report is."""

    scores: pd.DataFrame
    report: Path | None
    notes: list[str]


def compare_runs(
    runs: Sequence[str],
    data: Sequence[str] | None,
    horizons: Sequence[int | str],
    reading: Reading | None = None,
    n_init: int | None = None,
    out: Path | None = None,
    data_dir: str | None = None,
) -> Comparison:
    """Compare finished runs and leave a report.

    Args:
        runs: run directories or model files.
        data: data files or benchmark names; ``None``: the test data of the first run.
        horizons: steps ahead, and ``"simulation"``.
        reading: how to read the files; columns that are not named are those of the first model.
        n_init: samples to start from; as in the files if ``None``, and where they say nothing
            as many as the models were judged from in their training.
        out: directory for ``report.html``; ``runs/compare`` by default.
        data_dir: where benchmark files are looked for first.
    """
    models = open_models(runs)
    first = Path(runs[0])
    if data:
        records = read_all(list(models.values()), data, reading, n_init, data_dir)
    else:
        records = _test_records(first, data_dir)
    scores = compare(models, records, horizons)
    directory = out or Path("runs") / "compare"
    directory.mkdir(parents=True, exist_ok=True)
    paths = dict(zip(models, map(Path, runs), strict=True))
    report = directory / "report.html"
    report.unlink(missing_ok=True)  # that of a comparison before
    failures: list[str] = []
    with going_on(str(report), failures):
        write_report(report, compare_contents(paths, models, records, scores, data_dir, failures))
    notes = remarks(list(models.values()), records) + failures
    return Comparison(scores, report if report.is_file() else None, notes)


def _test_records(run: Path, data_dir: str | None) -> list[Record]:
    config = run / "config.yaml"
    if not config.is_file():
        raise ValueError(f"data must be given for a model file, got none for {run}; add --data")
    records = load_data(read_config(config), data_dir).test
    if not records:
        raise ValueError(f"data must be given, {run} has no test data; add --data")
    return records
