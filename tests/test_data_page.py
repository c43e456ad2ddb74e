"""The data page: every channel is on it, gaps are gaps, and it needs nothing else."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import sysid
from sysid.analysis.data_page import write_data_page
from sysid.analysis.timeline import channels_timeline
from sysid.data.reading import Reading
from sysid.experiment.data import drawable


def record(samples: int = 600, **changes: object) -> sysid.Record:
    rng = np.random.default_rng(3)
    u, y = rng.normal(size=(samples, 2)), rng.normal(size=(samples, 1))
    y[100:110] = np.nan
    return sysid.Record(
        u, y, 0.5, u_names=["pump", "valve"], y_names=["level"], name="run"
    ).replace(**changes)


def timelines(page: str) -> list[dict[str, object]]:
    found = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return [json.loads(text) for text in found]


def test_each_channel_is_drawn_with_its_gaps(tmp_path: Path) -> None:
    known = record()
    data = channels_timeline("t", known, 1000)
    assert data["plots"] == ["plot-0", "plot-1", "plot-2"]
    for part, x in zip(data["series"], [*known.u.T, *known.y.T], strict=True):
        values = np.frombuffer(base64.b64decode(part["values"]), dtype="<f4") + part["offset"]
        assert_allclose(values, x, atol=1e-6)  # float32 of values near 3; NaN equals NaN
    write_data_page(tmp_path / "page.html", known)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(timelines(page)) == 1
    assert "1 record, 600 samples of 2 inputs and 1 output" in page
    assert "10 of 1,800 values" in page


def test_the_page_needs_no_network(tmp_path: Path) -> None:
    write_data_page(tmp_path / "page.html", record(name="<script>alert(1)</script>"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href)=\"(?!#|data:)", own)


def test_of_many_records_some_are_drawn_and_all_are_listed(tmp_path: Path) -> None:
    several = [record(120, name=f"run{i}") for i in range(30)]
    write_data_page(tmp_path / "page.html", several)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(timelines(page)) == 8
    assert "8 of 30 records are drawn" in page
    assert all(f"<td>run{i}</td>" in page for i in range(30))


def test_records_without_inputs_or_with_nothing_measured_are_drawn(tmp_path: Path) -> None:
    odd = [
        sysid.Record(None, np.arange(50.0)),
        sysid.Record(np.ones(40), np.zeros(40), 1.0),
        sysid.Record(np.arange(40.0), np.full(40, np.nan), 1.0),
        sysid.Record([0.0, 1.0], [1.0, 0.0]),
    ]
    for i, one in enumerate(odd):
        write_data_page(tmp_path / f"{i}.html", one)
        assert timelines((tmp_path / f"{i}.html").read_text(encoding="utf-8"))


def test_records_of_other_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same channels"):
        write_data_page(
            tmp_path / "page.html", [record(), sysid.Record([1.0, 2.0], [1.0, 2.0], 0.5)]
        )


def test_all_columns_are_drawn_where_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = "".join(f"{k},{k % 3},{k % 7}\n" for k in range(60))
    path.write_text("time,pump,level\n" + rows)
    reading = drawable([str(path)], Reading())
    assert reading.y == ["pump", "level"]
    assert drawable([str(path)], Reading(u=["pump"])).y is None
