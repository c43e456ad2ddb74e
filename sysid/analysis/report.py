"""The report: one HTML page that stands alone, of what was trained and how good it is."""

from __future__ import annotations

import base64
import html
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --line: #d0d0d0; --soft: #f4f4f4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16181c; --line: #3a3d44; --soft: #1f2227; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: left; }
td.number, th.number { text-align: right; }
figure { margin: 1.5rem 0; }
figure img { width: 100%; height: auto; background: #fff; border-radius: 4px; }
pre { background: var(--soft); padding: 1rem; overflow-x: auto; border-radius: 4px; }
@media print { body { max-width: none; } }
</style>
</head>
<body>
<h1>$title</h1>
<p>$notes</p>
<h2>Fit</h2>
<div class="wide">$scores</div>
<h2>Figures</h2>
$figures
<h2>Config</h2>
<pre>$config</pre>
<h2>Environment</h2>
<div class="wide">$environment</div>
</body>
</html>
""")


def write_report(
    path: str | Path,
    *,
    title: str,
    config_text: str,
    environment: Mapping[str, Any],
    scores: pd.DataFrame,
    figures: Mapping[str, Figure],
    notes: Sequence[str] = (),
) -> None:
    """Write a report that needs no network and no other file.

    Args:
        path: the ``.html`` file.
        title: the heading.
        config_text: the config as YAML.
        environment: what it was made with.
        scores: a table of ``evaluate``.
        figures: caption and figure.
        notes: sentences below the heading.
    """
    page = _PAGE.substitute(
        title=html.escape(title),
        notes="<br>".join(html.escape(n) for n in notes),
        scores=_table(scores),
        figures="\n".join(_figure(caption, figure) for caption, figure in figures.items()),
        config=html.escape(config_text),
        environment=_pairs(environment),
    )
    partial = Path(f"{path}.partial")
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, path)


def _table(scores: pd.DataFrame) -> str:
    heads = "".join(
        f'<th scope="col"{_number(scores[c])}>{html.escape(_head(str(c)))}</th>' for c in scores
    )
    rows = []
    for row in scores.to_dict(orient="records"):
        cells = (f"<td{_number(scores[c])}>{html.escape(_cell(row[c]))}</td>" for c in scores)
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _head(column: str) -> str:
    return {"fit_index": "fit_index (%)", "vaf": "vaf (%)"}.get(column, column)


def _number(column: Any) -> str:
    return ' class="number"' if pd.api.types.is_numeric_dtype(column) else ""


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}" if math.isfinite(value) else "undefined"
    return str(value)


def _pairs(values: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html.escape(str(k))}</th><td>{html.escape(_plain(v))}</td></tr>'
        for k, v in values.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _figure(caption: str, figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    text = html.escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
