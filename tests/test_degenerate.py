"""Advice, tables and reports of records that hold next to nothing: never a traceback."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from degenerate import KINDS, channel, everything, groups
from hypothesis import HealthCheck, given, settings

from sysid.data.records import Record


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_as_input_and_as_output(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, noise = channel(kind, 200, rng, None), rng.standard_normal((2, 200))
    u, y = (np.column_stack([other, x]) for other in noise)
    everything([Record(u, y, 0.1)], tmp_path)


@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(records=groups())
def test_groups_of_them(records: list[Record], tmp_path: Path) -> None:
    everything(records, tmp_path)


def test_a_thousand_channels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    u, names = rng.standard_normal((60, 1000)), [f"u{i}" for i in range(1000)]
    everything([Record(u, rng.standard_normal((60, 1)), u_names=names)], tmp_path)
