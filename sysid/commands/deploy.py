"""Commands that put a trained model to use: export and smooth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sysid.commands.options import (
    JsonOption,
    OutputOption,
    RunArgument,
)
from sysid.data.reading import Reading
from sysid.terminal import print_json


def export(
    run: RunArgument,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="File to write, NAME.c or NAME.onnx."),
    ],
    format: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="c or onnx; as the file's name says without it."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(metavar="NAME", help="double or float, of C code.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model as C code or as ONNX graphs, for where there is no Python."""
    from sysid.experiment.deployment import export_run

    files = export_run(run, output, format, dtype)
    if as_json:
        print_json({"files": [str(f) for f in files]})
    else:
        for file in files:
            print(file)


def smooth(
    *,
    reading: Reading,
    run: RunArgument,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A data file; outputs may be missing.")
    ],
    output: OutputOption,
    keep: Annotated[
        bool, typer.Option("--keep-measured", help="Only fill what is missing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Reconstruct missing outputs of a file and denoise the others, by a model that smooths."""
    from sysid.data.files import write
    from sysid.experiment.deployment import smooth_file

    smoothed, missing = smooth_file(run, data, reading, keep)
    write(smoothed, output)
    if as_json:
        print_json({"output": str(output), "samples": len(smoothed), "missing": missing})
    else:
        names = ", ".join(smoothed.y_names)
        print(f"{len(smoothed)} samples of {names} written to {output}, {missing} were missing")
