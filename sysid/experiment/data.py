"""The records of a config and those that a model is used on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from sysid.analysis.advice import Advice, advice
from sysid.analysis.findings import Finding
from sysid.data.assembly import guess_columns
from sysid.data.benchmarks import BENCHMARKS, load_benchmark
from sysid.data.errors import TimeStampError
from sysid.data.files import column_names, read_experiments
from sysid.data.hiding import hide_outputs
from sysid.data.many import found_files, read_sources, refuse_shared
from sysid.data.reading import Reading
from sysid.data.records import Record
from sysid.data.splitting import split_time
from sysid.data.time_names import Rank, rank
from sysid.experiment.config import BenchmarkData, Config, FilesData, Fraction, SystemData
from sysid.models import Model
from sysid.models.belonging import differences
from sysid.training.full_sequence import usable_stretches
from sysid.training.settings import TrainingSettings

_ROWS = 1 << 20  # samples copied together


@dataclass(frozen=True)
class Data:
    """The records of an experiment."""

    train: list[Record]
    valid: list[Record]
    test: list[Record]

    @property
    def n_init(self) -> int:
        """Measured samples that free runs of what is held out start from."""
        return max((r.n_init for r in (*self.valid, *self.test)), default=0)

    def digest(self) -> str:
        """Return a fingerprint of what is trained on and chosen by."""
        digest = hashlib.sha256()
        for record in (*self.train, *self.valid):
            digest.update(repr((record, record.u_names, record.y_names)).encode())
            for block in (record.u, record.y):
                for start in range(0, len(block), _ROWS):
                    digest.update(np.ascontiguousarray(block[start : start + _ROWS]).tobytes())
        return digest.hexdigest()


def load_data(config: Config, data_dir: str | None = None, gap: int | None = None) -> Data:
    """Return the records that a config names, the validation part cut off.

    For a smoother, part of the outputs of each is hidden, as ``hide_outputs`` does.

    Args:
        config: the config.
        data_dir: where benchmark files are looked for first.
        gap: samples left out before the validation part; by default the window or the
            largest lag of the config, whichever is longer.
    """
    data = _named_data(config, data_dir, gap)
    hiding = config.smoothing
    if hiding is None:
        return data
    train = hide_outputs(
        data.train, hiding.share, length=hiding.length, copies=hiding.copies, seed=config.seed
    )
    valid, test = (
        [r for record in part for r in hide_outputs(record, hiding.share, seed=config.seed + shift)]
        for shift, part in enumerate((data.valid, data.test), start=1)
    )
    return Data(train, valid, test)


def load_records(config: Config, data_dir: str | None = None) -> tuple[list[Record], int]:
    """Return the training records that a config names, whole, and ``n_init`` of test data."""
    train, test = _named_records(config.data, data_dir)
    return train, _n_init(config.data, test)


def held_out(
    config: Config, records: list[Record], n_init: int, gap: int | None = None
) -> tuple[list[Record], list[Record]]:
    """Split training records in time, as the config says.

    Args:
        config: a config whose validation part is a fraction.
        records: the whole records.
        n_init: samples that held-out data are simulated from, as test data will be.
        gap: as for ``load_data``.
    """
    section = config.data
    if not isinstance(section.valid, Fraction):
        raise ValueError(f"data.valid must be a fraction to hold out, got {section.valid}")
    if gap is None:
        model = config.build_model(records[0].nu, records[0].ny)
        gap = split_gap(config.training, model)
        _refuse_longer_than(records, config.training, model)
    train, valid = split_time(records, section.valid.fraction, gap, section.valid.blocks)
    return train, to_simulate(valid, n_init)


def to_simulate(records: list[Record], n_init: int) -> list[Record]:
    """Return what of held-out records can be simulated, each piece from its first samples.

    A simulation ends where an input is missing, and starts, where that can be, from complete
    outputs.

    Raises:
        ValueError: if no piece has a sample after its first ``n_init``.
    """
    pieces = [q for r in records for p in usable_stretches(r, 0) for q in _from_complete(p, n_init)]
    usable = [p for p in pieces if len(p) > n_init]
    if not usable:
        raise ValueError(
            f"held-out records must have more than the {n_init} samples that start a simulation, "
            "with complete inputs, got none; give longer records or a smaller n_init"
        )
    return [p.replace(n_init=n_init) for p in usable]


def _from_complete(record: Record, n_init: int) -> list[Record]:
    """Return the record from where its first outputs are complete, or as it is."""
    return usable_stretches(record, n_init) or [record]


def blocks_held_out(
    config: Config, records: list[Record], n_init: int, count: int
) -> list[tuple[list[Record], list[Record]]]:
    """Hold out each of some blocks of every record in turn, to train on what is around it.

    Args:
        config: says how many samples around a block nobody gets, by its model and windows.
        records: the whole records.
        n_init: samples that held-out data are simulated from, as test data will be.
        count: of blocks of a record, one after the other.

    Returns:
        Training records and validation records of each block.
    """
    gap = split_gap(config.training, config.build_model(records[0].nu, records[0].ny))
    out = []
    for block in range(count):
        train, valid = [], []
        for record in records:
            first, last = (k * len(record) // count for k in (block, block + 1))
            around = ((0, first - gap), (last + gap, len(record)))
            train += [record[a:b] for a, b in around if a < b]
            valid.append(record[first:last])
        out.append((train, to_simulate(valid, n_init)))
    return out


def _named_data(config: Config, data_dir: str | None, gap: int | None) -> Data:
    section = config.data
    train, test = _named_records(section, data_dir)
    if isinstance(section, FilesData) and isinstance(section.valid, list):
        return Data(train, _held_out_files(section, section.valid), test)
    if section.valid is None:
        return Data(train, [], test)
    train, valid = held_out(config, train, _n_init(section, test), gap)
    return Data(train, valid, test)


def _n_init(section: FilesData | BenchmarkData | SystemData, test: list[Record]) -> int:
    if isinstance(section, FilesData):
        return section.n_init
    return test[0].n_init if isinstance(section, BenchmarkData) else 0


def _named_records(
    section: FilesData | BenchmarkData | SystemData, data_dir: str | None
) -> tuple[list[Record], list[Record]]:
    """Return training and test records."""
    if isinstance(section, FilesData):
        train = read_sources(section.train, section.reading)
        return train, _held_out_files(section, section.test)
    if isinstance(section, BenchmarkData):
        benchmark = load_benchmark(section.name, data_dir)
        return benchmark.train, benchmark.test
    return [_generated(section, 0, "train")], [_generated(section, 1, "test")]


def _held_out_files(section: FilesData, paths: list[str]) -> list[Record]:
    """Return the records of files that are not trained on."""
    if not paths:
        return []
    refuse_shared(found_files(section.train), found_files(paths))
    held_out = read_sources(paths, section.reading)
    return [record.replace(n_init=section.n_init) for record in held_out]


def _refuse_longer_than(records: list[Record], settings: TrainingSettings, model: Model) -> None:
    """Name the setting that is too long, before a split fails for its sake."""
    longest = max(len(r) for r in records)
    if model.n_memory >= longest:
        raise ValueError(
            f"the model's largest lag or window must be less than the longest record, which has "
            f"{longest} samples, got {model.n_memory}; lower na and nb, or n_init"
        )
    if (settings.loss or model.losses[0]) == "subsequence" and settings.length > longest:
        raise ValueError(
            f"training.length must be at most the longest record, which has {longest} samples, "
            f"got {settings.length}; use shorter windows"
        )


def split_gap(settings: TrainingSettings, model: Model) -> int:
    """Return the samples between training and validation: the window or the largest lag."""
    window = settings.length if (settings.loss or model.losses[0]) == "subsequence" else 0
    return max(window, model.n_memory, settings.washout)


def read_for(
    model: Model, path: str, reading: Reading | None = None, n_init: int | None = None
) -> Record:
    """Read a data file for a model: its own channel names where the file has them.

    Args:
        model: the model whose channels are looked for.
        path: a data file.
        reading: how to read it; columns that are not named are those of the model.
        n_init: samples to start from; if ``None``, as in the file, and where it says nothing as
            many as the model was judged from in its training.
    """
    return read_all([model], [path], reading, n_init)[0]


def _reading_for(model: Model, paths: Sequence[str], reading: Reading) -> Reading:
    """Return how to read files: a model's own columns where they are there and none are named."""
    if reading.u is None and reading.y is None:
        known = paths if reading.join else paths[:1]
        names = {name for path in known for name in column_names(path, reading)}
        if names.issuperset(model.u_names):
            y = list(model.y_names) if names.issuperset(model.y_names) else None
            return replace(reading, u=list(model.u_names), y=y)
    return reading


def _begun_as_trained(models: Sequence[Model], record: Record) -> Record:
    """Return a record with the ``n_init`` of the models' own training, if it has none itself.

    A model that needs measured outputs starts from those before the first that misses.
    """
    n_init = max(model.data_n_init for model in models)
    if record.n_init or record.ny == 0 or not n_init:
        return record
    memory = max(model.n_memory for model in models)
    gaps = np.flatnonzero(np.isnan(record.y[:n_init]).any(axis=1))
    if memory and len(gaps):
        n_init = int(gaps[0]) if gaps[0] >= memory else 0
    return record.replace(n_init=n_init)


def read_all(
    models: Sequence[Model],
    sources: Sequence[str],
    reading: Reading | None = None,
    n_init: int | None = None,
    data_dir: str | None = None,
) -> list[Record]:
    """Read files as ``read_for``, by the channels of the first model.

    The name of an official benchmark stands for its test records.
    """
    records: list[Record] = []
    for of_benchmarks, group in groupby(sources, _is_benchmark):
        if of_benchmarks:
            records += [r for name in group for r in load_benchmark(name, data_dir).test]
        else:
            files = found_files(group)
            own = _reading_for(models[0], files, reading or Reading())
            read = read_sources(files, own)
            records += read if n_init is not None else [_begun_as_trained(models, r) for r in read]
    return records if n_init is None else [r.replace(n_init=n_init) for r in records]


def _is_benchmark(source: str) -> bool:
    return source in BENCHMARKS and not Path(source).exists()


def read_training(
    sources: Sequence[str], reading: Reading | None = None, data_dir: str | None = None
) -> list[Record]:
    """Read files; the name of an official benchmark stands for its training records."""
    records: list[Record] = []
    for of_benchmarks, group in groupby(sources, _is_benchmark):
        if of_benchmarks:
            records += [r for name in group for r in load_benchmark(name, data_dir).train]
        else:
            records += read_sources(found_files(group), reading or Reading())
    return records


def drawable(sources: Sequence[str], reading: Reading) -> Reading:
    """Return a reading of all columns, as outputs, where none is named or called u or y."""
    files = [s for s in sources if not _is_benchmark(s)]
    if reading.u is not None or reading.y is not None or not files:
        return reading
    names = column_names(found_files(files)[0], reading)
    u, y, _ = guess_columns(names)
    if u or y:
        return reading
    return replace(reading, y=[n for n in names if rank(n) is Rank.NONE])


def remarks(models: Sequence[Model], records: Sequence[Record]) -> list[str]:
    """Say in which way records are not as those that models were trained on.

    What is said of many records is said once.
    """
    found: dict[str, list[str]] = {}
    for record in records:
        for text in dict.fromkeys(t for model in models for t in differences(model, record)):
            found.setdefault(text, []).append(repr(record.name))
    return [f"{_listed(names)}: {text}" for text, names in found.items()]


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def advise(
    sources: Sequence[str],
    tests: Sequence[str] = (),
    reading: Reading | None = None,
    data_dir: str | None = None,
) -> Advice:
    """Return advice on files; the name of a benchmark stands for its training records.

    Time stamps that cannot be used are a finding, and the rest is looked at without them.
    """
    reading = reading or Reading()
    findings: list[Finding] = []

    def opened(sources: Sequence[str]) -> list[Record]:
        known = [r for s in sources if _is_benchmark(s) for r in load_benchmark(s, data_dir).train]
        files = [s for s in sources if not _is_benchmark(s)]
        if not files:
            return known
        try:
            return known + read_sources(files, reading)
        except TimeStampError:
            return known + [r for path in found_files(files) for r in opened_alone(path)]

    def opened_alone(path: str) -> list[Record]:
        try:
            return read_experiments(path, reading)
        except TimeStampError as error:
            untimed = replace(reading, time="none", sampling_time=1.0)
            records = [r.replace(sampling_time=None) for r in read_experiments(path, untimed)]
            findings.append(
                Finding(
                    "problem",
                    "sampling time",
                    records[0].name,
                    "",
                    str(error),
                    "A discrete-time model holds for one, constant sampling time.",
                    "Mend the stamps, choose the right column with --time, or ignore them with "
                    "--time none and --sampling-time.",
                )
            )
            return records

    of_files = [[s for s in group if not _is_benchmark(s)] for group in (sources, tests)]
    if all(of_files):
        refuse_shared(*map(found_files, of_files))
    train, test = opened(sources), opened(tests)
    found = advice(train, test)
    if findings:  # it is known why there is none
        others = [f for f in found.findings if f.topic != "sampling time"]
        return Advice(findings + others, found.suggestion, found.records)
    return found


def _generated(section: SystemData, shift: int, name: str) -> Record:
    from sysid.data.systems import generate

    seed = section.seed + shift
    return generate(section.name, section.samples, seed=seed, noise=section.noise).replace(
        name=name
    )
