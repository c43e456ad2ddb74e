"""Time and peak memory of reading many text files, one after the other and side by side.

    python benchmarks/read_many.py [--files 200] [--megabytes 10] [--workers N]

The files are made first, in a folder that is deleted in the end. Peak memory is that of this
process and of those it started, all together; the size of the records alone is printed beside it.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

import sysid

_CHANNELS = 4


def make_files(folder: Path, count: int, megabytes: float) -> int:
    """Write logs of equal size with their time; return the bytes of all."""
    size = len(_text(4000)) / 4000
    text = "t,u1,u2,y1,y2\n" + _text(int(megabytes * 1e6 / size))
    for run in range(count):
        (folder / f"run{run}.csv").write_text(text)
    return count * len(text)


def _text(samples: int) -> str:
    """Return lines of a time and random numbers."""
    rows = np.random.default_rng(0).standard_normal((samples, _CHANNELS))
    numbers = (",".join(f"{v:.6f}" for v in row) for row in rows)
    return "".join(f"{0.001 * k:.3f},{row}\n" for k, row in enumerate(numbers))


class Peak:
    """The most memory that this process and its children have had together, in bytes."""

    def __enter__(self) -> Peak:
        self.bytes, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._over.wait(0.05):
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.bytes = max(self.bytes, total)


def main() -> None:
    """Print a row for each way of reading."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        total = make_files(folder, arguments.files, arguments.megabytes)
        print(f"{arguments.files} files, {total / 1e6:.0f} MB, {psutil.cpu_count()} processors")
        print("workers    seconds    MB/s    peak MB    records MB")
        for workers in (1, arguments.workers or psutil.cpu_count()):
            with Peak() as peak:
                start = time.perf_counter()
                records = sysid.read_many(folder, workers=workers)
                seconds = time.perf_counter() - start
            held = sum(r.u.nbytes + r.y.nbytes for r in records) / 1e6
            print(
                f"{workers:7} {seconds:10.1f} {total / 1e6 / seconds:7.1f} {peak.bytes / 1e6:10.0f}"
                f" {held:13.0f}"
            )
            del records


if __name__ == "__main__":
    main()
