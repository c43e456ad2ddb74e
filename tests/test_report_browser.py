"""The report of a run on a record of 78 800 samples, in a real browser."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from systems import linear_record
from test_report import contents

import sysid
from sysid.analysis import report
from sysid.data.records import Record

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="there is no chromium to open the report in; .ci/run installs it"
)
SAMPLES = 78_800


@dataclass
class Opened:
    """A page, what it asked the network for, and what its console said."""

    page: Any
    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def js(self, expression: str) -> Any:
        return self.page.evaluate(expression)

    def model(self, part: str) -> str:
        """Return the expression of a part of the first timeline."""
        return (
            f"Bokeh.documents.map((d) => d.get_model_by_name('timeline-0-{part}')).find((m) => m)"
        )

    def view(self) -> tuple[float, float]:
        start, end = self.js(f"[{self.model('x')}.start, {self.model('x')}.end]")
        return start, end

    def drawn(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Return what is drawn of a part after the page has come to rest."""
        self.page.wait_for_timeout(200)
        x, y = self.js(f"(({{x, y}}) => [[...x], [...y]])({self.model(part)}.data)")
        return np.array(x, dtype=float), np.array(y, dtype=float)

    def wait(self, condition: str, limit: float = 20) -> None:
        end = time.monotonic() + limit
        while not self.js(condition):
            assert time.monotonic() < end, f"never: {condition}"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Without --no-sandbox it does not start as root, as CI runs.
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def opened(browser: Any, path: Path, width: int = 1280, theme: str = "light") -> Opened:
    """Open a report and wait until its first timeline is drawn."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    out = Opened(page)
    page.on("request", lambda r: out.requests.append(r.url))
    page.on("pageerror", lambda e: out.messages.append(str(e)))
    page.on("console", lambda m: out.messages.append(m.text) if m.type != "log" else None)
    page.goto(path.as_uri())
    out.js("document.querySelector('#simulation').scrollIntoView({behavior: 'instant'})")
    out.wait(f"window.Bokeh && {out.model('measured')}?.data.x.length > 2")
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    """The report of one epoch on the Wiener-Hammerstein benchmark, or on a simulated one."""
    from sysid.experiment.config import Config
    from sysid.experiment.data import load_data
    from sysid.experiment.run import train_config

    data: dict[str, Any] = {"source": "benchmark", "name": "wiener_hammerstein"}
    if not os.environ.get("SYSID_DATA"):
        data = {"source": "system", "name": "wiener_hammerstein", "samples": SAMPLES}
    config = Config(
        name="browser",
        data=data,
        model={"kind": "lstm", "hidden_size": 8},
        training={"length": 200, "stride": 200, "washout": 80, "max_epochs": 1},
    )
    out = tmp_path_factory.mktemp("browser") / "run"
    train_config(config, out, progress=False)
    record = load_data(config).test[0]
    assert len(record) == SAMPLES
    return out / "report.html", record


def test_it_is_small_quiet_and_alone(run: tuple[Path, Record], browser: Any) -> None:
    # How quickly it opens is measured by benchmarks/report_page.py.
    path, _ = run
    assert path.stat().st_size < 5_000_000
    first = opened(browser, path)
    assert first.requests == [path.as_uri()]
    assert first.messages == []


def test_zooming_out_keeps_peaks_and_zooming_in_shows_samples(
    run: tuple[Path, Record], browser: Any
) -> None:
    path, record = run
    page = opened(browser, path)
    step = record.sampling_time
    x, y = page.drawn("measured")
    assert len(x) < SAMPLES / 10
    assert_allclose([y.min(), y.max()], [record.y.min(), record.y.max()], rtol=1e-6)
    page.page.locator("#simulation .interactive").first.focus()
    for _ in range(12):
        page.page.keyboard.press("+")
    x, y = page.drawn("measured")
    start, end = page.view()
    assert end - start == pytest.approx(SAMPLES * step / 2**12)
    k = np.round(x / step).astype(int)
    assert list(k) == list(range(k[0], k[0] + len(k)))
    assert k[0] * step <= start
    assert end <= k[-1] * step
    assert_allclose(y, record.y[k, 0], atol=1e-6 * np.ptp(record.y))


def test_mouse_keys_and_buttons_move_the_view(run: tuple[Path, Record], browser: Any) -> None:
    path, record = run
    page = opened(browser, path)
    whole = page.view()
    assert_allclose(whole, [0, SAMPLES * record.sampling_time])
    box = page.page.locator(".plots").first.bounding_box()
    page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 150)
    page.page.mouse.wheel(0, -400)
    page.page.wait_for_timeout(300)
    zoomed = page.view()
    assert whole[0] < zoomed[0] < zoomed[1] < whole[1]
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + box["width"] / 2 + 120, box["y"] + 150, steps=4)
    page.page.mouse.up()
    page.page.wait_for_timeout(300)
    panned = page.view()
    assert panned[0] < zoomed[0]
    assert panned[1] - panned[0] == pytest.approx(zoomed[1] - zoomed[0])
    frame = page.page.locator("#simulation .interactive").first
    frame.focus()
    page.page.keyboard.press("ArrowRight")
    assert page.view()[0] > panned[0]
    frame.get_by_role("button", name="whole record").click()
    assert_allclose(page.view(), whole)
    frame.get_by_role("button", name="worst stretch").press("Enter")
    start, end = page.view()
    assert end - start < 0.1 * whole[1]
    measured = frame.get_by_role("button", name="measured")
    measured.click()
    assert measured.get_attribute("aria-pressed") == "false"
    hidden = f"{page.model('upper')}.renderers.filter((r) => !r.visible).length"
    assert page.js(hidden) == 1
    assert page.messages == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_follow_the_theme(theme: str, run: tuple[Path, Record], browser: Any) -> None:
    page = opened(browser, run[0], theme=theme)

    def brightness(color: str) -> float:
        return sum(page.js(f"""(() => {{
            const c = document.createElement("canvas").getContext("2d");
            c.fillStyle = {color};
            c.fillRect(0, 0, 1, 1);
            return [...c.getImageData(0, 0, 1, 1).data.slice(0, 3)];
        }})()""")) / 765  # fmt: skip

    label = f"{page.model('upper')}.left[0].major_label_text_color"
    for paper, ink in (
        ("getComputedStyle(document.body).backgroundColor", label),
        (
            "getComputedStyle(document.body).backgroundColor",
            "getComputedStyle(document.querySelector('.broad svg text')).fill",
        ),
    ):
        difference = brightness(paper) - brightness(ink)
        assert difference > 0.7 if theme == "light" else difference < -0.7
    page.page.emulate_media(color_scheme="dark" if theme == "light" else "light")
    ink = page.js("getComputedStyle(document.documentElement).getPropertyValue('--ink').trim()")
    page.wait(f"{label} === '{ink}'")
    assert (brightness(label) < 0.5) == (theme == "dark")


def test_a_phone_needs_no_sideways_scrolling(run: tuple[Path, Record], browser: Any) -> None:
    page = opened(browser, run[0], width=390)
    assert page.js("document.documentElement.scrollWidth") == 390
    box = page.page.locator(".plots").first.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_paper_gets_still_figures(run: tuple[Path, Record], browser: Any) -> None:
    page = opened(browser, run[0], theme="dark")
    still = page.page.locator(".printed svg").first
    assert not still.is_visible()
    page.page.emulate_media(media="print")
    assert still.is_visible()
    assert not page.page.locator(".interactive").first.is_visible()
    assert page.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_what_is_too_long_keeps_its_peaks_and_gaps(
    tmp_path: Path, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_POINTS", 4000)
    record = linear_record(6000).replace(name="</script>")
    y = record.y.copy()
    y[3000, 0], y[4000:5000, 0] = 77.0, np.nan
    record = record.replace(y=y)
    models = {"a": sysid.FFN(1, (3,), 1), "b": sysid.LSTM(1, 1, 2)}
    bands = {"a": sysid.conformal_bands(models["a"], linear_record(500))}
    report.write_report(tmp_path / "r.html", contents(models, [record], bands=bands))
    page = opened(browser, tmp_path / "r.html")
    assert page.messages == []
    assert "the page holds the smallest and the largest of every" in page.js(
        "document.querySelector('#simulation figcaption').textContent"
    )
    x, measured = page.drawn("measured")
    assert np.nanmax(measured) == pytest.approx(77, rel=1e-6)
    assert x[np.nanargmax(measured)] == pytest.approx(300, rel=0.01)
    gap = x[np.isnan(measured)]
    assert_allclose([gap.min(), gap.max()], [400, 500], rtol=0.01)
    x, lower = page.js(f"(({{x, lower}}) => [[...x], [...lower]])({page.model('band-0')}.data)")
    _, y_hat = page.drawn("model-0")
    assert len(lower) == len(y_hat)
    width = bands["a"].widths["simulation"][0]
    assert min(lower) == pytest.approx(np.nanmin(y_hat) - width, rel=1e-5)
