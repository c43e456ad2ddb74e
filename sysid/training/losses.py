"""The three losses: what is unfolded, in which batches, and what is compared.

Each is built once from the training records, which it scales and moves to the device, and
hands out objectives: closures that return the mean square error of one batch at the weights
of the moment, with its graph. Errors are weighted by ``(y_scale / y_std)^2``, so that whatever
scaler is used an output counts in units of its standard deviation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from sysid.data.records import Record
from sysid.data.regressors import narx_regressors
from sysid.data.subsequences import Subsequences
from sysid.models import FFN, NARX, Model
from sysid.training.settings import TrainingSettings

Objective = Callable[[], Tensor]

_CHUNK = 1 << 20  # samples unfolded together where everything is one batch


class Loss(ABC):
    """A loss over the training records; one pass over them is an epoch."""

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
    def objectives(self, generator: torch.Generator) -> Iterator[list[tuple[float, Objective]]]:
        """Yield the batches of one epoch, each a list of (share of the batch, closure).

        A batch that would not fit is split into several closures, whose gradients add up.
        """

    @property
    @abstractmethod
    def steps(self) -> int:
        """Batches of an epoch."""

    def _mean_square(self, y_hat: Tensor, y: Tensor) -> Tensor:
        """Return the weighted mean square error over the samples that are not missing."""
        seen = ~torch.isnan(y)
        # where(), not a product: NaN times zero is NaN, in the gradient too.
        error = torch.where(seen, y_hat - torch.where(seen, y, 0), 0)
        return (error.square() * self.weights).sum() / seen.sum().clamp(min=1)


class _Indexed(Loss):
    """A loss over items that are drawn in batches."""

    samples: int  # of one item

    @abstractmethod
    def __len__(self) -> int: ...

    def _located(self, order: Tensor) -> Tensor:
        """Return what ``_error`` wants of the items of an epoch, a row each."""
        return order

    @abstractmethod
    def _error(self, items: Tensor) -> Tensor: ...

    @property
    def steps(self) -> int:
        return 1 if self.batch_size is None else -(-len(self) // self.batch_size)

    def objectives(self, generator: torch.Generator) -> Iterator[list[tuple[float, Objective]]]:
        if self.batch_size is None:
            everything = self._located(torch.arange(len(self)))
            size = max(1, _CHUNK // self.samples)
            yield [(len(i) / len(self), self._closure(i)) for i in everything.split(size)]
            return
        order = self._located(torch.randperm(len(self), generator=generator))
        for items in order.split(self.batch_size):
            yield [(1.0, self._closure(items))]

    def _closure(self, items: Tensor) -> Objective:
        return lambda: self._error(items)


class OneStep(_Indexed):
    """``mean over k of || y(k) - f(phi(k)) ||^2`` from measured regressors."""

    samples = 1

    def __init__(self, model: Model, records: list[Record], settings: TrainingSettings) -> None:
        super().__init__(model, settings)
        if not isinstance(model, (NARX, FFN)):
            raise TypeError(f"loss one_step needs a NARX or FFN, got {type(model).__name__}")
        orders = (model.na, model.nb, model.nk) if isinstance(model, NARX) else (0, 0, 0)
        scaled = [scale_record(model, r) for r in records]
        phi, target = narx_regressors(scaled, *orders)
        self.core = model.core
        self.phi = torch.tensor(phi, dtype=model.dtype, device=model.device)
        self.target = torch.tensor(target, dtype=model.dtype, device=model.device)

    def __len__(self) -> int:
        return len(self.phi)

    def _error(self, items: Tensor) -> Tensor:
        if len(items) == len(self.phi):
            return self._mean_square(self.core(self.phi), self.target)
        items = items.to(self.phi.device)
        return self._mean_square(self.core(self.phi[items]), self.target[items])


class Subsequence(_Indexed):
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
        self.samples = settings.length
        self.first = max(self.washout, model.n_memory)

    def __len__(self) -> int:
        return len(self.windows)

    def _located(self, order: Tensor) -> Tensor:
        return self.windows.locate(order)

    def _error(self, items: Tensor) -> Tensor:
        u, y = self.windows.gather(items)
        y_hat, _ = self.model.unfold(u, y, self.washout)
        # Windows are complete, so there is nothing to mask.
        error = y_hat - y
        if self.first:
            error = error[:, self.first :]
        return error.square().mean(dim=(0, 1)) @ self.weights / len(self.weights)


class FullSequence(Loss):
    """``1/T sum_t || y(t) - y_hat(t) ||^2``, unfolded over whole records.

    Records of a batch are padded to the longest. With ``truncate`` the record goes through in
    pieces: the state is carried on, its gradient is cut, and each piece is one step.
    """

    def __init__(self, model: Model, records: list[Record], settings: TrainingSettings) -> None:
        super().__init__(model, settings)
        self.truncate = settings.truncate
        self.first = max(self.washout, model.n_memory)
        self.records = []
        if self.truncate is not None and not model.causal:
            raise ValueError(
                f"truncate must be null for a bidirectional model, got {self.truncate}: it sees "
                "the future, so a record cannot go through in pieces"
            )
        pieces = [p for r in records for p in usable_stretches(r, model.n_memory)]
        pieces = [p for p in pieces if len(p) > self.first]
        if not pieces:
            longest = max(len(r) for r in records)
            raise ValueError(
                f"records must be longer than the {self.first} samples that start them, "
                f"the longest has {longest}; lower washout or the orders"
            )
        for record in pieces:
            scaled = scale_record(model, record)
            self.records.append(
                tuple(
                    torch.tensor(b, dtype=model.dtype, device=model.device)
                    for b in (scaled.u, scaled.y)
                )
            )

    @property
    def steps(self) -> int:
        """Batches of an epoch, pieces counted."""
        size = self.batch_size or len(self.records)
        batches = -(-len(self.records) // size)
        if self.truncate is None:
            return batches
        longest = max(len(y) for _, y in self.records)
        return batches * -(-longest // self.truncate)

    def objectives(self, generator: torch.Generator) -> Iterator[list[tuple[float, Objective]]]:
        """Yield records in batches, each whole or piece by piece."""
        if self.batch_size is None:
            order = torch.arange(len(self.records))
        else:
            order = torch.randperm(len(self.records), generator=generator)
        for items in order.split(self.batch_size or len(self.records)):
            lengths = {len(self.records[i][1]) for i in items.tolist()}
            if not self.model.causal and len(lengths) > 1:  # padding would be seen as the future
                alone = [self._padded([i]) for i in items.tolist()]
                counts = [float((~y[:, self.first :].isnan()).sum()) for _, y in alone]
                total = max(sum(counts), 1.0)
                yield [
                    (n / total, self._whole(u, y)) for n, (u, y) in zip(counts, alone, strict=True)
                ]
                continue
            u, y = self._padded(items.tolist())
            if self.truncate is None:
                yield [(1.0, self._whole(u, y))]
            else:
                yield from self._pieces(u, y, self.truncate)

    def _padded(self, items: list[int]) -> tuple[Tensor, Tensor]:
        chosen = [self.records[i] for i in items]
        u = torch.nn.utils.rnn.pad_sequence([u for u, _ in chosen], batch_first=True)
        y = torch.nn.utils.rnn.pad_sequence(
            [y for _, y in chosen], batch_first=True, padding_value=torch.nan
        )
        return u, y

    def _whole(self, u: Tensor, y: Tensor) -> Objective:
        def objective() -> Tensor:
            y_hat, _ = self.model.unfold(u, y, self.washout)
            return self._mean_square(y_hat[:, self.first :], y[:, self.first :])

        return objective

    def _pieces(self, u: Tensor, y: Tensor, length: int) -> Iterator[list[tuple[float, Objective]]]:
        carried: list[tuple[Tensor, ...] | None] = [None]

        def piece(start: int) -> Objective:
            def objective() -> Tensor:
                part = slice(start, start + length)
                y_hat, after = self.model.unfold(u[:, part], y[:, part], self.washout, carried[0])
                carried[0] = tuple(t.detach() for t in after)
                first = self.first if start == 0 else 0
                return self._mean_square(y_hat[:, first:], y[:, part][:, first:])

            return objective

        for start in range(0, u.shape[1], length):
            yield [(1.0, piece(start))]


LOSSES: dict[str, type[OneStep] | type[Subsequence] | type[FullSequence]] = {
    "one_step": OneStep,
    "subsequence": Subsequence,
    "full_sequence": FullSequence,
}


def scale_record(model: Model, record: Record) -> Record:
    """Return a record in the model's own units."""
    u = model.scaling.scale_u(torch.tensor(np.asarray(record.u, dtype=float)).to(model.device))
    y = model.scaling.scale_y(torch.tensor(np.asarray(record.y, dtype=float)).to(model.device))
    return Record(u.cpu().numpy() if record.nu else None, y.cpu().numpy(), name=record.name)


def usable_stretches(record: Record, n_memory: int) -> list[Record]:
    """Cut a record at its missing inputs, and each piece to start with complete outputs.

    Missing outputs after the first ``n_memory`` samples of a piece stay, and weigh nothing.
    """
    missing = np.isnan(record.u).any(axis=1)
    pieces = [record]
    if missing.any():
        edges = np.flatnonzero(np.diff(np.concatenate([[True], missing, [True]]).astype(int)))
        pieces = [record[a:b] for a, b in edges.reshape(-1, 2)]
    if n_memory == 0:
        return pieces
    out = []
    for piece in pieces:
        gaps = np.isnan(piece.y).any(axis=1).astype(int)
        if len(gaps) >= n_memory:
            free = np.flatnonzero(np.convolve(gaps, np.ones(n_memory, int), "valid") == 0)
            if len(free):
                out.append(piece[int(free[0]) :])
    return out
