"""Advice names the flaw of each spoiled record, and finds none of them in a good one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import lfilter

import sysid
from sysid.analysis.excitation import frequencies
from sysid.analysis.plant import Plant
from sysid.data.records import Record

N = 3000


def plant(u: np.ndarray, delay: int = 1, seed: int = 0) -> np.ndarray:
    """Return ``y(k) = 1.5 y(k-1) - 0.7 y(k-2) + u(k-delay) + 0.3 y^2`` and a little noise."""
    y = lfilter([0] * delay + [0.2], [1, -1.5, 0.7], u)
    return y + 0.05 * y**2 + 0.01 * np.random.default_rng(seed + 100).standard_normal(len(u))


def good(seed: int = 0, delay: int = 1) -> Record:
    u = lfilter([1], [1, -0.6], np.random.default_rng(seed).standard_normal(N))
    return Record(u, plant(u, delay, seed), sampling_time=0.1, name="r")


def spoiled(name: str) -> Record:
    record = good()
    u, y = record.u[:, 0].copy(), record.y[:, 0].copy()
    if name == "constant input":
        u[:] = 2.5
    elif name == "clipped output":
        y = np.minimum(y, np.quantile(y, 0.97))
    elif name == "three samples of delay":
        return good(delay=3)
    elif name == "drift":
        y = y + np.linspace(0, 3 * y.std(), N)
    elif name == "single sine":
        u = np.sin(0.2 * np.arange(N))
        y = plant(u)
    elif name == "40 % missing":
        y[np.random.default_rng(1).random(N) < 0.4] = np.nan
    elif name == "swapped columns":
        u, y = y, u
    elif name == "duplicated rows":
        rows = np.sort(np.concatenate([np.arange(N), np.random.default_rng(1).choice(N, 200)]))
        u, y = u[rows], y[rows]
    elif name == "outliers":
        y[[500, 1700]] += 30 * y.std()
    elif name == "coarse converter":
        y = np.round(y / (0.1 * y.std())) * 0.1 * y.std()
    return record.replace(u=u, y=y)


FLAWS = {
    "constant input": ("constant", "u1", "always 2.5"),
    "clipped output": ("clipped", "y1", "with nothing above"),
    "three samples of delay": ("delay", "u1, y1", "acts after 3 samples"),
    "drift": ("drift", "y1", "standard deviations over the record"),
    "single sine": ("excitation", "u1", "holds about 1 frequency"),
    "40 % missing": ("missing", "y1", "of the samples are missing"),
    "swapped columns": ("direction", "u1, y1", "the past of y1 explains"),
    "duplicated rows": ("repeated rows", "", "repeat the row before"),
    "outliers": ("outliers", "y1", "2 samples stand alone, the first at row 500"),
    "coarse converter": ("quantised", "y1", "steps of"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_each_flaw_is_named(flaw: str) -> None:
    topic, channel, words = FLAWS[flaw]
    found = [f for f in sysid.advice(spoiled(flaw)).findings if f.topic == topic]
    assert [f.channel for f in found] == [channel]
    assert words in found[0].found
    assert all((f.means, f.do) for f in found)


@pytest.mark.parametrize("seed", range(5))
def test_a_good_record_has_no_flaw(seed: int) -> None:
    advice = sysid.advice(good(seed), test=good(seed)[100:])
    assert [f.topic for f in advice.findings if f.level != "note"] == []
    assert advice.suggestion is not None
    assert advice.suggestion.nk == 1
    assert 2 <= advice.suggestion.na <= 15  # noise at the output makes an ARX model longer
    assert 15 <= advice.suggestion.washout <= 60


def test_a_test_record_outside_the_training_range() -> None:
    loud = good(1)
    loud = loud.replace(u=3 * loud.u, y=plant(3 * loud.u[:, 0]), name="loud")
    advice = sysid.advice(good(), test=[loud])
    found = [f for f in advice.findings if f.topic == "extrapolation"]
    assert {f.channel for f in found} == {"u1", "y1"}
    assert "outside the training range" in found[0].found


def test_a_range_that_is_hardly_visited() -> None:
    record = good()
    u = record.u.copy()
    u[1000] = 20 * u.std()
    assert "amplitude" not in sysid.advice(record).topics
    advice = sysid.advice(record.replace(u=u, y=plant(u[:, 0])))
    (found,) = [f for f in advice.findings if f.topic == "amplitude"]
    low, high = np.quantile(u, [0.01, 0.99])
    assert f"{(high - low) / np.ptp(u):.0%} of its range, {low:.4g} to {high:.4g}" in found.found


def test_different_sampling_times_are_a_problem() -> None:
    advice = sysid.advice([good(), good(1).replace(sampling_time=0.2)])
    assert advice.findings[0].topic == "sampling time"
    assert "0.1 s, 0.2 s" in advice.findings[0].found


def test_feedback_is_told_from_swapped_columns() -> None:
    rng = np.random.default_rng(0)
    u, y = np.zeros(N), np.zeros(N)
    for k in range(1, N):
        y[k] = 0.9 * y[k - 1] + 0.5 * u[k - 1] + 0.3 * rng.standard_normal()
        u[k] = -0.8 * y[k] + 0.5 * rng.standard_normal()
    topics = sysid.advice(Record(u, y)).topics
    assert "feedback" in topics
    assert "direction" not in topics


def test_an_integrator_is_seen() -> None:
    u = np.random.default_rng(0).standard_normal(N)
    assert "integration" in sysid.advice(Record(u, np.cumsum(u), 0.1)).topics


def test_two_inputs_each_have_their_delay() -> None:
    rng = np.random.default_rng(0)
    u = rng.standard_normal((N, 2))
    y = lfilter([0, 0, 1], [1, -0.5], u[:, 0]) + lfilter([0] * 5 + [1], [1, -0.5], u[:, 1])
    record = Record(u, y + 0.01 * rng.standard_normal(N))
    assert [d.lag for d in Plant(record).delays.values() if d] == [2, 5]
    assert Plant(Record(rng.standard_normal(N), y)).delays == {(0, 0): None}


def test_frequencies_of_sines_and_noise() -> None:
    k = np.arange(4000)
    assert frequencies(np.sin(0.3 * k)) == pytest.approx(1, abs=0.1)
    five = sum(np.sin(w * k) for w in (0.1, 0.3, 0.5, 0.9, 1.7))
    assert frequencies(np.asarray(five)) == pytest.approx(5, abs=0.3)
    assert frequencies(np.random.default_rng(0).standard_normal(4000)) > 300


EXPECTED = {
    "wiener_hammerstein": {"delay", "linearity"},
    "silverbox": {"extrapolation"},
    "cascaded_tanks": {"clipped", "excitation"},
    "emps": {"feedback", "integration"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_official_records(name: str) -> None:
    if not os.environ.get("SYSID_DATA"):
        pytest.skip("SYSID_DATA does not name a folder with the benchmark files")
    benchmark = sysid.load_benchmark(name)
    assert sysid.advice(benchmark.train, benchmark.test).topics >= EXPECTED[name]


def command(*arguments: str, cwd: Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sysid", "advice", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_the_command(tmp_path: Path) -> None:
    frame = good().to_frame().rename(columns={"t": "clock"})
    frame["t"] = np.sort(np.random.default_rng(0).random(N))  # not a clock at all
    frame.drop(columns="clock").to_csv(tmp_path / "a.csv", index=False)
    for name in ("b.csv", "c.csv"):
        frame.to_csv(tmp_path / name, index=False)
    document = json.loads(command("a.csv", "--json", cwd=tmp_path))
    assert document["suggestion"]["nk"] == 1
    (finding,) = [f for f in document["findings"] if f["level"] == "problem"]
    assert finding["topic"] == "sampling time"
    assert "time column 't' must be uniformly spaced" in finding["found"]
    text = command("b.csv", "--time", "clock", "--test", "c.csv", cwd=tmp_path)
    assert "suggested" in text
    assert "problem" not in text
    assert "got 'nope'" in command("a.csv", "--u", "nope", cwd=tmp_path, code=2)
