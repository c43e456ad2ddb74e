"""Numbers: the same ones in another process, with another count of threads, and next year."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import golden
import pytest
import torch

from sysid.data import shuffling

TESTS = Path(__file__).parent


@pytest.mark.parametrize("case", golden.CASES)
def test_the_figures_are_those_that_were_kept(case: str) -> None:
    """The tolerance is that of float64 sums in another order on another processor.

    A sum of a thousand terms is off by some 1e-13; five epochs of some hundred steps amplify that
    by less than a thousand here, as rounding the data to float32 (an error of 6e-8) shows below.
    """
    kept = json.loads(golden.FILE.read_text())[case]
    assert golden.train(case)[1] == pytest.approx(kept, rel=1e-9)


@pytest.mark.parametrize("case", golden.SIGNALS)
def test_a_seed_gives_the_signal_that_was_kept(case: str) -> None:
    """The tolerance is that of the integration of differential equations."""
    kept = json.loads(golden.FILE.read_text())[case]["figures"]
    for channel, expected in zip(golden.signal(case), kept, strict=True):
        assert channel == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_a_seed_gives_the_order_that_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffling, "_LISTED", 10)  # beyond, positions are encrypted
    batches = shuffling.shuffled_batches(70, 32, torch.Generator().manual_seed(0))
    order = torch.cat(list(batches)).tolist()
    assert sorted(order) == list(range(70))
    assert order[:8] == [69, 64, 5, 54, 46, 66, 65, 30]


@pytest.mark.parametrize("case", golden.CASES)
def test_float32_agrees_with_float64(case: str) -> None:
    """Rounding is 6e-8 a step: after some hundred steps three digits more are gone at most."""
    half, whole = (golden.train(case, dtype)[1] for dtype in ("float32", "float64"))
    assert half == pytest.approx(whole, rel=1e-3)
    assert half != whole


def in_a_fresh_process(threads: int, seed: str) -> dict[str, str]:
    """Return the bits of every case from a process of its own."""
    code = (
        "import json, torch, golden\n"
        f"torch.set_num_threads({threads})\n"
        "print(json.dumps({case: golden.bits(case) for case in golden.CASES}))"
    )
    environment = os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=TESTS,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_fresh_processes_give_the_same_bits() -> None:
    first, second = in_a_fresh_process(1, "1"), in_a_fresh_process(1, "2")
    assert first == second
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert {case: golden.bits(case) for case in golden.CASES} == first
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("case", golden.CASES)
def test_two_threads_give_the_figures_of_one(case: str) -> None:
    """Threads may add in another order: the tolerance is that of the figures that are kept."""
    before = torch.get_num_threads()
    figures = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            figures.append(golden.train(case)[1])
    finally:
        torch.set_num_threads(before)
    assert figures[1] == pytest.approx(figures[0], rel=1e-9)
