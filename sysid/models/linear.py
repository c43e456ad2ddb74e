"""Linear state-space models from data: the start of a neural one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from sysid.data.records import Array
from sysid.data.slow_outputs import between_samples, slow
from sysid.models.impulse_response import balanced_realisation, estimate_impulse_response

_RADII = (0.999, 0.99999)  # that poles are pulled back to: the second for plants that integrate
_RESPONSE = 200  # samples of the impulse response
_SLOWER = (1, 4, 16, 64)  # samples averaged to one, for plants that integrate
_FEWEST = 60  # averaged samples of the longest record
_MOSTLY_NOISE = 0.8  # share of changes; a sum of white noise has 2/3 without any


@dataclass(frozen=True)
class LinearStateSpace:
    """``x(k+1) = A x(k) + B u(k)``, ``y(k) = C x(k) + D u(k) + constant``."""

    A: Array
    B: Array
    C: Array
    D: Array
    constant: Array  # (ny,)

    def seen_from(self, to: Array) -> LinearStateSpace:
        """Return the same model with the states ``to x``."""
        back = np.linalg.inv(to)
        return replace(self, A=to @ self.A @ back, B=to @ self.B, C=self.C @ back)

    def states(self, u: Array) -> Array:
        """Return ``x(k)``, ``(N, nx)``, from rest; a missing input counts as zero."""
        driven = np.nan_to_num(u) @ self.B.T
        out = np.empty((len(u), len(self.A)))
        x = np.zeros(len(self.A))
        for k, step in enumerate(driven):
            out[k] = x
            x = self.A @ x + step
        return out


def estimate_state_space(
    blocks: list[tuple[Array, Array]],
    nx: int,
    feedthrough: bool = True,
    integrating: bool = False,
    radius: float | None = None,
) -> LinearStateSpace:
    """Estimate a linear model of order ``nx`` whose simulation is near the measured outputs.

    Of a subspace estimate, which also works for a plant that integrates or runs in closed loop,
    of a balanced realisation of the regularised impulse response, which is the better one
    where what is not linear looks like noise, and of an estimate of the outputs' changes behind
    an exact integrator, the one with the smallest simulation error on the records. ``C``, ``D``
    and the constant are fitted to the simulated states by least squares.

    Args:
        blocks: ``(u, y)`` of each record, ``(N, nu)`` and ``(N, ny)``, near zero mean. Rows
            with a missing sample in reach are left out; for estimates that need outputs at every
            row, those between the samples of a slow output are interpolated.
        nx: order.
        feedthrough: whether to estimate ``D``; else it is zero.
        integrating: whether it has to be the one behind an exact integrator.
        radius: bound of the poles' moduli, those of an exact integrator aside.

    Returns:
        A model whose states have unit variance over the records, with its poles inside the
        unit circle, and those of an exact integrator on it.

    Raises:
        ValueError: if the records are too short for the order.
    """
    bridged = [(u, between_samples(y)) for u, y in blocks]
    if integrating:
        found = _integrating(bridged, nx)
        if found is None:
            raise ValueError(
                "records must be longer, and their outputs must change, for a linear start of a "
                "model that integrates; set linear_start to false"
            )
        found = _within(found, radius, sums=blocks[0][1].shape[1])
        return _with_fitted_outputs(found, blocks, feedthrough)[0]
    candidates: list[LinearStateSpace] = []
    if blocks[0][0].shape[1]:
        candidates += _from_impulse_response(blocks, nx, feedthrough)
    try:
        subspace = subspace_estimate(bridged, nx, feedthrough)
    except ValueError:  # too few rows
        if not candidates or not any(slow(y).any() for _, y in blocks):
            raise
    else:
        if not blocks[0][0].shape[1]:  # from rest it would stay there
            return replace(subspace, A=_stable(subspace.A, radius or _RADII[0]))
        candidates = [replace(subspace, A=_stable(subspace.A, r)) for r in _RADII] + candidates
    if (sums := _integrating(bridged, nx)) is not None:
        candidates.append(sums)
    candidates = [_within(c, radius) for c in candidates]
    tried = [_with_fitted_outputs(c, blocks, feedthrough) for c in candidates]
    return min(tried, key=lambda pair: pair[1])[0]


def _within(model: LinearStateSpace, radius: float | None, sums: int = 0) -> LinearStateSpace:
    """Pull the poles of the states after the sums into a radius."""
    if radius is None:
        return model
    a = model.A.copy()
    a[sums:, sums:] = _stable(a[sums:, sums:], radius)
    return replace(model, A=a)


def _from_impulse_response(
    blocks: list[tuple[Array, Array]], nx: int, feedthrough: bool
) -> list[LinearStateSpace]:
    """Return the balanced realisation, if the records are long enough."""
    nu, ny = blocks[0][0].shape[1], blocks[0][1].shape[1]
    length = min(_RESPONSE, max(len(y) for _, y in blocks) // 4)
    if any(slow(y).any() for _, y in blocks):  # two measured rows for each coefficient
        measured = np.sum([np.isfinite(y).sum(axis=0) for _, y in blocks], axis=0)
        length = min(length, int(measured.min()) // (2 * nu))
    if (length // 2 - 1) * min(nu, ny) < nx:
        return []
    try:
        response = estimate_impulse_response(blocks, length, feedthrough)
    except ValueError:  # too many gaps
        return []
    a, b, c, d = balanced_realisation(response, nx)
    return [LinearStateSpace(_stable(a, _RADII[0]), b, c, d, np.zeros(ny))]


def _integrating(blocks: list[tuple[Array, Array]], nx: int) -> LinearStateSpace | None:
    """Return a model with exact sums, estimated at a rate at which more than noise moves.

    From one sample to the next, an output of a plant that integrates may change by noise alone.
    """
    chosen, rate = blocks, 1
    for factor in _SLOWER:
        slower = [_slower(u, y, factor) for u, y in blocks]
        if factor > 1 and max(len(y) for _, y in slower) < _FEWEST:
            break
        chosen, rate = slower, factor
        if _noise_share(slower) < _MOSTLY_NOISE:
            break
    found = _behind_sums(chosen, nx)
    faster = None if found is None else _faster(found, rate)
    return _behind_sums(blocks, nx) if faster is None else faster


def _noise_share(blocks: list[tuple[Array, Array]]) -> float:
    """Return how much of the changes is noise, of the output where it is most.

    White noise changes by twice its variance, and its changes change by six times as much.
    """
    once, twice = (np.vstack([np.diff(y, n, axis=0) for _, y in blocks]) for n in (1, 2))
    changes = np.nanmean(once**2, axis=0)
    return float(np.max(np.nanmean(twice**2, axis=0) / 3 / np.where(changes > 0, changes, np.inf)))


def _behind_sums(blocks: list[tuple[Array, Array]], nx: int) -> LinearStateSpace | None:
    """Return the model whose outputs are the sums of what a smaller one puts out.

        y(k+1) = y(k) + C z(k) + D u(k),   z(k+1) = A z(k) + B u(k)

    An estimate of the outputs themselves finds such a pole only nearly, and a small error of it
    adds up over a record.
    """
    ny = blocks[0][1].shape[1]
    inner = nx - ny
    if inner < 1:
        return None
    changes = [(u[:-1], np.diff(y, axis=0)) for u, y in blocks]
    size = np.nanstd(np.vstack([y for _, y in changes]), axis=0)
    if not (size > 0).all():
        return None
    try:
        found = subspace_estimate([(u, y / size) for u, y in changes], inner)
    except ValueError:
        return None
    to_sum, through = found.C * size[:, None], found.D * size[:, None]
    a = np.block([[np.eye(ny), to_sum], [np.zeros((inner, ny)), _stable(found.A, _RADII[0])]])
    c = np.hstack([np.eye(ny), np.zeros((ny, inner))])
    b = np.vstack([through, found.B])
    return LinearStateSpace(a, b, c, np.zeros((ny, b.shape[1])), np.zeros(ny))


def _slower(u: Array, y: Array, factor: int) -> tuple[Array, Array]:
    """Return means of ``factor`` samples: of inputs from an instant on, of outputs around it."""
    if factor == 1:
        return u, y
    half = factor // 2
    count = max((len(y) - factor) // factor, 0)
    from_then = u[factor : factor + count * factor].reshape(count, factor, u.shape[1])
    around = y[half : half + count * factor].reshape(count, factor, y.shape[1])
    return from_then.mean(axis=1), around.mean(axis=1)


def _faster(model: LinearStateSpace, factor: int) -> LinearStateSpace | None:
    """Return a model with sums for steps of which ``factor`` make up one of the given model.

    There is none where a pole is negative: at the higher rate it would have to turn.
    """
    if factor == 1:
        return model
    ny = len(model.C)
    values, vectors = np.linalg.eig(model.A)
    if ((values.real <= 0) & (np.abs(values.imag) < 1e-9)).any():
        return None
    root = np.real(vectors * values.astype(complex) ** (1 / factor) @ np.linalg.inv(vectors))
    root[:ny, :ny], root[ny:, :ny] = np.eye(ny), 0  # to the bit
    powers = [np.eye(len(root))]
    for _ in range(factor - 1):
        powers.append(powers[-1] @ root)
    return replace(model, A=root, B=np.linalg.solve(np.sum(powers, axis=0), model.B))


def _with_fitted_outputs(
    model: LinearStateSpace, blocks: list[tuple[Array, Array]], feedthrough: bool
) -> tuple[LinearStateSpace, float]:
    """Scale the states to unit variance and fit the outputs; also return the mean square error.

    Records start from rest, and where they did not the first samples of a stretch do not count.
    """
    states, inputs, outputs = [], [], []
    for u, y in blocks:
        x = model.states(u)
        settled = np.arange(len(y)) >= min(_RESPONSE, len(y) // 4)
        known = np.isfinite(np.hstack([u, x])).all(axis=1)
        seen = settled & known & np.isfinite(y).any(axis=1)
        states.append(x[seen])
        inputs.append(u[seen])
        outputs.append(y[seen])
    x, u, y = (np.vstack(parts) for parts in (states, inputs, outputs))
    if np.isfinite(y).sum(axis=0).min() <= x.shape[1] + u.shape[1]:
        return model, math.inf
    size = x.std(axis=0)
    size = np.where((size > 0) & np.isfinite(size), size, 1.0)
    design = np.hstack([x / size, u if feedthrough else u[:, :0], np.ones((len(x), 1))])
    weights = _fitted(design, y)
    nx = x.shape[1]
    d = weights[:, nx:-1] if feedthrough else np.zeros_like(model.D)
    a = model.A * size / size[:, None]
    fitted = LinearStateSpace(a, model.B / size[:, None], weights[:, :nx], d, weights[:, -1])
    return fitted, float(np.nanmean((design @ weights.T - y) ** 2))


def _fitted(design: Array, y: Array) -> Array:
    """Fit outputs by least squares, each over the rows where it was measured."""
    seen = np.isfinite(y)
    if seen.all():
        return _ridge(design, y).T
    return np.vstack(
        [_ridge(design[seen[:, i]], y[seen[:, i], [i]][:, None])[:, 0] for i in range(y.shape[1])]
    )


def subspace_estimate(
    blocks: list[tuple[Array, Array]], nx: int, feedthrough: bool = True
) -> LinearStateSpace:
    """Estimate a linear model of order ``nx`` by predictor-based subspace identification.

    A long ARX model is fitted by least squares; its coefficients are the Markov parameters
    of the one-step predictor, ``C (A - KC)^(i-1) [B - KD, K]``; they give the states up to
    a change of basis by a singular value decomposition, and least squares on the states
    gives the matrices. Unlike an impulse-response start this also works for a plant that
    integrates or runs in closed loop, since the predictor is stable where the plant is not.

    Args:
        blocks: as for ``estimate_state_space``.
        nx: order.
        feedthrough: whether to estimate ``D``; else it is zero.

    Raises:
        ValueError: if the records are too short for the order.

    Source:
        A. Chiuso, "The role of vector autoregressive modeling in predictor-based subspace
        identification", Automatica 43(6), 2007.
    """
    nu, ny = blocks[0][0].shape[1], blocks[0][1].shape[1]
    longest = max(len(y) for _, y in blocks)
    past = min(max(20, 3 * nx), longest // 4)
    if past * ny < nx:
        raise ValueError(
            f"nx must be at most {past * ny} for records of {longest} samples, got {nx}; "
            "use a smaller order or longer records"
        )
    future = min(past, max(10, 2 * nx))
    z, u, y, joins = _stacked(blocks, past)
    width = nu + ny
    design = np.hstack([z, u if feedthrough else u[:, :0], np.ones((len(z), 1))])
    if len(design) < design.shape[1]:
        raise ValueError(
            f"records must be longer for nx={nx}: {len(design)} complete rows are too few for "
            f"{design.shape[1]} coefficients; use a smaller order"
        )
    arx = _ridge(design, y)[: past * width].T.reshape(ny, past, width)  # newest lag first
    # Row block j predicts y(k+j) from the past with j further lags moved out of it.
    gamma = np.zeros((future, ny, past, width))
    for j in range(future):
        gamma[j, :, : past - j] = arx[:, j:]
    gamma = gamma.reshape(future * ny, past * width)
    root = scipy.linalg.cholesky(z.T @ z / len(z) + 1e-10 * np.eye(past * width), lower=True)
    left, singular, _ = np.linalg.svd(gamma @ root, full_matrices=False)
    basis = left[:, :nx].T @ gamma / np.maximum(singular[:nx], 1e-8 * singular[0])[:, None]
    x = z @ basis.T  # unit variance
    output = np.hstack([x, u if feedthrough else u[:, :0]])
    weights = _ridge(output, y).T
    c, d = weights[:, :nx], (weights[:, nx:] if feedthrough else np.zeros((ny, nu)))
    innovation = y - output @ weights.T
    rows = np.flatnonzero(joins)
    state = np.hstack([x, u, innovation])[rows]
    transition = _ridge(state, x[rows + 1]).T
    return LinearStateSpace(transition[:, :nx], transition[:, nx : nx + nu], c, d, np.zeros(ny))


def _stacked(
    blocks: list[tuple[Array, Array]], past: int
) -> tuple[Array, Array, Array, np.ndarray]:
    """Return the past ``[u, y]`` of each sample, newest first, the samples, and their joins.

    The last array says whether the row after one is the sample after it.
    """
    pasts, inputs, outputs, joins = [], [], [], []
    for u, y in blocks:
        if len(y) <= past:
            continue
        w = np.hstack([u, y])
        windows = np.lib.stride_tricks.sliding_window_view(w[:-1], past, axis=0)
        z = windows[:, :, ::-1].transpose(0, 2, 1).reshape(len(y) - past, -1)
        good = np.isfinite(np.hstack([z, w[past:]])).all(axis=1)
        follows = np.append(np.asarray(good)[1:], False)[good]
        pasts.append(z[good])
        inputs.append(u[past:][good])
        outputs.append(y[past:][good])
        joins.append(follows)
    return np.vstack(pasts), np.vstack(inputs), np.vstack(outputs), np.concatenate(joins)


def _ridge(design: Array, target: Array) -> Array:
    """Least squares by normal equations with a ridge at the level of rounding."""
    normal = design.T @ design
    ridge = 1e-9 * max(float(np.trace(normal)) / len(normal), 1e-300)
    out: Array = scipy.linalg.solve(
        normal + ridge * np.eye(len(normal)), design.T @ target, assume_a="pos"
    )
    return out


def _stable(a: Array, radius: float) -> Array:
    """Pull the eigenvalues outside ``radius`` back onto it: a free run must not explode."""
    values, vectors = np.linalg.eig(a)
    size = np.abs(values)
    if not (size > radius).any():
        return a
    values = np.where(size > radius, values * radius / np.maximum(size, 1e-300), values)
    out: Array = np.real(vectors @ np.diag(values) @ np.linalg.inv(vectors))
    return out
