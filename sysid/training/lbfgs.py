"""L-BFGS: quasi-Newton steps from the last gradients, with a line search that does not stall."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from sysid.training.objective import Objective
from sysid.training.settings import TrainingSettings

_DECREASE, _CURVATURE = 1e-4, 0.9  # of the Wolfe conditions
_ROUNDING = 1e-13  # relative noise of the objective, under which only slopes are looked at
_TRIALS = 40


class _Point(NamedTuple):
    step: float
    value: float
    slope: float
    gradient: Tensor


class LBFGS:
    """Limited-memory BFGS over everything at once; an epoch is up to ``iterations`` steps.

    Steps fulfil the Wolfe conditions, or near the minimum, where differences of values are
    rounding, the approximate ones, which look at slopes. That is where a search that compares
    values alone stalls. A free run that explodes is a point to stay away from. Where a search
    finds nothing, the curvature is forgotten and the steepest descent is tried; where that
    finds nothing either, it has ended.

    The curvature pairs are carried from epoch to epoch and are in ``state_dict``, so that a
    resumed training takes the same steps to the bit; scipy's L-BFGS-B cannot be resumed.

    Source: J. Nocedal and S. J. Wright, Numerical Optimization, 2nd ed., Springer, 2006,
    algorithm 7.4; W. W. Hager and H. Zhang, "A new conjugate gradient method with guaranteed
    descent and an efficient line search", SIAM J. Optim. 16(1), 2005, for the conditions.
    """

    iterations = 10

    def __init__(self, parameters: list[nn.Parameter], settings: TrainingSettings) -> None:
        self.parameters = parameters
        self.history = settings.history
        self.learning_rate = settings.step_size
        self.tolerance = settings.tolerance
        self.steps: list[Tensor] = []
        self.changes: list[Tensor] = []  # of the gradient
        self.stopped = ""

    def improve(self, objective: Objective) -> Tensor:
        """Take some steps; nothing is kept that raises the objective or is not finite."""
        x = parameters_to_vector(self.parameters).detach().clone()
        value, gradient = self._evaluate(objective, x)
        first = torch.tensor(value, dtype=torch.float64)
        if not math.isfinite(value):
            return first
        for _ in range(self.iterations):
            size = float(x.norm())
            if float(gradient.norm()) * max(1.0, size) <= self.tolerance * value:
                self.stopped = "gradient"
                break
            found = self._search(objective, x, value, gradient)
            if found is None and self.steps:
                self.steps, self.changes = [], []
                found = self._search(objective, x, value, gradient)
            if found is None:
                self.stopped = "step"
                break
            moved, point = found
            self._remember(moved, point.gradient - gradient)
            x, value, gradient = x + moved, point.value, point.gradient
        self._put(x)
        return first

    def _search(
        self, objective: Objective, x: Tensor, value: float, gradient: Tensor
    ) -> tuple[Tensor, _Point] | None:
        """Return the step along the quasi-Newton direction, and the point it leads to."""
        direction = self._direction(gradient)
        slope = float(gradient @ direction)
        if not slope < 0:
            return None

        def at(step: float) -> _Point:
            value, gradient = self._evaluate(objective, x + step * direction)
            return _Point(step, value, float(gradient @ direction), gradient)

        # Without curvature the gradient says nothing of how far to go.
        length = 1.0 if self.steps else min(1.0, self.learning_rate / float(direction.norm()))
        point = line_search(at, value, slope, length)
        return None if point is None else (point.step * direction, point)

    def _direction(self, gradient: Tensor) -> Tensor:
        """Return minus the inverse Hessian's estimate times the gradient, by two loops."""
        q = gradient.clone()
        pairs = list(zip(self.steps, self.changes, strict=True))
        shares = []
        for s, y in reversed(pairs):
            share = (s @ q) / (s @ y)
            q -= share * y
            shares.append(share)
        if pairs:
            s, y = pairs[-1]
            q *= (s @ y) / (y @ y)
        for (s, y), share in zip(pairs, reversed(shares), strict=True):
            q += (share - (y @ q) / (s @ y)) * s
        return -q

    def _remember(self, step: Tensor, change: Tensor) -> None:
        if float(step @ change) > 1e-14 * float(step.norm() * change.norm()):
            self.steps = [*self.steps, step][-self.history :]
            self.changes = [*self.changes, change][-self.history :]

    def _evaluate(self, objective: Objective, x: Tensor) -> tuple[float, Tensor]:
        self._put(x)
        for p in self.parameters:
            p.grad = None
        value = float(objective.backward())
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        gradient = parameters_to_vector(grads)
        return (value if bool(gradient.isfinite().all()) else math.inf), gradient

    def _put(self, x: Tensor) -> None:
        with torch.no_grad():
            vector_to_parameters(x, self.parameters)

    def end_epoch(self, monitored: float) -> None:
        """Nothing to adapt."""

    def shrink(self, factor: float) -> bool:
        """Return False: the line search never takes a step that raises the objective."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return the curvature pairs, and whether it has ended."""
        return {"steps": self.steps, "changes": self.changes, "stopped": self.stopped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.steps, self.changes = list(state["steps"]), list(state["changes"])
        self.stopped = state["stopped"]


def line_search(
    at: Callable[[float], _Point], value: float, slope: float, step: float
) -> _Point | None:
    """Return a point that fulfils the Wolfe conditions, the exact or the approximate ones.

        f(t) <= f(0) + c1 t f'(0)  and  f'(t) >= c2 f'(0)
        (2 c1 - 1) f'(0) >= f'(t) >= c2 f'(0)  where  f(t) <= f(0) but for rounding

    Args:
        at: evaluates the objective at a step along the direction.
        value: ``f(0)``.
        slope: ``f'(0)``, negative.
        step: the first step to try.

    Returns:
        The point, or ``None`` where none was found.
    """
    low = _Point(0.0, value, slope, torch.empty(0))
    high: _Point | None = None
    noise = _ROUNDING * abs(value)
    for _ in range(_TRIALS):
        point = at(step)
        lower = point.value <= value + _DECREASE * step * slope
        level = point.value <= value + noise and point.slope <= (2 * _DECREASE - 1) * slope
        if not (math.isfinite(point.value) and (lower or level)):
            high = point
        elif point.slope < _CURVATURE * slope:
            low = point
        else:
            return point
        step = _between(low, high) if high is not None else _beyond(low)
    # A lower point that is not yet far enough is still a step, which the direction was right for.
    return low if low.value < value else None


def _between(low: _Point, high: _Point) -> float:
    """Return the minimum of the cubic through two points, well inside of them."""
    width = high.step - low.step
    if not (math.isfinite(high.value) and math.isfinite(high.slope)):
        return low.step + 0.1 * width
    # Nocedal and Wright, equation 3.59.
    d1 = low.slope + high.slope - 3 * (high.value - low.value) / width
    inside = d1 * d1 - low.slope * high.slope
    share = 0.5
    if inside >= 0:
        d2 = math.sqrt(inside)
        below = high.slope - low.slope + 2 * d2
        if below != 0:
            share = 1 - (high.slope + d2 - d1) / below
    return low.step + min(max(share, 0.1), 0.9) * width


def _beyond(low: _Point) -> float:
    """Return a longer step."""
    return 4 * low.step
