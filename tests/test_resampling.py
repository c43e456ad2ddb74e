"""Resampling: uniform records at other steps, uneven stamps on a grid, tables joined."""

import logging

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import expm

import sysid
from sysid.data.joining import read_joined
from sysid.data.reading import Reading

T = 0.01


def record(u, y, **metadata):
    return sysid.Record(np.asarray(u, float), np.asarray(y, float), T, **metadata)


def sine(n, period=0.5, offset=50.0):
    return offset + np.sin(2 * np.pi * np.arange(n) * T / period)


def test_inputs_become_means_of_what_was_held():
    r = record([0, 1, 2, 2, 5, 5, 5, 5], np.zeros(8)).resample(0.02)
    assert r.u.ravel().tolist() == [0.5, 2, 5, 5]
    assert r.sampling_time == 0.02


@pytest.mark.parametrize("ratio", [1.5, 0.75, 7 / 3])
def test_inputs_at_a_ratio_that_is_no_whole_number_keep_their_area(ratio):
    u = np.random.default_rng(0).uniform(-1, 1, 61)
    r = record(u, np.zeros(61)).resample(ratio * T)
    held = np.repeat(u, 1000)  # in a thousandth of a sample
    whole = int(61 / ratio) - 1
    for j in range(whole):
        part = held[round(1000 * ratio * j) : round(1000 * ratio * (j + 1))]
        assert_allclose(r.u[j, 0], part.mean(), atol=2e-3)  # rounding to thousandths


def test_a_shorter_step_repeats_held_inputs_to_the_bit():
    u = np.random.default_rng(0).uniform(-1, 1, 50)
    assert_array_equal(record(u, sine(50)).resample(T / 2).u[:, 0], np.repeat(u, 2)[:99])


@pytest.mark.parametrize("step", [0.005, 0.0037, 0.015, 0.02, 0.03, 0.1])
def test_a_slow_sine_is_the_same_at_any_step_up_to_the_edges(step):
    y = sine(2001)
    r = record(np.zeros(2001), y).resample(step)
    expected = 50 + np.sin(2 * np.pi * np.arange(len(r)) * step / 0.5)
    # 90 dB of the filter within; its odd continuation at the edges costs a little
    assert_allclose(r.y[:, 0], expected, atol=5e-3)
    inner = slice(int(1 / step), -int(1 / step))
    assert_allclose(r.y[inner, 0], expected[inner], atol=1e-3)


@pytest.mark.parametrize("step", [0.02, 0.05, 0.1, 0.0125])
def test_constants_and_ramps_stay_up_to_both_edges(step):
    n = 1001
    r = record(np.zeros(n), np.column_stack([np.full(n, 1e6), np.arange(n) * T])).resample(step)
    assert_array_equal(r.y[:, 0], 1e6)
    assert_allclose(r.y[:, 1], np.arange(len(r)) * step, atol=3e-4)


def test_what_is_above_half_the_new_rate_is_filtered_out():
    n = np.arange(5000)
    hum = np.sin(2 * np.pi * 42 * n * T)  # would be at 2 Hz after decimation by 10, unfiltered
    r = record(np.zeros(5000), sine(5000, 5.0, 0.0) + hum).resample(0.1)
    expected = np.sin(2 * np.pi * np.arange(len(r)) * 0.1 / 5)
    assert np.abs(r.y[30:-30, 0] - expected[30:-30]).max() < 1e-3  # 60 dB
    assert np.abs(sine(5000, 5.0, 0.0)[::10] + hum[::10] - expected).max() > 0.9


def test_missing_samples_stay_missing_with_the_new_ones_beside_them():
    y = sine(400)
    y[201] = np.nan
    r = record(np.zeros(400), y).resample(0.02)
    assert np.flatnonzero(np.isnan(r.y[:, 0])).tolist() == [100, 101]
    up = record(np.zeros(400), y).resample(0.005)
    assert np.flatnonzero(np.isnan(up.y[:, 0])).tolist() == [401, 402, 403]
    u = np.zeros(400)
    u[201] = np.nan
    assert np.flatnonzero(np.isnan(record(u, y).resample(0.02).u[:, 0])).tolist() == [100]


def test_a_slow_output_keeps_its_samples():
    y = np.where(np.arange(1000) % 10 == 3, sine(1000), np.nan)
    r = record(np.zeros(1000), y).resample(0.02)
    seen = np.flatnonzero(~np.isnan(r.y[:, 0]))
    assert len(seen) == 100
    # each in the nearest row and at its instant, but for the first and last, which are held
    assert_allclose(r.y[seen[1:-1], 0], sine(2000)[2 * seen[1:-1]], atol=0.04)
    assert_allclose(r.y[seen, 0], sine(2000)[2 * seen], atol=0.13)  # the slope times a row


def test_names_units_and_the_time_of_n_init_are_carried_over():
    r = record(np.zeros(100), sine(100), name="run", u_names=["pump"], y_units=["m"], n_init=20)
    new = r.resample(0.02)
    assert (new.name, new.u_names, new.y_units, new.n_init) == ("run", ("pump",), ("m",), 10)
    assert r.resample(T) is r


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (-1, "more than 0, but -1 was given"),
        (float("nan"), "more than 0, but nan"),
        (1e9, "10000 times longer"),
    ],
)
def test_a_step_that_is_none_is_refused(step, message):
    with pytest.raises(ValueError, match=message):
        record(np.zeros(9), np.zeros(9)).resample(step)


def test_a_record_without_sampling_time_is_not_resampled():
    with pytest.raises(ValueError, match="has no sampling time"):
        sysid.Record([1.0, 2.0], None).resample(0.1)


def second_order(t, u):
    """Simulate 9 / (s^2 + 3 s + 9) exactly between uneven samples, the input held."""
    a, b = np.array([[0.0, 1], [-9, -3]]), np.array([[0.0], [9]])
    x, y = np.zeros(2), np.zeros(len(t))
    for k, dt in enumerate(np.diff(t)):
        y[k] = x[0]
        m = expm(np.block([[a, b], [np.zeros((1, 3))]]) * dt)
        x = m[:2, :2] @ x + m[:2, 2] * u[k]
    y[-1] = x[0]
    return y


def jittering(n=3000, seed=0):
    """Return a log of 7 to 14 ms between samples with a gap of 125 ms."""
    random = np.random.default_rng(seed)
    dt = random.uniform(0.007, 0.014, n - 1)
    dt[n // 2] = 0.125
    t = np.concatenate([[0.0], np.cumsum(dt)])
    u = np.repeat(random.uniform(-1, 1, n // 15 + 1), 15)[:n]
    return t, u, second_order(t, u) + 1e-3 * random.standard_normal(n)


def write(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_a_jittering_log_with_a_gap_is_read_resampled_and_its_poles_found(tmp_path, caplog):
    t, u, y = jittering()
    path = write(tmp_path / "log.csv", t=t, u=u, y=y)
    with pytest.raises(ValueError, match="--resample auto"):
        sysid.read(path)
    with caplog.at_level(logging.WARNING):
        r = sysid.read(path, resample="auto")
    assert "log.csv: time stamps 0.007 to 0.125 s apart" in caplog.text
    gap = np.isnan(r.y[:, 0])
    assert 10 <= gap.sum() <= 14  # of 125 ms at 10 ms
    assert (np.diff(np.flatnonzero(gap)) == 1).all()
    model = sysid.StateSpace(1, 1, 2, hidden_sizes=())
    sysid.fit(model, r, loss="full_sequence", optimiser="lm", max_epochs=20, progress=False)
    poles = np.log(np.linalg.eigvals(model.A.weight.detach().numpy()).astype(complex))
    found = poles[np.argmax(poles.imag)] / r.sampling_time
    true = -1.5 + 1j * np.sqrt(9 - 1.5**2)
    assert abs(found - true) < 0.01 * abs(true)


def test_jitter_within_a_quarter_of_a_step_keeps_the_samples_as_they_are(tmp_path, caplog):
    random = np.random.default_rng(1)
    k = np.delete(np.arange(500), [100, 101, 102])
    y = random.standard_normal(len(k))
    t = 5 + k * T + random.uniform(-0.2, 0.2, len(k)) * T
    path = write(tmp_path / "a.csv", t=t, u=y, y=y)
    r = sysid.read(path, resample="auto")
    assert (len(r), r.sampling_time) == (500, T)
    assert_allclose(r.y[k, 0], y)
    assert np.isnan(r.y[100:103]).all()
    assert np.isnan(r.u[100:103]).all()
    assert "% of a step of 0.01 s beside their grid" in caplog.text
    assert "3 rows in 1 gap are missing" in caplog.text


@pytest.mark.parametrize(
    ("name", "stamps"),
    [
        ("rounded to whole milliseconds", lambda k: np.round(k / 300, 3)),
        ("dropped samples", lambda k: np.delete(k, k[5::7])[: len(k) // 2] * 0.1),
        ("a logger that drifts between two rates", lambda k: np.cumsum(0.1 + 0.02 * (k % 2))),
        ("random steps", lambda k: np.cumsum(np.random.default_rng(0).uniform(0.05, 0.15, len(k)))),
        ("hours", lambda k: np.cumsum(np.random.default_rng(0).uniform(3000, 4000, len(k)))),
        ("a burst each second", lambda k: k // 20 + 0.01 * (k % 20)),
    ],
)
def test_uneven_stamps_of_any_kind_keep_a_ramp_and_mark_gaps(tmp_path, name, stamps):
    t = stamps(np.arange(600))
    path = write(tmp_path / "a.csv", t=t, u=np.ones(len(t)), y=3 * t)
    r = sysid.read(path, resample="auto")
    seen = ~np.isnan(r.y[:, 0])
    grid = t[0] + np.arange(len(r)) * r.sampling_time
    # rounding of stamps and a quarter of a step on a grid
    assert_allclose(r.y[seen, 0], 3 * grid[seen], atol=3 * 0.3 * r.sampling_time)
    longest = np.diff(t).max()
    assert seen.any()
    assert seen.all() or longest > 1.5 * np.median(np.diff(t))
    assert set(r.u[~np.isnan(r.u)]) == {1.0}


def test_noisy_samples_close_together_do_not_swing(tmp_path):
    random = np.random.default_rng(0)
    t = np.cumsum(random.uniform(0.007, 0.014, 600))
    t = np.sort(np.concatenate([t, t[::7] + 1e-5]))
    y = np.sin(t) + 0.005 * random.standard_normal(len(t))
    r = sysid.read(write(tmp_path / "a.csv", t=t, u=y, y=y), resample=0.01)
    truth = np.sin(t[0] + np.arange(len(r)) * 0.01)
    assert np.nanmax(np.abs(r.y[:, 0] - truth)) < 0.03  # six standard deviations


@pytest.mark.parametrize(
    ("stamps", "message"),
    [
        ([0, 0.1, 0.1, 0.3], "row 2 repeats"),
        ([0, 0.2, 0.1, 0.3], "does not at row 2"),
        ([0.3, 0.2, 0.1, 0], "newest first"),
        ([0, 0.1, None, 0.3], "row 2 misses"),
    ],
)
def test_stamps_that_do_not_increase_are_refused_as_before(tmp_path, stamps, message):
    path = write(tmp_path / "a.csv", t=stamps, u=[1, 2, 3, 4], y=[1, 2, 3, 4])
    with pytest.raises(ValueError, match=message):
        sysid.read(path, resample="auto")


def test_a_uniform_file_is_brought_to_the_step_asked_for(tmp_path):
    path = write(tmp_path / "a.csv", t=np.arange(100) * T, u=np.zeros(100), y=sine(100))
    assert sysid.read(path, resample=0.02) == sysid.read(path).resample(0.02)
    assert sysid.read(path, resample="auto") == sysid.read(path)


def test_sampling_time_beside_uneven_stamps_and_resample_is_refused(tmp_path):
    t, u, y = jittering(200)
    path = write(tmp_path / "a.csv", t=t, u=u, y=y)
    with pytest.raises(ValueError, match="sampling_time and resample are both given"):
        sysid.read(path, sampling_time=0.01, resample="auto")


@pytest.mark.parametrize("word", ["fast", "-0.1", "0", "nan"])
def test_a_resample_that_is_neither_auto_nor_a_step_is_refused(tmp_path, word):
    path = write(tmp_path / "a.csv", t=[0, 1, 2], u=[1, 2, 3], y=[1, 2, 3])
    with pytest.raises(ValueError, match='"auto" or a step in seconds'):
        sysid.read(path, resample=word)


def test_a_slow_input_in_a_table_is_held_where_join_says_so(tmp_path):
    n = np.arange(400)
    u = np.repeat(np.random.default_rng(0).uniform(-1, 1, 40), 10)
    path = write(tmp_path / "a.csv", t=n * T, u=np.where(n % 10 == 0, u, np.nan), y=sine(400))
    assert np.isnan(sysid.read(path).u).sum() == 360
    assert_array_equal(sysid.read(path, join=True).u[:, 0], u)


def two_files(folder, shift=0.0, first=50):
    n = np.arange(1000)
    u = np.repeat(np.random.default_rng(0).uniform(-1, 1, 50), 20)
    rows = n[first::10]
    fast = write(folder / "fast.csv", t=n * T, u=u)
    slow = write(folder / "slow.csv", t=rows * T + shift, y=sine(1000)[rows])
    return fast, slow, u


def test_files_of_two_rates_are_joined_over_the_time_they_share(tmp_path, caplog):
    fast, slow, u = two_files(tmp_path)
    r = read_joined([fast, slow], Reading())
    assert (len(r), r.sampling_time, r.u_names, r.y_names) == (941, T, ("u",), ("y",))
    assert_array_equal(r.u[:, 0], u[50:991])
    assert_allclose(r.y[::10, 0], sine(1000)[50:991:10], atol=1e-9)
    assert np.isnan(r.y[:, 0]).sum() == 941 - 95
    assert "joined from 0.5 to 9.9 s" in caplog.text


@pytest.mark.parametrize("shift", [0.003, 0.0049, 0.0071])
def test_samples_between_the_rows_of_the_fastest_come_to_the_nearest(tmp_path, shift):
    fast, slow, _ = two_files(tmp_path, shift)
    r = read_joined([fast, slow], Reading())
    assert r.sampling_time == T
    assert not np.isnan(r.u).any()
    assert 93 <= (~np.isnan(r.y)).sum() <= 96


def test_files_with_dates_are_joined_by_them(tmp_path):
    start = pd.Timestamp("2026-01-31 12:00")
    n = np.arange(200)
    date = start + pd.to_timedelta(n * 0.1, unit="s")
    a = write(tmp_path / "a.csv", date=date, u=n)
    b = write(tmp_path / "b.csv", date=date[40::5], y=2.0 * n[40::5])
    r = read_joined([a, b], Reading())
    assert r.u[0, 0] == 40
    assert r.y[0, 0] == 80
    assert r.stamps.start == start + pd.Timedelta(seconds=4)


def test_what_cannot_be_joined_is_refused(tmp_path):
    n = np.arange(50)
    a = write(tmp_path / "a.csv", t=n * T, u=n, y=n)
    b = write(tmp_path / "b.csv", t=n * T, y=n)
    late = write(tmp_path / "late.csv", t=100 + n * T, y2=n)
    untimed = write(tmp_path / "untimed.csv", y2=n % 7)
    dated = write(tmp_path / "d.csv", date=pd.date_range("2026-01-01", periods=50), y2=n)
    for paths, message in (
        ([a, b], "column 'y' is in .*a.csv and in .*b.csv"),
        ([a, late], "share no time"),
        ([a, untimed], "no time stamps to join it by"),
        ([a, dated], "has dates as time stamps and .*a.csv numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            read_joined(paths, Reading())


def test_a_config_joins_its_files_and_resamples_them(tmp_path):
    from sysid.experiment.config import read_config
    from sysid.experiment.data import load_data

    two_files(tmp_path)
    config = tmp_path / "c.yaml"
    config.write_text(
        "data: {source: files, train: [fast.csv, slow.csv], join: true, resample: 0.02}\n"
        "model: {kind: state_space, nx: 2}\n"
    )
    data = load_data(read_config(config))
    assert data.train[0].sampling_time == 0.02
    assert len(data.train) == 1
