"""Optimisers: objects that improve the weights, given an objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sysid.training.settings import TrainingSettings

_WALL = 1e30  # the objective where it is not finite

Parts = list[tuple[float, Callable[[], Tensor]]]


class Optimiser(Protocol):
    """Improves the weights."""

    def improve(self, parts: Parts) -> Tensor:
        """Lower ``sum of share * closure()`` and return its value before the step.

        The closures return scalars with a graph; the value returned has none, and is not
        waited for on a GPU.
        """
        ...

    def end_epoch(self, monitored: float) -> None:
        """Adapt to the loss that is monitored."""
        ...

    @property
    def learning_rate(self) -> float:
        """The step size of the moment."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that a continued training needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        ...


def backward(parts: Parts) -> Tensor:
    """Add up the gradients of ``sum of share * closure()`` and return its value."""
    total: Tensor | None = None
    for share, closure in parts:
        value = closure()
        if share != 1.0:
            value = share * value
        value.backward()
        total = value.detach() if total is None else total + value.detach()
    if total is None:
        raise ValueError("parts must hold at least one closure, got none")
    return total


class FirstOrder:
    """Gradient steps by one of torch's optimisers, with a schedule and clipping."""

    def __init__(self, model: nn.Module, settings: TrainingSettings, total_steps: int) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        rate, decay = settings.step_size, settings.weight_decay
        if settings.optimiser == "sgd":
            self.optimiser: torch.optim.Optimizer = torch.optim.SGD(
                self.parameters, rate, momentum=settings.momentum, weight_decay=decay
            )
        else:
            kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.AdamW
            self.optimiser = kind(self.parameters, rate, weight_decay=decay)
        self.clip = settings.clip
        schedules = torch.optim.lr_scheduler
        self.schedule: Any = None
        self.plateau: Any = None
        if settings.schedule == "cosine":
            self.schedule = schedules.CosineAnnealingLR(self.optimiser, total_steps)
        elif settings.schedule == "one_cycle":
            self.schedule = schedules.OneCycleLR(self.optimiser, rate, total_steps=total_steps)
        elif settings.schedule == "plateau":
            self.plateau = schedules.ReduceLROnPlateau(self.optimiser, factor=0.5, patience=5)
        self.steps_left = total_steps

    @property
    def learning_rate(self) -> float:
        """The step size of the moment."""
        return float(self.optimiser.param_groups[0]["lr"])

    def improve(self, parts: Parts) -> Tensor:
        """Take one step against the gradient."""
        self.optimiser.zero_grad()
        value = backward(parts)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimiser.step()
        self.steps_left -= 1
        if self.schedule is not None and self.steps_left > 0:
            self.schedule.step()
        return value

    def end_epoch(self, monitored: float) -> None:
        """Tell the plateau schedule what was reached."""
        if self.plateau is not None:
            self.plateau.step(monitored)

    def state_dict(self) -> dict[str, Any]:
        """Return the optimiser's and the schedule's state."""
        schedule = self.schedule or self.plateau
        return {
            "optimiser": self.optimiser.state_dict(),
            "schedule": schedule.state_dict() if schedule is not None else None,
            "steps_left": self.steps_left,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.optimiser.load_state_dict(state["optimiser"])
        schedule = self.schedule or self.plateau
        if schedule is not None:
            schedule.load_state_dict(state["schedule"])
        self.steps_left = state["steps_left"]


class LBFGS:
    """Limited-memory BFGS with a strong Wolfe line search, over everything at once.

    An epoch is up to ``iterations`` of its steps. Where they lead nowhere, the weights go back,
    the memory is cleared and the first step tried is ten times shorter.
    """

    iterations = 10

    def __init__(self, model: nn.Module, settings: TrainingSettings) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.history = settings.history
        self._restart(settings.step_size)

    def _restart(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.optimiser = torch.optim.LBFGS(
            self.parameters,
            self.learning_rate,
            max_iter=self.iterations,
            history_size=self.history,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-12,
            tolerance_change=1e-14,
        )

    def improve(self, parts: Parts) -> Tensor:
        """Take some steps; nothing is kept that raises the objective or is not finite."""
        before = [p.detach().clone() for p in self.parameters]
        seen: list[Tensor] = []

        def closure() -> Tensor:
            self.optimiser.zero_grad()
            value = backward(parts)
            seen.append(value)
            if bool(value.isfinite()):
                return value
            # A free run that exploded: a wall that the line search can interpolate against.
            self.optimiser.zero_grad()
            for p in self.parameters:
                p.grad = torch.zeros_like(p)
            return torch.full_like(value, _WALL)

        self.optimiser.step(closure)
        with torch.no_grad():
            end = torch.stack([share * part() for share, part in parts]).sum()
            if not bool(end < seen[0]):
                for p, kept in zip(self.parameters, before, strict=True):
                    p.copy_(kept)
                self._restart(0.1 * self.learning_rate)
        return seen[0]

    def end_epoch(self, monitored: float) -> None:
        """Nothing to adapt."""

    def state_dict(self) -> dict[str, Any]:
        """Return the curvature pairs and what belongs to them."""
        return {"optimiser": self.optimiser.state_dict(), "learning_rate": self.learning_rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.learning_rate = state["learning_rate"]
        self.optimiser.load_state_dict(state["optimiser"])


def make_optimiser(model: nn.Module, settings: TrainingSettings, total_steps: int) -> Optimiser:
    """Return the optimiser that the settings name."""
    if settings.optimiser == "lbfgs":
        return LBFGS(model, settings)
    return FirstOrder(model, settings, total_steps)
