"""The official records: counts and protocol as published."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sysid.data.benchmarks import BENCHMARKS, load_benchmark

DATA = os.environ.get("SYSID_DATA", "")
needs_data = pytest.mark.skipif(
    not Path(DATA).is_dir() or not DATA, reason="benchmark files are not there: set SYSID_DATA"
)


@needs_data
@pytest.mark.parametrize(
    ("name", "train", "tests", "n_init", "step", "std"),
    [
        ("wiener_hammerstein", 100_000, [78_800], 50, 1 / 51200, [0.2439]),
        ("silverbox", 65_062, [21_688, 40_475, 32_000], 50, 1 / 610.35, [0.0543, 0.05348, 0.04301]),
        ("cascaded_tanks", 1024, [1024], 50, 4.0, [2.120]),
        ("emps", 24_841, [24_841], 20, 1e-3, [0.08262]),
    ],
)
def test_protocol(name: str, train: int, tests: list[int], n_init: int, step: float, std) -> None:  # type: ignore[no-untyped-def]
    benchmark = load_benchmark(name)
    assert [len(r) for r in benchmark.train] == [train]
    assert [len(r) for r in benchmark.test] == tests
    assert {r.n_init for r in benchmark.test} == {n_init}
    assert benchmark.train[0].sampling_time == pytest.approx(step, rel=1e-4)
    assert [np.std(r.y[n_init:]) for r in benchmark.test] == pytest.approx(std, rel=1e-3)
    assert len({r.name for r in benchmark.test}) == len(tests)
    channels = {
        "wiener_hammerstein": ("input", "V", "output", "V"),
        "silverbox": ("input", "V", "output", "V"),
        "cascaded_tanks": ("pump", "V", "level", "V"),
        "emps": ("force", "V", "position", "m"),
    }
    for r in (*benchmark.train, *benchmark.test):
        assert (*r.u_names, *r.u_units, *r.y_names, *r.y_units) == channels[name]


def test_wrong_names_and_folders(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=f"must be one of {', '.join(BENCHMARKS)}, got 'wh'"):
        load_benchmark("wh")
    with pytest.raises(ValueError, match="data_dir must be a folder"):
        load_benchmark("emps", tmp_path / "none")
    monkeypatch.setitem(__import__("sys").modules, "nonlinear_benchmarks", None)
    with pytest.raises(ImportError, match=r'pip install "sysid\[benchmarks\]"'):
        load_benchmark("emps", tmp_path)
