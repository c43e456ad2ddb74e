"""Checks a built site: every internal link and anchor resolves, and no page asks the network.

``python manual/check_links.py SITE README.md ...``: Markdown files are checked for links to files.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Elements that a browser loads without a click, and where they say what."""


@dataclass
class Page(HTMLParser):
    """What a page links to and loads, and the places in it that can be linked to."""

    path: Path
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Read the page."""
        super().__init__()
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of an element."""
        attributes = dict(attrs)
        self.anchors |= {v for k in ("id", "name") if (v := attributes.get(k))}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"] or "")
        loaded = attributes.get(LOADED.get(tag, ""))
        if loaded and attributes.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(loaded)


def broken_in_site(site: Path) -> list[str]:
    """Return a line for each link that leads nowhere, and each thing that needs the network."""
    site = site.resolve()
    page = cache(Page)
    out = []
    for path in sorted(site.rglob("*.html")):
        for link in page(path).loaded:
            if urlsplit(link).netloc:
                out.append(f"{path.relative_to(site)}: loads {link} from the network")
        for link in [*page(path).links, *page(path).loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if parts.path.startswith("/"):
                target = site / unquote(parts.path).lstrip("/")
            if target.is_dir():
                target = target / "index.html"
            if not target.is_file() or not target.is_relative_to(site):
                out.append(f"{path.relative_to(site)}: {link} is not there")
                continue
            html = target.suffix == ".html" and parts.fragment
            if html and unquote(parts.fragment) not in page(target).anchors:
                out.append(f"{path.relative_to(site)}: {link} has no such anchor")
    return out


def broken_in_markdown(files: Iterable[Path]) -> list[str]:
    """Return a line for each link of a Markdown file to a file that is not there."""
    out = []
    for file in files:
        text = re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.M | re.S)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            parts = urlsplit(link)
            if not parts.scheme and parts.path and not (file.parent / parts.path).exists():
                out.append(f"{file}: {link} is not there")
    return out


def main(site: str, *markdown: str) -> int:
    """Print what is broken; return 1 if anything is."""
    broken = broken_in_site(Path(site)) + broken_in_markdown(map(Path, markdown))
    print("\n".join(broken) or f"{len(list(Path(site).rglob('*.html')))} pages: no broken link")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
