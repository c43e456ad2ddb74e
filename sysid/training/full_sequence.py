"""The full-sequence loss: the network unfolded over whole records, or piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from sysid.data.records import Record
from sysid.data.slow_outputs import spacing, usable_starts
from sysid.data.splitting import with_complete_inputs
from sysid.models import Model
from sysid.models.stateful import StatefulModel
from sysid.training.fitted_states import FittedStates
from sysid.training.losses import SEEN, Loss, scored, startable
from sysid.training.objective import Objective, Stretch
from sysid.training.settings import TrainingSettings

_FIRST = 50  # samples of a piece that its initial state is first fitted to, measured ones


class FullSequence(Loss):
    """``1/T sum_t || y(t) - y_hat(t) ||^2``, unfolded over whole records.

    Records of a batch are padded to the longest. With ``truncate`` the record goes through in
    pieces: the state is carried on, its gradient is cut, and each piece is one step. With
    ``initial_state="estimated"`` the state that each complete stretch starts from is a parameter
    of its own, trained with the weights. With ``restart`` records are cut into pieces that start
    by themselves: errors cannot grow beyond one, as where a plant integrates.

    Source: H. G. Bock, "Recent advances in parameter identification techniques for O.D.E.", in
    Numerical Treatment of Inverse Problems in Differential and Integral Equations, Birkhäuser,
    1983, for the restarts (multiple shooting, here without joining the pieces).
    """

    fitted: FittedStates | None = None

    def __init__(self, model: Model, records: list[Record], settings: TrainingSettings) -> None:
        super().__init__(model, settings)
        self.truncate = settings.truncate
        self.first = max(self.washout, model.n_memory)
        self.records: list[tuple[Tensor, ...]] = []
        if self.truncate is not None and not model.causal:
            raise ValueError(
                f"truncate must be null for a bidirectional model, got {self.truncate}: it sees "
                "the future, so a record cannot go through in pieces"
            )
        pieces = [p for r in records for p in usable_stretches(r, model.n_memory)]
        if settings.restart is not None:
            cuts = [q for p in pieces for q in cut(p, settings.restart)]
            pieces = [p for q in cuts for p in usable_stretches(q, model.n_memory)]
        pieces = [p for p in pieces if not np.isnan(p.y[self.first :]).all()]
        if not pieces:
            raise ValueError(_no_piece(records, self.first))
        for record in pieces:
            scaled = model.scaling.scaled(record)
            u, y = (
                torch.tensor(b, dtype=model.dtype, device=model.device)
                for b in (scaled.u, scaled.y)
            )
            if np.isnan(record.y[: model.n_memory]).any():
                y = startable(model, y[None])[0]
            self.records.append((u, y))
        distance = max(spacing(r.y).max() for r in pieces)
        self._first_fitted = round(_FIRST * distance) if np.isfinite(distance) else _FIRST
        if isinstance(model, StatefulModel) and model.estimates_state:
            if settings.state_samples is None:
                self.states = nn.Parameter(self._first_states(model))
            else:
                self.fitted = FittedStates(model, settings.state_samples)

    def _first_states(self, model: StatefulModel) -> Tensor:
        """Return the state that fits each piece's first outputs with the weights of now.

        From zero, a plant that integrates would first be bent to hold its offset.
        """
        with torch.no_grad():
            return FittedStates(model, self._first_fitted).states(self.records)

    def _starts(self, model: StatefulModel) -> Iterator[tuple[Tensor, Tensor]]:
        if self.states is None:  # what a simulation is to fit is fitted in training, too
            return
        left = SEEN
        for (u, _), state in zip(self.records, self.states, strict=True):
            if left > 0:
                yield u[None, :left], state[None]
            left -= len(u)

    @property
    def steps(self) -> int:
        """Batches of an epoch, pieces counted."""
        size = self.batch_size or len(self.records)
        batches = -(-len(self.records) // size)
        if self.truncate is None:
            return batches
        longest = max(len(y) for _, y in self.records)
        return batches * -(-longest // self.truncate)

    def objectives(self, generator: torch.Generator) -> Iterator[Objective]:
        """Yield records in batches, each whole or piece by piece."""
        if self.batch_size is None:
            order = torch.arange(len(self.records))
        else:
            order = torch.randperm(len(self.records), generator=generator)
        for items in order.split(self.batch_size or len(self.records)):
            if self.truncate is None:
                yield _Records(self, items.tolist())
            else:
                yield from self._pieces(items.tolist(), self.truncate)

    def unfold(self, items: list[int], u: Tensor, y: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Simulate padded records from where they start."""
        if not isinstance(self.model, StatefulModel):
            return self.model.unfold(u, y, self.washout)
        state = None if self.states is None else self.states[items]
        if self.fitted is not None:
            state = self.fitted.states([self.records[i] for i in items])
        return self.model.unfold(u, y, self.washout, state=state)

    def padded(self, items: list[int]) -> tuple[Tensor, Tensor]:
        """Return records side by side, the shorter ones filled up with missing outputs."""
        chosen = [self.records[i] for i in items]
        u = torch.nn.utils.rnn.pad_sequence([u for u, _ in chosen], batch_first=True)
        y = torch.nn.utils.rnn.pad_sequence(
            [y for _, y in chosen], batch_first=True, padding_value=torch.nan
        )
        return u, y

    def _pieces(self, items: list[int], length: int) -> Iterator[Objective]:
        u, y = self.padded(items)
        carried: list[tuple[Tensor, ...]] = []

        def piece(start: int) -> Callable[[], Tensor]:
            def errors() -> Tensor:
                part = slice(start, start + length)
                if start == 0:
                    y_hat, after = self.unfold(items, u[:, part], y[:, part])
                else:
                    y_hat, after = self.model.unfold(
                        u[:, part], y[:, part], self.washout, carried[0]
                    )
                carried[:] = [tuple(t.detach() for t in after)]
                first = self.first if start == 0 else 0
                error = self.error(y_hat, y[:, part])[:, first:]
                seen = (~y[:, part][:, first:].isnan()).sum().clamp(min=1)
                return error * seen.to(error).rsqrt()

            return errors

        for start in range(0, u.shape[1], length):
            yield _Piece(piece(start))


class _Records(Objective):
    """The mean square of the errors over some records."""

    def __init__(self, loss: FullSequence, items: list[int]) -> None:
        self.loss, self.items = loss, items
        seen = [(~loss.records[i][1][loss.first :].isnan()).sum() for i in items]
        self.count = max(float(sum(seen)), 1.0)

    def dealt(self, rank: int, size: int) -> tuple[Objective | None, float]:
        own = self.items[rank::size]
        if not own:
            return None, 0.0
        part = _Records(self.loss, own)
        return part, part.count / self.count

    def errors(self) -> Iterator[Tensor]:
        loss, scale = self.loss, self.count**-0.5
        # Side by side, unless padding would be seen as the future.
        lengths = {len(loss.records[i][1]) for i in self.items}
        together = loss.model.causal or len(lengths) == 1
        for items in [self.items] if together else [[i] for i in self.items]:
            u, y = loss.padded(items)
            y_hat, _ = loss.unfold(items, u, y)
            yield loss.error(y_hat, y)[:, loss.first :] * scale

    def stretches(self) -> list[Stretch]:
        loss, model, scale = self.loss, self.loss.model, self.count**-0.5
        starts: dict[int, tuple[Tensor, Tensor]] = {}
        if loss.fitted is not None:
            found = loss.fitted.with_derivatives([loss.records[i] for i in self.items])
            starts = dict(zip(self.items, found, strict=True))

        def stretch(item: int) -> Stretch:
            def blocks() -> Iterator[tuple[Tensor, Tensor]]:
                u, y = loss.records[item]
                state, moved = starts.get(item, (None, None))
                if loss.states is not None:
                    state = loss.states[item].detach()
                for part in model.sensitivities(
                    u, y, with_state=state is not None, state=state, washout=loss.washout
                ):
                    if moved is not None:
                        part = part.with_moving_state(moved)
                    yield from scored(loss, part, y, scale)

            return blocks

        return [stretch(i) for i in self.items]


class _Piece(Objective):
    """The mean square of the errors over one piece of records; only first-order steps see it."""

    def __init__(self, errors: Callable[[], Tensor]) -> None:
        self._errors = errors

    def errors(self) -> Iterator[Tensor]:
        yield self._errors()

    def stretches(self) -> list[Stretch]:
        raise NotImplementedError("a truncated loss has no normal equations")


def cut(record: Record, length: int) -> list[Record]:
    """Cut a record into pieces of at least ``length`` samples, or return it whole if shorter."""
    count = max(len(record) // length, 1)
    ends = [*range(length, count * length, length), len(record)]
    return [record[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def usable_stretches(record: Record, n_memory: int) -> list[Record]:
    """Cut a record at its missing inputs, and begin each piece where a simulation can start.

    Missing outputs after the first ``n_memory`` samples of a piece stay, and weigh nothing.
    """
    pieces = with_complete_inputs(record)
    if n_memory == 0:
        return pieces
    starts = [np.flatnonzero(usable_starts(p.y, n_memory)) for p in pieces]
    return [p[int(s[0]) :] for p, s in zip(pieces, starts, strict=True) if len(s)]


def _no_piece(records: list[Record], first: int) -> str:
    """Return what to say where no stretch of a record can be scored."""
    longest = max(len(r) for r in records)
    if longest > first:
        return (
            f"no record has {first} samples with complete inputs and outputs to start from and a "
            "measured output after them; lower washout, the orders or n_init"
        )
    return (
        f"records must be longer than the {first} samples that start them, "
        f"the longest has {longest}; lower washout or the orders"
    )
