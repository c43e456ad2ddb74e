"""Advice: is a record fit for identification, and what to choose for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sysid.analysis import checks, relations
from sysid.analysis.checks import channels
from sysid.analysis.findings import Finding, by_level, merged
from sysid.analysis.plant import Plant
from sysid.data.records import Record, same_sampling_time

_MOST = 100  # channels of each kind that are looked at


@dataclass(frozen=True)
class Suggestion:
    """What to choose for a model of these records, all in samples.

    ``nk`` and ``nb`` span the lags of all inputs; ``delays`` are those of each input alone.
    """

    nk: int
    na: int
    nb: int
    length: int
    washout: int
    delays: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Advice:
    """Findings, worst first, and a suggestion where the data allow one.

    ``findings`` are all of them; ``merged()`` are those to read, in which one stands for what
    ``records`` records or many channels share.
    """

    findings: list[Finding]
    suggestion: Suggestion | None = None
    records: int = 1
    topics: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "topics", frozenset(f.topic for f in self.findings))

    def merged(self) -> list[Finding]:
        """Return one finding for those that records share, worst first."""
        return merged(self.findings, self.records)

    def table(self) -> pd.DataFrame:
        """Return a row per merged finding: level, topic, record, channel, found, means, do."""
        columns = list(Finding.__dataclass_fields__)
        rows = [[getattr(f, c) for c in columns] for f in self.merged()]
        return pd.DataFrame(rows, columns=columns)

    def __str__(self) -> str:
        lines = [
            f"{f.level}: {f.topic}: {f.record} {f.channel}: {f.found}. {f.means} {f.do}"
            for f in self.merged()
        ]
        if self.suggestion:
            lines.append(f"suggested: {self.suggestion}")
        return "\n".join(lines)


def advice(records: Record | Iterable[Record], test: Record | Iterable[Record] = ()) -> Advice:
    """Look at records before any training.

    Args:
        records: training records.
        test: records that are compared with the training range.

    Returns:
        Findings on lengths, sampling, missing stretches, constant, clipped, stuck and quantised
        channels, codes for "no value", outliers, repeated rows, drift, delay, excitation, feedback,
        direction of cause, integration, ranges; and orders, window length and washout to
        start with. ``findings`` are all of them; text and table say once what records share.

    Raises:
        ValueError: if there is no record.

    Example:
        >>> import sysid
        >>> found = advice(sysid.generate("cascaded_tanks", 400))
        >>> found.suggestion.nk
        1
        >>> found.table().columns.tolist()
        ['level', 'topic', 'record', 'channel', 'found', 'means', 'do']
    """
    train = [records] if isinstance(records, Record) else list(records)
    tests = [test] if isinstance(test, Record) else list(test)
    if not train:
        raise ValueError("records must hold at least one record, got none")
    findings = list(_sampling([*train, *tests]))
    plants = []
    for record in train:
        kept, found = _first_channels(record)
        findings += found
        for check in checks.CHECKS:
            findings += check(kept)
        kept, found = _without_faults(kept)
        findings += found
        for check in checks.AFTER:
            findings += check(kept)
        plants.append(Plant(kept))
        for relation in relations.CHECKS:
            findings += relation(plants[-1])
    findings += _ranges(train, tests)
    suggestion = _suggested(max(plants, key=lambda p: len(p.record)))
    return Advice(by_level(findings), suggestion, len(train))


def _first_channels(record: Record) -> tuple[Record, list[Finding]]:
    """Return a record of as many channels as are looked at, and a finding where there are more."""
    found = []
    changes: dict[str, object] = {}
    for kind, what in (("u", "inputs"), ("y", "outputs")):
        count = getattr(record, f"n{kind}")
        if count > _MOST:
            names, units = getattr(record, f"{kind}_names"), getattr(record, f"{kind}_units")
            changes |= {kind: getattr(record, kind)[:, :_MOST]}
            changes |= {f"{kind}_names": names[:_MOST], f"{kind}_units": units[:_MOST]}
            found.append(
                Finding(
                    "note",
                    "channels",
                    record.name,
                    "",
                    f"of its {count} {what} only the first {_MOST} were looked at",
                    "Nothing is said of the others.",
                    "Give records of the channels that a model will use.",
                )
            )
    return record.replace(**changes) if changes else record, found


def _without_faults(record: Record) -> tuple[Record, list[Finding]]:
    """Return a record in which samples that are no measurements are missing, and what they are."""
    found = []
    block = np.hstack([record.u, record.y])
    for check in checks.FAULTS:
        for finding, column, at in check(record):
            found.append(finding)
            if finding.topic != "outliers" or column >= record.nu:  # the plant saw its inputs
                block[at, column] = np.nan
        record = record.replace(u=block[:, : record.nu], y=block[:, record.nu :])
    return record, found


def _sampling(records: list[Record]) -> Iterator[Finding]:
    steps = {r.sampling_time for r in records}
    known = [s for s in steps if s is not None]
    if len(known) < len(steps):
        yield Finding(
            "note",
            "sampling time",
            records[0].name,
            "",
            "the sampling time is not known",
            "Times and frequencies can only be told in samples.",
            "Give sampling_time.",
        )
    if any(not same_sampling_time(a, known[0]) for a in known):
        shown = ", ".join(f"{s:.6g} s" for s in sorted(known))
        yield Finding(
            "problem",
            "sampling time",
            "all",
            "",
            f"records are sampled at {shown}",
            "A discrete-time model holds for one sampling time.",
            "Resample, or check the time columns.",
        )


def _ranges(train: list[Record], tests: list[Record]) -> Iterator[Finding]:
    known: dict[str, tuple[float, float]] = {}
    for record in train:
        for name, x in channels(record):
            if np.isnan(x).all():
                continue
            low, high = known.get(name, (np.inf, -np.inf))
            known[name] = (min(low, float(np.nanmin(x))), max(high, float(np.nanmax(x))))
    for record in tests:
        for name, x in channels(record):
            if name not in known:
                continue
            low, high = known[name]
            margin = 0.01 * (high - low)
            outside = (x < low - margin) | (x > high + margin)
            if outside.any():
                reach = max(low - np.nanmin(x), np.nanmax(x) - high) / max(high - low, 1e-300)
                yield Finding(
                    "warning",
                    "extrapolation",
                    record.name,
                    name,
                    f"{outside.sum()} samples ({outside.mean():.1%}) lie outside the training "
                    f"range {low:.4g} to {high:.4g}, by up to {reach:.0%} of it",
                    "A network says nothing reliable where it was not trained.",
                    "Train over the whole range, or do not judge the model by these samples.",
                )


def _suggested(plant: Plant) -> Suggestion | None:
    found = [r for r in plant.responses.values() if r is not None]
    slow = [i for i in plant.outputs if plant.rate(i) > 1]
    lags: dict[str, int] = {}
    for j in plant.inputs:
        known = [d.lag for i in plant.outputs if (d := plant.delays[i, j]) is not None]
        if known:
            lags[plant.record.u_names[j]] = min(known)
    latest = [d.lag for d in plant.delays.values() if d is not None]
    if not found and not (slow and latest):
        return None
    nk, last = min(latest, default=0), max(latest, default=0)
    order = max((r.order for r in found), default=0)
    reach = max([order, *(plant.rate(i) for i in slow)])
    nb = last + reach if plant.inputs else 0
    settling = max((r.order if r.integrates else r.settling for r in found), default=10 * reach)
    quarter = max(4, len(plant.record) // 4)
    washout = min(max(settling, order, 10), quarter // 2)
    length = min(max(4 * washout, 40), quarter)
    na = 0 if slow else order
    return Suggestion(nk, na, nb, length, min(washout, length // 2), lags)
