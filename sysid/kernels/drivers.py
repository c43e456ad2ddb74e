"""The loops over time, written once: forward and back through a tape, in threads over the batch.

What has no batch is cut in time instead, by ``segments``.

A recurrence is two named tuples of arrays, all time first, and functions over them for some rows of
the batch. Of its tape (states, gates and weights) ``step`` computes one sample; of its gradients
``step_back`` takes that of a sample to the one before. What one sample need not wait for is done
for a piece of several, while they are in the cache: ``prepare`` what enters, before the steps,
``collect`` the gradients by weights, after them. Numba compiles the loops for each with its
functions in place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numba import types
from numba.extending import overload

from sysid.kernels import segments
from sysid.kernels.elementary import OPTIONS, compiled
from sysid.kernels.segments import Roles
from sysid.kernels.threads import side_by_side

_WORK = 200_000  # multiplications below which a second thread costs more than it brings
_CACHED = 1 << 15  # numbers of a piece of samples that are still in the cache at its end
_LONGEST = 64  # piece
# Multiplications for each thread below which cutting a record in time costs more than it brings,
# and as how many of them each step counts for what its numbers wait for each other.
_WORK_IN_TIME = 10_000_000
_WAIT = 1_000

_roles: dict[type, Roles] = {}


def prepare(tape: Any, t: int, steps: int, b0: int, b1: int) -> None:
    """Compute for ``steps`` samples from ``t`` on what does not need the sample before."""
    raise NotImplementedError("for compiled code")


def step(tape: Any, t: int, i: int, b0: int, b1: int) -> None:
    """Compute sample ``t``, the ``i``-th of its piece, from the sample before."""
    raise NotImplementedError("for compiled code")


def step_back(gradients: Any, t: int, i: int, b0: int, b1: int) -> None:
    """Take the gradient at sample ``t`` back to what it was computed from."""
    raise NotImplementedError("for compiled code")


def collect(gradients: Any, t: int, steps: int, b0: int, b1: int) -> None:
    """Add what ``steps`` samples from ``t`` on are to the gradients by weights."""
    raise NotImplementedError("for compiled code")


def recurrence(kind: type, roles: Roles, **functions: Callable[..., None]) -> None:
    """Say how a tape, or its gradients, are stepped.

    Args:
        kind: a class of named tuples.
        roles: what its fields are.
        **functions: what ``prepare`` and ``step``, or ``step_back`` and ``collect``, do with it,
            in what numba compiles.
    """
    _roles[kind] = roles
    for name, function in functions.items():

        @overload(globals()[name], jit_options=OPTIONS, strict=False)
        def choose(
            given: Any,
            t: Any,
            i: Any,
            b0: Any,
            b1: Any,
            function: Callable[..., None] = function,
        ) -> Callable[..., None] | None:
            named = isinstance(given, types.BaseNamedTuple) and given.instance_class is kind
            return function if named else None


def _loops(sources: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return the compiled loops; ``sources`` goes into the key of their place on disk.

    Numba looks at the file of a function to see whether what it stored is still right, not at
    the files of what the function calls: an edited step would go on running as it was.
    """

    @compiled
    def forward(tape: Any, steps: int, piece: int, b0: int, b1: int) -> None:
        sources  # noqa: B018
        for first in range(0, steps, piece):
            count = min(piece, steps - first)
            prepare(tape, first, count, b0, b1)
            for i in range(count):
                step(tape, first + i, i, b0, b1)

    @compiled
    def back(gradients: Any, steps: int, piece: int, b0: int, b1: int) -> None:
        sources  # noqa: B018
        first = (steps - 1) // piece * piece
        while first >= 0:
            count = min(piece, steps - first)
            for i in range(count - 1, -1, -1):
                step_back(gradients, first + i, i, b0, b1)
            collect(gradients, first, count, b0, b1)
            first -= piece

    return forward, back


def fingerprint() -> str:
    """Return a hash of the files that compiled code is made of."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


_forward, _back = _loops(fingerprint())


class Plan(NamedTuple):
    """How the work is cut: rows of the batch or time between threads, and samples into pieces."""

    piece: int
    rows: list[int]  # edges between threads
    time: list[int]  # the same; one of the two is in one part

    @property
    def threads(self) -> int:
        """The threads that work side by side."""
        return max(len(self.rows), len(self.time)) - 1


def plan(steps: int, batch: int, work: int, width: int) -> Plan:
    """Cut the work between as many threads as torch uses.

    Args:
        steps: samples.
        batch: rows.
        work: multiplications in a step of one row.
        width: numbers that a step of one row leaves to the end of its piece.
    """
    most = max(1, min(torch.get_num_threads(), steps * batch * work // _WORK + 1))
    threads = max(1, min(most, batch // 2))
    # In whole blocks of rows, as the matrix products have them.
    block = 8 if batch >= 8 * threads else 4
    blocks = -(-batch // block)
    threads = max(1, min(threads, blocks))
    rows = [block * (blocks * i // threads) for i in range(threads)] + [batch]
    piece = _CACHED // max(1, width * -(-batch // threads))
    piece = max(1, min(piece, _LONGEST, steps))
    parts = min(torch.get_num_threads(), steps * batch * (work + _WAIT) // _WORK_IN_TIME + 1)
    parts = 1 if threads > 1 else max(1, min(parts, steps // piece))
    time = [piece * (steps // piece * i // parts) for i in range(parts)] + [steps]
    return Plan(piece, rows, time)


def run_forward(tape: Any, plan: Plan) -> None:
    """Fill a tape from its first sample to its last."""
    if len(plan.time) > 2:
        roles = _roles[type(tape)]
        segments.forward(_forward, tape, roles, plan.time, plan.piece, plan.rows[-1])
    else:
        _side_by_side(_forward, [tape] * plan.threads, plan)


def run_back(gradients: Any, plan: Plan) -> None:
    """Fill a tape's gradients from its last sample to its first; each thread has its own sums."""
    own = [gradients._replace(sums=gradients.sums[i : i + 1]) for i in range(plan.threads)]
    if len(plan.time) > 2:
        roles = _roles[type(gradients)]
        segments.back(_back, own, roles, plan.time, plan.piece, plan.rows[-1])
    else:
        _side_by_side(_back, own, plan)


def _side_by_side(loop: Any, tapes: list[Any], plan: Plan) -> None:
    steps = plan.time[-1]
    side_by_side(
        [
            partial(loop, tape, steps, plan.piece, *edges)
            for tape, edges in zip(tapes, pairwise(plan.rows), strict=True)
        ]
    )
