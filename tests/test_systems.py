"""Tests of sysid.data.systems: the simulated systems against their equations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import integrate, signal

from sysid.data import systems
from sysid.data.differential import cascaded_tanks, duffing, motor
from sysid.data.excitation import filtered_noise
from sysid.data.systems import SYSTEMS, generate, linear, static, wiener_hammerstein


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_contract_of_every_system(name: str) -> None:
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]  # noqa: NPY002
    record = generate(name, 300, seed=2)
    assert len(record) == 300
    assert record.name == name
    assert record.ny == 1
    assert (record.sampling_time is None) == (name == "static")
    assert record.complete().all()
    assert record.y.std() > 0
    assert record == generate(name, 300, seed=2)
    assert not np.array_equal(record.u, generate(name, 300, seed=3).u)
    noisy = generate(name, 300, seed=2, noise=0.1)
    np.testing.assert_array_equal(noisy.u, record.u)
    assert noisy == generate(name, 300, seed=2, noise=0.1)
    # The noise of 300 samples has a deviation within 4 standard errors of what was asked.
    ratio = (noisy.y - record.y).std() / record.y.std()
    assert ratio == pytest.approx(0.1, rel=4 / np.sqrt(2 * 300))
    other = generate(name, 300, seed=3, noise=0.1).y - generate(name, 300, seed=3).y
    assert not np.allclose(other / other.std(), (noisy.y - record.y) / (noisy.y - record.y).std())
    # The same input, given, has the same answer (motor: without its loop).
    np.testing.assert_array_equal(SYSTEMS[name](u=record.u).y, record.y)
    after = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_default_lengths(name: str) -> None:
    record = generate(name)
    assert len(record) >= 1000
    assert np.isfinite(record.y).all()


def test_noise_is_white_and_not_the_excitation() -> None:
    noise = (linear(20000, noise=0.5).y - linear(20000).y)[:, 0]
    assert noise.std() / linear(20000).y.std() == pytest.approx(0.5, rel=0.02)
    band = 4 / np.sqrt(20000)
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < band
    assert abs(np.corrcoef(noise, linear(20000).u[:, 0])[0, 1]) < band


def test_linear_step_response_is_the_closed_form() -> None:
    z, w, T = 0.3, 2.0, 0.1
    y = linear(u=np.ones(100), gain=3.0, natural_frequency=w, damping=z, sampling_time=T).y[:, 0]
    t, wd = np.arange(100) * T, w * np.sqrt(1 - z * z)
    decay = np.exp(-z * w * t) * (np.cos(wd * t) + z * w / wd * np.sin(wd * t))
    np.testing.assert_allclose(y, 3.0 * (1 - decay), atol=1e-11)


def test_linear_equals_scipy_state_space_simulation() -> None:
    record = linear(200, gain=2.0, natural_frequency=1.5, damping=0.7, sampling_time=0.4)
    ss = signal.StateSpace([[0.0, 1.0], [-2.25, -2.1]], [[0.0], [4.5]], [[1.0, 0.0]], [[0.0]])
    expected = signal.dlsim(ss.to_discrete(0.4), record.u)[1]
    np.testing.assert_allclose(record.y, expected, atol=1e-11)


def test_static_equals_its_formula() -> None:
    record = static(50, seed=4)
    for (R, w, L, C), y in zip(record.u, record.y[:, 0], strict=True):
        assert y == pytest.approx(np.sqrt(R**2 + (w * L - 1 / (w * C * 1e-6)) ** 2))
    assert record.u_units == ("ohm", "rad/s", "H", "uF")


def test_static_inputs_fill_their_ranges() -> None:
    u = static(20_000).u
    low, high = np.array([0, 40 * np.pi, 0, 1]), np.array([100, 560 * np.pi, 1, 11])
    assert (u >= low).all()
    assert (u <= high).all()
    np.testing.assert_allclose((u.min(0) - low) / (high - low), 0, atol=1e-3)
    np.testing.assert_allclose((high - u.max(0)) / (high - low), 0, atol=1e-3)


def test_tank_levels_stay_in_the_tanks_and_the_overflow_is_reached() -> None:
    y = cascaded_tanks(3000, seed=0).y
    assert y.min() >= 0.0
    assert y.max() <= 10.0
    full = cascaded_tanks(u=np.full(400, 20.0)).y
    # The overflow sets in over the last 0.1 % of the height.
    assert full[-1, 0] == pytest.approx(10.0, abs=0.011)
    assert full.max() <= 10.0


def test_tank_equilibrium_and_emptying() -> None:
    # At rest sqrt(x1) = k4 u / k1 and k3 sqrt(x2) = k2 sqrt(x1).
    y = cascaded_tanks(u=np.full(600, 3.0), k3=0.08).y
    assert y[-1, 0] == pytest.approx((0.045 * 3.0 / 0.08) ** 2, rel=1e-6)
    # An empty upper tank: sqrt(x2) falls linearly, k3/2 per second.
    y = cascaded_tanks(u=np.zeros(30), initial_levels=(0.0, 9.0)).y[:, 0]
    expected = np.maximum(3.0 - 0.03 * 4.0 * np.arange(30), 0.0) ** 2
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_tank_spill_raises_the_lower_level() -> None:
    u = np.full(400, 6.0)  # the upper tank runs over, the lower one does not fill
    dry = cascaded_tanks(u=u, k3=0.12, spill=0.0).y[-1, 0]
    wet = cascaded_tanks(u=u, k3=0.12, spill=0.5).y[-1, 0]
    inflow = 0.06 * np.sqrt(10.0)
    # 0.2 %: the brim begins at 99.9 % of the height.
    assert dry == pytest.approx((inflow / 0.12) ** 2, rel=2e-3)
    overflow = 0.045 * 6.0 - inflow
    assert wet == pytest.approx(((inflow + 0.5 * overflow) / 0.12) ** 2, rel=2e-3)


def test_duffing_keeps_its_energy_without_damping() -> None:
    T, m, k1, k3 = 0.01, 1.0, 2.0, 3.0
    y = duffing(
        u=np.zeros(2000), m=m, d=0.0, k1=k1, k3=k3, initial_state=(0.8, 0.0), sampling_time=T
    ).y[:, 0]
    v = (y[:-4] - 8 * y[1:-3] + 8 * y[3:-1] - y[4:]) / (12 * T)
    q = y[2:-2]
    energy = m * v**2 / 2 + k1 * q**2 / 2 + k3 * q**4 / 4
    # The central difference of fourth order is exact to about T^4.
    np.testing.assert_allclose(energy, k1 * 0.8**2 / 2 + k3 * 0.8**4 / 4, rtol=1e-5)
    assert y.min() == pytest.approx(-0.8, abs=1e-3)


def test_duffing_comes_to_its_equilibrium() -> None:
    y = duffing(u=np.full(600, 0.3)).y[-1, 0]
    assert 0.97 * y + 4.0 * y**3 == pytest.approx(0.3, rel=1e-6)


def test_duffing_without_cubic_term_is_linear() -> None:
    u = np.random.default_rng(0).standard_normal(300)
    w, z = 3.0, 0.2
    y = duffing(u=u, m=1.0, d=2 * z * w, k1=w * w, k3=0.0, sampling_time=0.1).y
    expected = linear(u=u, gain=1 / w**2, natural_frequency=w, damping=z, sampling_time=0.1).y
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_motor_reaches_the_speed_at_which_forces_balance() -> None:
    y = motor(u=np.full(5000, 2.0)).y[:, 0]
    speed = (y[-1] - y[-101]) / 0.1
    assert pytest.approx(204.0 * speed + 20.4 - 3.2, rel=1e-3) == 35.15 * 2.0


def test_motor_loop_follows_its_reference() -> None:
    record = motor(reference=np.full(3000, 0.05))
    # Coulomb friction creeps under tanh, so only the constant force is left to hold.
    assert record.y[-1, 0] == pytest.approx(0.05, abs=1e-4)
    assert np.abs(record.u).max() <= 10.0
    assert np.abs(motor(20000, seed=3).y).max() < 0.12


def test_motor_control_law() -> None:
    reference = 0.01 * np.sin(np.arange(500) * 0.01)
    record = motor(reference=reference, initial_state=(0.001, 0.0))
    assert record.u[0, 0] == pytest.approx(max(-10.0, 243.0 * 160.0 * (0.0 - 0.001)))


def test_wiener_hammerstein_equals_its_three_blocks() -> None:
    record = wiener_hammerstein(500, seed=1)
    sos1 = signal.cheby1(3, 0.5, 4400, fs=51200, output="sos")
    b, a = signal.cheby2(3, 40, 5000, fs=51200)
    x = signal.sosfilt(sos1, record.u[:, 0])
    v = np.linspace(-8.0, 0.5, 200001)
    inverse = np.interp(x, v + 0.02 * np.expm1(v / 0.05), v)
    # The grid of the inverse has steps of 4e-5 V.
    np.testing.assert_allclose(record.y[:, 0], signal.lfilter(b, a, inverse), atol=1e-6)


def test_diode_solves_its_equation_without_overflow() -> None:
    x = np.array([-100.0, -1.0, 0.0, 0.1, 1.0, 100.0])
    v = systems._diode(x, 0.02, 0.05)
    np.testing.assert_allclose(v + 0.02 * np.expm1(v / 0.05), x, rtol=1e-9, atol=1e-12)
    assert np.isfinite(systems._diode(np.array([1e6]), 0.02, 0.05)).all()


def test_held_input_agrees_with_another_integrator() -> None:
    record = duffing(40, seed=3)
    x, T = np.zeros(2), record.sampling_time

    def rates(t: float, x: Any, u: float) -> list[float]:
        return [x[1], (u - 2.3e-4 * x[1] - 0.97 * x[0] - 4.0 * x[0] ** 3) / 5.3e-6]

    for k in range(40):
        assert record.y[k, 0] == pytest.approx(x[0], abs=1e-7)
        x = integrate.solve_ivp(
            rates, (0, T), x, args=(record.u[k, 0],), method="DOP853", rtol=1e-10, atol=1e-12
        ).y[:, -1]


def test_generate_passes_parameters_on_and_names_the_nearest_system() -> None:
    assert generate("linear", u=np.ones(300), gain=4.0).y[-1, 0] == pytest.approx(4.0)
    with pytest.raises(ValueError, match=r"system must be one of .* did you mean 'cascaded_tanks'"):
        generate("cascade_tank")
    with pytest.raises(ValueError, match="choose one of these"):
        generate("zzz")
    with pytest.raises(TypeError, match="stiffness"):
        generate("linear", stiffness=1.0)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("linear", {"N": 0}, "N must be at least 1"),
        ("linear", {"N": 3, "u": [1.0, 2.0]}, "u must have N=3 samples, got 2"),
        ("linear", {"u": [1.0, np.nan]}, "u must be finite, got .nan. in row 1"),
        ("linear", {"u": np.ones((5, 2))}, "u must be .N, 1. or .N,. with N at least 1"),
        ("linear", {"u": []}, "u must be .N, 1."),
        ("linear", {"N": 10, "noise": -0.1}, "noise must be finite and at least 0"),
        ("linear", {"N": 10, "seed": -1}, "seed must be at least 0"),
        ("linear", {"natural_frequency": 0.0}, "natural_frequency must be finite and above 0"),
        ("linear", {"damping": -1.0}, "damping must be finite and at least 0"),
        ("linear", {"gain": np.inf}, "gain must be finite"),
        ("linear", {"sampling_time": -1.0}, "sampling_time must be finite and above 0"),
        ("static", {"u": np.ones((5, 3))}, "u must be .N, 4. with N at least 1"),
        ("static", {"u": [[1.0, 0.0, 1.0, 1.0]]}, "u must have a frequency above 0"),
        ("static", {"u": [[1.0, 1.0, 1.0, -1.0]]}, "u must have a capacitance above 0"),
        ("cascaded_tanks", {"u": [1.0, -0.5]}, "u must be at least 0 V, got -0.5 in row 1"),
        ("cascaded_tanks", {"k1": 0.0}, "k1 must be finite and above 0"),
        ("cascaded_tanks", {"spill": 1.5}, "spill must be between 0 and 1"),
        ("cascaded_tanks", {"initial_levels": (1.0, 11.0)}, "initial_levels must lie between"),
        ("cascaded_tanks", {"initial_levels": (1.0,)}, "initial_levels must be two finite"),
        ("wiener_hammerstein", {"cutoff": 30000.0}, "cutoff must be above 0 and below"),
        ("wiener_hammerstein", {"stopband": 0.0}, "stopband must be above 0 and below"),
        ("wiener_hammerstein", {"thermal_voltage": 0.0}, "thermal_voltage must be finite"),
        ("wiener_hammerstein", {"saturation_drop": 0.0}, "saturation_drop must be finite"),
        ("duffing", {"m": 0.0}, "m must be finite and above 0"),
        ("duffing", {"k3": -1.0}, "k3 must be finite and at least 0"),
        ("duffing", {"initial_state": (np.nan, 0.0)}, "initial_state must be two finite"),
        ("duffing", {"u": np.full(5, 1e200)}, "parameters must give equations that can be"),
        ("motor", {"u": [0.0, 11.0]}, "u must stay within .*10 V, got 11 in row 1"),
        ("motor", {"u": [0.0], "reference": [0.0]}, "u and reference must not both be given"),
        ("motor", {"reference": [np.inf]}, "reference must be finite"),
        ("motor", {"mass": -1.0}, "mass must be finite and above 0"),
        ("motor", {"offset": np.nan}, "offset must be finite"),
    ],
)
def test_rejects(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SYSTEMS[name](**arguments)


ABOVE_ZERO = {
    "cascaded_tanks": ("k1", "k2", "k3", "k4", "height", "sampling_time"),
    "wiener_hammerstein": ("saturation_drop", "thermal_voltage", "sampling_time"),
    "duffing": ("m", "k1", "sampling_time"),
    "motor": ("mass", "gain", "kp", "kv", "max_voltage", "sliding_speed", "sampling_time"),
    "linear": ("natural_frequency", "sampling_time"),
}
NOT_BELOW_ZERO = {
    "duffing": ("d", "k3"),
    "motor": ("viscous", "coulomb"),
    "linear": ("damping",),
    "static": ("noise",),
}


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_what_is_out_of_its_range_is_called_by_its_name(name: str) -> None:
    for value, rule, parameters in (
        (0.0, "finite and above 0", ABOVE_ZERO),
        (-1.0, "finite and at least 0", NOT_BELOW_ZERO),
    ):
        for parameter in parameters.get(name, ()):
            with pytest.raises(ValueError, match=f"^{parameter} must be {rule}, got {value}; "):
                SYSTEMS[name](20, **{parameter: value})


@pytest.mark.parametrize("name", ["duffing", "motor"])
@pytest.mark.parametrize("start", [(0.0,), (0.0, np.inf)])
def test_a_start_that_is_none_is_called_by_its_name(name: str, start: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"^initial_state must be two finite numbers, got \("):
        SYSTEMS[name](20, initial_state=start)


@pytest.mark.parametrize(
    ("name", "u_names", "y_name", "u_units", "y_unit", "length"),
    [
        ("cascaded_tanks", ("pump",), "level", ("V",), "V", 1024),
        ("wiener_hammerstein", ("u1",), "y1", ("V",), "V", 8192),
        ("duffing", ("force",), "position", ("V",), "V", 8192),
        ("motor", ("voltage",), "position", ("V",), "m", 10000),
        ("linear", ("u1",), "y1", ("",), "", 2000),
        (
            "static",
            ("resistance", "frequency", "inductance", "capacitance"),
            "impedance",
            ("ohm", "rad/s", "H", "uF"),
            "ohm",
            1000,
        ),
    ],
)
def test_channels_units_and_length_are_those_of_the_documentation(
    name: str,
    u_names: tuple[str, ...],
    y_name: str,
    u_units: tuple[str, ...],
    y_unit: str,
    length: int,
) -> None:
    record = SYSTEMS[name]()
    assert (record.u_names, record.y_names) == (u_names, (y_name,))
    assert (record.u_units, record.y_units) == (u_units, (y_unit,))
    assert len(record) == length


def test_no_cut_off_frequency_is_above_that_of_nyquist() -> None:
    for name in ("cutoff", "stopband"):
        message = f"^{name} must be above 0 and below the Nyquist frequency 500 Hz, got 500"
        with pytest.raises(ValueError, match=message):
            wiener_hammerstein(
                **{"cutoff": 100.0, "stopband": 200.0, name: 500.0}, sampling_time=1e-3
            )


def test_the_linear_system_is_sampled_twice_a_second() -> None:
    assert linear().sampling_time == 0.5


def test_noise_for_a_wiener_hammerstein_system_ends_at_ten_kilohertz_or_below_nyquist() -> None:
    for sampling_time, edge in ((1 / 51_200, 10e3), (1 / 20_000, 8e3)):
        u = wiener_hammerstein(500, sampling_time=sampling_time, seed=1).u
        noise = filtered_noise(
            500, cutoff=edge, amplitude=0.64, sampling_time=sampling_time, seed=1
        )
        np.testing.assert_array_equal(u[:, 0], noise[:500])


def test_an_input_of_a_wrong_shape_is_shown_its_own() -> None:
    with pytest.raises(ValueError, match=r"at least 1, got \(5, 2\); reshape it"):
        linear(u=np.ones((5, 2)))


@pytest.mark.parametrize("name", SYSTEMS)
def test_short_ones_and_the_seed_that_is_not_given(name: str) -> None:
    assert len(generate(name, 3)) == 3
    assert generate(name, 30, noise=0.1) == generate(name, 30, noise=0.1, seed=0)


def test_an_unlike_name_is_answered_with_all() -> None:
    with pytest.raises(ValueError, match=r"; choose one of these$"):
        generate("zzz", 10)
