"""Options that several commands have, and how their words are gathered."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from sysid.data.reading import Reading

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else.")
]
DataDirOption = Annotated[
    str | None, typer.Option(help="Where benchmark files are looked for first.")
]
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
        words = (h.strip() for h in text.split(","))
        return [h if h == "simulation" else int(h) for h in words if h]
    except ValueError:
        raise ValueError(
            f'horizons must be whole numbers or "simulation", with commas, got {text!r}'
        ) from None


def reads_files(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of ``Reading``, and hand it ``reading``."""
    hints = get_type_hints(Reading)

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        reading = Reading(**{f.name: given.pop(f.name) for f in fields(Reading)})
        command(reading=reading, **given)

    own = inspect.signature(command, eval_str=True).parameters.values()
    options = [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                hints[f.name],
                typer.Option(
                    "--" + f.name.replace("_", "-"), help=_sentence(f.metadata["description"])
                ),
            ],
        )
        for f in fields(Reading)
    ]
    parameters = [
        *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own if p.name != "reading"),
        *options,
    ]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _sentence(description: str) -> str:
    return description[0].upper() + description[1:] + "."


class FilesCommand(TyperCommand):
    """A command whose options of files, those with ``...`` in their metavar, take all that follow.

    A shell turns ``--test test*.csv`` into ``--test test1.csv test2.csv``: the second file
    belongs to the option as the first does.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse words after the option has been put before each of its files."""
        greedy = {
            name
            for option in self.params
            if (getattr(option, "metavar", None) or "").endswith("...")
            for name in option.opts
            if name.startswith("-")
        }
        return super().parse_args(ctx, gathered(args, greedy))


def gathered(args: Sequence[str], greedy: set[str]) -> list[str]:
    """Repeat a greedy option before each word that follows it, up to the next option.

    Example:
        >>> gathered(["run", "--test", "a.csv", "b.csv", "--budget", "3"], {"--test"})
        ['run', '--test', 'a.csv', '--test', 'b.csv', '--budget', '3']
    """
    out: list[str] = []
    option = ""
    for i, word in enumerate(args):
        if word == "--":
            return [*out, *args[i:]]
        if word.startswith("-") and word != "-":
            option = word if word in greedy else ""
        elif option and out[-1] != option:
            out.append(option)
        out.append(word)
    return out
