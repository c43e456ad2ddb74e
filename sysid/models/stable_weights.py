"""Linear layers that are stable for any value of their free parameters."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn

from sysid.data.records import Array

RADIUS = 0.999
"""Bound of ``|A|_2`` of a stable state space, and of the poles of a stable NARX's linear path."""
START_RADIUS = 0.998
"""Bound of the poles of a linear start; closer to ``RADIUS`` the free parameters grow large."""


class StableLinear(nn.Module):
    """A linear layer, one block of whose weight is a smooth function of free parameters.

    Outside the block the weight and the parameter ``free`` are the same. Everything that reads
    ``weight`` sees an ordinary matrix; training changes ``free``.
    """

    bias: Tensor  # or None, as in nn.Linear

    def __init__(self, weight: Tensor, rows: slice, columns: slice, bias: bool) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.block = (rows, columns)
        self.free = nn.Parameter(torch.empty_like(weight))
        self._known: tuple[Tensor, Tensor] | None = None  # a block and its derivative
        self.register_parameter(
            "bias", nn.Parameter(torch.zeros(self.out_features)) if bias else None
        )
        self.put(weight)

    @abstractmethod
    def _to_stable(self, free: Tensor) -> Tensor:
        """Return the block of the weight for that of the free parameters, in float64."""

    @abstractmethod
    def _to_free(self, stable: Array) -> Array:
        """Return the free parameters of a stable block."""

    @property
    def weight(self) -> Tensor:
        """The weight ``(out_features, in_features)``."""
        weight = self.free.clone()
        # In float64: rounding must not undo what the function guarantees.
        weight[self.block] = self._to_stable(self.free[self.block].double()).to(weight.dtype)
        return weight

    def forward(self, x: Tensor) -> Tensor:
        """Return ``weight x + bias``."""
        return nn.functional.linear(x, self.weight, self.bias)

    @torch.no_grad()
    def put(self, weight: Tensor) -> None:
        """Choose the free parameters such that the layer has a given weight."""
        self.free.copy_(weight)
        if self.free.device.type == "meta":  # a model without memory, whose shapes are looked at
            return
        block = self._to_free(weight[self.block].detach().cpu().double().numpy())
        self.free[self.block] = torch.from_numpy(block).to(self.free)

    @property
    def places(self) -> Tensor:
        """Where the block's entries lie in the flattened weight."""
        return torch.arange(self.free.numel()).view(self.free.shape)[self.block].flatten()

    def derivative(self) -> Tensor:
        """Return the derivative of the flattened block with respect to its free parameters."""
        free = self.free.detach()[self.block].double()
        known = self._known
        if known is None or not torch.equal(known[0], free):  # the same for all pieces of records
            by: Tensor = torch.func.jacrev(self._to_stable)(free)
            self._known = known = (free.clone(), by.reshape(free.numel(), free.numel()))
        return known[1]


class Contraction(StableLinear):
    """``A`` of a state space with ``|A|_2 < RADIUS``, whatever its free parameters are.

        A = RADIUS W (I + W'W)^(-1/2),   with the Cholesky factor as the square root

    Every such ``A`` has exactly one ``W``. The first ``sums`` rows and columns are those of
    integrators and stay outside.
    """

    def __init__(self, weight: Tensor, sums: int, bias: bool) -> None:
        super().__init__(weight, slice(sums, None), slice(sums, None), bias)

    def _to_stable(self, free: Tensor) -> Tensor:
        return RADIUS * contraction(free)[0]

    def _to_free(self, stable: Array) -> Array:
        return of_contraction(stable / RADIUS)


class StableLags(StableLinear):
    """The linear path of a NARX, whose part that sees ``na`` past outputs is stable.

    The free parameters are partial autocorrelation matrices ``P_1 ... P_na``, each mapped to
    ``|P_i|_2 < 1`` as by ``Contraction``; the Levinson recursion turns them into the coefficients
    of a vector autoregression, of which every stable one is reached exactly once.

    Source: C. F. Ansley and R. Kohn, "A note on reparameterizing a vector autoregressive moving
    average model to enforce stationarity", J. Statistical Computation and Simulation 24(2), 1986.
    """

    def __init__(self, weight: Tensor, na: int) -> None:
        super().__init__(weight, slice(None), slice(na * len(weight)), bias=False)

    def _to_stable(self, free: Tensor) -> Tensor:
        powers = RADIUS ** torch.arange(1, free.shape[1] // len(free) + 1, dtype=free.dtype)
        return autoregression(free) * powers.to(free.device).repeat_interleave(len(free))

    def _to_free(self, stable: Array) -> Array:
        ny = len(stable)
        powers = RADIUS ** np.arange(1, stable.shape[1] // ny + 1)
        return of_autoregression(stable / np.repeat(powers, ny))


def put_weight(layer: nn.Linear | StableLinear, weight: Tensor) -> None:
    """Give a linear layer a weight."""
    if isinstance(layer, StableLinear):
        layer.put(weight)
    else:
        with torch.no_grad():
            layer.weight.copy_(weight)


def contraction(free: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``P = W R^-1`` and ``R^-1``, where ``R'R = I + W'W`` and ``R`` is upper triangular.

    They are the two blocks of an orthonormal matrix, so ``|P|_2 < 1`` holds to rounding.
    """
    n = free.shape[-1]
    eye = torch.eye(n, dtype=free.dtype, device=free.device).expand(*free.shape[:-2], n, n)
    q, r = torch.linalg.qr(torch.cat([free, eye], -2))
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    return q[..., :-n, :], q[..., -n:, :]


def of_contraction(p: Array) -> Array:
    """Return ``W`` for ``P = W R^-1``; singular values that rounding put beyond one are cut."""
    left, values, right = np.linalg.svd(p)
    p = left * np.minimum(values, 1 - 1e-12) @ right
    root = scipy.linalg.cholesky(np.eye(len(p)) - p.T @ p, lower=True)  # R^-T
    return np.asarray(scipy.linalg.solve_triangular(root, p.T, lower=True).T, dtype=np.float64)


def autoregression(free: Tensor) -> Tensor:
    """Return the coefficients ``[A_1 ... A_na]`` of a stable vector autoregression.

    Args:
        free: ``(ny, na * ny)``, any numbers.
    """
    ny = len(free)
    left = right = torch.eye(ny, dtype=free.dtype, device=free.device)
    forward = backward = free.new_empty(0, ny, ny)
    blocks = free.unflatten(1, (-1, ny)).transpose(0, 1)  # (na, ny, ny)
    partial, of_right = contraction(blocks)
    # The factors of I - P P' and of I - P'P are both lower triangular.
    of_left = contraction(blocks.mT.flip(2))[1].flip(1, 2)
    for p, by_left, by_right in zip(partial, of_left, of_right.mT, strict=True):
        new = left @ torch.linalg.solve_triangular(right, p, upper=False, left=False)
        back = right @ torch.linalg.solve_triangular(left, p.mT, upper=False, left=False)
        forward, backward = (
            torch.cat([forward - new @ backward.flip(0), new[None]]),
            torch.cat([backward - back @ forward.flip(0), back[None]]),
        )
        left, right = left @ by_left, right @ by_right
    found = torch.linalg.solve_triangular(left, forward @ left, upper=False)
    out: Tensor = found.transpose(0, 1).flatten(1)
    return out


def of_autoregression(coefficients: Array) -> Array:
    """Return the free parameters of a stable vector autoregression, ``(ny, na * ny)``."""
    ny = len(coefficients)
    blocks = np.split(coefficients, coefficients.shape[1] // ny, axis=1)
    normal = _autocovariances(blocks)
    forward = backward = np.empty((0, ny, ny))
    left = right = np.eye(ny)
    found = []
    for s in range(len(blocks)):
        rest = normal[s + 1] - (forward @ normal[s:0:-1]).sum(axis=0)
        p = np.linalg.solve(left, np.linalg.solve(right, rest.T).T)
        found.append(of_contraction(np.asarray(p, dtype=np.float64)))
        new, back = left @ p @ np.linalg.inv(right), right @ p.T @ np.linalg.inv(left)
        forward, backward = (
            np.concatenate([forward - new @ backward[::-1], new[None]]),
            np.concatenate([backward - back @ forward[::-1], back[None]]),
        )
        left = left @ np.linalg.cholesky(np.eye(ny) - p @ p.T)
        right = right @ np.linalg.cholesky(np.eye(ny) - p.T @ p)
    return np.hstack(found)


def _autocovariances(blocks: list[Array]) -> Array:
    """Return ``Gamma_0 ... Gamma_na`` of an autoregression, in coordinates with ``Gamma_0 = I``.

    In its own coordinates the innovations have the covariance ``I``.
    """
    ny, na = len(blocks[0]), len(blocks)
    companion = companion_matrix(np.hstack(blocks))
    noise = np.zeros_like(companion)
    noise[:ny, :ny] = np.eye(ny)
    covariance = scipy.linalg.solve_discrete_lyapunov(companion, noise)
    found = [covariance[:ny, i * ny : (i + 1) * ny] for i in range(na)]
    found.append(np.asarray(sum(a @ g for a, g in zip(blocks, reversed(found), strict=True))))
    to = np.linalg.inv(np.linalg.cholesky(found[0]))
    return np.asarray(to @ np.array(found) @ to.T)


def companion_matrix(coefficients: Array) -> Array:
    """Return the transition matrix of ``y(k) = A_1 y(k-1) + ... + A_na y(k-na)``."""
    ny, width = coefficients.shape
    return np.vstack([coefficients, np.eye(width - ny, width)])


def spectral_radius(matrix: Array) -> float:
    """Return the largest modulus of an eigenvalue; 0 of an empty matrix."""
    return float(np.abs(np.linalg.eigvals(matrix)).max(initial=0.0))


def with_stable_poles(coefficients: Array) -> Array:
    """Move all poles of an autoregression towards zero, until none is beyond ``START_RADIUS``."""
    ny = len(coefficients)
    by = min(1.0, START_RADIUS / max(spectral_radius(companion_matrix(coefficients)), 1e-300))
    powers = by ** np.arange(1, coefficients.shape[1] // ny + 1)
    return np.asarray(coefficients * np.repeat(powers, ny))


def contracting_coordinates(a: Array, sums: int = 0) -> Array:
    """Return ``T`` such that the spectral norm of ``T A T^-1`` is below ``RADIUS``.

    ``T = X^(-1/2)``, where ``X = (A X A') / RADIUS^2 + I``; its scale is such that states that
    had unit variance, and are not correlated, have it in the mean.

    Args:
        a: with its poles inside ``RADIUS``.
        sums: integrators, the first states, which stay what they are.
    """
    inner = a[sums:, sums:] / RADIUS
    values, vectors = np.linalg.eigh(
        scipy.linalg.solve_discrete_lyapunov(inner, np.eye(len(inner)))
    )
    to = vectors / np.sqrt(values) @ vectors.T
    to /= np.sqrt(np.mean(1 / values))
    return np.asarray(scipy.linalg.block_diag(np.eye(sums), to))
