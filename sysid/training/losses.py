"""The three losses: what is unfolded, in which batches, and what is compared.

Each is built once from the training records, which it scales and moves to the device, and
hands out objectives, one for each batch. Errors are weighted by ``(y_scale / y_std)^2``, so that
whatever scaler is used an output counts in units of its standard deviation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sysid.data.ahead import ahead
from sysid.data.records import Record
from sysid.data.regressors import narx_regressors
from sysid.data.shuffling import shuffled_batches
from sysid.data.subsequences import Subsequences
from sysid.models import FFN, NARX, Model
from sysid.models.sensitivities import Block, row_jacobian, weight_count
from sysid.training.objective import Objective, Stretch
from sysid.training.settings import TrainingSettings

_CHUNK = 1 << 20  # samples unfolded together where everything is one batch
_NUMBERS = 1 << 22  # of a Jacobian in memory together
_TOGETHER = 1 << 10  # batches whose windows are located together
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
        phi, target = narx_regressors(scaled, *orders)
        self.core = model.core
        self.phi = torch.tensor(phi, dtype=model.dtype, device=model.device)
        self.target = torch.tensor(target, dtype=model.dtype, device=model.device)

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
        scale = self.target.numel() ** -0.5
        for phi, target in zip(self.phi.split(_CHUNK), self.target.split(_CHUNK), strict=True):
            yield self.loss.error(self.loss.core(phi), target) * scale

    def stretches(self) -> list[Stretch]:
        model, count = self.loss.model, weight_count(self.loss.model)
        size = max(1, _NUMBERS // (count * model.ny))
        scale = self.target.numel() ** -0.5

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
        )
        self.first = max(self.washout, model.n_memory)

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return 1 if self.batch_size is None else -(-len(self.windows) // self.batch_size)

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
            return self.gathered
        return self.loss.windows.gather(places)

    def errors(self) -> Iterator[Tensor]:
        loss, places = self.loss, self.places
        size = max(1, _CHUNK // loss.windows.length)
        scored = len(places) * (loss.windows.length - loss.first)
        weights = (loss.weights / (scored * len(loss.weights))).sqrt()
        for piece in [places] if len(places) <= size else places.split(size):
            u, y = self._gather(piece)
            y_hat, _ = loss.model.unfold(u, y, loss.washout)
            # Windows are complete, so there is nothing to mask.
            error = y_hat - y
            if loss.first:
                error = error[:, loss.first :]
            yield error * weights

    def stretches(self) -> list[Stretch]:
        loss, model = self.loss, self.loss.model
        length, count = loss.windows.length, weight_count(model)
        scale = (len(self.places) * (length - loss.first) * model.ny) ** -0.5
        size = max(1, _NUMBERS // (length * count * model.ny))

        def stretch(places: Tensor) -> Stretch:
            def blocks() -> Iterator[tuple[Tensor, Tensor]]:
                for piece in places.split(size):
                    u, y = loss.windows.gather(piece)
                    for part in model.window_sensitivities(u, y, washout=loss.washout):
                        yield from scored(loss, part, y, scale)

            return blocks

        return [stretch(p) for p in self.places.split(max(1, -(-len(self.places) // _STRETCHES)))]


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
