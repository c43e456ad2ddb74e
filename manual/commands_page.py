"""Writes docs/reference/commands.md, every command with its arguments, from the command line.

Run it after a change of a command: ``python manual/commands_page.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from sysid.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "commands.md"

HEAD = """# Commands

`sysid COMMAND --help` says the same as this page, which `python manual/commands_page.py` writes
from the command line itself. RUN is a run directory or a model file. Where columns are not named,
those called `u`, `u1`, `u2`, ... are inputs, `y`, `y1`, ... outputs, and `t` or `time` the time
stamps.

With `--json`, a command prints one JSON document on standard output and nothing else there.
Exit codes: 0 done; 1 the work failed (a training diverged, say); 2 the request was wrong. An error
is one or two lines that say what to do; `sysid --debug COMMAND ...` shows the traceback.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")


def page() -> str:
    """Return the page as Markdown."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("sysid", [], resilient_parsing=True)
    return "\n".join([HEAD, *(_section(n, c, context) for n, c in group.commands.items())])


def _section(name: str, command: Any, parent: Any) -> str:
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    example = (command.epilog or "").removeprefix("Example: ")
    parameters = [p for p in command.get_params(context) if p.name != "help"]
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"## sysid {name}", "", *(command.help or "").splitlines(), ""]
    lines += ["```text", f"sysid {name} {usage}", "```", "", f"Example: `{example}`", ""]
    lines += ["| argument | meaning | default |", "|---|---|---|"]
    return "\n".join([*lines, *map(_row, parameters)]) + "\n"


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _row(parameter: Any) -> str:
    names = ", ".join(f"`{n}`" for n in parameter.opts)
    if _is_argument(parameter):
        names = f"`{parameter.metavar}`"
    default = parameter.default
    shown = "" if default is None or default is False else f"`{default}`"
    if parameter.required:
        shown = "required"
    return f"| {names} | {getattr(parameter, 'help', '') or ''} | {shown} |"


if __name__ == "__main__":
    main()
