"""What the command line prints: tables for people, JSON for programs."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn


def print_json(document: dict[str, Any]) -> None:
    """Print one document; a figure that is not finite must have been replaced."""
    print(json.dumps(document, indent=2, allow_nan=False))


def json_rows(scores: Any) -> list[dict[str, Any]]:
    """Return a table's rows with null where a figure is not finite."""
    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in scores.to_dict(orient="records")
    ]


def print_notes(notes: Sequence[str]) -> None:
    """Print what is to be known beside a result, on standard error."""
    for note in notes:
        print(f"sysid: note: {note}", file=sys.stderr)


def print_scores(scores: Any, title: str) -> None:
    """Print a fit table: coloured on a terminal, plain in a pipe."""
    if not len(scores):
        return
    import pandas as pd

    from sysid.analysis.compare import over_records

    scores = pd.concat([over_records(scores), scores], ignore_index=True)
    names = [c for c in ("part", "record", "output", "horizon", "model") if c in scores]
    notes = bool((scores["note"] != "").any())
    heads = [*names, "rmse", "nrmse", "fit_index %", "r2", *(["note"] if notes else [])]
    rows, before = [], None
    for row in scores.to_dict(orient="records"):
        fit = row["fit_index"]
        style = "green" if fit >= 90 else "yellow" if fit >= 70 else "red"
        group = tuple(str(row[n]) for n in names[:-1])
        cells = [
            *(group if group != before else [""] * len(group)),
            str(row["model"]),
            f"{row['rmse']:.5g} {row['unit']}".strip(),
            f"{row['nrmse']:.4f}",
            f"[{style}]{fit:.2f}[/]" if math.isfinite(fit) else "undefined",
            f"{row['r2']:.4f}",
        ]
        rows.append(cells + ([row["note"]] if notes else []))
        before = group
    print_table(heads, rows, title, right=range(len(names), len(names) + 4))
    each = scores[~scores["record"].str.startswith("all ")]
    starts = {str(row["record"]): row["n_init"] for row in each.to_dict(orient="records")}
    if len(set(starts.values())) == 1:
        print(starts_words(next(iter(starts.values()))))
    else:
        print("Runs start from measured samples, which are not scored: " + ", ".join(
            f"{n} of {name}" for name, n in starts.items()
        ) + ".")  # fmt: skip


def starts_words(n_init: int) -> str:
    """Say from what a model and its baselines start, and what counts."""
    if not n_init:
        return "Runs start without a measured sample, and all samples are scored."
    return f"Runs start from the first {n_init} measured samples, which are not scored."


def print_advice(advice: Any) -> None:
    """Print findings, worst first, each with what it means and what to do."""
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    styles = {"problem": "bold red", "warning": "yellow", "note": "cyan"}
    for f in advice.merged():
        where = " ".join(p for p in (f.record, f.channel) if p)
        console.print(f"[{styles[f.level]}]{f.level}[/] [bold]{f.topic}[/] ({where}): {f.found}.")
        console.print(f"    {f.means} {f.do}")
    if advice.suggestion is not None:
        s = advice.suggestion
        console.print(
            f"[bold]suggested[/]: nk={s.nk}, na={s.na}, nb={s.nb}; windows of length={s.length} "
            f"with washout={s.washout}"
        )
        if len(set(s.delays.values())) > 1:
            console.print("    delays: " + ", ".join(f"{u} {lag}" for u, lag in s.delays.items()))


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], title: str, right: Iterable[int] = ()
) -> None:
    """Print a table; cells may hold rich's markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width: the table takes what it needs.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    aligned = set(right)
    for i, head in enumerate(heads):
        table.add_column(head, justify="right" if i in aligned else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def fail(message: str, code: int) -> NoReturn:
    """Say why in one line and end with an exit code."""
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes one speaks for all
        print(f"sysid: {message}", file=sys.stderr)
    raise SystemExit(code)
