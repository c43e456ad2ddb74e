"""The report as a file: what it says, that it stands alone, and that nothing in it can break it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from systems import linear_record, two_by_two
from test_models import make

import sysid
from sysid.analysis.compare import compare
from sysid.analysis.contents import Contents, Origin
from sysid.analysis.gallery import drawing
from sysid.analysis.report import write_report
from sysid.analysis.timeline import timeline
from sysid.data.records import Record
from sysid.models.baseline import fit_baseline

# They predict in different ways: from lags, measured feedback, both sides, and not at all.
REPORTED = ["narx", "rnn_feedback", "lstm_both_ways", "state_space"]
HISTORY = pd.DataFrame({"epoch": [1, 2], "train_loss": [1.0, 0.5], "valid_loss": [np.nan, np.nan]})
ENVIRONMENT = {
    "epochs": 2,
    "seconds": 1.5,
    "stopped_because": "max_epochs",
    "best_epoch": 2,
    "versions": {"torch": "2"},
    "command": ["sysid", "train"],
}


def contents(models: dict[str, sysid.Model], records: list[Record], **more: object) -> Contents:
    """Return contents as a run has them."""
    scores = compare(models, records, (1, "simulation"))
    return Contents("report", models, records, scores, **more)  # type: ignore[arg-type]


def written(path: Path, what: Contents) -> str:
    write_report(path / "r.html", what)
    return (path / "r.html").read_text()


def own(page: str) -> str:
    """Return a page without the script of Bokeh."""
    return page[: page.index("</main>")]


@pytest.mark.parametrize("name", REPORTED)
def test_models_of_every_way_to_predict_have_a_report(name: str, tmp_path: Path) -> None:
    model, record = make(name), two_by_two(400).replace(n_init=10, y_units=["V", ""])
    model.baseline = fit_baseline([record])
    bands = {"m": sysid.conformal_bands(model, record)}
    origins = {"m": Origin("name: x", ENVIRONMENT, HISTORY)}
    more = {"train": [record], "bands": bands, "origins": origins, "advice": sysid.advice(record)}
    page = own(written(tmp_path, contents({"m": model}, [record], **more)))
    rmse = compare({"m": model}, record, ("simulation",))["rmse"][0]
    for words in (
        f"{rmse:.4g} V",
        "ARX(",
        "Of 100 right models 99 stay within",
        "residual of y2 with past u1",
        "2 epochs, 1.5 s",
        "split conformal",
        "Learning curve",
        "Steps of the input",
        "Advice on the data",
        "m, band",
    ):
        assert words in page, words
    assert page.count('<figure class="timeline"') == 2


def test_it_stands_alone_and_is_small(tmp_path: Path) -> None:
    record = linear_record(100_000)
    text = written(tmp_path, contents({"ffn": sysid.FFN(1, (3,), 1)}, [record], train=[record]))
    assert len(text) < 5_000_000
    page = own(text)
    assert not re.findall(r"(?:src|href)=\"(?!#|data:,)", page)
    assert not re.findall(r"url\((?!#|'#)", page)
    assert "default-src 'none'" in page


def test_names_from_files_cannot_break_the_page(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    record = linear_record(400).replace(name=evil, y_names=[evil + "y"], u_names=["<i>"])
    model = sysid.NARX(1, 1, 2, 2)
    model.describe(record)
    origin = Origin(evil, {**ENVIRONMENT, "command": [evil]}, HISTORY)
    page = own(
        written(
            tmp_path,
            contents({evil: model}, [record], origins={evil: origin}, advice=sysid.advice(record)),
        )
    )
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<i>" not in page.replace("<i style", "")


def test_what_cannot_be_said_is_said_so(tmp_path: Path) -> None:
    record = linear_record(60)
    y = record.y * 0 + 3
    y[20:30] = np.nan
    page = own(written(tmp_path, contents({"m": sysid.LSTM(1, 1, 2)}, [record.replace(y=y)])))
    assert "fit undefined" in page
    assert "the output is constant: its fit is undefined" in page
    assert "10 missing samples left out" in page
    assert "Not tested: lags must be at most a quarter of the complete samples" in page
    assert "A model file tells nothing of its training" in page
    assert "inf" not in re.findall(r">([^<]*)<", page[page.index('id="fit"') :])


def test_an_unstable_model_is_reported_not_drawn(tmp_path: Path) -> None:
    record = linear_record(3000)
    model = sysid.NARX(1, 1, 1, 1, hidden_sizes=(), linear=False).double()
    model.network[0].weight.data[:] = 2.0
    text = written(tmp_path, contents({"m": model}, [record], train=[record]))
    assert "unstable: the output exceeds all bounds" in text
    for data in re.findall(r'<script type="application/json">(.*?)</script>', text):
        json.loads(data, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))


def test_of_many_outputs_the_worst_are_drawn(tmp_path: Path) -> None:
    model = make("ffn")
    records = [two_by_two(300, seed=s).replace(name=f"r{s}") for s in range(5)]
    scores = compare({"m": model}, records, ("simulation",)).sort_values("fit_index")
    page = own(written(tmp_path, contents({"m": model}, records)))
    drawn = re.findall(r'aria-label="(r\d): (y\d), 300 samples"', page)
    worst = list(zip(scores["record"], scores["output"], strict=True))[:6]
    assert set(drawn) == set(worst)
    assert "Drawn are the 6 of 10 outputs that fit worst" in page


def decoded(text: str) -> np.ndarray:
    import base64

    return np.frombuffer(base64.b64decode(text), dtype="<f4")


def test_a_timeline_holds_every_sample_or_the_extremes_of_blocks() -> None:
    record = linear_record(1000)
    y_hat = record.y + 1e-3 * np.sin(np.arange(1000.0))[:, None]
    whole = timeline("t", record, 0, {"m": y_hat}, {"m": 0.5}, 10, 1000)
    assert whole["samples_per_point"] == 1
    series = {s["part"]: s for s in whole["series"]}
    y, simulated = (decoded(series[part]["values"]) for part in ("measured", "model-0"))
    measured = y + series["measured"]["offset"]
    assert_allclose(measured, record.y[:, 0], atol=5e-6)  # float32 of values near 30
    left = y.astype(float) - simulated
    assert series["residual-0"]["minus"] == ["measured", "model-0"]
    assert_allclose(left, (record.y - y_hat)[:, 0], atol=5e-6)
    cut = timeline("t", record, 0, {"m": y_hat}, {}, 10, 300)
    assert cut["samples_per_point"] == 4
    assert whole["bands"] == [{"part": "band-0", "around": "model-0", "half": 0.5}]
    assert cut["bands"] == []
    measured = cut["series"][0]
    points = decoded(measured["values"]) + measured["offset"]
    assert len(points) == 250
    blocks = record.y[:, 0].reshape(125, 8)
    assert_allclose(points.reshape(125, 2).min(axis=1), blocks.min(axis=1), atol=5e-6)
    assert_allclose(points.reshape(125, 2).max(axis=1), blocks.max(axis=1), atol=5e-6)


def test_rounding_a_drawing_leaves_its_numbers_alone() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 0.00456], [0, 1])
    axes.set_xticks([0, 0.00456])
    svg = drawing(figure, 'a "caption"').svg
    assert "0.00456" in svg
    assert not re.findall(r' d="[^"]*\d\.\d{3}', svg)
    assert 'aria-label="a &#34;caption&#34;"' in svg or 'aria-label="a &quot;caption&quot;"' in svg
    assert 'id="figure_1"' not in svg
