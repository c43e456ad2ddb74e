"""The public names are there, and importing the package stays cheap."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sysid


@pytest.mark.parametrize("name", sysid.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(sysid, name) is not None


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sysid, sys; print({'torch', 'numpy', 'pandas', 'pydantic'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
