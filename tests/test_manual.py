"""What README and documentation show works: every Python and shell block of every page is executed.

The blocks of a page run in order, in a directory of the page's own. A comment in front of a block
says otherwise: ``<!-- not run: REASON -->``, or ``<!-- file: NAME -->`` for one that is saved.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import sysid
from sysid import cli
from sysid.experiment.config import parse_config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in DOCS.rglob("*.md"))]
LONG = {"README.md", "docs/tutorial.md", "docs/how-to/several-experiments.md"}
"""Pages with several trainings and reports."""

FENCE = re.compile(
    r"^(?:<!-- (?P<note>[^>]+) -->\n)?```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```", re.M | re.S
)


class Block(NamedTuple):
    """A fenced block, and the comment in front of it."""

    note: str
    language: str
    code: str


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [Block(m["note"] or "", m["language"], m["code"]) for m in FENCE.finditer(text)]


def executed(page: str) -> bool:
    return any(
        b.language in ("python", "sh") and not b.note.startswith("not run: ") for b in blocks(page)
    )


def shell(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each line: sysid in this process, which has it imported, all else by bash."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["sysid"]:
            monkeypatch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as end:
                cli.main()
            assert end.value.code in (0, None), line
        elif words:
            done = subprocess.run(
                ["bash", "-ec", line], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{line}\n{done.stderr}"


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=pytest.mark.slow if p in LONG else ()) for p in PAGES if executed(p)],
)
def test_every_block_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for note, language, code in blocks(page):
        if note.startswith("not run: "):
            continue
        if note.startswith("file: "):
            Path(note.removeprefix("file: ")).write_text(code, encoding="utf-8")
        elif language == "python":
            exec(compile(code, page, "exec"), names)
        elif language == "sh":
            shell(code, monkeypatch)
    if page == "README.md":
        test, y_hat = names["test"], names["y_hat"]
        assert sysid.fit_index(test.y[50:], y_hat[50:]) > 80


@pytest.mark.parametrize("page", PAGES)
def test_blocks_say_what_they_are(page: str) -> None:
    for note, language, code in blocks(page):
        assert language, f"a block without a language: {code[:60]}"
        kind, _, reason = note.partition(": ")
        assert not note or (kind in ("not run", "file") and reason), note
        if language == "yaml":
            assert kind == "file", "a config is saved under a name, for the commands that follow"
            assert parse_config(yaml.safe_load(code))
        if language == "sh":
            for words in (shlex.split(line, comments=True) for line in code.splitlines()):
                if words[:1] == ["sysid"]:
                    assert words[1] in {c.callback.__name__ for c in cli.app.registered_commands}  # type: ignore[union-attr]


def test_every_public_name_is_on_a_reference_page() -> None:
    pages = "\n".join(p.read_text(encoding="utf-8") for p in (DOCS / "reference").glob("*.md"))
    shown = set(re.findall(r"^::: sysid\.(\w+)$", pages, re.M))
    assert shown == set(sysid.__all__) - {"MODELS"}  # a dictionary; models.md says what is in it
    assert "`sysid.MODELS`" in pages


def test_the_page_of_commands_is_what_the_command_line_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "manual"))
    import commands_page

    written = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    assert commands_page.page() == written, "run: python manual/commands_page.py"


def test_a_broken_link_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "manual"))
    from check_links import broken_in_markdown, broken_in_site

    (tmp_path / "a.html").write_text(
        '<a href="b.html#there">x</a><a href="b.html#gone">x</a><a href="c.html">x</a>'
        '<script src="https://cdn.example/x.js"></script><a href="https://example.org">x</a>'
    )
    (tmp_path / "b.html").write_text('<h2 id="there">x</h2>')
    found = "\n".join(broken_in_site(tmp_path))
    assert found.count("\n") == 2
    for part in ("b.html#gone has no such anchor", "c.html is not there", "from the network"):
        assert part in found
    (tmp_path / "page.md").write_text("[x](b.html) [y](gone.md) [z](https://example.org)")
    assert broken_in_markdown([tmp_path / "page.md"]) == [
        f"{tmp_path / 'page.md'}: gone.md is not there"
    ]
