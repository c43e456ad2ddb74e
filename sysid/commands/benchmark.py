"""The command that runs the shipped recipes on the official benchmarks: benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sysid.commands.options import DataDirOption, JsonOption
from sysid.terminal import print_json, print_table


def benchmark(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Benchmarks; all without it.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="MINUTES", help="Most training time of each seed.")
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="CONFIG", help="A YAML config in place of the shipped recipe."),
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="N", help="How many seeds to train from.")] = 3,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Results directory; finished runs in it are taken as they are."
        ),
    ] = Path("runs/benchmark"),
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the shipped recipes and print their test errors beside the published ones.

    The test records decide nothing. The results directory holds every run, the recipes,
    results.json and benchmarks.md; the same command goes on where it was stopped.
    """
    from sysid.data.published import PUBLISHED
    from sysid.experiment.benchmark import PAGE_FILE, run_benchmarks, table_rows

    result = run_benchmarks(
        names or [],
        out,
        recipe=recipe,
        seeds=seeds,
        minutes=budget,
        data_dir=data_dir,
        progress=False if as_json else None,
    )
    if as_json:
        print_json(result.document())
        return
    for found in result.sets:
        table, records = PUBLISHED[found.recipe.name], list(found.runs[0].rmse)
        heads = ["model", *(f"{r}, {table.unit}" for r in records), "source"]
        seconds = ", ".join(f"{run.seconds:.0f}" for run in found.runs)
        print_table(heads, table_rows(found), f"{table.title}: free run, test RMSE")
        print(f"{seconds} s on {result.machine['processor']}, {result.machine['cores']} cores\n")
    print(f"results: {result.directory / PAGE_FILE}")
