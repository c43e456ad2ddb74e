"""Initial states that follow the weights: fitted to the first measured samples of each record."""

from __future__ import annotations

import torch
from torch import Tensor

from sysid.models.stateful import StatefulModel

_RIDGE = 1e-9  # of the largest square of a derivative: directions that the samples do not see


class FittedStates:
    """The states that fit the first ``samples`` of each record best, as a simulation starts.

    With the weights ``w``, the state ``x`` of least ``r'r`` over these samples moves by

        dx/dw = -(J_x' J_x)^-1 J_x' J_w,

    which leaves out second derivatives of ``r``, as they are multiplied by what is left of it.

    Source: L. Kaufman, "A variable projection method for solving separable nonlinear least squares
    problems", BIT 15(1), 1975, for what is left out.

    Args:
        model: with an estimated initial state.
        samples: what states are fitted to; fewer of a record that is shorter.
    """

    def __init__(self, model: StatefulModel, samples: int) -> None:
        self.model, self.samples = model, samples

    def state(self, u: Tensor, y: Tensor) -> Tensor:
        """Return the state ``(state_size,)`` of a record, with its graph to the weights."""
        u, y = u[: self.samples], y[: self.samples]
        state = self.model.estimated_state(u, y)
        if not torch.is_grad_enabled():
            return state
        of_state = self._jacobian(u, y, state)[:, -len(state) :]
        y_hat, _ = self.model.unfold(u[None], y[None], len(y), state=state[None])
        left = torch.where(y.isnan(), 0, y_hat[0] - y).flatten()
        moved = _least_squares(of_state, left[:, None])[:, 0]
        return state + moved - moved.detach()

    def with_derivatives(self, u: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state and its derivatives by the weights, ``(state_size, P)``."""
        u, y = u[: self.samples], y[: self.samples]
        state = self.model.estimated_state(u, y)
        jacobian = self._jacobian(u, y, state)
        of_weights, of_state = jacobian.tensor_split([-len(state)], dim=1)
        return state, _least_squares(of_state, of_weights)

    @torch.no_grad()
    def _jacobian(self, u: Tensor, y: Tensor, state: Tensor) -> Tensor:
        """Return the derivatives of the outputs by weights and state; zero where one is missing."""
        parts = self.model.sensitivities(u, y, state=state, washout=len(y))
        whole = torch.cat([part.jacobian for part in parts])
        return torch.where(y.isnan()[..., None], 0, whole).flatten(0, 1)


def _least_squares(of_state: Tensor, right: Tensor) -> Tensor:
    """Return ``-(J'J)^-1 J' right``."""
    normal = of_state.T @ of_state
    ridge = _RIDGE * normal.diagonal().max().clamp(min=torch.finfo(normal.dtype).tiny)
    ridged = normal + ridge * torch.eye(len(normal), dtype=normal.dtype, device=normal.device)
    out: Tensor = -torch.linalg.solve(ridged, of_state.T @ right)
    return out
