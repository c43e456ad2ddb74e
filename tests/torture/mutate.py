"""Change the code in one place at a time and see whether a test notices.

    python tests/torture/mutate.py [--sample 250] [--seed 0] [--only PATTERN]...

mutmut makes the mutants and finds out which tests reach which function; here they run, the
fastest first, until one fails. Of ``data/`` a random sample is taken, of the other two places
everything. A mutant that runs for ever is one that is noticed; that is told from a busy machine
by seconds of the processor, and, where it waits, by its own count of them.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import random
import resource
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
from mutmut import __main__ as mutmut
from mutmut.runners.harness import PytestRunner
from mutmut.state import state
from mutmut.utils.format_utils import mangled_name_from_mutant_name
from mutmut.workers.isolation import ForkServerRunner

PLACES = {
    "data": "sysid.data.*",
    "metrics": "sysid.metrics.*",
    "losses": "sysid.training.losses.*",
}
SAMPLED = "data"
_REQUIRED = 90  # percent
_TESTS = 90.0  # seconds of tests for one mutant, beyond the first
_LIMIT = 300  # seconds of the processor
_WAITING = 60  # seconds in which nothing was done
_WAITED = 77  # exit code
_ENDS = {0: "survived", 1: "killed", 33: "no test", -24: "killed", _WAITED: "killed"}


class Limited(PytestRunner):
    """Runs the tests of a mutant in its process, which ends where they never do."""

    def run_tests(self, *, mutant_name: str | None, tests: Iterable[str]) -> int:
        """Return pytest's exit code, or ``_WAITED``."""
        limit = int(time.process_time()) + _LIMIT
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        threading.Thread(target=_end_what_waits, daemon=True).start()
        return super().run_tests(mutant_name=mutant_name, tests=tests)


def _end_what_waits() -> None:
    """End the process once it has waited long; while it is stopped, this thread is as well."""
    idle, before = 0, 0.0
    while idle < _WAITING:
        time.sleep(1)
        now = _work_of_others()
        idle, before = (idle + 1 if now - before < 0.001 else 0), now
    os._exit(_WAITED)


def _work_of_others() -> float:
    """Seconds that the other threads and the processes below this one have worked."""
    below = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            below += sum(process.cpu_times()[:2])
    return time.process_time() - time.thread_time() + below


def prepare() -> list[str]:
    """Write the mutants and find their tests, as far as that is not done; return their names."""
    Path("mutants").mkdir(exist_ok=True)
    mutmut.set_mutant_under_test("mutant_generation")
    with redirect_stdout(StringIO()):
        mutmut.copy_src_dir()
        mutmut.copy_also_copy_files()
        mutmut.setup_source_paths()
        mutmut.create_mutants(1)
    os.environ["PYTHONPATH"] = str(Path("mutants").absolute())  # of the processes of tests too
    mutmut.collect_or_load_stats(ForkServerRunner(1, Limited, {}))
    mutants, _ = mutmut.collect_source_file_mutation_data(mutant_names=())
    return sorted(name for _, name, _ in mutants)


def tests_of(name: str) -> list[str]:
    """Return the tests that reach a mutant, fastest first, up to a sum of their seconds."""
    reaching = state().tests_by_mangled_function_name.get(mangled_name_from_mutant_name(name), ())
    seconds = state().duration_by_test
    tests: list[str] = []
    total = 0.0
    for test in sorted(reaching, key=lambda test: (seconds[test], test)):
        total += seconds[test]
        if tests and total > _TESTS:
            break
        tests.append(test)
    return tests


def run(names: list[str], processes: int) -> dict[str, str]:
    """Return what became of each mutant."""
    runner = ForkServerRunner(processes, Limited, {})
    ends: dict[str, str] = {}

    def take(result: Any) -> None:
        end = _ENDS.get(result.exit_code, f"exit code {result.exit_code}")
        ends[result.mutant_name] = end
        print(f"{len(ends)}/{len(names)} {end}: {result.mutant_name}", flush=True)

    runner.startup()
    for name in names:
        while not runner.has_capacity():
            take(runner.wait_for_result())
        # The runner's own limits are by the clock on the wall: far away.
        runner.submit(name, tests_of(name), cpu_time_limit=10**6, estimated_time=0)
    runner.signal_work_complete()
    while runner.pending_count():
        take(runner.wait_for_result())
    runner.shutdown()
    return ends


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sample", type=int, default=250, help=f"mutants of {SAMPLED}; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", nargs="*", default=[], help="names, or patterns of names")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    names = prepare()
    chosen: dict[str, list[str]] = {}
    for place, pattern in PLACES.items():
        there = fnmatch.filter(names, pattern)
        if arguments.only:
            there = [n for n in there if any(fnmatch.fnmatch(n, p) for p in arguments.only)]
        chosen[place] = there
        if place == SAMPLED and 0 < arguments.sample < len(there):
            chosen[place] = random.Random(arguments.seed).sample(there, arguments.sample)
        print(f"{place}: {len(chosen[place])} of {len(there)} mutants", flush=True)
    ends = run([n for place in reversed(PLACES) for n in chosen[place]], arguments.processes)
    print("\nNot killed (mutmut show NAME):")
    for name in sorted(ends):
        if ends[name] != "killed":
            print(f"  {ends[name]}: {name}")
    enough = True
    for place, of_place in chosen.items():
        if of_place:
            killed = Counter(ends[n] for n in of_place)["killed"]
            percent = 100 * killed / len(of_place)
            enough &= percent >= _REQUIRED
            print(f"{place}: {killed} of {len(of_place)} killed, {percent:.1f} %")
    raise SystemExit(0 if enough else 1)


if __name__ == "__main__":
    main()
