"""Doctests run in a directory of their own; Triton's kernels run without a device, too.

What is refused is compared word for word with what ``tests/messages.py`` keeps.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # looked at when Triton is imported


@pytest.fixture(autouse=True)
def _directory_of_its_own(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(request.getfixturevalue("tmp_path"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that keeps messages."""
    parser.addoption("--write-messages", action="store_true", help="keep what refusals say now")


@pytest.fixture(autouse=True)
def _exact_messages(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    import messages

    name = messages.name_of(request)
    if name is None:
        yield
        return
    with messages.listened(monkeypatch) as heard:
        yield
    directory = str(getattr(request.node, "funcargs", {}).get("tmp_path", "no directory"))
    # Addresses, the first bytes of a pickle of a path, and what is free now.
    changing = r"(?<=0x)[0-9a-f]+|(?<=header of )\d+|[\d.e+-]+ GB(?= are free)"
    said = [re.sub(changing, "", m.replace(directory, "DIRECTORY")) for m in heard]
    if request.config.getoption("--write-messages"):
        messages.write(name, said)
    else:
        assert said == messages.kept().get(name, [])
