"""How long the report of a run on 78 800 samples takes to open in a browser, and its size.

The time is from the request to the first drawn timeline, the median of seven openings of a browser
that runs already. Exit code 1 where that is more than 3 s, or the file more than 5 MB. It needs
chromium and playwright. Run: python benchmarks/report_page.py
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sysid.experiment.config import Config
from sysid.experiment.run import train_config

SAMPLES, OPENINGS = 78_800, 7
LIMIT, MOST_BYTES = 3.0, 5_000_000
DRAWN = (
    "window.Bokeh && Bokeh.documents.map((d) => d.get_model_by_name('timeline-0-measured'))"
    ".find((m) => m)?.data.x.length > 2"
)


def report(folder: Path) -> Path:
    """Train for one epoch and return the report."""
    config = Config(
        name="page",
        data={"source": "system", "name": "wiener_hammerstein", "samples": SAMPLES},
        model={"kind": "lstm", "hidden_size": 8},
        training={"length": 200, "stride": 200, "washout": 80, "max_epochs": 1},
    )
    train_config(config, folder / "run", progress=False)
    return folder / "run" / "report.html"


def openings(path: Path) -> list[float]:
    """Return the seconds that each opening took."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    browser_path = next(filter(None, map(shutil.which, names)), None)
    seconds = []
    with sync_playwright() as playwright:
        # Without --no-sandbox it does not start as root.
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for _ in range(OPENINGS):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            started = time.perf_counter()
            page.goto(path.as_uri())
            page.evaluate("document.querySelector('#simulation').scrollIntoView()")
            page.wait_for_function(DRAWN, polling=20)
            seconds.append(time.perf_counter() - started)
            page.close()
        browser.close()
    return seconds


def main() -> int:
    """Print size and times."""
    with tempfile.TemporaryDirectory() as folder:
        path = report(Path(folder))
        size, seconds = path.stat().st_size, openings(path)
    median = statistics.median(seconds)
    print(f"size: {size / 1e6:.2f} MB (limit {MOST_BYTES / 1e6:g})")
    print(
        f"open to the first timeline: median {median:.2f} s of {OPENINGS} "
        f"({min(seconds):.2f} to {max(seconds):.2f}; limit {LIMIT:g})"
    )
    return int(median > LIMIT or size > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
