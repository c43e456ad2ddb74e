"""The automatic search: from records to a trained model, within a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sysid.analysis.advice import Advice, advice
from sysid.data.atomic import replacing
from sysid.data.benchmarks import BENCHMARKS
from sysid.data.files import write
from sysid.data.many import found_files
from sysid.data.reading import Reading
from sysid.data.records import Record, as_records
from sysid.experiment.candidates import Candidate, Candidates
from sysid.experiment.config import Config, parse_config
from sysid.experiment.data import load_records
from sysid.experiment.directory import new_directory, next_directory
from sysid.experiment.held_out import HeldOut
from sysid.experiment.judging import Judge
from sysid.experiment.run import Run, train_config
from sysid.experiment.search import Search
from sysid.experiment.settling import settle
from sysid.models import Model

TABLE_FILE = "tried.csv"
_LAST = 0.10  # kept for the evaluation
_MANY = 1_000_000  # epochs; the time ends a trial
_MOST_START = 50  # samples to start from, where nothing else is said
_LEAST_START = 2
_LEAST = Candidate({"kind": "ffn", "hidden_sizes": []}, {})
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Automatic:
    """What a search found.

    ``model`` is trained; ``config`` trains it again; ``tried`` has a row per candidate, the chosen
    one first, then by error: candidate, weights, epochs, seconds, valid_rmse (of free runs from
    many starts in what is held out, over the outputs' standard deviation), standard_error, worst
    (the error of the worst start), runaways (starts from which it leaves the measured range) of so
    many starts, stopped_because and verdict. ``run`` is the run directory's, ``advice`` what the
    data looked like at first, and ``warning`` says why the model is not to be trusted, if it is
    not.
    """

    model: Model
    config: Config
    tried: pd.DataFrame
    advice: Advice
    run: Run
    warning: str = ""


def auto(
    records: Record | Iterable[Record],
    *,
    test: Record | Iterable[Record] = (),
    budget: float = 10.0,
    out: str | Path | None = None,
    seed: int = 0,
    tell: Callable[[dict[str, Any]], None] | None = None,
) -> Automatic:
    """Find and train a model for records within a time, and leave a run directory.

    Orders, family, size and training are chosen by free runs from many starts in parts of the
    records that training does not see: linear models of several orders first, then networks of
    the best orders, of which the better half gets more and more time, then what is near the best
    one. Of those that are not worse than the best by more than a standard error, the one with the
    fewest weights is taken; none that runs away from a start, and none worse than the best linear
    model. Of short records (fewer than 2000 samples in all) each quarter is held out in turn, and
    where the plant integrates, each half; what is chosen is then trained again on all of it, and
    judged again.

    Args:
        records: what to learn from; kept as npz files beside the run directory, in ``OUT-data``.
        test: records that are scored in the end, and decide nothing.
        budget: minutes of wall time for everything.
        out: the run directory, new or empty; ``runs/auto`` with a number by default.
        seed: of the weights.
        tell: called with a row of the table each time that a candidate was worked on.

    Returns:
        The model, the config that trains it again to the same bits, and the table.

    Raises:
        ValueError: for records that are too few or do not go together.

    Example:
        >>> import sysid, tempfile
        >>> record = sysid.generate("linear", 300)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = sysid.auto(record, budget=0.005, out=folder + "/run")
        >>> found.tried.columns[0], found.model.nu
        ('candidate', 1)
    """
    train, tests = as_records(records), as_records(test) if test else []
    directory = next_directory("auto") if out is None else new_directory(Path(out))
    folder = new_directory(directory.with_name(directory.name + "-data"))
    names: dict[str, list[str]] = {"train": [], "test": []}
    for part, several in (("train", train), ("test", tests)):
        for i, record in enumerate(several):
            path = folder / f"{part}{i + 1}.npz"
            write(record, path)
            names[part].append(str(path.resolve()))
    section = {
        **names,
        "u": list(train[0].u_names),
        "y": list(train[0].y_names),
        "sampling_time": train[0].sampling_time,
        "n_init": max((r.n_init for r in (*tests, *train)), default=0),
    }
    found = _search({"source": "files", **section}, budget, directory, seed, None, tell)
    if found.warning:
        _LOG.warning(found.warning)
    return found


def auto_sources(
    sources: Sequence[str],
    tests: Sequence[str] = (),
    *,
    reading: Reading | None = None,
    n_init: int | None = None,
    budget: float = 10.0,
    out: Path | None = None,
    seed: int = 0,
    data_dir: str | None = None,
    tell: Callable[[dict[str, Any]], None] | None = None,
) -> Automatic:
    """Do what ``auto`` does for data files, or for the name of one official benchmark.

    Args:
        sources: data files, or the name of a benchmark, whose test records are then scored.
        tests: data files that are scored in the end.
        reading: how to read the files.
        n_init: samples that a simulation of validation and test data may start from; by the
            length of the data if ``None``.
        budget: minutes of wall time.
        out: the run directory.
        seed: of the weights.
        data_dir: where benchmark files are looked for first.
        tell: as for ``auto``.

    Raises:
        ValueError: as for ``auto``, or for a benchmark beside other data.
    """
    reading = reading or Reading()
    if any(s in BENCHMARKS and not Path(s).exists() for s in sources):
        if len(sources) > 1 or tests or reading != Reading() or n_init is not None:
            raise ValueError(
                f"DATA must be one benchmark by itself, without columns, tests or n_init, got "
                f"{[*sources, *tests]}"
            )
        section: dict[str, Any] = {"source": "benchmark", "name": sources[0]}
    else:
        section = {
            "source": "files",
            "train": [str(Path(s).resolve()) for s in found_files(sources)],
            "test": [str(Path(s).resolve()) for s in found_files(tests)] if tests else [],
            "n_init": n_init or 0,
            **vars(reading),
        }
    directory = next_directory("auto") if out is None else new_directory(out)
    return _search(section, budget, directory, seed, data_dir, tell)


def _search(
    section: dict[str, Any],
    budget: float,
    out: Path,
    seed: int,
    data_dir: str | None,
    tell: Callable[[dict[str, Any]], None] | None,
) -> Automatic:
    if not budget > 0:
        raise ValueError(f"budget must be more than 0 minutes, got {budget}")
    deadline = time.perf_counter() + (1 - _LAST) * 60 * budget
    # Test records are read again once the choice is made, and not before.
    untested = section | {"test": []} if section["source"] == "files" else section
    records, n_init = load_records(_config(untested, _LEAST, seed), data_dir)
    if section["source"] == "files":
        n_init = n_init or _default_n_init(records)
        section = section | {"n_init": n_init}
    looked_at = advice(records)
    integrates = "integration" in looked_at.topics
    clipped = [f.channel for f in looked_at.findings if f.topic == "clipped"]
    parts = HeldOut(records, n_init, integrates)
    section = parts.section(section)
    search = Search(
        parts.splits,
        lambda candidate: _config(section, candidate, seed),
        Candidates(records, looked_at.suggestion, n_init, integrates, clipped),
        Judge(parts.judged(), records, n_init, bounded=not integrates),
        deadline,
        tell or (lambda row: None),
        again=parts.turns > 1,
    )
    search.run()
    settled = settle(search, records, n_init, bounded=not integrates)
    if settled.warning:
        settled.trainer.messages.append(settled.warning)
    state = settled.trainer.state_dict()
    run = train_config(settled.config, out, data_dir=data_dir, progress=False, state=state)
    if run is None:
        raise RuntimeError("an automatic search must run in one process, not under torchrun")
    tried = search.table(settled.trial)
    with replacing(out / TABLE_FILE) as partial:
        tried.to_csv(partial, index=False)
    return Automatic(run.result.model, settled.config, tried, looked_at, run, settled.warning)


def _config(section: dict[str, Any], candidate: Candidate, seed: int) -> Config:
    training = {"max_epochs": _MANY} | candidate.training
    return parse_config(
        {
            "name": "auto",
            "seed": seed + candidate.seed,
            "data": section,
            "model": candidate.model,
            "training": training,
        }
    )


def _default_n_init(records: list[Record]) -> int:
    return min(_MOST_START, max(min(len(r) for r in records) // 40, _LEAST_START))
