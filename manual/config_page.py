"""Writes docs/reference/config.md, a table of every config key, from the models that check it.

Run it after a change of a key: ``python manual/config_page.py``.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel

from sysid.experiment import config
from sysid.experiment.space import Dimension, SweepSection
from sysid.models import MODELS, Model
from sysid.training.settings import TrainingSettings

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
EXAMPLES = REFERENCE / "examples.yaml"
PAGE = REFERENCE / "config.md"
MISSING: Any = object()

HEAD = """# Config keys

A config is a YAML file of the sections below. `sysid train CONFIG --set SECTION.KEY=VALUE` changes
one key for one run. A key that is not in these tables is refused, and everything that is wrong is
listed at once. Relative paths start from the config's own directory. A run directory holds its
`config.yaml` with every key filled in.

This page is written by `python manual/config_page.py` from the code that checks a config. Default
"required" means that the key has to be given.
"""

SECTIONS: list[tuple[str, str, type[BaseModel]]] = [
    ("The whole file", "", config.Config),
    ("data, source: files", "data", config.FilesData),
    ("data, source: benchmark", "data", config.BenchmarkData),
    ("data, source: system", "data", config.SystemData),
    ("data.valid", "data.valid", config.Fraction),
    ("training", "training", TrainingSettings),
    ("smoothing", "smoothing", config.SmoothingSection),
    ("sweep", "sweep", SweepSection),
    ("sweep.space.KEY", "sweep.space.*", Dimension),
    ("checkpoint", "checkpoint", config.Checkpoints),
]
"""Heading, place in a config, and the model that checks it."""


class Row(typing.NamedTuple):
    """One key, as it stands in the table."""

    key: str
    type: str
    default: str
    meaning: str
    example: str


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")


def page() -> str:
    """Return the page as Markdown."""
    parts = [HEAD]
    for heading, place, section in SECTIONS:
        parts.append(_table(heading, inspect.getdoc(section) or "", section_rows(place, section)))
        if place == "data.valid":
            parts += [
                _table(f"model, kind: {kind}", _description(cls), model_rows(kind, cls))
                for kind, cls in MODELS.items()
            ]
    return "\n".join(parts)


def section_rows(place: str, section: type[BaseModel]) -> Iterator[Row]:
    """Yield a row for each field of a section."""
    source = typing.get_args(section.model_fields["source"].annotation) if place == "data" else ()
    for name, field in section.model_fields.items():
        key = field.alias or name
        if not field.description:
            raise ValueError(f"{section.__name__}.{name} must have a description, got none")
        limits = [_limit(m) for m in field.metadata]
        default = "required" if field.is_required() else _yaml(field.get_default())
        wanted = {"data.source": source[0]} if source else {}
        example = find_example(f"{place}.{key}".strip("."), wanted)
        yield Row(
            key,
            _type(field.annotation, [limit for limit in limits if limit]),
            f"`{default}`" if default != "required" else default,
            field.description,
            f"`{_pair(key, example)}`",
        )


def model_rows(kind: str, cls: type[Model]) -> Iterator[Row]:
    """Yield a row for the kind and each argument of a model that a config may give."""
    yield Row("kind", f"`{kind}`", "required", f"a `sysid.{cls.__name__}`", f"`kind: {kind}`")
    hints = typing.get_type_hints(cls.__init__)
    explained = _arguments(MODELS["rnn"]) | _arguments(cls)
    if "activation" in explained:
        explained["activation"] = _arguments(MODELS["ffn"])["activation"]
    for name, parameter in inspect.signature(cls.__init__).parameters.items():
        if name in ("self", "nu", "ny", "input_size", "output_size"):  # the data say these
            continue
        required = parameter.default is parameter.empty
        yield Row(
            name,
            _type(hints[name], []),
            "required" if required else f"`{_yaml(parameter.default)}`",
            _as_yaml(explained[name]),
            f"`{_pair(name, find_example(f'model.{name}', {'model.kind': kind}))}`",
        )


def find_example(path: str, wanted: dict[str, Any]) -> Any:
    """Return the value at a dotted path in the first example that has it; ``*`` is any key."""
    for document in examples():
        if all(_at(document, key) == value for key, value in wanted.items()):
            value = _at(document, path)
            if value is not MISSING:
                return value
    raise ValueError(f"{EXAMPLES.name} must have an example of {path} with {wanted}, got none")


def examples() -> list[dict[str, Any]]:
    """Return the example configs."""
    return list(yaml.safe_load_all(EXAMPLES.read_text(encoding="utf-8")))


def _at(node: Any, path: str) -> Any:
    first, _, rest = path.partition(".")
    if first == "*":
        found = (_at(inner, rest) for inner in node.values()) if isinstance(node, dict) else ()
        return next((f for f in found if f is not MISSING), MISSING)
    if not isinstance(node, dict) or first not in node:
        return MISSING
    return _at(node[first], rest) if rest else node[first]


def _table(heading: str, text: str, rows: Iterator[Row]) -> str:
    lines = [f"## {heading}", "", _as_yaml(text), ""]
    lines += ["| key | type | default | meaning | example |", "|---|---|---|---|---|"]
    lines += [f"| `{r.key}` | {r.type} | {r.default} | {r.meaning} | {r.example} |" for r in rows]
    return "\n".join(lines) + "\n"


def _description(cls: type[Model]) -> str:
    """Return the first sentence of a class, and a link to all the others."""
    first = (inspect.getdoc(cls) or "").split("\n")[0].split("; arguments")[0].rstrip(".")
    name = cls.__name__
    return f"{first}: [`sysid.{name}`](models.md#sysid.{name})."


def _arguments(cls: type[Model]) -> dict[str, str]:
    """Return what the docstring's Args say."""
    doc = inspect.getdoc(cls) or ""
    found = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", doc, re.DOTALL | re.MULTILINE)
    items = re.findall(r"^    (\w+): (.*?)(?=^    \w|\Z)", found[1] if found else "", re.S | re.M)
    return {name: " ".join(text.split()).rstrip(".") for name, text in items}


def _as_yaml(text: str) -> str:
    """Write Python's values in a meaning as YAML's."""
    return text.replace("``None``", "`null`").replace("``()``", "`[]`").replace("``", "`")


def _type(annotation: Any, limits: list[str]) -> str:
    """Return a type in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        kinds = [_type(a, limits if a is not type(None) else []) for a in arguments]
        return ", or ".join(dict.fromkeys(kinds)) if limits else " or ".join(dict.fromkeys(kinds))
    if origin is typing.Annotated:
        return _type(arguments[0], [x for m in arguments[1:] for x in _limits_of(m)])
    if origin is Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin is tuple:
        return f"two of: {_type(arguments[0], [])}"
    if origin in (list, Sequence, typing.get_origin(Sequence[int])):
        count = [x for x in limits if x.endswith("entry")]
        return ", ".join([f"list of: {_type(arguments[0], [])}", *count])
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    names = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`"}
    word = names.get(annotation, "null" if annotation is type(None) else "anything")
    return ", ".join([word, *limits]) if word != "null" else word


def _limits_of(metadata: Any) -> list[str]:
    inner = getattr(metadata, "metadata", [metadata])
    return [text for text in map(_limit, inner) if text]


def _limit(metadata: Any) -> str | None:
    match metadata:
        case Ge(ge=value):
            return f"at least {value}"
        case Gt(gt=value):
            return f"above {value}"
        case Le(le=value):
            return f"at most {value}"
        case Lt(lt=value):
            return f"below {value}"
        case MinLen():
            return "at least one entry"
    return None


def _yaml(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True)
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).strip()
    return text.removesuffix("...").strip()


def _pair(key: str, value: Any) -> str:
    if key == "data":
        return "data: {source: ...}"
    text = yaml.safe_dump({key: value}, default_flow_style=True, width=1000, sort_keys=False)
    text = text.strip()[1:-1]
    return text if len(text) < 70 else f"{key}: ..."


if __name__ == "__main__":
    main()
