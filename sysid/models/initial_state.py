"""Initial states: learned, computed by an encoder, or fitted to the first measured outputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sysid.models.ffn import layers

_LEAST_VARIANCE = 1e-6  # of the mean variance of the states
_LEAST_ERROR = 1e-10  # mean square, of outputs with unit variance: no model is better
_FIRST_DAMPING, _SHRINK = 1e-3, 5.0
_ENOUGH = 1e-7  # relative fall of the squares below which a fit ends


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


class StatePrior(nn.Module):
    """Where states are expected: mean and covariance of those that training went through.

    The covariance is kept as a factor ``R R'``, divided by the mean square of the training's
    errors, so that the state of maximal posterior density minimises

        sum_k |y_hat(k) - y(k)|^2 + |z|^2,    x(0) = mean + R z.

    Fifty samples that determine a state outweigh it by far; what they leave open stays where
    states have been. Until something is noted ``R`` is zero, and nothing is expected.

    Args:
        state_size: numbers in a state.
        sums: the first states, of which nothing is expected: a plant that integrates may start
            anywhere.
    """

    mean: Tensor
    root: Tensor

    def __init__(self, state_size: int, sums: int = 0) -> None:
        super().__init__()
        self.sums = sums
        self.register_buffer("mean", torch.zeros(state_size))
        self.register_buffer("root", torch.zeros(state_size, state_size))

    @property
    def known(self) -> bool:
        """Whether states were noted."""
        return bool(self.root[-1, -1] > 0)

    @torch.no_grad()
    def note(self, states: Tensor, error: float) -> None:
        """Take mean and covariance of states ``(M, state_size)``; endless ones change nothing.

        Args:
            states: those of simulations of the training records.
            error: mean square of the errors of these, in the network's own units.
        """
        states = states.detach().double()
        covariance = states.T.cov().reshape(self.root.shape)
        scale = covariance.diagonal().mean()
        if not (torch.isfinite(scale) and scale > 0 and math.isfinite(error)):
            return
        covariance[: self.sums, self.sums :] = 0
        covariance[self.sums :, : self.sums] = 0
        covariance += _LEAST_VARIANCE * scale * torch.eye(len(covariance)).to(covariance)
        error = min(max(error, _LEAST_ERROR), 1.0)
        self.mean.copy_(states.mean(0))
        self.root.copy_(torch.linalg.cholesky(covariance) / math.sqrt(error))


def fitted_states(
    simulate: Callable[[Tensor], tuple[Tensor, Tensor]],
    y: Tensor,
    prior: StatePrior,
    steps: int = 30,
) -> Tensor:
    """Return the initial states that fit measured outputs best, by least squares, each its own.

    Damped Gauss-Newton (Levenberg-Marquardt) steps, from the mean of the states that the prior
    expects, or from zero; the damping also keeps directions that the data do not see near it.

    Args:
        simulate: maps states ``(batch, state_size)`` to outputs ``(batch, n, ny)`` and their
            derivatives ``(batch, n, ny, state_size)``.
        y: ``(batch, n, ny)``; a missing sample has no weight.
        prior: what is expected of states.
        steps: most of them.

    Returns:
        ``(batch, state_size)``.
    """
    target, seen = y.flatten(1).nan_to_num(), ~y.flatten(1).isnan()
    mean = prior.mean.to(target)
    eye = torch.eye(len(mean), dtype=target.dtype, device=target.device)
    root, ridge = eye, torch.zeros_like(mean)
    if prior.known:
        root, ridge = prior.root.to(target), (torch.arange(len(mean)) >= prior.sums).to(target)

    def residual(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y_hat, jacobian = simulate(mean + z @ root.T)
        e = (y_hat.flatten(1) - target) * seen
        value = e.square().sum(1) + (ridge * z.square()).sum(1)
        return e, (jacobian.flatten(1, 2) * seen[..., None]) @ root, value

    z = target.new_zeros(len(y), len(mean))
    e, jacobian, before = residual(z)
    if prior.sums:  # outputs are linear in them, and a plant that integrates may be anywhere
        of_sums = jacobian[..., : prior.sums]
        z[:, : prior.sums] -= (torch.linalg.pinv(of_sums) @ e[..., None])[..., 0]
        e, jacobian, before = residual(z)
    damping: Tensor | None = None
    going = torch.ones_like(seen[:, 0])
    for _ in range(steps):
        normal = jacobian.mT @ jacobian + ridge.diag()
        gradient = (jacobian.mT @ e[..., None])[..., 0] + ridge * z
        scale = normal.diagonal(dim1=1, dim2=2).amax(1)
        going &= scale > 0
        normal = torch.where(going[:, None, None], normal, eye)
        least = 1e-9 * scale
        if damping is None:
            damping = _SHRINK * _FIRST_DAMPING * scale
        damping = torch.maximum(damping / _SHRINK, least)
        looking, fell = going, torch.zeros_like(before)
        while True:
            damped = normal + torch.where(looking, damping, 1)[:, None, None] * eye
            # Of a simulation that explodes the matrix may be singular: such a state stays.
            solution, failed = torch.linalg.solve_ex(damped, gradient[..., None])
            step = torch.where((failed == 0)[:, None], solution[..., 0], 0.0)
            foretold = (step * gradient).sum(1) + damping * step.square().sum(1)
            looking = looking & (foretold > _ENOUGH * before)
            if not looking.any():
                break
            trial_e, trial_jacobian, after = residual(z - step)
            better = looking & (after < before)
            fell = torch.where(better, before - after, fell)
            z = torch.where(better[:, None], z - step, z)
            e = torch.where(better[:, None], trial_e, e)
            jacobian = torch.where(better[:, None, None], trial_jacobian, jacobian)
            damping = torch.where(looking & ~better, 10 * damping, damping)
            looking = looking & ~better & (damping < 1e9 * scale)
        going = going & (fell > _ENOUGH * before)
        before = before - fell
        if not going.any():
            break
    return mean + z @ root.T
