"""The three losses: what is unfolded, in which batches, and what is compared.

Each is built once from the training records, which it scales and moves to the device, and
hands out objectives, one for each batch. Errors are weighted by ``(y_scale / y_std)^2``, so that
whatever scaler is used an output counts in units of its standard deviation.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sysid.data.ahead import ahead
from sysid.data.records import Record
from sysid.data.regressors import regression_rows
from sysid.data.shuffling import shuffled_batches
from sysid.data.slow_outputs import spacing, with_stand_ins
from sysid.data.subsequences import Subsequences
from sysid.models import FFN, NARX, Model
from sysid.models.sensitivities import Block, row_jacobian, weight_count
from sysid.models.stateful import StatefulModel
from sysid.training.objective import Objective, Stretch
from sysid.training.settings import TrainingSettings

_CHUNK = 1 << 20  # samples unfolded together where everything is one batch
_NUMBERS = 1 << 22  # of a Jacobian in memory together
_TOGETHER = 1 << 10  # batches whose windows are located together
SEEN = 20_000  # samples whose states are noted
_STRETCHES = 4  # that the windows are dealt to, to go through in parallel


class Loss(ABC):
    """A loss over the training records; one pass over them is an epoch."""

    states: nn.Parameter | None = None  # initial states that are trained beside the model
    first: int = 0  # samples at the start that are not scored

    def __init__(self, model: Model, settings: TrainingSettings) -> None:
        self.model = model
        self.washout = settings.washout
        self.batch_size = settings.batch_size
        scaling = model.scaling
        weights = (scaling.y_scale / scaling.y_std) ** 2
        if settings.output_weights is not None:
            relative = torch.tensor(settings.output_weights, device=weights.device)
            weights = weights * relative * len(relative) / relative.sum()
        self.weights = weights.to(model.dtype)

    @abstractmethod
    def objectives(self, generator: torch.Generator) -> Iterator[Objective]:
        """Yield the objective of each batch of one epoch."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Batches of an epoch."""

    def note_states(self, error: float) -> None:
        """Let the model know where its states are in training, for the fit of an initial state.

        Nothing is noted where outputs are fed back, or with ``state_samples``: training then fits
        states as a simulation does, to samples alone.

        Args:
            error: mean square of the errors.
        """
        model = self.model
        if isinstance(model, StatefulModel) and model.prior is not None and not model.feedback:
            with torch.no_grad():
                found = [model.trajectory(u, x).flatten(0, 1) for u, x in self._starts(model)]
            if found:
                model.prior.note(torch.cat(found), error)

    def _starts(self, model: StatefulModel) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield some inputs ``(batch, time, nu)`` and the states that they start from."""
        yield from ()

    def error(self, y_hat: Tensor, y: Tensor) -> Tensor:
        """Return the weighted errors; a missing sample has none."""
        seen = ~torch.isnan(y)
        # where(), not a product: NaN times zero is NaN, in the gradient too.
        return torch.where(seen, y_hat - torch.where(seen, y, 0), 0) * self.weights.sqrt()


class OneStep(Loss):
    """``mean over k of || y(k) - f(phi(k)) ||^2`` from measured regressors."""

    def __init__(self, model: Model, records: list[Record], settings: TrainingSettings) -> None:
        super().__init__(model, settings)
        if not isinstance(model, (NARX, FFN)):
            raise TypeError(f"loss one_step needs a NARX or FFN, got {type(model).__name__}")
        orders = (model.na, model.nb, model.nk) if isinstance(model, NARX) else (0, 0, 0)
        scaled = [model.scaling.scaled(r) for r in records]
        phi, target = regression_rows(scaled, *orders)
        if not len(phi):
            raise ValueError(_no_row(records, model))
        self.core = model.core
        self.phi = torch.tensor(phi, dtype=model.dtype, device=model.device)
        self.target = torch.tensor(target, dtype=model.dtype, device=model.device)
        missing = int(np.isnan(target).sum())
        # Errors that count of each row; a batch is weighted by the mean over all rows.
        self.numbers = model.ny - missing / len(phi) if missing else model.ny

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return 1 if self.batch_size is None else -(-len(self.phi) // self.batch_size)

    def objectives(self, generator: torch.Generator) -> Iterator[Objective]:
        """Yield rows in batches."""
        if self.batch_size is None:
            yield _Rows(self, self.phi, self.target)
            return
        order = torch.randperm(len(self.phi), generator=generator).to(self.phi.device)
        for items in order.split(self.batch_size):
            yield _Rows(self, self.phi[items], self.target[items])


def _no_row(records: list[Record], model: NARX | FFN) -> str:
    """Return what to say where no row of regressors is complete."""
    na = model.na if isinstance(model, NARX) else 0
    widest = float(np.max([spacing(r.y).max() for r in records]))
    found = "an output is measured" + (
        f" only at every {round(widest)} rows" if 1 < widest < math.inf else " too rarely"
    )
    needed = f"an output with the {na} before it" if na else "an output"
    return (
        f"loss one_step needs {needed} and all inputs that act on it measured, and the records "
        f"have no such row: {found}. Use loss full_sequence or subsequence, where the model's own "
        "output stands in for a missing one"
    )


def _core(model: Any, phi: Tensor) -> Tensor:
    y: Tensor = model.core(phi)
    return y


class _Rows(Objective):
    """The mean square of one-step errors over some rows."""

    def __init__(self, loss: OneStep, phi: Tensor, target: Tensor) -> None:
        self.loss, self.phi, self.target = loss, phi, target

    def dealt(self, rank: int, size: int) -> tuple[Objective | None, float]:
        own = self.phi[rank::size]
        if not len(own):
            return None, 0.0
        return _Rows(self.loss, own, self.target[rank::size]), len(own) / len(self.phi)

    def errors(self) -> Iterator[Tensor]:
        scale = (len(self.target) * self.loss.numbers) ** -0.5
        for phi, target in zip(self.phi.split(_CHUNK), self.target.split(_CHUNK), strict=True):
            yield self.loss.error(self.loss.core(phi), target) * scale

    def stretches(self) -> list[Stretch]:
        model, count = self.loss.model, weight_count(self.loss.model)
        size = max(1, _NUMBERS // (count * model.ny))
        scale = (len(self.target) * self.loss.numbers) ** -0.5

        def rows() -> Iterator[tuple[Tensor, Tensor]]:
            for phi, target in zip(self.phi.split(size), self.target.split(size), strict=True):
                y_hat, jacobian = row_jacobian(model, _core, phi)
                yield flat(self.loss, y_hat, jacobian, target, scale)

        return [rows]


class Subsequence(Loss):
    """``mean over windows of 1/L sum_i || y(t_q+i) - y_hat(t_q+i) ||^2``, washout left out."""

    def __init__(self, model: Model, records: list[Record], settings: TrainingSettings) -> None:
        super().__init__(model, settings)
        self.windows = Subsequences(
            records,
            settings.length,
            settings.stride,
            scaling=model.scaling,
            dtype=model.dtype,
            device=model.device,
            start=model.n_memory,
        )
        self.first = max(self.washout, model.n_memory)
        # Errors that count of each window; a batch is weighted by the mean over all windows.
        whole = (settings.length - self.first) * model.ny
        share = self.windows.measured_share(self.first)
        self.numbers = whole if share == 1 else whole * share
        if not self.numbers:
            raise ValueError(
                f"no window of {settings.length} samples has a measured output after its first "
                f"{self.first}, which are not scored; use longer windows or less washout"
            )

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return 1 if self.batch_size is None else -(-len(self.windows) // self.batch_size)

    def gather(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Copy windows, with outputs that a simulation can start from."""
        return self.started(*self.windows.gather(places))

    def started(self, u: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return windows in which the outputs that a simulation starts from are complete."""
        return (u, startable(self.model, y)) if self.windows.incomplete else (u, y)

    def _starts(self, model: StatefulModel) -> Iterator[tuple[Tensor, Tensor]]:
        count = max(SEEN // self.windows.length, 1)
        every = max(len(self.windows) // count, 1)
        u, _ = self.windows.gather(self.windows.locate(torch.arange(0, len(self.windows), every)))
        yield u, u.new_zeros(len(u), model.state_size)

    def objectives(self, generator: torch.Generator) -> Iterator[Objective]:
        """Yield windows in batches; from a disk, the next batch is read meanwhile."""
        if self.batch_size is None:
            yield _Windows(self, self.windows.locate(torch.arange(len(self.windows))))
            return
        # One look-up serves many batches.
        many = shuffled_batches(len(self.windows), _TOGETHER * self.batch_size, generator)
        batches = (p for m in many for p in self.windows.locate(m).split(self.batch_size))
        if not self.windows.on_disk:
            for places in batches:
                yield _Windows(self, places)
            return
        for places, gathered in ahead((p, self.windows.gather(p)) for p in batches):
            yield _Windows(self, places, gathered)


class _Windows(Objective):
    """The mean square of the errors over some windows."""

    def __init__(
        self, loss: Subsequence, places: Tensor, gathered: tuple[Tensor, Tensor] | None = None
    ) -> None:
        self.loss, self.places, self.gathered = loss, places, gathered

    def dealt(self, rank: int, size: int) -> tuple[Objective | None, float]:
        own = self.places[rank::size]
        if not len(own):
            return None, 0.0
        gathered = None
        if self.gathered is not None:
            gathered = self.gathered[0][rank::size], self.gathered[1][rank::size]
        return _Windows(self.loss, own, gathered), len(own) / len(self.places)

    def _gather(self, places: Tensor) -> tuple[Tensor, Tensor]:
        if self.gathered is not None and places is self.places:
            return self.loss.started(*self.gathered)
        return self.loss.gather(places)

    def errors(self) -> Iterator[Tensor]:
        loss, places = self.loss, self.places
        size = max(1, _CHUNK // loss.windows.length)
        count = len(places) * loss.numbers
        weights = (loss.weights / count).sqrt()
        for piece in [places] if len(places) <= size else places.split(size):
            u, y = self._gather(piece)
            y_hat, _ = loss.model.unfold(u, y, loss.washout)
            if loss.windows.incomplete:
                yield loss.error(y_hat, y)[:, loss.first :] * count**-0.5
                continue
            error = y_hat - y
            if loss.first:
                error = error[:, loss.first :]
            yield error * weights

    def stretches(self) -> list[Stretch]:
        loss, model = self.loss, self.loss.model
        length, count = loss.windows.length, weight_count(model)
        scale = (len(self.places) * loss.numbers) ** -0.5
        size = max(1, _NUMBERS // (length * count * model.ny))

        def stretch(places: Tensor) -> Stretch:
            def blocks() -> Iterator[tuple[Tensor, Tensor]]:
                for piece in places.split(size):
                    u, y = loss.gather(piece)
                    for part in model.window_sensitivities(u, y, washout=loss.washout):
                        yield from scored(loss, part, y, scale)

            return blocks

        return [stretch(p) for p in self.places.split(max(1, -(-len(self.places) // _STRETCHES)))]


def startable(model: Model, y: Tensor) -> Tensor:
    """Return outputs ``(batch, time, ny)`` with none missing that a simulation starts from.

    An encoder is shown what it will be shown by ``simulate``, which knows no later outputs.
    """
    if not model.n_memory:
        return y
    if not isinstance(model, StatefulModel):
        return with_stand_ins(y, model.n_memory, between=True)
    start, rest = y.split([model.n_memory, y.shape[1] - model.n_memory], dim=1)
    return torch.cat([with_stand_ins(start, model.n_memory, between=False), rest], dim=1)


def scored(loss: Loss, part: Block, y: Tensor, scale: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows of a block of a simulation that the loss scores.

    Args:
        loss: the loss, which skips its first samples.
        part: the block, of one record or of a batch of windows.
        y: the measured outputs, whole.
        scale: what errors are multiplied by.
    """
    time = part.y_hat.ndim - 2
    skip = max(loss.first - part.start, 0)
    count = part.y_hat.shape[time] - skip
    if count > 0:
        yield flat(
            loss,
            part.y_hat.narrow(time, skip, count),
            part.jacobian.narrow(time, skip, count),
            y.narrow(time, part.start + skip, count),
            scale,
        )


def flat(
    loss: Loss, y_hat: Tensor, jacobian: Tensor, y: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Return weighted errors ``(rows,)`` and their Jacobian ``(rows, columns)``, in its memory."""
    with torch.no_grad():
        seen = ~torch.isnan(y)
        weights = seen * loss.weights.sqrt() * scale
        error = torch.where(seen, y_hat - y, 0) * weights
        return error.flatten(), jacobian.mul_(weights[..., None]).flatten(0, -2)
