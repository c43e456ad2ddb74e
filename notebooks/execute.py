"""Execute the notebooks from their scripts and hold them to their figures of merit.

Each notebook is a pair: a script in jupytext's percent format, which is what one edits, and the
.ipynb with its outputs, which is what one reads. A notebook fails that raises, that writes to
standard error (where warnings go), whose answers to exercises raise, that takes more than two
minutes of two cores, or whose figures of merit are not those of figures.yaml.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).parent
CPU_SECONDS = 240.0  # two minutes of two cores
_ENVIRONMENT = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    # It says that the machine is busy, and nothing of the notebook.
    "PYTHONWARNINGS": "ignore:Creating legend with loc:UserWarning",
}
_ANSWER = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)


class NotebookError(Exception):
    """What is wrong with a notebook."""


def scripts() -> list[Path]:
    """Return the scripts, in the order of the course."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


def read_script(script: Path) -> nbformat.NotebookNode:
    """Return the notebook of a script, without outputs; its cells are numbered."""
    notebook = jupytext.read(script)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # random otherwise, and then each run would be a change
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    return notebook


def answers(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the code in the folded answers, which is executed but not shown."""
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    return _ANSWER.findall(text)


def execute(notebook: nbformat.NotebookNode) -> float:
    """Execute a notebook in place, in a fresh kernel and an empty folder.

    Returns:
        the processor time that it took, s.

    Raises:
        NotebookError: if a cell or an answer raises, or writes to standard error.
    """
    shown = len(notebook.cells)
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in answers(notebook)]
    before = _cpu_of_children()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=1800,
            kernel_name="python3",
            extra_arguments=["--log-level=ERROR"],  # else: a warning that TCP is not encrypted
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute(env={**os.environ, **_ENVIRONMENT, **data_folder()})
        except (CellExecutionError, TimeoutError) as error:
            raise NotebookError(str(error)) from None
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                raise NotebookError(f"standard error must be empty, got {output.text}")
    del notebook.cells[shown:]
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
    return _cpu_of_children() - before


def data_folder() -> dict[str, str]:
    """SYSID_DATA from where the kernel runs, which is another folder."""
    folder = os.environ.get("SYSID_DATA")
    return {"SYSID_DATA": str(Path(folder).resolve())} if folder else {}


def figures_of_merit(notebook: nbformat.NotebookNode) -> dict[str, float]:
    """Return what the cell tagged ``figures`` shows: the fits in percent by name."""
    for cell in notebook.cells:
        if "figures" in cell.metadata.get("tags", []):
            return dict(ast.literal_eval(cell.outputs[-1]["data"]["text/plain"]))
    raise NotebookError("a notebook must have a code cell tagged figures, got none")


def differences(name: str, found: dict[str, float], stored: dict[str, Any]) -> list[str]:
    """Return where figures of merit are not those stored for a notebook.

    Where it can run on one of two data sets, there are two sections of stored figures, told
    apart by the names in them.
    """
    sections = [v for k, v in stored.items() if k.split()[0] == name]
    section = next((s for s in sections if s.keys() == found.keys()), None)
    if section is None:
        return [f"figures.yaml must name the figures {sorted(found)} of {name}"]
    return [
        f"{figure} must be {fit} +- {tolerance} %, got {found[figure]}"
        for figure, (fit, tolerance) in section.items()
        if not abs(found[figure] - fit) <= tolerance
    ]


def run(script: Path, write: bool) -> None:
    """Execute one notebook, check it, print a line on it, and write it if asked to.

    Raises:
        NotebookError: if something is wrong; the .ipynb is then left as it was.
    """
    notebook = read_script(script)
    seconds = execute(notebook)
    found = figures_of_merit(notebook)
    print(f"{script.stem:20} {seconds:6.1f} s of processor time  {found}", flush=True)
    stored = yaml.safe_load((HERE / "figures.yaml").read_text())
    wrong = differences(script.stem, found, stored)
    if seconds > CPU_SECONDS:
        wrong.append(f"processor time must be at most {CPU_SECONDS:g} s, got {seconds:.0f}")
    if wrong:
        raise NotebookError("\n".join(wrong))
    if write:
        nbformat.write(notebook, script.with_suffix(".ipynb"))


def main() -> int:
    """Execute the notebooks named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="such as 03_narx; all by default")
    parser.add_argument("--check", action="store_true", help="leave the .ipynb files as they are")
    options = parser.parse_args()
    chosen = [s for s in scripts() if not options.names or s.stem in options.names]
    if missing := set(options.names) - {s.stem for s in chosen}:
        parser.error(f"names must be those of scripts here, got {', '.join(sorted(missing))}")
    failed = 0
    for script in chosen:
        try:
            run(script, write=not options.check)
        except NotebookError as error:
            failed += 1
            print(f"{script.stem}: {error}", file=sys.stderr)
    return min(failed, 1)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    raise SystemExit(main())
