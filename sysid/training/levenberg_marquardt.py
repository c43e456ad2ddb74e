"""Levenberg-Marquardt: damped Gauss-Newton steps from the normal equations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from sysid.data.records import Array
from sysid.training.objective import NormalEquations, Objective
from sysid.training.settings import TrainingSettings

_FLOOR = 1e-10  # of the scale of a weight that hardly matters, as a share of the largest
_SMALLEST, _LARGEST = 1e-12, 1e12  # damping
# Bold: a step too far costs a simulation, which is little beside the normal equations.
_SHRINK, _GROW = 5.0, 4.0
_PROBE = 0.1  # of a step, after which its bend is measured
_BEND = 0.75  # largest bend, twice over, as a share of a step that is bent
_FORETOLD = 0.25  # least share of the foretold fall, for a step that bends more


class LevenbergMarquardt:
    """Minimises ``r'r + weight_decay / 2 w'w`` over the weights ``w`` and initial states.

        (J'J + weight_decay / 2 + damping diag(J'J)) step = -(J'r + weight_decay / 2 w)

    An epoch is one step. What a step does to the errors is linear in it to first order; to second
    order its path bends (geodesic acceleration):

        (J'J + weight_decay / 2 + damping diag(J'J)) bend = -J' (d^2 r / d step^2),

    the second derivative along the step by finite differences. Where the bend is small beside the
    step, ``step + bend / 2`` is taken if it lowers the objective to a finite value; where it is
    not, the straight step, if it lowers the objective by a good share of what the normal equations
    foretold. Until one is taken, the damping grows, and after it, it shrinks. The bend costs a
    simulation and its back-propagation, little beside the normal equations.

    A recurrent network can come to where its errors are finite and their derivatives are not. From
    there the way goes back to where it came from, and on with more damping.

    It has ended when the gradient is zero to ``tolerance`` (the cosine of the angle between the
    errors and every column of ``J``), when the step is (relative to the weights), or when no
    step lowers the objective.

    Source: D. W. Marquardt, "An algorithm for least-squares estimation of nonlinear parameters",
    J. SIAM 11(2), 1963; J. J. Moré, "The Levenberg-Marquardt algorithm: implementation and
    theory", in Numerical Analysis, Springer, 1978, for the test of the gradient; GNU Scientific
    Library, reference manual, "Levenberg-Marquardt with Geodesic Acceleration", for the bend.
    """

    def __init__(
        self,
        weights: list[nn.Parameter],
        states: list[nn.Parameter],
        settings: TrainingSettings,
    ) -> None:
        self.parameters = weights + states
        self.weight_count = sum(p.numel() for p in weights)
        self.decay = settings.weight_decay / 2
        self.tolerance = settings.tolerance
        self.damping = settings.damping
        self.stopped = ""
        self.origin: Tensor | None = None  # of the last step

    @property
    def learning_rate(self) -> float:
        """The share of a Gauss-Newton step that the damping leaves, of a weight on its own."""
        return 1 / (1 + self.damping)

    def improve(self, objective: Objective) -> Tensor:
        """Take one step; nothing is kept that does not lower the objective."""
        equations = objective.normal_equations(self.weight_count)
        before = torch.tensor(equations.value, dtype=torch.float64)
        with torch.no_grad():
            start = parameters_to_vector(self.parameters)
        here = start.double().cpu().numpy()
        self._add_decay(equations, here)
        if not (math.isfinite(equations.value) and np.isfinite(equations.diagonal).all()):
            self._go_back()
            return before
        if self._gradient_is_zero(equations):
            self.stopped = "gradient"
            return before
        while True:
            found = self._step(objective, equations, start)
            if found is not None:
                step, least = found
                self._put(start + torch.from_numpy(step).to(start))
                if equations.value - self._value(objective) > least:
                    self.origin = start
                    self.damping = max(self.damping / _SHRINK, _SMALLEST)
                    if np.linalg.norm(step) <= self.tolerance * np.linalg.norm(here):
                        self.stopped = "step"
                    return before
            if self.damping >= _LARGEST:
                self._put(start)
                self.stopped = "step"
                return before
            self.damping = min(_GROW * self.damping, _LARGEST)

    def _go_back(self) -> None:
        if self.origin is not None:
            self._put(self.origin)
            self.damping = min(_SHRINK * _GROW * self.damping, _LARGEST)

    def _add_decay(self, equations: NormalEquations, here: Array) -> None:
        weights = here[: self.weight_count]
        equations.value += self.decay * float(weights @ weights)
        equations.matrix[np.diag_indices(self.weight_count)] += self.decay
        equations.vector += self.decay * weights

    def _value(self, objective: Objective) -> float:
        value = float(objective.value())
        if self.decay:
            weights = parameters_to_vector(self.parameters)[: self.weight_count].detach().double()
            value += self.decay * float(weights @ weights)
        return value

    def _gradient_is_zero(self, equations: NormalEquations) -> bool:
        size = np.sqrt(equations.diagonal) * math.sqrt(equations.value)  # apart: no overflow
        return bool((np.abs(equations.whole_vector) <= self.tolerance * size).all())

    def _step(
        self, objective: Objective, equations: NormalEquations, start: Tensor
    ) -> tuple[Array, float] | None:
        """Return the damped step and the least fall it needs, or nothing where there is none."""
        diagonal = equations.diagonal
        scale = np.maximum(diagonal, _FLOOR * diagonal.max())
        ridge = self.damping * scale
        try:
            step = equations.solve(ridge, equations.whole_vector)
            bend = equations.solve(ridge, self._curvature(objective, equations, start, step))
        except (np.linalg.LinAlgError, ValueError):  # rounding, or errors that are not finite
            return None
        with np.errstate(over="ignore"):  # an endless bend is a large one
            bends = 2 * math.sqrt(scale @ bend**2) > _BEND * math.sqrt(scale @ step**2)
        if not bends:
            return step + bend / 2, 0.0
        foretold = -float(step @ (2 * equations.whole_vector + equations.times(step)))
        return step, _FORETOLD * foretold

    def _curvature(
        self, objective: Objective, equations: NormalEquations, start: Tensor, step: Array
    ) -> Array:
        """Return ``J' (d^2 r / d step^2)`` from the errors a little along the step."""
        there = start + _PROBE * torch.from_numpy(step).to(start)
        self._put(there)
        with torch.no_grad():
            errors = list(objective.errors())
        self._put(start)
        pulled = objective.pulled(errors, self.parameters).double().cpu().numpy()
        weights = slice(self.weight_count)
        pulled[weights] += self.decay * there[weights].double().cpu().numpy()
        linear = equations.whole_vector + _PROBE * equations.times(step)
        return np.asarray(2 / _PROBE**2 * (pulled - linear))

    def _put(self, vector: Tensor) -> None:
        with torch.no_grad():
            vector_to_parameters(vector, self.parameters)

    def end_epoch(self, monitored: float) -> None:
        """Nothing to adapt."""

    def shrink(self, factor: float) -> bool:
        """Return False: a step that raises the objective is never taken."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return the damping, where the last step began, and whether it has ended."""
        return {"damping": self.damping, "stopped": self.stopped, "origin": self.origin}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.damping, self.stopped = state["damping"], state["stopped"]
        self.origin = state["origin"]
