"""What `sysid train` does: by a config, or by looking at data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sysid.data.reading import Reading
from sysid.terminal import fail, json_rows, print_advice, print_json, print_scores, print_table

if TYPE_CHECKING:
    from sysid.experiment.auto import Automatic
    from sysid.experiment.run import Run

_SHOWN = 15  # candidates of an automatic search


def train_by_config(
    config: Path | None,
    overrides: Sequence[str],
    out: Path | None,
    device: str | None,
    resume: Path | None,
    data_dir: str | None,
    as_json: bool,
) -> None:
    """Train what a config describes and print what came of it."""
    from sysid.experiment.config import read_config
    from sysid.experiment.run import train_config

    changes = list(overrides)
    if device is not None:
        changes.append(f"training.device={device}")
    if config is None:
        if resume is None:
            raise ValueError("CONFIG must be given, unless --resume names a run directory")
        config = resume / "config.yaml"
    parsed = read_config(config, changes)
    run = train_config(
        parsed,
        resume if resume is not None else out,
        data_dir=data_dir,
        progress=False if as_json else None,
        resume=resume is not None,
    )
    if run is None:  # another process leads, and prints
        return
    if as_json:
        print_json(_document(run))
    else:
        _print_run(run, parsed.name)
    if run.result.stopped_because == "interrupted":
        fail(
            f"interrupted after epoch {len(run.result.history)}; the best model so far is kept; "
            f"go on with: sysid train --resume {run.directory}",
            1,
        )
    if run.result.stopped_because == "diverged":
        fail("training diverged; the best weights are kept; lower training.learning_rate", 1)


def train_automatically(
    sources: Sequence[str],
    tests: Sequence[str],
    reading: Reading,
    n_init: int | None,
    budget: float,
    out: Path | None,
    data_dir: str | None,
    as_json: bool,
) -> None:
    """Look at data, decide, train, and print what was tried and what came of it."""
    from sysid.experiment.auto import auto_sources

    if not sources:
        raise ValueError("DATA must be given with --auto, got no file")

    def tell(row: dict[str, Any]) -> None:
        if not as_json:
            print(
                f"{row['seconds']:8.1f} s  {row['valid_rmse']:10.5f}  {row['candidate']}",
                flush=True,
            )

    if not as_json:
        print("  seconds  free-run rmse / std of what is held out, and candidate")
    found = auto_sources(
        sources,
        tests,
        reading=reading,
        n_init=n_init,
        budget=budget,
        out=out,
        data_dir=data_dir,
        tell=tell,
    )
    if as_json:
        rows = json_rows(found.tried)
        print_json({"tried": rows, **_document(found.run), "warning": found.warning})
    else:
        _print_search(found)
    if found.warning:
        fail(found.warning, 1)


def _print_search(found: Automatic) -> None:
    rows = json_rows(found.tried)
    print_advice(found.advice)
    heads = list(found.tried.columns)
    cells = [[_text(v) for v in row.values()] for row in rows[:_SHOWN]]
    print_table(heads, cells, f"the best {len(cells)} of {len(rows)} candidates")
    _print_run(found.run, "auto")


def _text(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _files(run: Run) -> dict[str, Path]:
    files = {"run": "", "model": "model.safetensors", "figure": "simulation.png"}
    files["report"] = "report.html"
    paths = {label: run.directory / name for label, name in files.items()}
    return {label: path for label, path in paths.items() if path.exists()}


def _document(run: Run) -> dict[str, Any]:
    result = run.result
    return {
        "files": {k: str(v) for k, v in _files(run).items()},
        "seconds": run.seconds,
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "stopped_because": result.stopped_because,
        "optimiser": result.optimiser,
        "starts": json_rows(result.spread) if result.starts else [],
        "messages": list(result.messages),
        "failures": list(run.failures),
        "scores": json_rows(run.scores),
    }


def _print_run(run: Run, name: str) -> None:
    result = run.result
    for failure in run.failures:
        print(
            f"sysid: warning: {failure}; the training is finished, and its model is "
            f"{run.directory / 'model.safetensors'}",
            file=sys.stderr,
        )
    print_scores(run.scores, f"{name}: fit per output")
    print(
        f"{len(result.history)} epochs in {run.seconds:.1f} s, stopped because of "
        f"{result.stopped_because}, best epoch {result.best_epoch}"
    )
    print(f"optimiser: {result.optimiser}")
    if result.starts:
        print(result.spread.to_string(index=False))
    for label, path in _files(run).items():
        print(f"{label + ':':8}{path}")
