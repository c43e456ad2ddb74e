"""Optimisers: objects that improve the weights, given an objective."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sysid.training.lbfgs import LBFGS
from sysid.training.levenberg_marquardt import LevenbergMarquardt
from sysid.training.losses import Loss
from sysid.training.objective import Objective
from sysid.training.settings import TrainingSettings


class Optimiser(Protocol):
    """Improves the weights."""

    parameters: list[nn.Parameter]

    def improve(self, objective: Objective) -> Tensor:
        """Lower an objective and return its value before the step, not waited for on a GPU."""
        ...

    def end_epoch(self, monitored: float) -> None:
        """Adapt to the loss that is monitored."""
        ...

    @property
    def stopped(self) -> str:
        """Why it cannot improve anything any more: ``gradient`` or ``step``; empty if it can."""
        ...

    @property
    def learning_rate(self) -> float:
        """The step size of the moment."""
        ...

    def shrink(self, factor: float) -> bool:
        """Make this and all later steps smaller; return whether that can help.

        It cannot where a step that raises the objective is never taken.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that a continued training needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        ...


class FirstOrder:
    """Gradient steps by one of torch's optimisers, with a schedule and clipping."""

    stopped = ""

    def __init__(
        self,
        weights: list[nn.Parameter],
        states: list[nn.Parameter],
        settings: TrainingSettings,
        total_steps: int,
    ) -> None:
        self.parameters = weights + states
        rate = settings.step_size
        groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": settings.weight_decay}]
        if states:  # where a record starts is data, and does not decay
            groups.append({"params": states, "weight_decay": 0.0})
        if settings.optimiser == "sgd":
            self.optimiser: torch.optim.Optimizer = torch.optim.SGD(
                groups, rate, momentum=settings.momentum
            )
        else:
            kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.AdamW
            self.optimiser = kind(groups, rate)
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

    def improve(self, objective: Objective) -> Tensor:
        """Take one step against the gradient."""
        self.optimiser.zero_grad()
        value = objective.backward()
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

    def shrink(self, factor: float) -> bool:
        """Scale the step size, and what the schedule computes later ones from."""
        for group in self.optimiser.param_groups:
            for key in ("lr", "initial_lr", "max_lr", "min_lr"):
                if key in group:
                    group[key] *= factor
        if self.schedule is not None:
            self.schedule.base_lrs = [factor * rate for rate in self.schedule.base_lrs]
        return True

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


def make_optimiser(
    model: nn.Module, loss: Loss, settings: TrainingSettings, total_steps: int
) -> Optimiser:
    """Return the optimiser that the settings name, for the weights and the loss's own states."""
    weights = [p for p in model.parameters() if p.requires_grad]
    states = [] if loss.states is None else [loss.states]
    if settings.optimiser == "lbfgs":
        return LBFGS(weights + states, settings)
    if settings.optimiser == "lm":
        return LevenbergMarquardt(weights, states, settings)
    return FirstOrder(weights, states, settings, total_steps)
