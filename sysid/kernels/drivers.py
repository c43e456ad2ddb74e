"""The loops over time, written once: forward and back through a tape, in threads over the batch.

A recurrence is a named tuple of arrays, its tape (states, gates, weights, and room for gradients,
all time first), and two functions over it: ``step`` computes one sample for some rows of the
batch, ``step_back`` takes the gradient of that sample to the one before. Numba compiles the loops
for each tape with its functions in place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from numba import types
from numba.extending import overload

from sysid.kernels.elementary import OPTIONS, compiled
from sysid.kernels.threads import side_by_side

_WORK = 200_000  # multiplications below which a second thread costs more than it brings


def step(tape: Any, t: int, b0: int, b1: int) -> None:
    """Compute sample ``t`` of rows ``b0 ... b1 - 1`` from the sample before."""
    raise NotImplementedError("for compiled code")


def step_back(tape: Any, t: int, b0: int, b1: int) -> None:
    """Take the gradient at sample ``t`` back to what it was computed from."""
    raise NotImplementedError("for compiled code")


def recurrence(tape: type, forward: Callable[..., None], back: Callable[..., None]) -> None:
    """Say how a tape is stepped.

    Args:
        tape: a class of named tuples.
        forward: what ``step`` does with it, in what numba compiles.
        back: what ``step_back`` does with it.
    """
    for function, implementation in ((step, forward), (step_back, back)):

        @overload(function, jit_options=OPTIONS, strict=False)
        def choose(
            given: Any,
            t: Any,
            b0: Any,
            b1: Any,
            implementation: Callable[..., None] = implementation,
        ) -> Callable[..., None] | None:
            named = isinstance(given, types.BaseNamedTuple) and given.instance_class is tape
            return implementation if named else None


def _loops(sources: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return the compiled loops; ``sources`` goes into the key of their place on disk.

    Numba looks at the file of a function to see whether what it stored is still right, not at
    the files of what the function calls: an edited step would go on running as it was.
    """

    @compiled
    def forward(tape: Any, steps: int, b0: int, b1: int) -> None:
        sources  # noqa: B018
        for t in range(steps):
            step(tape, t, b0, b1)

    @compiled
    def back(tape: Any, steps: int, b0: int, b1: int) -> None:
        sources  # noqa: B018
        for t in range(steps - 1, -1, -1):
            step_back(tape, t, b0, b1)

    return forward, back


def fingerprint() -> str:
    """Return a hash of the files that compiled code is made of."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


_forward, _back = _loops(fingerprint())


def run_forward(tape: Any, steps: int, batch: int, work: int) -> None:
    """Fill a tape from its first sample to its last.

    Args:
        tape: the tape.
        steps: samples.
        batch: rows.
        work: multiplications in a step of one row.
    """
    _in_threads(_forward, tape, steps, batch, work)


def run_back(tape: Any, steps: int, batch: int, work: int) -> None:
    """Fill a tape's gradients from its last sample to its first; arguments as above."""
    _in_threads(_back, tape, steps, batch, work)


def _in_threads(loop: Any, tape: Any, steps: int, batch: int, work: int) -> None:
    """Share the batch between as many threads as torch uses."""
    threads = min(torch.get_num_threads(), batch // 2, 1 + steps * batch * work // _WORK)
    if threads < 2:
        loop(tape, steps, 0, batch)
        return
    # In whole blocks of four rows, the width of the matrix products.
    blocks = -(-batch // 4)
    edges = [min(batch, 4 * (blocks * i // threads)) for i in range(threads)] + [batch]
    side_by_side([partial(loop, tape, steps, a, b) for a, b in pairwise(edges)])
