"""What the README shows works, and importing the package stays cheap."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import sysid

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_block_runs_and_fits(tmp_path: Path) -> None:
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    fit = float(re.search(r"\[([\d.]+)\]", done.stdout)[1])  # type: ignore[index]
    assert fit > 80


def test_the_config_block_is_valid() -> None:
    from sysid.experiment.config import parse_config

    assert parse_config(yaml.safe_load(blocks("yaml")[0])).name == "pump-station"


def test_every_command_shown_exists() -> None:
    shown = set(re.findall(r"sysid (\w+) ", "\n".join(blocks("sh"))))
    from sysid.cli import app

    assert shown <= {c.callback.__name__ for c in app.registered_commands}  # type: ignore[union-attr]


@pytest.mark.parametrize("name", sysid.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(sysid, name) is not None


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sysid, sys; print({'torch', 'numpy', 'pandas', 'pydantic'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
