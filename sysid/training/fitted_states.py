"""Initial states that follow the weights: fitted to the first measured samples of each record."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sysid.models.sensitivities import weight_count
from sysid.models.stateful import StatefulModel

_RIDGE = 1e-9  # of the largest square of a derivative: directions that the samples do not see
_NUMBERS = 1 << 22  # of derivatives in memory together


class FittedStates:
    """The states that fit the first ``samples`` of each record best, as a simulation starts.

    With the weights ``w``, the state ``x`` of least ``r'r`` over these samples moves by

        dx/dw = -(J_x' J_x)^-1 J_x' J_w,

    which leaves out second derivatives of ``r``, as they are multiplied by what is left of it.

    Source: L. Kaufman, "A variable projection method for solving separable nonlinear least squares
    problems", BIT 15(1), 1975, for what is left out.

    Args:
        model: with an estimated initial state.
        samples: what states are fitted to; all of a record that is shorter.
    """

    def __init__(self, model: StatefulModel, samples: int) -> None:
        self.model, self.samples = model, samples

    def states(self, records: Sequence[tuple[Tensor, ...]]) -> Tensor:
        """Return the states ``(records, state_size)``, with their graph to the weights."""
        found = torch.empty(0)
        for items, u, y in self._side_by_side(records):
            state = self.model.estimated_states(u, y, prior=False)
            if torch.is_grad_enabled():
                of_state = self._jacobian(u, y, state)[..., -state.shape[1] :]
                y_hat, _ = self.model.unfold(u, y, y.shape[1], state=state)
                left = torch.where(y.isnan(), 0, y_hat - y).flatten(1)
                moved = _least_squares(of_state, left[..., None])[..., 0]
                state = state + moved - moved.detach()
            if not len(found):
                found = state.new_empty(len(records), state.shape[1])
            found = found.index_copy(0, torch.tensor(items, device=state.device), state)
        return found

    def with_derivatives(
        self, records: Sequence[tuple[Tensor, ...]]
    ) -> list[tuple[Tensor, Tensor]]:
        """Return each state and its derivatives by the weights, ``(state_size, P)``."""
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for items, u, y in self._side_by_side(records):
            states = self.model.estimated_states(u, y, prior=False)
            jacobian = self._jacobian(u, y, states)
            of_weights, of_state = jacobian.tensor_split([-states.shape[1]], dim=-1)
            moved = _least_squares(of_state, of_weights)
            found |= {i: (states[k], moved[k]) for k, i in enumerate(items)}
        return [found[i] for i in range(len(records))]

    def _side_by_side(
        self, records: Sequence[tuple[Tensor, ...]]
    ) -> list[tuple[list[int], Tensor, Tensor]]:
        """Return the first samples of records of one length together, and their places."""
        lengths = [min(len(y), self.samples) for _, y in records]
        columns = weight_count(self.model) + self.model.state_size
        out = []
        for length in sorted(set(lengths)):
            items = [i for i, n in enumerate(lengths) if n == length]
            most = max(_NUMBERS // (length * self.model.ny * columns), 1)
            for first in range(0, len(items), most):
                some = items[first : first + most]
                u, y = (torch.stack([records[i][k][:length] for i in some]) for k in (0, 1))
                out.append((some, u, y))
        return out

    @torch.no_grad()
    def _jacobian(self, u: Tensor, y: Tensor, state: Tensor) -> Tensor:
        """Return the derivatives of the outputs by weights and state; zero where one is missing."""
        parts = self.model.window_sensitivities(
            u, y, with_state=True, state=state, washout=y.shape[1]
        )
        whole = torch.cat([part.jacobian for part in parts], 1)
        return torch.where(y.isnan()[..., None], 0, whole).flatten(1, 2)


def _least_squares(of_state: Tensor, right: Tensor) -> Tensor:
    """Return ``-(J'J)^-1 J' right`` of each of a batch."""
    normal = of_state.mT @ of_state
    largest = normal.diagonal(dim1=1, dim2=2).amax(1).clamp(min=torch.finfo(normal.dtype).tiny)
    eye = torch.eye(normal.shape[1], dtype=normal.dtype, device=normal.device)
    ridged = normal + _RIDGE * largest[:, None, None] * eye
    out: Tensor = -torch.linalg.solve(ridged, of_state.mT @ right)
    return out
