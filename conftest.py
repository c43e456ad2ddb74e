"""Doctests run in a directory of their own, so that examples may write files."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _directory_of_its_own(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(request.getfixturevalue("tmp_path"))
