"""One model on several processes that torchrun started: each takes its share of every batch.

All processes hold the whole model and all records, draw the same batches and take the same
steps; what they share is the sum over a batch, of its value, its gradient or its normal
equations. The curve is that of one process, but for the order of the sums.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sysid.training.objective import NormalEquations, Objective, StateEquations, Stretch
from sysid.training.settings import TrainingSettings


@dataclass(frozen=True)
class Group:
    """The processes that train one model; by default there is one."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that validates, writes and prints."""
        return self.rank == 0

    def agree(self, value: Any) -> Any:
        """Return the leading process's value of something."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def align(self, model: nn.Module) -> None:
        """Give every process the leading one's weights: machines may round differently."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, src=0)

    def share(self, objective: Objective, parameters: Sequence[nn.Parameter]) -> Objective:
        """Return an objective of which this process computes its share, and learns the sum."""
        if self.size == 1:
            return objective
        part, weight = objective.dealt(self.rank, self.size)
        return _Shared(part, weight, parameters, self)

    def check(self, settings: TrainingSettings) -> None:
        """Raise if settings cannot be shared among processes.

        Raises:
            ValueError: naming the setting.
        """
        if self.size == 1:
            return
        if settings.batch_size is not None and settings.batch_size % self.size:
            raise ValueError(
                f"training.batch_size must divide among {self.size} processes, got "
                f"{settings.batch_size}; use a multiple of {self.size}"
            )
        if settings.truncate is not None:
            raise ValueError(
                f"training.truncate must be null with {self.size} processes, got "
                f"{settings.truncate}: pieces of a record follow one another; use loss subsequence"
            )
        if settings.starts > 1:
            raise ValueError(
                f"training.starts must be 1 with {self.size} processes, got {settings.starts}; "
                "several starts are trained side by side without torchrun"
            )


@contextmanager
def joined_group() -> Iterator[Group]:
    """Join the group that torchrun started this process in; one process without torchrun."""
    if not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield Group()
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    # gloo as well, for what is agreed on between processes.
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


class _Shared(Objective):
    """An objective of which each process has a part."""

    def __init__(
        self,
        part: Objective | None,
        weight: float,
        parameters: Sequence[nn.Parameter],
        group: Group,
    ) -> None:
        self.part, self.weight = part, weight
        self.parameters, self.group = parameters, group

    def errors(self) -> Iterator[Tensor]:
        """Yield this process's errors."""
        if self.part is not None:
            yield from (self.weight**0.5 * e for e in self.part.errors())

    def stretches(self) -> Sequence[Stretch]:
        """Return this process's stretches, weighted as their own part is."""
        return [] if self.part is None else self.part.stretches()

    @torch.no_grad()
    def value(self) -> Tensor:
        """Return the whole value."""
        total = self.parameters[0].new_zeros(())
        for part in self.parts():
            total = total + part
        dist.all_reduce(total)
        return total

    def backward(self) -> Tensor:
        """Add this process's gradient, then sum over all, in one message."""
        total = self.parameters[0].new_zeros(())
        for part in self.parts():
            part.backward()
            total = total + part.detach()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        message = torch.cat([total[None], *(g.flatten() for g in grads)])
        dist.all_reduce(message)
        summed = message[1:].split([p.numel() for p in self.parameters])
        for p, gradient in zip(self.parameters, summed, strict=True):
            p.grad = gradient.view_as(p).clone()
        return message[0]

    def pulled(self, errors: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> Tensor:
        """Sum over all processes."""
        total = super().pulled(errors, parameters)
        dist.all_reduce(total)
        return total

    def normal_equations(self, weight_count: int) -> NormalEquations:
        """Sum over all processes; initial states come back in the order of their records."""
        own = NormalEquations.zero(weight_count)
        if self.part is not None:
            own = self.part.normal_equations(weight_count)
        everyone: list[Any] = [None] * self.group.size
        dist.all_gather_object(everyone, (self.weight, own))
        total = NormalEquations.zero(weight_count)
        dealt: list[list[StateEquations]] = []
        for weight, part in everyone:
            total.value += weight * part.value
            total.matrix += weight * part.matrix
            total.vector += weight * part.vector
            dealt.append(
                [
                    StateEquations(weight * s.cross, weight * s.matrix, weight * s.vector)
                    for s in part.states
                ]
            )
        # Dealt out one by one: the first of each process, then the second of each.
        for i in range(max(len(states) for states in dealt)):
            total.states += [states[i] for states in dealt if i < len(states)]
        return total
