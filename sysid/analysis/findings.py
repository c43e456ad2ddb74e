"""Finding: one thing that advice says; and the same said of many records or channels at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

LEVELS = ("problem", "warning", "note")
_CHANNELS = 4  # that a line of its own each is worth
_NAMED = 3  # channels that a merged line names


@dataclass(frozen=True)
class Finding:
    """One thing that was found, what it means and what to do."""

    level: str
    topic: str
    record: str
    channel: str
    found: str
    means: str
    do: str


def by_level(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings sorted, worst first."""
    return sorted(findings, key=lambda f: LEVELS.index(f.level))


def merged(findings: Iterable[Finding], records: int) -> list[Finding]:
    """Return one finding for those that records, or many channels of a record, share.

    The first of them stands for all, and its place is said.

    Args:
        findings: what was found, worst first.
        records: how many records were looked at.
    """
    shared: dict[tuple[str, str, str], list[Finding]] = {}
    for f in findings:
        shared.setdefault((f.level, f.topic, f.channel), []).append(f)
    lines: list[Finding] = []
    for group in shared.values():
        lines += [_over_records(group, records)] if len(group) > 1 and records > 1 else group
    channels: dict[tuple[str, str], list[Finding]] = {}
    for f in lines:
        channels.setdefault((f.level, f.topic), []).append(f)
    out: list[Finding] = []
    for group in channels.values():
        out += [_over_channels(group)] if len(group) > _CHANNELS else group
    return by_level(out)


def _over_records(group: list[Finding], records: int) -> Finding:
    first = group[0]
    shown = f"{min(len(group), records)} of {records} records"
    if first.topic == "extrapolation":  # it is said of test records alone
        shown = f"{len(group)} test records"
    found = first.found if all(f.found == first.found for f in group) else _of(first)
    return replace(first, record=shown, found=found)


def _of(f: Finding) -> str:
    return f"in {f.record}, {f.found}" if f.record else f.found


def _over_channels(group: list[Finding]) -> Finding:
    first = group[0]
    names = "; ".join(f.channel for f in group[:_NAMED])
    channel = f"{names} and {len(group) - _NAMED} others"
    return replace(first, channel=channel, found=f"{first.channel}: {first.found}")
