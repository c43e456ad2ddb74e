"""The notebooks run from their scripts, and what is committed is what the scripts give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml

FOLDER = Path(__file__).parents[1] / "notebooks"
SCRIPTS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
QUICK = ("02_backpropagation",)
each = pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str, list[str]]]:
    return [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in notebook.cells]


def execute(name: str) -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / "execute.py", "--check", name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_there_are_nine() -> None:
    assert [s.stem[:2] for s in SCRIPTS] == [f"0{i}" for i in range(1, 10)]


@each
def test_both_files_of_a_pair_have_the_same_cells(script: Path) -> None:
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    assert cells(notebook) == cells(jupytext.read(script))


@each
def test_a_committed_notebook_was_executed_in_order_and_fits_as_stored(script: Path) -> None:
    sys.path.insert(0, str(FOLDER))
    try:
        from execute import differences, figures_of_merit
    finally:
        sys.path.remove(str(FOLDER))
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    counts = [c.execution_count for c in notebook.cells if c.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    stored = yaml.safe_load((FOLDER / "figures.yaml").read_text())
    assert differences(script.stem, figures_of_merit(notebook), stored) == []


def test_the_committed_notebooks_are_small() -> None:
    assert sum(s.with_suffix(".ipynb").stat().st_size for s in SCRIPTS) < 6e6


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_notebook_runs(name: str) -> None:
    execute(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [s.stem for s in SCRIPTS if s.stem not in QUICK])
def test_a_long_notebook_runs(name: str) -> None:
    execute(name)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import warnings; warnings.warn('of ours')", "standard error must be empty"),
        ('# %% [markdown]\n# <details>\n#\n# ```python\n# 1 / 0\n# ```\n#\n# </details>',
         "ZeroDivisionError"),
        ("pass", "tagged figures"),
        ("# %% tags=[\"figures\"]\n{'model': 80.0}", r"model must be 90 \+- 2 %, got 80.0"),
        ("# %% tags=[\"figures\"]\n{'other': 90.0}", "must name the figures"),
    ],
)  # fmt: skip
def test_a_bad_notebook_is_refused(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import execute as runner

    script = tmp_path / "01_bad.py"
    script.write_text(f"# %%\n{code}\n" if not code.startswith("# %%") else f"{code}\n")
    (tmp_path / "figures.yaml").write_text("01_bad: {model: [90, 2]}\n")
    monkeypatch.setattr(runner, "HERE", tmp_path)
    with pytest.raises(runner.NotebookError, match=message):
        runner.run(script, write=True)
    assert not script.with_suffix(".ipynb").exists()


def test_a_good_notebook_is_written_and_a_busy_machine_is_no_fault_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import execute as runner

    script = tmp_path / "01_good.py"
    slow = "import warnings; warnings.warn(\"Creating legend with loc='best' can be slow\")"
    script.write_text(f"# %%\n{slow}\n\n# %% tags=[\"figures\"]\n{{'model': 91.0}}\n")
    (tmp_path / "figures.yaml").write_text("01_good: {model: [90, 2]}\n")
    monkeypatch.setattr(runner, "HERE", tmp_path)
    runner.run(script, write=True)
    assert cells(nbformat.read(script.with_suffix(".ipynb"), 4)) == cells(jupytext.read(script))


def test_a_relative_data_folder_is_that_of_the_caller(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """A kernel runs in a folder of its own."""
    monkeypatch.syspath_prepend(FOLDER)
    from execute import data_folder

    monkeypatch.delenv("SYSID_DATA", raising=False)
    assert data_folder() == {}
    monkeypatch.setenv("SYSID_DATA", "somewhere")
    assert data_folder() == {"SYSID_DATA": str(Path("somewhere").resolve())}
