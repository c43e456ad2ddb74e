"""Figures and the report."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from systems import linear_record, two_by_two

from sysid.analysis import plots
from sysid.analysis.compare import compare
from sysid.analysis.report import write_report
from sysid.data.records import Record


def test_figures_name_channels_and_units() -> None:
    record = two_by_two(60).replace(y_names=["level", "flow"], y_units=["m", ""])
    figure = plots.simulation(record, record.y, n_init=5, title="plant")
    labels = [a.get_ylabel() for a in figure.axes]
    assert labels == ["level (m)", "residual (m)", "flow", "residual"]
    assert figure.axes[-1].get_xlabel() == "time (s)"
    assert all(len(a.patches) == 1 for a in figure.axes)
    with pytest.raises(ValueError, match="y_hat must have shape"):
        plots.simulation(record, record.y[:5])


def test_thinning_keeps_the_peak_of_a_long_record() -> None:
    y = np.zeros((100_000, 1))
    y[54_321] = 7.0
    figure = plots.simulation(Record(None, y), y * 0)
    drawn = figure.axes[0].lines[0].get_ydata()
    assert len(drawn) < 10_000
    assert np.max(drawn) == 7.0


def test_the_report_stands_alone(tmp_path) -> None:  # type: ignore[no-untyped-def]
    record = linear_record(100_000)
    history = pd.DataFrame(
        {"epoch": [1, 2], "train_loss": [1.0, 0.5], "valid_loss": [np.nan, np.nan]}
    )
    write_report(
        tmp_path / "r.html",
        title="a <b> & c",
        config_text="name: <script>",
        environment={"versions": {"torch": "2"}, "command": ["sysid", "train"]},
        scores=compare({"ffn": make_linear()}, record),
        figures={
            "one": plots.simulation(record, record.y),
            "two": plots.learning_curve(history),
        },
        notes=["done"],
    )
    text = (tmp_path / "r.html").read_text()
    assert len(text) < 2_000_000
    assert "a &lt;b&gt; &amp; c" in text
    assert "<script" not in text
    assert "http" not in text
    assert len(re.findall(r"<img alt=", text)) == 2


def make_linear():  # type: ignore[no-untyped-def]
    import torch

    from sysid.models import FFN

    torch.manual_seed(0)
    return FFN(1, (3,), 1)
