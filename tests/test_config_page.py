"""The page of config keys and the models that check a config say the same."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import pytest
import yaml

from sysid.experiment import config
from sysid.experiment.config import parse_config
from sysid.experiment.space import Dimension, SweepSection
from sysid.models import MODELS
from sysid.training.settings import TrainingSettings

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference" / "config.md").read_text(encoding="utf-8")
SECTIONS = {
    "The whole file": config.Config,
    "data, source: files": config.FilesData,
    "data, source: benchmark": config.BenchmarkData,
    "data, source: system": config.SystemData,
    "data.valid": config.Fraction,
    "training": TrainingSettings,
    "smoothing": config.SmoothingSection,
    "sweep": SweepSection,
    "sweep.space.KEY": Dimension,
    "checkpoint": config.Checkpoints,
}
DATA = {"nu", "ny", "input_size", "output_size"}


def on_page() -> dict[str, list[str]]:
    """Return the keys in each section's table."""
    parts = re.split(r"^## (.*)\n", PAGE, flags=re.MULTILINE)[1:]
    return {
        heading: re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE)
        for heading, body in zip(parts[::2], parts[1::2], strict=True)
    }


def in_code() -> dict[str, list[str]]:
    keys = {
        heading: [f.alias or name for name, f in model.model_fields.items()]
        for heading, model in SECTIONS.items()
    }
    for kind, cls in MODELS.items():
        arguments = [p for p in inspect.signature(cls).parameters if p not in DATA]
        keys[f"model, kind: {kind}"] = ["kind", *arguments]
    return keys


def test_no_key_is_missing_and_none_is_invented() -> None:
    assert on_page() == in_code()


def test_every_section_of_a_config_has_a_table() -> None:
    """A section that is new in the code would be a table that is missing here."""
    from pydantic import BaseModel

    def reachable(model: type[BaseModel]) -> set[type[BaseModel]]:
        inner = {
            found for field in model.model_fields.values() for found in models_in(field.annotation)
        }
        return {model}.union(*map(reachable, inner))

    def models_in(annotation: object) -> set[type[BaseModel]]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return {annotation}
        return set().union(*map(models_in, getattr(annotation, "__args__", ())))

    assert reachable(config.Config) == set(SECTIONS.values())


def test_the_page_is_what_the_code_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "manual"))
    import config_page

    sys.modules.pop("config_page")
    assert config_page.page() == PAGE, "run: python manual/config_page.py"


def test_every_example_is_a_config_that_is_right() -> None:
    text = (ROOT / "docs" / "reference" / "examples.yaml").read_text(encoding="utf-8")
    for values in yaml.safe_load_all(text):
        parse_config(values)
