"""Fuzz advice, fit tables and reports with degenerate records: no traceback may come out.

    python tests/torture/fuzz_records.py [--seconds 600] [--seed 0]

Records are drawn by hypothesis from ``tests/degenerate.py``. Those that make anything fail are
printed with the traceback, each place once, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

from degenerate import everything, groups  # noqa: E402

from sysid.data.records import Record  # noqa: E402


class Fuzz:
    """What was tried until ``end``, and the places that failed."""

    def __init__(self, end: float, directory: Path) -> None:
        self.end, self.directory = end, directory
        self.tried = 0
        self.places: dict[str, str] = {}

    def attempt(self, records: list[Record]) -> None:
        if time.monotonic() > self.end:
            return
        self.tried += 1
        try:
            everything(records, self.directory)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            own = [f for f in frames if "sysid" in Path(f.filename).parts] or frames
            place = f"{own[-1].filename}:{own[-1].lineno}"
            if place not in self.places:
                self.places[place] = repr(error)
                print(f"{place}: {error!r}\n  {records}", flush=True)
                traceback.print_exc()

    def batch(self, number: int) -> None:
        """Try ten groups of records that a seed draws."""
        drawn = given(records=groups())(self.attempt)
        settled = settings(
            max_examples=10, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        seed(number)(settled(drawn))()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    number = options.seed
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(time.monotonic() + options.seconds, Path(folder))
        while time.monotonic() < fuzz.end:
            fuzz.batch(number)
            number += 1
    print(f"{fuzz.tried} groups of records tried, {len(fuzz.places)} places failed")
    for place, error in fuzz.places.items():
        print(f"  {place}: {error}")
    return int(bool(fuzz.places))


if __name__ == "__main__":
    sys.exit(main())
