"""Pages: HTML that stands alone, with its style, its scripts and its data inside."""

from __future__ import annotations

import json
import math
from importlib import resources
from typing import Any

from markupsafe import Markup


def render(template: str, **values: Any) -> str:
    """Return a page that needs no network and no other file.

    Args:
        template: its name in ``page/``.
        **values: what the template asks for beside style and scripts.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sysid.analysis", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["capitalize_first"] = lambda s: s[:1].upper() + s[1:]
    return environment.get_template(template).render(
        css=_asset("report.css"),
        js=_asset("timeline.js"),
        bokeh=_bokeh(),
        infinity=math.inf,
        **values,
    )


def script_data(document: Any) -> Markup:
    """Return a document as JSON for a script element, which no tag in a name can end."""
    return Markup(json.dumps(document).replace("<", "\\u003c"))


def _asset(name: str) -> Markup:
    text = (resources.files("sysid.analysis") / "page" / name).read_text(encoding="utf-8")
    return Markup(text)


def _bokeh() -> Markup:
    from bokeh.resources import Resources

    return Markup(
        "\n".join(Resources(mode="inline", components=["bokeh"], log_level="warn").js_raw)
    )
