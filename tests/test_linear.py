"""Linear starts against systems with known answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.signal import dimpulse, lfilter

from sysid.models import linear
from sysid.models.impulse_response import balanced_realisation, estimate_impulse_response
from sysid.models.linear import LinearStateSpace, estimate_state_space, subspace_estimate


def two_by_two_system() -> LinearStateSpace:
    a = np.array([[0.8, 0.3, 0.0], [-0.2, 0.7, 0.1], [0.0, 0.0, 0.5]])
    b = np.array([[1.0, 0.0], [0.0, 0.5], [0.3, -1.0]])
    c = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]])
    return LinearStateSpace(a, b, c, np.array([[0.2, 0.0], [0.0, 0.1]]), np.zeros(2))


def response(s: LinearStateSpace, length: int) -> np.ndarray:
    """(length, ny, nu), by scipy."""
    _, columns = dimpulse((s.A, s.B, s.C, s.D, 1), n=length)
    return np.stack(columns, axis=-1)


def measured(s: LinearStateSpace, n: int, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    u = rng.standard_normal((n, 2))
    y = s.states(u) @ s.C.T + u @ s.D.T
    return u, y + noise * rng.standard_normal(y.shape)


def test_states_are_those_of_the_recursion() -> None:
    s = two_by_two_system()
    u = np.zeros((30, 2))
    u[0, 1] = 1
    assert_allclose(s.states(u) @ s.C.T + u @ s.D.T, response(s, 30)[:, :, 1], atol=1e-14)


@pytest.mark.parametrize("feedthrough", [True, False])
def test_the_impulse_response_is_found(feedthrough: bool) -> None:
    s = two_by_two_system()
    if not feedthrough:
        s = replace(s, D=np.zeros((2, 2)))
    u, y = measured(s, 1500, noise=0.01)
    found = estimate_impulse_response([(u[:700], y[:700]), (u[700:], y[700:])], 50, feedthrough)
    error = np.sqrt(np.mean((found - response(s, 50)) ** 2))
    assert error < 0.01 / np.sqrt(1500) * 3  # the noise of an average, a few times over


def test_regularisation_is_better_than_plain_least_squares_in_noise() -> None:
    rng = np.random.default_rng(1)
    u = rng.standard_normal((400, 1))
    y = lfilter([0, 0.3], [1, -0.8], u, axis=0) + 0.3 * rng.standard_normal((400, 1))
    true = lfilter([0, 0.3], [1, -0.8], np.eye(1, 100)[0])
    found = estimate_impulse_response([(u, y)], 100)[:, 0, 0]
    x = np.stack([u[99 - i : 400 - i, 0] for i in range(100)], axis=1)
    plain = np.linalg.lstsq(x, y[99:, 0])[0]
    assert np.sum((found - true) ** 2) < 0.2 * np.sum((plain - true) ** 2)


def test_rows_over_missing_samples_are_left_out() -> None:
    u, y = measured(two_by_two_system(), 1500)
    u[700], y[900, 1] = np.nan, np.nan
    found = estimate_impulse_response([(u, y)], 40)
    assert_allclose(found, response(two_by_two_system(), 40), atol=1e-3)  # the tail is cut off


def test_too_few_rows_are_refused() -> None:
    u, y = measured(two_by_two_system(), 60)
    with pytest.raises(ValueError, match="more than 80 complete rows"):
        estimate_impulse_response([(u, y)], 40)


def test_a_balanced_realisation_has_the_response_it_was_made_from() -> None:
    given = response(two_by_two_system(), 80)
    s = LinearStateSpace(*balanced_realisation(given, 3), np.zeros(2))
    assert_allclose(response(s, 80), given, atol=1e-6)  # what the finite Hankel matrix cuts off
    smaller = LinearStateSpace(*balanced_realisation(given, 2), np.zeros(2))
    assert np.abs(response(smaller, 80) - given).max() < 0.5


def test_the_estimate_simulates_what_was_measured() -> None:
    u, y = measured(two_by_two_system(), 1000)
    s = estimate_state_space([(u, y)], 3)
    simulated = s.states(u) @ s.C.T + u @ s.D.T + s.constant
    assert np.abs(simulated - y)[300:].max() < 1e-3 * y.std()
    assert_allclose(s.states(u)[300:].std(axis=0), 1, rtol=0.1)
    assert (estimate_state_space([(u, y)], 3, feedthrough=False).D == 0).all()


def test_it_is_at_least_as_good_as_the_subspace_estimate_alone() -> None:
    """A static nonlinearity at the end is what misleads a one-step predictor."""
    u = np.random.default_rng(0).standard_normal((3000, 1))
    x = lfilter([0.1], [1, -0.9], u, axis=0)
    y = np.tanh(2 * x)
    y = y - y.mean()
    errors = []
    for estimate in (estimate_state_space, subspace_estimate):
        s = estimate([(u, y)], 2)
        errors.append(np.mean((s.states(u) @ s.C.T + u @ s.D.T + s.constant - y)[300:] ** 2))
    assert errors[0] <= errors[1]


def test_an_integrating_plant_is_held_at_the_edge_of_stability() -> None:
    rng = np.random.default_rng(0)
    u = rng.standard_normal((2000, 1))
    y = np.cumsum(np.vstack([[[0.0]], u[:-1]]), axis=0)
    scale = y.std()
    s = estimate_state_space([(u, (y - y.mean()) / scale)], 1)
    assert 0.9999 < abs(s.A[0, 0]) < 1


def test_a_system_without_inputs() -> None:
    y = np.exp(-0.01 * np.arange(400.0))[:, None] * np.cos(0.3 * np.arange(400.0))[:, None]
    s = estimate_state_space([(np.empty((400, 0)), y)], 2)
    assert_allclose(np.sort(np.abs(np.linalg.eigvals(s.A))), np.exp(-0.01), rtol=1e-3)


def slide(n: int, noise: float, steps: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """A velocity with a pole at 0.99, the position that it adds up to, and noise to measure it."""
    rng = np.random.default_rng(0)
    u = np.repeat(rng.standard_normal(n // steps), steps)[:, None]
    velocity = lfilter([0, 0.01], [1, -0.99], u, axis=0)
    y = np.cumsum(np.vstack([[[0.0]], velocity[:-1]]), axis=0)
    y = (y - y.mean()) / y.std()
    return u, y + noise * rng.standard_normal(y.shape)


def pole(s: LinearStateSpace) -> float:
    values = np.linalg.eigvals(s.A)
    assert_allclose(values.real.max(), 1, atol=1e-12)
    return float(values.real.min())


def test_noise_does_not_hide_what_a_plant_that_integrates_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocks = [slide(8000, 0.05)]
    assert_allclose(pole(estimate_state_space(blocks, 2, integrating=True)), 0.99, atol=2e-3)
    clean = [slide(8000, 0.0)]
    assert_allclose(pole(estimate_state_space(clean, 2, integrating=True)), 0.99, atol=1e-6)
    monkeypatch.setattr(linear, "_SLOWER", (1,))
    assert abs(pole(estimate_state_space(blocks, 2, integrating=True)) - 0.99) > 0.05


@pytest.mark.parametrize("factor", [4, 16])
def test_a_model_of_longer_steps_is_made_one_of_shorter_steps(factor: int) -> None:
    rng = np.random.default_rng(factor)
    for poles in ([0.9], [0.95, 0.6], [0.8 + 0.1j, 0.8 - 0.1j]):
        inner = np.diag(np.real(poles)) + np.diag(np.imag(poles[1:]), 1)
        inner -= np.diag(np.imag(poles[1:]), -1)
        a = np.block([[np.eye(1), rng.normal(size=(1, len(poles)))], [0 * inner[:, :1], inner]])
        powers = [np.linalg.matrix_power(a, k) for k in range(factor + 1)]
        b, c = rng.normal(size=(len(a), 2)), np.eye(1, len(a))
        short = LinearStateSpace(a, b, c, np.zeros((1, 2)), np.zeros(1))
        long = replace(short, A=powers[-1], B=np.sum(powers[:-1], axis=0) @ b)
        found = linear._faster(long, factor)
        assert found is not None
        assert_allclose(found.A, a, atol=1e-9)
        assert_allclose(found.B, b, atol=1e-8)
    turning = replace(long, A=np.diag([1.0, *[-0.5] * len(poles)]))
    assert linear._faster(turning, factor) is None


def test_means_of_inputs_begin_where_means_of_outputs_are_centred() -> None:
    u, y = np.arange(40.0)[:, None], np.arange(40.0)[:, None]
    slower_u, slower_y = linear._slower(u, y, 4)
    assert_allclose(slower_u[:, 0], 4 * np.arange(1, 10) + 1.5)  # from 4 k on
    assert_allclose(slower_y[:, 0], 4 * np.arange(1, 10) - 0.5)  # around 4 k
