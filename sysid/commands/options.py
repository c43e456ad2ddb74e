"""Options that several commands have, and how their text is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else.")
]
DataDirOption = Annotated[
    str | None, typer.Option(help="Where benchmark files are looked for first.")
]
ColumnsU = Annotated[str | None, typer.Option("--u", help="Input columns, with commas.")]
ColumnsY = Annotated[str | None, typer.Option("--y", help="Output columns, with commas.")]
TimeOption = Annotated[str | None, typer.Option("--time", help="Column of time stamps.")]
StepOption = Annotated[float | None, typer.Option(help="Seconds between samples.")]
InitOption = Annotated[
    int | None, typer.Option(help="Samples to start from, not scored; as in the file without it.")
]
HorizonsOption = Annotated[
    str, typer.Option(help="Steps ahead, with commas; simulation is the free run.")
]
DATA_HELP = "Data files, or the name of an official benchmark for its test records."
ADVICE_HELP = "Data files, or the name of an official benchmark for its training records."
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a config key.")
]
RunArgument = Annotated[str, typer.Argument(help="A run directory or model file.")]
OutputOption = Annotated[Path, typer.Option("-o", "--output", help="File to write.")]


def parse_horizons(text: str) -> list[int | str]:
    """Return steps ahead, and ``"simulation"``, from text with commas."""
    try:
        return [h if h == "simulation" else int(h) for h in split_names(text) or []]
    except ValueError:
        raise ValueError(
            f'horizons must be whole numbers or "simulation", with commas, got {text!r}'
        ) from None


def split_names(names: str | None) -> list[str] | None:
    """Return names from text with commas."""
    return None if names is None else [n.strip() for n in names.split(",") if n.strip()]
