"""Predictions of models with a state, from all starting points at once."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sysid.data.slow_outputs import slow, usable_starts, with_stand_ins
from sysid.models.model import Carried

if TYPE_CHECKING:
    from sysid.models.stateful import StatefulModel

_ROWS = 4096  # restarts predicted together; bounds the memory of a long record


def restarted(model: StatefulModel, u: Tensor, y: Tensor, horizon: int) -> Tensor:
    """Each row restarts from the measured window that ends ``horizon`` samples earlier."""
    out = torch.full_like(y, torch.nan)
    m, length = model.n_memory, model.n_memory + horizon
    if len(y) < length:
        return out
    u_windows = u.unfold(0, length, 1).transpose(1, 2)  # (M, length, nu)
    y_windows = y.unfold(0, length, 1).transpose(1, 2)
    known = y.cpu().numpy()
    startable = usable_starts(known, m) if slow(known).any() else None
    for s in range(0, len(u_windows), _ROWS):
        u_part, y_part = u_windows[s : s + _ROWS], y_windows[s : s + _ROWS, :m]
        if startable is not None:  # as where a simulation starts; a gap stays one
            good = torch.as_tensor(startable[s : s + len(y_part), None, None], device=y.device)
            y_part = torch.where(good, with_stand_ins(y_part, m, between=False), torch.nan)
        y_hat, _ = model._continue(u_part[:, m:], model._encode(u_part[:, :m], y_part))
        out[length - 1 + s : length - 1 + s + len(y_hat)] = y_hat[:, -1]
    return out


def carried(model: StatefulModel, u: Tensor, y: Tensor, horizon: int) -> Tensor:
    """Row ``k``: measured feedback up to ``y(k - horizon)``, the model's own after it."""
    out = torch.full_like(y, torch.nan)
    if len(y) <= horizon:
        return out
    restarts = _measured_states(model, u, y)
    windows = u.unfold(0, horizon, 1).transpose(1, 2)  # (N - horizon + 1, horizon, nu)
    for s in range(1, len(windows), _ROWS):
        rows = min(_ROWS, len(windows) - s)
        batch = tuple(t.narrow(d, s, rows) for t, d in zip(restarts, model.batch_dims, strict=True))
        y_hat, _ = model._continue(windows[s : s + rows], batch)
        first = s + horizon - 1
        out[first : first + rows] = y_hat[:, -1]
    return out


def _measured_states(model: StatefulModel, u: Tensor, y: Tensor) -> Carried:
    """Return the state before each sample, measured outputs fed back, in a batch of ``N``.

    Where ``y(k-1)`` is missing the model's own stands in, so that a gap does no harm beyond
    itmodel. The record is cut into about ``sqrt(N)`` pieces: one pass in time finds the
    state at the start of each, then all pieces go through side by side, sample by sample.
    """
    n = len(y)
    size = max(1, math.isqrt(n))
    starts = list(range(0, n, size))
    state = (*model._start(1)[:-1], y[:1].nan_to_num())
    at_start = [state]
    for a in starts[:-1]:
        state = _through(model, u[a : a + size], y[a : a + size], state)
        at_start.append(state)
    batch = _stacked(model, at_start)
    padded = size * len(starts) - n
    u_pieces = torch.cat([u, u.new_zeros(padded, u.shape[1])]).unflatten(0, (-1, size))
    y_pieces = torch.cat([y, y.new_zeros(padded, y.shape[1])]).unflatten(0, (-1, size))
    steps = [batch]
    for i in range(size - 1):
        _, (*hidden, y_own) = model._continue(u_pieces[:, i : i + 1], batch)
        batch = (*hidden, torch.where(y_pieces[:, i].isnan(), y_own, y_pieces[:, i]))
        steps.append(batch)
    return tuple(
        # size x (..., pieces, ...) -> (..., pieces * size, ...), in the order of time
        torch.stack(parts, dim=d + 1).flatten(d, d + 1).narrow(d, 0, n)
        for parts, d in zip(zip(*steps, strict=True), model.batch_dims, strict=True)
    )


def _through(model: StatefulModel, u: Tensor, y: Tensor, state: Carried) -> Carried:
    """Return the state after a piece of a record, measured outputs fed back."""
    known = ~y.isnan().any(dim=1)
    edges = [0, *(1 + i for i in (known[1:] != known[:-1]).nonzero().flatten().tolist())]
    for a, b in pairwise([*edges, len(y)]):
        if known[a]:
            # y(k-1) for the samples a ... b-1: what the state brings, then the measured.
            y_before = torch.cat([state[-1], y[a : b - 1]])[None]
            _, (*hidden, _) = model._continue(u[None, a:b], state, y_before)
            state = (*hidden, y[b - 1 : b])
            continue
        for k in range(a, b):
            _, (*hidden, y_own) = model._continue(u[None, k : k + 1], state)
            state = (*hidden, torch.where(y[k : k + 1].isnan(), y_own, y[k : k + 1]))
    return state


def _stacked(model: StatefulModel, states: list[Carried]) -> Carried:
    """Put states side by side in one batch."""
    parts = zip(*states, strict=True)
    return tuple(torch.cat(p, dim=d) for p, d in zip(parts, model.batch_dims, strict=True))
