"""Runs benchmarks and writes what they print into docs/performance.md, a section for each.

A section of a script that was not asked for, or that finds no GPU, stays as it was.
Run: python benchmarks/write_page.py [SCRIPT]...
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
SCRIPTS = {
    "recurrences.py": "Compiled recurrences",
    "rivals.py": "Peers with an environment of their own",
    "levenberg_marquardt.py": "Levenberg-Marquardt beside Adam",
    "multistart.py": "Several starts",
    "larger_than_memory.py": "Records larger than memory",
    "trainer_overhead.py": "The loop around a step",
    "gpu.py": "On a GPU",
}


def processor() -> str:
    """Return the processor's name, as far as the system tells."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def section(title: str, script: str, printed: str) -> str:
    """Return a section of the page."""
    machine = (
        f"{torch.get_num_threads()} threads of {processor()}, Python {platform.python_version()}"
    )
    return (
        f"## {title}\n\n`python benchmarks/{script}`, {date.today()}, sysid {version('sysid')}, "
        f"torch {torch.__version__}, {machine}:\n\n```text\n{printed.strip()}\n```\n"
    )


def main(chosen: list[str]) -> int:
    """Run scripts one after the other; a limit that is missed is an exit code of 1."""
    missed = 0
    for script in chosen or list(SCRIPTS):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", HERE / script], stdout=subprocess.PIPE, text=True
        )
        print(done.stdout, flush=True)
        missed |= done.returncode
        if script == "gpu.py" and not torch.cuda.is_available():
            continue
        title = SCRIPTS[script]
        page = PAGE.read_text(encoding="utf-8")
        own = section(title, script, done.stdout)
        old = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
        if old.search(page):
            page = old.sub(lambda _: own + "\n", page)  # noqa: B023
        else:
            page = f"{page.rstrip()}\n\n{own}"
        PAGE.write_text(page.rstrip() + "\n", encoding="utf-8")
    return int(bool(missed))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
