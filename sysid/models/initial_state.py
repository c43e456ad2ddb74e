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


def fitted_states(
    simulate: Callable[[Tensor], tuple[Tensor, Tensor]],
    y: Tensor,
    state_size: int,
    steps: int = 30,
) -> Tensor:
    """Return the initial states that fit measured outputs best, by least squares, each its own.

    Damped Gauss-Newton (Levenberg-Marquardt) steps from the zero state; the damping also
    keeps directions that the data do not see near zero.

    Args:
        simulate: maps states ``(batch, state_size)`` to outputs ``(batch, n, ny)`` and their
            derivatives ``(batch, n, ny, state_size)``.
        y: ``(batch, n, ny)``; a missing sample has no weight.
        state_size: numbers in a state.
        steps: most of them.

    Returns:
        ``(batch, state_size)``.
    """
    target, seen = y.flatten(1).nan_to_num(), ~y.flatten(1).isnan()
    eye = torch.eye(state_size, dtype=target.dtype, device=target.device)

    def residual(states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y_hat, jacobian = simulate(states)
        e = (y_hat.flatten(1) - target) * seen
        return e, jacobian.flatten(1, 2) * seen[..., None], e.square().sum(1)

    z = target.new_zeros(len(y), state_size)
    e, jacobian, before = residual(z)
    damping: Tensor | None = None
    going = torch.ones_like(seen[:, 0])
    for _ in range(steps):
        normal = jacobian.mT @ jacobian
        scale = normal.diagonal(dim1=1, dim2=2).amax(1)
        going &= scale > 0
        normal = torch.where(going[:, None, None], normal, eye)
        least = 1e-9 * scale
        damping = 1e6 * least if damping is None else torch.maximum(damping / 10, least)
        looking, fell = going, torch.zeros_like(before)
        while looking.any():
            ridge = torch.where(looking, damping, 1)[:, None, None] * eye
            step = torch.linalg.solve(normal + ridge, jacobian.mT @ e[..., None])[..., 0]
            trial_e, trial_jacobian, after = residual(z - step)
            better = looking & (after < before)
            fell = torch.where(better, before - after, fell)
            z = torch.where(better[:, None], z - step, z)
            e = torch.where(better[:, None], trial_e, e)
            jacobian = torch.where(better[:, None, None], trial_jacobian, jacobian)
            damping = torch.where(looking & ~better, 10 * damping, damping)
            looking = looking & ~better & (damping < 1e9 * scale)
        # Where nothing fell, or hardly, that was it.
        going = going & (fell > 1e-9 * before)
        before = before - fell
        if not going.any():
            break
    return z
