"""The command that shows records before any training: plot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sysid.commands.options import ADVICE_HELP, DataDirOption, JsonOption
from sysid.data.reading import Reading
from sysid.terminal import print_json


def plot(
    *,
    reading: Reading,
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help=ADVICE_HELP)],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Page to write, NAME.html.")
    ] = Path("data.html"),
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw data files on one page: channels over time, spectra, histograms, missing samples.

    Where no columns are named and none is called u or y, all are drawn. The page needs no network
    and no other file. It says, too, what sysid advice says.
    """
    from sysid.analysis.data_page import write_data_page
    from sysid.experiment.data import drawable, read_training

    if output.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"The page is HTML: give -o a name that ends in .html, not {output}.")
    records = read_training(data, drawable(data, reading), data_dir)
    title = records[0].name if len(records) == 1 else f"{len(records)} records"
    write_data_page(output, records, title or "Record")
    if as_json:
        print_json({"output": str(output), "records": len(records)})
    else:
        print(f"{len(records)} record{'s' * (len(records) > 1)} drawn on {output}")
