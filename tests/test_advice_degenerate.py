"""Advice never raises: degenerate records, thousands of channels, still and missing channels."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

import sysid
from sysid.data.records import Record

RNG = np.random.default_rng(0)
U = RNG.standard_normal(600)
Y = lfilter([0, 0.2], [1, -0.8], U)


def one_changed(n: int, at: int) -> np.ndarray:
    x = np.zeros(n)
    x[at] = 1.0
    return x


def mostly_missing(x: np.ndarray) -> np.ndarray:
    out = np.full(len(x), np.nan)
    out[[5, 100, 300]] = x[[5, 100, 300]]
    return out


NONE = np.full(600, np.nan)
DEGENERATE = {
    "one sample": Record([1.0], [2.0]),
    "two samples": Record([1.0, 2.0], [2.0, 3.0]),
    "constant": Record(np.ones(600), np.ones(600)),
    "constant input": Record(np.ones(600), Y),
    "constant output": Record(U, np.ones(600)),
    "one value changed": Record(one_changed(600, 300), one_changed(600, 301)),
    "last value changed": Record(one_changed(600, 599), Y),
    "no inputs": Record(None, Y),
    "no outputs": Record(U, None),
    "no output is measured": Record(U, NONE),
    "no input is measured": Record(NONE, Y),
    "nothing is measured": Record(NONE, NONE),
    "three samples measured": Record(mostly_missing(U), mostly_missing(Y)),
    "three outputs measured": Record(U, mostly_missing(Y)),
    "equal columns": Record(np.column_stack([U, U]), np.column_stack([Y, Y])),
    "input is output": Record(U, U),
    "integers": Record(np.round(U), np.round(3 * Y)),
    "two levels": Record(np.sign(U), np.sign(Y)),
    "tiny": Record(1e-300 * U, 1e-300 * Y),
    "huge": Record(1e150 * U, 1e150 * Y),
    "large offset": Record(1e12 + U, 1e12 + Y),
    "ramp": Record(np.arange(600.0), np.arange(600.0)),
    "sine": Record(np.sin(0.3 * np.arange(600)), np.sin(0.3 * np.arange(600) - 1)),
    "every second output": Record(U, np.where(np.arange(600) % 2, np.nan, Y)),
    "every second sample": Record(
        np.where(np.arange(600) % 2, np.nan, U), np.where(np.arange(600) % 2, Y, np.nan)
    ),
    "float32 rounding": Record(0.4 + 1e-17 * U, Y),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_a_degenerate_record_gets_advice(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        advice = sysid.advice(DEGENERATE[name])
    assert str(advice)
    assert all(f.found and f.means and f.do for f in advice.findings)
    assert "nan" not in str(advice).lower().split()


VALUES = st.sampled_from([0.0, 0.0, 1.0, -1.0, 0.5, 3.0, 1e-9, 1e6, -9999.0, np.nan])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 3),
    st.integers(1, 2),
    st.lists(VALUES, min_size=1, max_size=12),
    st.integers(1, 90),
    st.integers(0, 5),
)
def test_any_pattern_of_values_gets_advice(
    nu: int, ny: int, pattern: list[float], times: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = np.array(pattern)
    block = rng.choice(values, (len(values) * times, nu + ny))
    if seed % 2:
        block[:, 0] = np.tile(values, times)
    record = Record(block[:, :nu] if nu else None, block[:, nu:])
    advice = sysid.advice(record, record)
    assert advice.findings
    assert advice.table().shape[1] == 7


def test_ten_thousand_channels_take_bounded_time_and_output() -> None:
    rng = np.random.default_rng(0)
    u, y = rng.standard_normal((2, 300, 10_000))
    names = [f"{i}" for i in range(10_000)]  # each is named, so the block is not on its side
    record = Record(u, y, u_names=[f"u{n}" for n in names], y_names=[f"y{n}" for n in names])
    start = time.perf_counter()
    advice = sysid.advice(record)
    assert time.perf_counter() - start < 60  # a minute on a busy machine; seconds on a free one
    assert len(str(advice).splitlines()) < 40
    assert "of its 10000 inputs only the first 100 were looked at" in str(advice)


def test_a_constant_input_does_not_hide_what_the_others_say() -> None:
    still = 0.4 + 5.6e-17 * RNG.standard_normal(2000)
    u = np.random.default_rng(1).standard_normal(2000)
    y = lfilter([0, 0, 0, 0.3], [1, -0.7], u) + 0.01 * RNG.standard_normal(2000)
    advice = sysid.advice(Record(np.column_stack([still, u]), y))
    (constant,) = [f for f in advice.findings if f.topic == "constant"]
    assert constant.channel == "u1"
    assert advice.suggestion is not None
    assert advice.suggestion.delays == {"u2": 3}


def test_a_record_without_inputs_gets_a_useful_answer() -> None:
    rng = np.random.default_rng(0)
    y = lfilter([1], [1, -1.6, 0.8], 0.1 * rng.standard_normal(1200))
    advice = sysid.advice(Record(None, y, 0.1, name="ar2"))
    assert "no inputs" in advice.topics
    assert advice.suggestion is not None
    assert (advice.suggestion.na, advice.suggestion.nb, advice.suggestion.nk) == (2, 0, 0)
