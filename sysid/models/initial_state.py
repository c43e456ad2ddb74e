"""Initial states: learned, computed by an encoder, or fitted to the first measured outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sysid.models.ffn import layers


class LearnedState(nn.Module):
    """An initial state that is trained with the weights, ``(state_size,)``."""

    def __init__(self, state_size: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(state_size))

    def forward(self, batch: int) -> Tensor:
        """Return the state for each of a batch, ``(batch, state_size)``."""
        return self.value.expand(batch, -1)


class Encoder(nn.Module):
    """Computes the state after a window of ``length`` measured samples of ``u`` and ``y``."""

    def __init__(self, nu: int, ny: int, length: int, state_size: int) -> None:
        super().__init__()
        self.network = layers(length * (nu + ny), (max(32, 2 * state_size),), state_size, "tanh")

    def forward(self, u: Tensor, y: Tensor) -> Tensor:
        """Return ``(batch, state_size)`` from windows ``(batch, length, nu)`` and ``ny``."""
        out: Tensor = self.network(torch.cat([u.flatten(1), y.flatten(1)], dim=1))
        return out


def fitted_state(
    simulate: Callable[[Tensor], tuple[Tensor, Tensor]],
    y: Tensor,
    state_size: int,
    steps: int = 30,
) -> Tensor:
    """Return the initial state that fits measured outputs best, by least squares.

    Damped Gauss-Newton (Levenberg-Marquardt) steps from the zero state; the damping also
    keeps directions that the data do not see near zero.

    Args:
        simulate: maps a state ``(state_size,)`` to outputs ``(n, ny)`` and their derivative
            ``(n, ny, state_size)``.
        y: ``(n, ny)``; a missing sample has no weight.
        state_size: numbers in a state.
        steps: most of them.
    """
    target, seen = y.flatten().nan_to_num(), ~y.flatten().isnan()

    def residual(state: Tensor) -> tuple[Tensor, Tensor]:
        y_hat, jacobian = simulate(state)
        return (y_hat.flatten() - target) * seen, jacobian.flatten(0, 1) * seen[:, None]

    z = target.new_zeros(state_size)
    e, jacobian = residual(z)
    damping: float | None = None
    for _ in range(steps):
        normal = jacobian.T @ jacobian
        scale = float(normal.diagonal().max())
        if not scale > 0:
            break
        damping = 1e-3 * scale if damping is None else max(damping / 10, 1e-9 * scale)
        before, after = float(e @ e), float("inf")
        while not after < before and damping < 1e9 * scale:
            ridge = damping * torch.eye(state_size, dtype=z.dtype, device=z.device)
            step = torch.linalg.solve(normal + ridge, jacobian.T @ e)
            trial, trial_jacobian = residual(z - step)
            after = float(trial @ trial)
            damping *= 1 if after < before else 10
        if not after < before:
            break
        z, e, jacobian = z - step, trial, trial_jacobian
        if before - after <= 1e-9 * before:
            break
    return z
