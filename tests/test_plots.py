"""Figures: what they show, that peaks stay, and what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from systems import linear_record, two_by_two
from test_models import make

from sysid.analysis import plots
from sysid.analysis.compare import compare
from sysid.analysis.residuals import check_residuals, worst_stretch
from sysid.analysis.thinning import extremes
from sysid.analysis.uncertainty import Band
from sysid.data.records import Record
from sysid.models.baseline import fit_baseline


def labels(figure) -> list[str]:  # type: ignore[no-untyped-def]
    return [a.get_ylabel() for a in figure.axes]


def test_simulation_names_channels_and_units() -> None:
    record = two_by_two(60).replace(y_names=["level", "flow"], y_units=["m", ""])
    figure = plots.simulation(record, record.y, n_init=5, title="plant")
    assert labels(figure) == ["level (m)", "residual (m)", "flow", "residual"]
    assert figure.axes[-1].get_xlabel() == "time (s)"
    assert all(len(a.patches) == 1 for a in figure.axes)
    assert plots.simulation(Record(None, record.y), record.y).axes[-1].get_xlabel() == "sample k"


def test_simulation_of_several_models_and_a_band() -> None:
    record = linear_record(50)
    y_hat = record.y + 1
    figure = plots.simulation(
        record, {"a": y_hat, "b": y_hat + 1}, band=Band(y_hat, y_hat - 2, y_hat + 2)
    )
    upper, lower = figure.axes
    assert [line.get_label() for line in upper.lines] == ["measured", "a", "b"]
    assert_allclose([line.get_ydata()[7] for line in lower.lines], [-1, -2])
    edge = upper.collections[0].get_paths()[0].vertices
    assert_allclose(edge[:, 1].max(), y_hat.max() + 2)


def test_thinning_keeps_the_peak_of_a_long_record() -> None:
    y = np.zeros((100_000, 1))
    y[54_321] = 7.0
    figure = plots.simulation(Record(None, y), y * 0, band=Band(y, y - 1, y + 1))
    drawn = figure.axes[0].lines[0].get_ydata()
    assert len(drawn) < 10_000
    assert np.max(drawn) == 7.0
    assert figure.axes[0].collections[0].get_paths()[0].vertices[:, 1].max() == 8.0


@given(st.lists(st.sampled_from([np.nan, -1.0, 0.0, 2.0]), min_size=1), st.integers(1, 9))
def test_extremes_are_those_of_a_plain_loop(values: list[float], size: int) -> None:
    x = np.array(values)
    found = extremes(x, size)
    for row, start in zip(found, range(0, len(x), size), strict=True):
        block = x[start : start + size]
        assert row[0] <= row[1]
        assert start <= row[0]
        assert row[1] < start + len(block)
        if np.isnan(block).all():
            assert np.isnan(x[row]).all()
        else:
            assert sorted(x[row]) == [np.nanmin(block), np.nanmax(block)]


def test_the_zoom_is_where_the_squared_residual_is_largest() -> None:
    e = np.random.default_rng(0).standard_normal((300, 2))
    e[40] = np.nan
    part = worst_stretch(e, 20)
    sums = [np.nansum(e[k : k + 20] ** 2) for k in range(281)]
    assert part == slice(int(np.argmax(sums)), int(np.argmax(sums)) + 20)
    assert worst_stretch(e, 300) == slice(0, 300)
    record = linear_record(500)
    y_hat = record.y.copy()
    y_hat[10], y_hat[333] = 1e3, 20.0
    line = plots.zoom(record, y_hat, n_init=50, length=30).axes[0].lines[0]
    time = line.get_xdata()
    assert len(time) == 30
    assert time[0] <= 333 * 0.1 <= time[-1]  # the larger error is among those that do not count


def test_fit_against_horizon() -> None:
    model, record = make("narx"), two_by_two(80)
    model.baseline = fit_baseline([record])
    table = compare({"narx": model}, record, (1, 10, 2, "simulation"))
    figure = plots.fit_against_horizon(table)
    assert labels(figure) == ["fit of y1 (%)", "fit of y2 (%)"]
    lines = [line for line in figure.axes[1].lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in lines] == ["narx", model.baseline.name]
    assert list(lines[0].get_xdata()) == [1, 2, 10]
    own = table.query("model == 'narx' and output == 'y2'").set_index("horizon")["fit_index"]
    assert_allclose(lines[0].get_ydata(), own[["1", "2", "10"]])


def test_residual_correlation_marks_what_is_beyond_the_band() -> None:
    e, u = np.random.default_rng(0).standard_normal((2, 500, 1))
    analysis = check_residuals(e + np.roll(u, 3, axis=0), u, 10)
    figure = plots.residual_correlation(analysis)
    titles = [a.get_title() for a in figure.axes if a.axison]
    assert titles[:2] == ["residual of y1 with its own past", "residual of y1 with past u1"]
    assert len(titles) == 5
    beyond = figure.axes[1].collections[1].get_segments()
    assert any(segment[0, 0] == 3 for segment in beyond)


def test_learning_curve_marks_the_best_epoch() -> None:
    history = pd.DataFrame(
        {"epoch": [1, 2, 3], "train_loss": [4.0, 2.0, 1.0], "valid_loss": [4.0, 1.0, 2.0]}
    )
    axes = plots.learning_curve(history).axes[0]
    assert_allclose(axes.lines[1].get_ydata(), [2, 1, np.sqrt(2)])
    assert_array_equal(axes.lines[2].get_xdata(), [2, 2])
    blind = history.assign(valid_loss=np.nan)
    assert_array_equal(plots.learning_curve(blind).axes[0].lines[1].get_xdata(), [3, 3])
    assert plots.learning_curve(history[:0]).axes


@pytest.mark.parametrize("n", [300, 5000])
def test_scatter_leaves_out_the_start_and_what_is_missing(n: int) -> None:
    record = linear_record(n)
    y = record.y.copy()
    y[100:150] = np.nan
    axes = plots.scatter(record.replace(y=y), record.y, n_init=10).axes[0]
    assert axes.get_xlabel() == "measured y1"
    drawn = axes.lines[0] if n < 2000 else axes.collections[0]
    count = len(drawn.get_xdata()) if n < 2000 else drawn.get_array().sum()
    assert count == n - 60


def test_spectra_show_a_sine_where_it_is() -> None:
    k = np.arange(4000)
    record = Record(None, np.sin(2 * np.pi * 12.5 * k * 0.01)[:, None], 0.01)
    figure = plots.spectra(record, record.y * 0.5)
    measured, simulated, residual = figure.axes[0].lines
    f, power = measured.get_data()
    assert_allclose(f[np.argmax(power)], 12.5, atol=0.1)
    assert_allclose(simulated.get_ydata(), power / 4, rtol=1e-9)
    assert_allclose(residual.get_ydata(), power / 4, rtol=1e-9)
    assert plots.spectra(record[:10], record.y[:10]).axes[0].get_xlabel() == "frequency (Hz)"


def test_histograms_of_every_channel() -> None:
    train, test = two_by_two(200), two_by_two(100, seed=1).replace(u_units=["V", ""])
    figure = plots.histograms(train.replace(u_units=["V", ""]), [test, test])
    assert [a.get_xlabel() for a in figure.axes] == ["u1 (V)", "u2", "y1", "y2"]
    for outline in figure.axes[0].patches:
        x, y = outline.get_xy().T
        assert_allclose(abs(np.trapezoid(y, x)), 1)  # a density
    assert len(figure.axes[0].patches) == 2
    gone = train.replace(y=train.y * np.nan)
    assert len(plots.histograms(gone, gone).axes) == 4


def test_step_responses_of_a_linear_model_are_scaled_copies() -> None:
    record = linear_record(2000)
    arx = fit_baseline([record]).arx()
    assert arx is not None
    figure = plots.step_responses(arx, record, samples=100, levels=(0.1, 0.9))
    low, high = (line.get_ydata() for line in figure.axes[0].lines)
    u = record.u[:, 0]
    steps = np.quantile(u, [0.1, 0.9]) - np.median(u)
    assert_allclose((low - low[0]) / steps[0], (high - high[0]) / steps[1], atol=1e-6)
    # 4 / 2 units times (0.5 + 0.2) / (1 - 1.2 + 0.5) is the gain of the plant
    assert_allclose((high[-1] - high[0]) / steps[1], 2 * 0.7 / 0.3, rtol=1e-6)


@pytest.mark.parametrize("name", ["gru_feedback_encoder", "lstm_both_ways", "state_space", "ffn"])
def test_step_responses_of_every_input(name: str) -> None:
    figure = plots.step_responses(make(name), two_by_two(100), samples=30)
    assert len(figure.axes) == 4
    assert [len(a.lines) for a in figure.axes] == [4] * 4


def test_what_cannot_be_drawn_is_refused() -> None:
    record = two_by_two(60)
    for draw in (plots.simulation, plots.zoom, plots.scatter, plots.spectra):
        with pytest.raises(ValueError, match=r"y_hat must have shape \(60, 2\), got \(5, 2\)"):
            draw(record, record.y[:5])
    with pytest.raises(ValueError, match="model must have an input to step, got none"):
        plots.step_responses(fit_baseline([Record(None, record.y)]).arx(), record)
