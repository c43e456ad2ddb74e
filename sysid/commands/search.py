"""The command that searches: sweep."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from sysid.commands.options import DataDirOption, JsonOption, SetOption
from sysid.terminal import json_rows, print_json, print_table

SHOWN = 10


def sweep(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A YAML config with a sweep section.")
    ],
    overrides: SetOption = None,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes on this machine.")] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Database that several machines share, postgresql://user@host/name."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Directory to write, or to go on in; runs/NAME-sweep."),
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search a config's space for what simulates the validation data best; run again to go on."""
    from sysid.experiment.config import read_config
    from sysid.experiment.sweep import run_sweep

    parsed = read_config(config, list(overrides or []))
    found = run_sweep(parsed, out, storage=storage, workers=workers, data_dir=data_dir)
    best = None if found.best is None else str(found.best)
    if as_json:
        rows = json_rows(found.trials)
        print_json(
            {"best": best, "directory": str(found.directory), **found.counts, "trials": rows}
        )
    else:
        shown = found.trials.head(SHOWN)
        cells = [[_text(v) for v in row] for row in shown.itertuples(index=False)]
        print_table(list(shown.columns), cells, f"{parsed.name}: the best {len(shown)} trials")
        print(", ".join(f"{count} {name}" for name, count in found.counts.items()))
        print(f"table: {found.directory / 'trials.csv'}")
        if best is not None:
            print(f"best:  {best}")
    if best is None:
        reasons = found.trials["reason"]
        print(f"sysid: no trial was completed: {reasons.iloc[0]}", file=sys.stderr)
        raise SystemExit(1)


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.5g}"
    return str(value)
