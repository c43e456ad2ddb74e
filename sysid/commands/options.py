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
    bool,
    typer.Option(
        "--json", help="Print one JSON document and nothing else.", rich_help_panel="Other"
    ),
]
DataDirOption = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Folder that is searched for benchmark files first.",
        rich_help_panel="Other",
    ),
]
InitOption = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Measured samples that a simulation starts from, which are not scored."
    ),
]
HorizonsOption = Annotated[
    str,
    typer.Option(
        metavar="LIST", help="Steps ahead, separated by commas; simulation is the free run."
    ),
]
DATA_HELP = "Data files, or the name of an official benchmark for its test records."
ADVICE_HELP = "Data files, or the name of an official benchmark for its training records."
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a config key.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run directory or model file.")]
OutputOption = Annotated[
    Path, typer.Option("-o", "--output", metavar="FILE", help="File to write.")
]


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
                    "--" + f.name.replace("_", "-"),
                    help=_sentence(f.metadata["description"]),
                    metavar=f.metadata["word"],
                    rich_help_panel="How to read data files",
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


class Command(TyperCommand):
    """A command whose help has groups, and whose options of files take all that follow.

    Options of files are those with ``...`` in their metavar. A shell turns ``--test test*.csv``
    into ``--test test1.csv test2.csv``: the second file belongs to the option as the first does.
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

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then the options of each group, in the order of the command."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            if option.param_type_name == "argument":
                groups.setdefault("Arguments", []).append(
                    (_word(option), getattr(option, "help", ""))
                )
            elif (record := option.get_help_record(ctx)) is not None:
                title = getattr(option, "rich_help_panel", None) or "Options"
                groups.setdefault(title, []).append(record)
        if "Options" in groups:  # what is the command's own stands before what many have
            groups = {k: groups[k] for k in sorted(groups, key=_place)}
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line; an argument that may be left out is in brackets."""
        words = []
        for p in self.get_params(ctx):
            if p.param_type_name == "argument":
                words.append(_word(p) if p.required else f"[{_word(p)}]")
            elif p.required:
                words.append(f"{p.opts[0]} {_word(p)}")
        return [*words, "[OPTIONS]"]


def _word(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _place(title: str) -> int:
    return {"Arguments": 0, "Options": 1, "Other": 3}.get(title, 2)


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
