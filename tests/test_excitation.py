"""Tests of sysid.data.excitation: spectra, values and correlation of the signals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sysid.data import excitation

SIGNALS: list[Callable[..., Any]] = [
    excitation.multisine,
    excitation.prbs,
    excitation.aprbs,
    excitation.filtered_noise,
    excitation.chirp,
    excitation.steps,
]


@pytest.mark.parametrize("make", SIGNALS)
def test_shapes_seeds_and_global_stream(make: Callable[..., Any]) -> None:
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]  # noqa: NPY002
    u = make(300, seed=3)
    assert u.shape == (300,)
    assert u.dtype == np.float64
    np.testing.assert_array_equal(u, make(300, seed=3))
    assert not np.array_equal(u, make(300, seed=4))
    two = make(300, seed=3, channels=2)
    assert two.shape == (300, 2)
    assert not np.array_equal(two[:, 0], two[:, 1])
    assert make(300, seed=3, channels=1).shape == (300, 1)
    after = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("make", SIGNALS)
def test_amplitude_and_offset_scale_and_shift(make: Callable[..., Any]) -> None:
    unit = make(400, seed=1)
    # Exact up to the rounding of one product and one sum.
    np.testing.assert_allclose(make(400, seed=1, amplitude=2.5, offset=-4.0), 2.5 * unit - 4.0)
    if make is not excitation.filtered_noise:
        assert np.abs(unit).max() <= 1.0 + 1e-12


@pytest.mark.parametrize("period", [256, 255])
def test_multisine_is_flat_in_the_band_and_zero_outside(period: int) -> None:
    u = excitation.multisine(2 * period, band=(0.1, 0.4), period=period, amplitude=3.0, offset=1.0)
    np.testing.assert_allclose(u[:period], u[period:])
    magnitude = np.abs(np.fft.rfft(u[:period] - 1.0)) / period
    fraction = np.arange(len(magnitude)) * 2 / period
    inside = (fraction >= 0.1) & (fraction <= 0.4)
    np.testing.assert_allclose(magnitude[inside], magnitude[inside].mean(), rtol=1e-10)
    assert magnitude[inside].mean() > 0.01
    assert magnitude[~inside].max() < 1e-12
    assert np.abs(u - 1.0).max() == pytest.approx(3.0)


def test_multisine_band_in_hertz() -> None:
    in_hertz = excitation.multisine(500, band=(10.0, 30.0), sampling_time=0.01)
    np.testing.assert_array_equal(in_hertz, excitation.multisine(500, band=(0.2, 0.6)))


def test_multisine_full_band_leaves_mean_and_nyquist_empty() -> None:
    spectrum = np.abs(np.fft.rfft(excitation.multisine(64, band=(0.0, 1.0))))
    assert spectrum[0] < 1e-12
    assert spectrum[-1] < 1e-12
    assert spectrum[1:-1].min() > 0.1


def test_prbs_has_two_values_and_the_autocorrelation_of_maximum_length() -> None:
    period = 2**7 - 1
    u = excitation.prbs(period, bits=7, amplitude=2.0, offset=5.0, seed=11)
    assert sorted(set(u)) == [3.0, 7.0]
    s = (u - 5.0) / 2.0
    correlation = np.array([np.mean(s * np.roll(s, lag)) for lag in range(period)])
    np.testing.assert_allclose(correlation[0], 1.0)
    np.testing.assert_allclose(correlation[1:], -1.0 / period)


def test_prbs_holds_each_bit_and_repeats_after_its_period() -> None:
    u = excitation.prbs(31 * 3 * 2, bits=5, hold=3)
    np.testing.assert_array_equal(u[:93], u[93:])
    np.testing.assert_array_equal(u.reshape(-1, 3), u[::3, None] * np.ones(3))


def test_prbs_chooses_a_period_that_covers_the_signal() -> None:
    u = excitation.prbs(500)
    assert not any(np.array_equal(u[:100], u[s : s + 100]) for s in range(1, 400))


def test_aprbs_holds_within_its_limits() -> None:
    u = excitation.aprbs(5000, hold=(4, 9), seed=2)
    lengths = np.diff(np.flatnonzero(np.diff(u)))
    assert set(lengths) == set(range(4, 10))
    assert u.min() < -0.9
    assert u.max() > 0.9


def test_filtered_noise_has_its_deviation_and_band() -> None:
    u = excitation.filtered_noise(20000, cutoff=0.2, amplitude=0.3, offset=2.0)
    assert u.std() == pytest.approx(0.3)
    assert u.mean() == pytest.approx(2.0)
    power = np.abs(np.fft.rfft(u - 2.0)) ** 2
    # Fourth order: 24 dB per octave, so beyond twice the cutoff almost nothing is left.
    assert power[4000:].sum() < 1e-3 * power.sum()
    assert power[:2000].sum() > 0.9 * power.sum()


@pytest.mark.parametrize("method", ["linear", "logarithmic"])
def test_chirp_goes_through_the_band(method: str) -> None:
    u = excitation.chirp(20000, band=(0.01, 0.1), method=method)  # type: ignore[arg-type]
    crossings = np.flatnonzero(np.diff(np.sign(u)))
    # Half a period of a fraction f of the Nyquist frequency is 1/f samples.
    assert np.diff(crossings)[:3].mean() == pytest.approx(100, rel=0.1)
    assert np.diff(crossings)[-10:].mean() == pytest.approx(10, rel=0.05)
    middle = np.searchsorted(crossings, 10000)
    expected = 0.055 if method == "linear" else 0.01 * 10**0.5
    assert 1 / np.diff(crossings)[middle - 5 : middle + 5].mean() == pytest.approx(
        expected, rel=0.03
    )


def test_steps_visit_every_level_once_a_round_and_none_twice_in_a_row() -> None:
    for seed in range(20):
        u = excitation.steps(4 * 3 * 10, levels=4, hold=3, seed=seed)
        rounds = u[::3].reshape(-1, 4)
        np.testing.assert_allclose(
            np.sort(rounds, axis=1), np.tile([-1, -1 / 3, 1 / 3, 1], (10, 1))
        )
        assert (np.diff(u[::3]) != 0).all()


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (excitation.multisine, {"N": 0}, "N must be at least 1, got 0"),
        (excitation.multisine, {"N": 100, "band": (0.2, 1.2)}, "band must be .low, high."),
        (excitation.multisine, {"N": 100, "band": (0.4, 0.2)}, "band must be .low, high."),
        (excitation.multisine, {"N": 100, "band": 0.2}, "band must be two numbers"),
        (excitation.multisine, {"N": 100, "band": (0.101, 0.102)}, "band must hold at least one"),
        (excitation.multisine, {"N": 100, "period": 0}, "period must be at least 1"),
        (
            excitation.multisine,
            {"N": 100, "sampling_time": 0.0},
            "sampling_time must be finite and above 0",
        ),
        (excitation.multisine, {"N": 100, "amplitude": -1.0}, "amplitude must be finite and above"),
        (excitation.multisine, {"N": 100, "offset": np.nan}, "offset must be finite"),
        (excitation.multisine, {"N": 100, "channels": 0}, "channels must be at least 1"),
        (excitation.multisine, {"N": 100, "seed": -1}, "seed must be at least 0"),
        (excitation.prbs, {"N": 100, "hold": 0}, "hold must be at least 1"),
        (excitation.prbs, {"N": 100, "bits": 1}, "bits must be at least 2"),
        (excitation.prbs, {"N": 100, "bits": 21}, "bits must be at most 20"),
        (excitation.aprbs, {"N": 100, "hold": (9, 4)}, "hold must be .fewest, most."),
        (excitation.aprbs, {"N": 100, "hold": (0, 4)}, "hold must be at least 1"),
        (excitation.aprbs, {"N": 100, "hold": 5}, "hold must be two numbers"),
        (excitation.filtered_noise, {"N": 1}, "N must be at least 2"),
        (excitation.filtered_noise, {"N": 100, "cutoff": 1.0}, "cutoff must be above 0"),
        (excitation.filtered_noise, {"N": 100, "order": 11}, "order must be at most 10"),
        (excitation.chirp, {"N": 100, "method": "cubic"}, "method must be 'linear'"),
        (
            excitation.chirp,
            {"N": 100, "band": (0.0, 0.1), "method": "logarithmic"},
            "band must start above 0",
        ),
        (excitation.steps, {"N": 100, "levels": 1}, "levels must be at least 2"),
    ],
)
def test_rejects(make: Callable[..., Any], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_rejects_counts_that_are_not_whole() -> None:
    with pytest.raises(TypeError, match=r"N must be a whole number, got 10\.5"):
        excitation.steps(10.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="N must be a whole number, got True"):
        excitation.steps(True)


@pytest.mark.parametrize("make", SIGNALS)
def test_one_signal_is_a_vector_or_the_one_column_of_a_matrix(make: Callable[..., Any]) -> None:
    assert make(100).shape == (100,)
    np.testing.assert_array_equal(make(100, channels=1), make(100)[:, None])


def test_a_multisine_has_the_lines_at_both_ends_of_its_band() -> None:
    u = excitation.multisine(100, band=(0.2, 0.4))
    lines = np.flatnonzero(np.abs(np.fft.rfft(u)) > 1e-9)
    np.testing.assert_array_equal(lines, np.arange(10, 21))


def test_a_limit_is_named_in_the_unit_of_what_was_given() -> None:
    advice = "it is a fraction of Nyquist without sampling_time, and in Hz with it"
    with pytest.raises(ValueError, match=f"below 1 of Nyquist, got 2.0; {advice}"):
        excitation.filtered_noise(100, cutoff=2.0)
    with pytest.raises(ValueError, match="below 5 Hz, got 7"):
        excitation.filtered_noise(100, cutoff=7.0, sampling_time=0.1)
    with pytest.raises(ValueError, match="sampling_time must be"):
        excitation.filtered_noise(100, cutoff=1.0, sampling_time=0.0)


def test_least_values_are_allowed() -> None:
    assert len(np.unique(excitation.aprbs(60, hold=(5, 5))[::5])) == 12
    assert len(excitation.filtered_noise(50, order=1)) == 50
    assert len(excitation.chirp(2)) == 2
    np.testing.assert_array_equal(excitation.prbs(3), excitation.prbs(3, bits=2))
    lines = np.abs(np.fft.rfft(excitation.multisine(60, band=(0.1, 0.1)).ravel()))
    assert np.flatnonzero(lines > 1e-9).tolist() == [3]


@pytest.mark.parametrize(
    "signal", ["multisine", "prbs", "aprbs", "filtered_noise", "chirp", "steps"]
)
def test_the_seed_that_is_not_given(signal: str) -> None:
    make = getattr(excitation, signal)
    assert (make(80) == make(80, seed=0)).all()
