"""What refusals say, word for word, in ``files/messages.json``: a user reads all of it.

Whatever a test of the modules in ``EXACT`` catches with ``pytest.raises`` is compared with what
is kept. ``pytest -n 0 --write-messages tests/test_files.py`` keeps what is said now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parent / "files" / "messages.json"
EXACT = {
    f"test_{name}"
    for name in (
        "benchmarks", "dirty_files", "excitation", "files", "files_in_detail", "hostile_files",
        "larger_than_memory", "losses", "metrics", "records", "regressors", "scaling",
        "second_order", "smoothing", "splitting", "subsequences", "systems",
    )
}  # fmt: skip


def kept() -> dict[str, list[str]]:
    """Return the messages of each test, by its name."""
    found: dict[str, list[str]] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return found


def name_of(request: pytest.FixtureRequest) -> str | None:
    """Return the name of a test whose messages are kept; None for another."""
    of_hypothesis = hasattr(getattr(request.node, "obj", None), "hypothesis")
    module = getattr(request.node, "module", None)
    if of_hypothesis or getattr(module, "__name__", "") not in EXACT:
        return None
    return f"{module.__name__}::{request.node.name}"


@contextmanager
def listened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield the messages that ``pytest.raises`` catches."""
    heard: list[str] = []
    raises = pytest.raises

    @contextmanager
    def listening(*arguments: Any, **options: Any) -> Iterator[Any]:
        with raises(*arguments, **options) as caught:
            yield caught
        heard.append(str(caught.value))

    monkeypatch.setattr(pytest, "raises", listening)
    yield heard


def write(name: str, said: list[str]) -> None:
    """Keep what a test said."""
    of_all = kept() | {name: said}
    FILE.write_text(json.dumps({k: v for k, v in sorted(of_all.items()) if v}, indent=1) + "\n")
