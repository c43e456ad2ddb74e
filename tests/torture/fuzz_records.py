"""Fuzz advice, fit tables and reports with degenerate records: no traceback may come out.

    python tests/torture/fuzz_records.py [--seconds 600] [--seed 0]

Records are drawn by hypothesis from ``tests/degenerate.py``; those that make anything fail are
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from degenerate import everything, groups


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    end, number, tried = time.monotonic() + options.seconds, options.seed, 0
    places: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            number += 1

            @seed(number)
            @settings(
                max_examples=10, deadline=None, database=None, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(records=groups())
            def attempt(records: list) -> None:
                nonlocal tried
                if time.monotonic() > end:
                    return
                tried += 1
                try:
                    everything(records, Path(folder))
                except Exception as error:
                    frame = traceback.extract_tb(error.__traceback__)[-1]
                    own = [
                        f
                        for f in traceback.extract_tb(error.__traceback__)
                        if "sysid" in f.filename
                    ]
                    place = f"{(own or [frame])[-1].filename}:{(own or [frame])[-1].lineno}"
                    if place not in places:
                        places[place] = repr(error)
                        print(f"{place}: {error!r}\n  seed {number}, {records}", flush=True)
                        traceback.print_exc()

            attempt()
    print(f"{tried} groups of records tried, {len(places)} places failed")
    for place, error in places.items():
        print(f"  {place}: {error}")
    return bool(places)


if __name__ == "__main__":
    sys.exit(main())
