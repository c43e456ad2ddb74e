"""What is held out of training records: blocks or whole records, once or each in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sysid.data.records import Record
from sysid.data.splitting import split_time
from sysid.experiment.config import Config
from sysid.experiment.data import blocks_held_out, held_out, to_simulate

Split = tuple[list[Record], list[Record]]

SHORT = 2000  # samples in all, of which fewer are few
_TURNS, _LONG_TURNS = 4, 2  # blocks of each record where few samples, or long runs, are needed
_SEVERAL = 8  # records, of which whole ones are held out
_EVERY = 5  # of many records, each fifth is held out
_FRACTION, _BLOCKS = 0.125, 4  # of each block of a long record
_LEAST = 100  # samples of a held-out block
_LEAST_STARTS = 4  # times the samples that start a run


class HeldOut:
    """Which samples of some records judge a model that was trained on the others.

    - Of eight records or more, whole ones.
    - Of fewer than 2000 samples in all, each quarter in turn, and where the plant integrates
      each half: a candidate is then trained once for each, and what is chosen on everything.
    - Else the ends of four blocks of each record.

    Args:
        records: the records, whole.
        n_init: samples that a simulation starts from.
        integrates: whether the plant does: what drifts does so over long runs.
    """

    def __init__(self, records: Sequence[Record], n_init: int, integrates: bool) -> None:
        self.records, self.n_init = list(records), n_init
        self.whole = len(self.records) >= _SEVERAL
        short = sum(map(len, self.records)) < SHORT
        self.turns = 1
        if short or (integrates and not self.whole):
            self.turns = _LONG_TURNS if integrates and not self.whole else _TURNS
        least = max(_LEAST, _LEAST_STARTS * n_init)
        room = int(_FRACTION * min(map(len, self.records))) // least
        self.blocks = min(max(room, 1), _BLOCKS)

    def splits(self, config: Config) -> list[Split]:
        """Return training and validation records, one pair for each turn."""
        if self.whole:
            return [self._split(held) for held in self._groups()]
        if self.turns > 1:
            return blocks_held_out(config, self.records, self.n_init, self.turns)
        return [held_out(config, self.records, self.n_init)]

    def judged(self) -> list[list[Record]]:
        """Return the held-out records of each turn, which are the same for all candidates."""
        if self.whole:
            return [self._split(held)[1] for held in self._groups()]
        if self.turns == 1:
            valid = split_time(self.records, _FRACTION, 0, self.blocks)[1]
            return [to_simulate(valid, self.n_init)]
        out = []
        for turn in range(self.turns):
            edges = [[len(r) * k // self.turns for k in (turn, turn + 1)] for r in self.records]
            parts = [r[a:b] for r, (a, b) in zip(self.records, edges, strict=True) if a < b]
            out.append(to_simulate(parts, self.n_init))
        return out

    def section(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """Return a config's data section that holds out the same, or nothing where turns do."""
        if self.turns > 1:
            return {**section, "valid": None}
        if not self.whole:
            return {**section, "valid": {"fraction": _FRACTION, "blocks": self.blocks}}
        (held,) = self._groups()
        files = list(section["train"])
        return {
            **section,
            "train": [f for i, f in enumerate(files) if i not in held],
            "valid": [f for i, f in enumerate(files) if i in held],
        }

    def _groups(self) -> list[set[int]]:
        """Return which records are held out, spread over all of them."""
        count = len(self.records)
        if self.turns > 1:
            return [set(range(turn, count, self.turns)) for turn in range(self.turns)]
        return [set(range(_EVERY // 2, count, _EVERY))]

    def _split(self, held: set[int]) -> Split:
        train = [r for i, r in enumerate(self.records) if i not in held]
        valid = [r for i, r in enumerate(self.records) if i in held]
        return train, to_simulate(valid, self.n_init)
