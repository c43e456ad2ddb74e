"""One long record on several threads: its segments start from a guess, and again until they meet.

Forward, each segment but the first starts from zeros. Then each is run again from where the one
before it has really ended, until its states are what they were, bit for bit: from there on
everything else is too. A system that forgets its past does so soon; of one that does not, a
segment is run again to its end, and all takes as long as it would on one thread. The result is
that of one thread to the last bit.

Back, each segment starts from no gradient of the samples after it. What a segment hands to the one
before it passes on through that one by itself, as gradients add, until it is smaller than the
rounding of a loss's gradient there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sysid.kernels.threads import side_by_side

Array = NDArray[Any]
Loop = Callable[[Any, int, int, int, int], None]
_FIRST_PIECES = 2  # after so many it is looked whether segments have met, then after twice as many


class Roles(NamedTuple):
    """What the fields of a tape, or of its gradients, are over time; all others stay as they are.

    An array has a row for each sample, and before these as many as the recurrence has lags where
    it holds states.
    """

    over_time: tuple[str, ...]  # read, or written for each sample by itself
    states: tuple[str, ...]  # the first rows are where a run starts
    d_out: str = ""  # the gradient by what comes out, as the loss has it
    carried: tuple[str, ...] = ()  # gradients that a sample hands to those before it
    work: tuple[str, ...] = ()  # room for a piece of samples
    d_in: str = ""  # the gradient by what is fed in, or no rows


def forward(loop: Loop, tape: Any, roles: Roles, cut: Sequence[int], piece: int, rows: int) -> None:
    """Fill a tape of some rows of a batch, a segment a thread; ``cut`` are the segments' edges."""
    segments = [_Segment(loop, tape, roles, *edges, piece, rows) for edges in pairwise(cut)]
    side_by_side([segment.run for segment in segments])
    for _ in segments[1:]:
        ends = [segment.end() for segment in segments]
        moved = [
            partial(segment.run_again, end)
            for segment, end in zip(segments[1:], ends[:-1], strict=True)
            if not _same(segment.start(), end)
        ]
        if not moved:
            break
        side_by_side(moved)
    for segment in segments[1:]:
        segment.write()


def back(
    loop: Loop, gradients: Sequence[Any], roles: Roles, cut: Sequence[int], piece: int, rows: int
) -> None:
    """Fill a tape's gradients, a segment a thread; of these each has its own sums."""
    segments = [
        _SegmentBack(loop, own, roles, *edges, piece, rows)
        for own, edges in zip(gradients, pairwise(cut), strict=True)
    ]
    side_by_side([segment.run for segment in segments])
    handed: list[list[Array] | None] = [segment.handed for segment in segments]
    for _ in segments[1:]:
        others = [(k, h) for k, h in enumerate(handed[1:]) if h is not None]
        if not others:
            break
        handed = [None] * len(segments)

        def pass_on(k: int, by_later: list[Array], left: list[Any] = handed) -> None:
            left[k] = segments[k].pass_on(by_later)

        side_by_side([partial(pass_on, k, by_later) for k, by_later in others])
    for array, first in zip(segments[0].whole, segments[0].handed, strict=True):
        array[: len(first)] = first


class _Segment:
    """Samples ``first`` to ``last`` of a tape; if not from the first on, in states of their own."""

    def __init__(
        self, loop: Loop, tape: Any, roles: Roles, first: int, last: int, piece: int, rows: int
    ) -> None:
        self._loop, self._piece, self._rows = loop, piece, rows
        self._steps, self._roles = last - first, roles
        whole = _steps(tape, roles)
        self._target = _cut(tape, (*roles.over_time, *roles.states), whole, first, last)
        self._own = self._target
        self._lags = len(self._states(self._own)[0]) - self._steps
        if first:
            guess = {name: np.empty_like(getattr(self._own, name)) for name in roles.states}
            for array in guess.values():
                array[: self._lags] = 0
            self._own = self._own._replace(**guess)

    def run(self) -> None:
        self._loop(self._own, self._steps, self._piece, 0, self._rows)

    def run_again(self, start: list[Array]) -> None:
        """Run from another start until the states are what they were."""
        names, lags = (*self._roles.over_time, *self._roles.states), self._lags
        for array, own in zip(self._states(self._own), start, strict=True):
            array[:lags] = own
        first, count = 0, _FIRST_PIECES * self._piece
        while first < self._steps:
            last = min(first + count, self._steps)
            part = _cut(self._own, names, self._steps, first, last)
            before = [array[-lags:].copy() for array in self._states(part)]
            self._loop(part, last - first, self._piece, 0, self._rows)
            after = [array[-lags:] for array in self._states(part)]
            if last - first >= lags and _same(before, after):
                return
            first, count = last, 2 * count

    def start(self) -> list[Array]:
        return [array[: self._lags] for array in self._states(self._own)]

    def end(self) -> list[Array]:
        return [array[-self._lags :].copy() for array in self._states(self._own)]

    def write(self) -> None:
        """Write the segment's own states to where all are."""
        for to, own in zip(self._states(self._target), self._states(self._own), strict=True):
            to[self._lags :] = own[self._lags :]

    def _states(self, tape: Any) -> list[Array]:
        return [getattr(tape, name) for name in self._roles.states]


class _SegmentBack:
    """Samples ``first`` to ``last`` of gradients, with what they hand to the samples before."""

    def __init__(
        self, loop: Loop, gradients: Any, roles: Roles, first: int, last: int, piece: int, rows: int
    ) -> None:
        self._loop, self._piece, self._rows, self._roles = loop, piece, rows, roles
        self._steps, whole = last - first, _steps(gradients, roles)
        self._names = (*roles.over_time, *roles.states, roles.d_out, roles.d_in)
        self.whole = [getattr(gradients, name) for name in roles.carried]
        self._lags = len(getattr(gradients, roles.states[0])) - whole
        cut = _cut(gradients, self._names, whole, first, last)
        self._d_out = getattr(cut, roles.d_out)
        carried = {}
        for name in roles.carried:
            carried[name] = getattr(cut, name).copy()
            if name == roles.d_out and first:  # its first rows are the end of the one before
                carried[name][: self._lags] = 0
            elif name != roles.d_out and last < whole:
                carried[name][:] = 0
        room = {name: _like(getattr(cut, name)) for name in roles.work}
        self._own = cut._replace(**carried, **room)
        self.handed: list[Array] = []

    def run(self) -> None:
        self._loop(self._own, self._steps, self._piece, 0, self._rows)
        self.handed = self._handed(self._own)

    def pass_on(self, by_later: list[Array]) -> list[Array] | None:
        """Take what the segment after hands back; return what is left of it at the start."""
        last, count = self._steps, _FIRST_PIECES * self._piece
        while last:
            # Pieces are counted from the start.
            first = max(0, (last - count) // self._piece * self._piece)
            part = _cut(self._own, self._names, self._steps, first, last)
            fresh = {self._roles.d_out: np.zeros_like(getattr(part, self._roles.d_out))}
            for name, given in zip(self._roles.carried, by_later, strict=True):
                fresh.setdefault(name, np.empty_like(given))[-self._lags :] = given
            d_in = getattr(part, self._roles.d_in)
            fresh[self._roles.d_in] = np.empty_like(d_in)
            part = part._replace(**fresh)
            self._loop(part, last - first, self._piece, 0, self._rows)
            d_in += fresh[self._roles.d_in]
            by_later = self._handed(part)
            if first and self._is_rounding(by_later, first, last):
                return None
            last, count = first, 2 * count
        # New arrays: the segment before may be reading the old ones.
        self.handed = [array + more for array, more in zip(self.handed, by_later, strict=True)]
        return by_later

    def _is_rounding(self, handed: list[Array], first: int, last: int) -> bool:
        """Return whether the loss's gradients there are not even known as well."""
        largest = np.abs(self._d_out[first:last]).max()
        return all(np.abs(array).max() <= np.finfo(array.dtype).eps * largest for array in handed)

    def _handed(self, gradients: Any) -> list[Array]:
        return [getattr(gradients, name)[: self._lags].copy() for name in self._roles.carried]


def _steps(tape: Any, roles: Roles) -> int:
    return len(getattr(tape, roles.over_time[0]))


def _cut(tape: Any, names: Sequence[str], steps: int, first: int, last: int) -> Any:
    """Return a tape of the samples ``first`` to ``last`` among ``steps`` in the same memory."""

    def of(field: Any) -> Any:
        if isinstance(field, tuple):
            return tuple(map(of, field))
        return field[first : last + len(field) - steps] if len(field) else field

    return tape._replace(**{name: of(getattr(tape, name)) for name in names})


def _like(field: Any) -> Any:
    return tuple(map(_like, field)) if isinstance(field, tuple) else np.empty_like(field)


def _same(first: list[Array], second: list[Array]) -> bool:
    """Return whether arrays hold the same bits."""
    return all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))
