"""Advice: is a record fit for identification, and what to choose for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sysid.analysis import response as linear
from sysid.analysis.checks import CHECKS, Finding, channels, varying
from sysid.data.records import Record, same_sampling_time

LEVELS = ("problem", "warning", "note")


@dataclass(frozen=True)
class Suggestion:
    """What to choose for a model of these records, all in samples."""

    nk: int
    na: int
    nb: int
    length: int
    washout: int


@dataclass(frozen=True)
class Advice:
    """Findings, worst first, and a suggestion where the data allow one."""

    findings: list[Finding]
    suggestion: Suggestion | None = None
    topics: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "topics", frozenset(f.topic for f in self.findings))

    def table(self) -> pd.DataFrame:
        """Return a row per finding: level, topic, record, channel, found, means, do."""
        columns = list(Finding.__dataclass_fields__)
        rows = [[getattr(f, c) for c in columns] for f in self.findings]
        return pd.DataFrame(rows, columns=columns)

    def __str__(self) -> str:
        lines = [
            f"{f.level}: {f.record} {f.channel}: {f.found}. {f.means} {f.do}" for f in self.findings
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
        Findings on lengths, sampling, missing stretches, constant, clipped and quantised
        channels, outliers, repeated rows, drift, delay, excitation, direction of cause,
        ranges; and orders, window length and washout to start with.

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
    for record in train:
        for check in CHECKS:
            findings += check(record)
    findings += _ranges(train, tests)
    suggestion, more = _suggested(max(train, key=len))
    findings += more
    findings.sort(key=lambda f: LEVELS.index(f.level))
    return Advice(findings, suggestion)


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


def _suggested(record: Record) -> tuple[Suggestion | None, list[Finding]]:
    if not varying(record):
        return None, []
    responses = [linear.response(record, i) for i in range(record.ny)]
    found = [r for r in responses if r is not None]
    if not found:
        return None, []
    delays = [
        d.lag
        for i in range(record.ny)
        for j in range(record.nu)
        if (d := linear.delay(record, i, j)) is not None
    ]
    findings: list[Finding] = []
    for name, r in zip(record.y_names, responses, strict=True):
        if r is not None:
            findings += _memory(record, name, r)
    order = max(r.order for r in found)
    nk = min(delays, default=0)
    settling = max(r.order if r.integrates else r.settling for r in found)
    quarter = max(4, len(record) // 4)
    washout = min(max(settling, order, 10), quarter // 2)
    length = min(max(4 * washout, 40), quarter)
    return Suggestion(nk, order, nk + order, length, min(washout, length // 2)), findings


def _memory(record: Record, name: str, r: linear.Response) -> Iterator[Finding]:
    if r.integrates:
        yield Finding(
            "warning",
            "integration",
            record.name,
            name,
            f"the largest pole of a linear model has modulus {r.pole:.5f}",
            "The plant integrates or is slower than the record: errors of a free run add up, "
            "and a network fed with inputs alone does not know where it starts.",
            'Use NARX, feedback or initial_state="encoder", and long windows.',
        )
    elif r.settling > 300:
        yield Finding(
            "warning",
            "sampling",
            record.name,
            name,
            f"the impulse response takes {r.settling} samples to settle",
            "The record is sampled much faster than the plant moves: windows get long.",
            f"Keep every {max(2, r.settling // 60)}th sample after a low-pass filter.",
        )
    if np.isfinite(r.fit):
        yield Finding(
            "note",
            "linearity",
            record.name,
            name,
            f"a linear model of order {r.order} explains {max(r.fit, 0):.2%} of its variance in "
            "free run",
            "The rest is nonlinearity, noise and what was not measured.",
            "Compare every network with this.",
        )
