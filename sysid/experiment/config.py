"""Config: a training described in YAML, read safely and checked as a whole."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from sysid.data.many import found_files
from sysid.data.reading import Reading
from sysid.experiment.space import SweepSection
from sysid.experiment.tracking import TrackerName
from sysid.models import MODELS, Model
from sysid.training.fit import problems
from sysid.training.memory import refuse_too_many_weights
from sysid.training.settings import TrainingSettings


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fraction(_Section):
    """The last part of each training record is held out, or of each of several blocks of it."""

    fraction: float = Field(gt=0, lt=1, description="share of each training record, at its end")
    blocks: int = Field(
        1, ge=1, description="equal blocks of each record, of each of which the end is held out"
    )


def _reading_fields() -> dict[str, Any]:
    """Return the fields of ``Reading`` for pydantic: what a file may need is described once."""
    hints = get_type_hints(Reading)
    return {
        f.name: (
            hints[f.name],
            Field(f.default, description=f.metadata["description"], **f.metadata["constraints"]),
        )
        for f in fields(Reading)
    }


_ReadingSection: Any = create_model("_ReadingSection", __base__=_Section, **_reading_fields())


class FilesData(_ReadingSection):
    """Records in files, and how to read them."""

    source: Literal["files"] = Field(description="that records are in files")
    train: list[str] = Field(
        min_length=1, description="training files, globs or folders, relative to the config"
    )
    valid: Fraction | list[str] | None = Field(
        Fraction(fraction=0.2),
        description="the last part of each training record, or files as for train; null for none",
    )
    test: list[str] = Field(
        [], description="files, as for train, that decide nothing and are scored in the end"
    )
    n_init: int = Field(
        0,
        ge=0,
        description="samples that start a simulation of test and validation records, not scored",
    )

    @property
    def reading(self) -> Reading:
        """How the files are read."""
        return Reading(**{f.name: getattr(self, f.name) for f in fields(Reading)})


class BenchmarkData(_Section):
    """An official benchmark."""

    source: Literal["benchmark"] = Field(description="that records are those of a benchmark")
    name: str = Field(description="wiener_hammerstein, silverbox, cascaded_tanks or emps")
    valid: Fraction | None = Field(
        Fraction(fraction=0.125), description="the last part of the training record; null for none"
    )


class SystemData(_Section):
    """A built-in simulated system; the test record has another seed."""

    source: Literal["system"] = Field(description="that records are simulated")
    name: str = Field(description="of the system, as for sysid generate")
    seed: int = Field(0, ge=0, description="of excitation and noise; the test record has another")
    samples: int | None = Field(None, ge=2, description="null for as many as the system suggests")
    noise: float = Field(0.0, ge=0, description="std over the clean output's std")
    valid: Fraction | None = Field(
        Fraction(fraction=0.2), description="the last part of the training record; null for none"
    )


class SmoothingSection(_Section):
    """The model learns to tell outputs from those before and after; see ``hide_outputs``."""

    share: float = Field(0.2, gt=0, lt=1, description="of the outputs that is hidden at a time")
    length: int | None = Field(
        None, ge=2, description="samples of a training piece; null for whole records"
    )
    copies: int = Field(4, ge=1, description="of the training records, others hidden in each")


DataSection = Annotated[FilesData | BenchmarkData | SystemData, Field(discriminator="source")]


class Checkpoints(_Section):
    """When the state of a training is written to its run directory."""

    seconds: float | None = Field(
        10.0, gt=0, allow_inf_nan=False, description="between two of them; null for not by time"
    )
    epochs: int | None = Field(
        None, ge=1, description="between two of them; null for not by epochs"
    )


class Config(_Section):
    """A whole config: what ``sysid train`` reads, and what a run directory repeats."""

    name: str = Field(
        "run", pattern=r"^[\w.-]+$", description="of the run; its directory is runs/NAME"
    )
    seed: int = Field(0, ge=0, description="of the weights' start, and of the training")
    data: DataSection = Field(description="the records")
    model: dict[str, Any] = Field(description="kind, and the arguments of its class")
    training: TrainingSettings = Field(TrainingSettings(), description="how to train")
    smoothing: SmoothingSection | None = Field(
        None, description="makes the model a smoother; null for a simulator"
    )
    sweep: SweepSection | None = Field(None, description="what sysid sweep tries")
    tracking: list[TrackerName] = Field([], description="trackers that the run is written to")
    checkpoint: Checkpoints = Field(
        Checkpoints(), description="when the state of the training is written"
    )

    def build_model(self, nu: int, ny: int) -> Model:
        """Return the model, its weights drawn from the config's seed."""
        import torch

        arguments = dict(self.model)
        kind = MODELS[arguments.pop("kind")]
        sizes = _channel_arguments(kind)
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            refuse_too_many_weights(kind(**{sizes[0]: nu, sizes[1]: ny}, **arguments))
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return kind(**{sizes[0]: nu, sizes[1]: ny}, **arguments)

    def settings(self) -> TrainingSettings:
        """Return the training settings, with the config's seed unless they have their own."""
        if "seed" in self.training.model_fields_set:
            return self.training
        return self.training.model_copy(update={"seed": self.seed})

    def to_yaml(self) -> str:
        """Return the config as YAML that trains the same."""
        return yaml.safe_dump(self.resolved().model_dump(mode="json"), sort_keys=False)

    def resolved(self) -> Config:
        """Return the config with nothing left to be taken from elsewhere: the training's seed."""
        return self.model_copy(update={"training": self.settings()})


class _Loader(yaml.SafeLoader):
    """Reads ``1e-3`` as a number, as YAML 1.2 does, and refuses a key that stands twice."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(k) for k, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"key {key!r} stands twice in the mapping at line {line}")
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a config file; relative paths in it start from its own directory.

    Args:
        path: a YAML file.
        overrides: ``section.key=value`` strings, the value in YAML.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: listing all that is wrong, with paths and allowed values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"config must be a file, got {path}")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"config must be YAML, got {path}: {reason}") from None
    if not isinstance(values, dict):
        raise ValueError(f"config must be a mapping of sections, got {path}; see configs/")
    for text in overrides:
        _override(values, text)
    _anchor(values.get("data"), path.resolve().parent)
    return parse_config(values)


def parse_config(values: dict[str, Any]) -> Config:
    """Check a config given as nested dictionaries.

    Raises:
        ValueError: listing all that is wrong.
    """
    wrong: list[str] = []
    config: Config | None = None
    try:
        config = Config(**values)
    except (ValidationError, TypeError) as error:
        wrong += problems(error) if isinstance(error, ValidationError) else [str(error)]
    training = config.training if config is not None else _training_alone(values)
    wrong += _model_problems(values.get("model"), training)
    if config is not None and config.smoothing is not None:
        wrong += _smoothing_problems(config)
    if wrong or config is None:
        lines = "\n  ".join(dict.fromkeys(wrong))
        raise ValueError(f"config must be right, {len(wrong)} problem(s):\n  {lines}")
    return config


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the keys, with dots, in which two nested dictionaries differ."""
    out = []
    for key in dict.fromkeys([*one, *other]):
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            out += [f"{key}.{inner}" for inner in differences(a, b)]
        elif a != b:
            out.append(key)
    return out


def _training_alone(values: dict[str, Any]) -> TrainingSettings | None:
    try:
        return TrainingSettings(**(values.get("training") or {}))
    except (ValidationError, TypeError):
        return None


def _model_problems(section: Any, training: TrainingSettings | None) -> list[str]:
    """Check the model section against the constructor's signature and its own checks."""
    if not isinstance(section, dict) or not all(isinstance(key, str) for key in section):
        return []  # said by the schema
    arguments = dict(section)
    kind = arguments.pop("kind", None)
    if not isinstance(kind, str) or kind not in MODELS:
        return [f"model.kind must be one of {', '.join(MODELS)}, got {kind!r}"]
    arguments_of_kind: dict[str, Any] = {}
    hints = get_type_hints(MODELS[kind].__init__)
    skip = {"self", *_channel_arguments(MODELS[kind])}
    for name, parameter in inspect.signature(MODELS[kind].__init__).parameters.items():
        if name not in skip:
            default = ... if parameter.default is parameter.empty else parameter.default
            arguments_of_kind[name] = (hints[name], default)
    schema = create_model(
        "ModelSection", __config__=ConfigDict(extra="forbid", strict=False), **arguments_of_kind
    )
    try:
        schema(**arguments)
    except ValidationError as error:
        known = ", ".join(arguments_of_kind)
        return [
            f"{p}; allowed: {known}" if "not a key" in p else p for p in problems(error, "model.")
        ]
    try:
        import torch

        sizes = _channel_arguments(MODELS[kind])
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            # How many channels there are only the data know; limits are one pair an output.
            outputs = len(arguments.get("output_limits") or [None])
            model = MODELS[kind](**{sizes[0]: 1, sizes[1]: outputs}, **arguments)
    except (ValueError, TypeError) as error:
        return [f"model.{error}"]
    if training is None:
        return []
    return [
        f"training.{key} {message}"
        for key, message in training.conflicts(
            kind, model.losses, model.n_memory, model.estimates_state
        )
    ]


def _smoothing_problems(config: Config) -> list[str]:
    """A smoother is trained on records most of whose outputs do not count, and starts without."""
    model, out = config.model, []
    if model.get("kind") not in ("rnn", "gru", "lstm"):
        out.append(f"model.kind must be rnn, gru or lstm with smoothing, got {model.get('kind')!r}")
    if config.training.loss != "full_sequence":
        out.append(
            f"training.loss must be full_sequence with smoothing, got {config.training.loss}"
        )
    if model.get("feedback") or model.get("initial_state", "zero") not in ("zero", "learned"):
        out.append(
            "model.initial_state must be zero or learned, and model.feedback false, with smoothing"
        )
    return out


def _channel_arguments(kind: type[Model]) -> tuple[str, str]:
    """Return what a constructor calls the numbers of inputs and outputs."""
    names = inspect.signature(kind.__init__).parameters
    return ("nu", "ny") if "nu" in names else ("input_size", "output_size")


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"--set must be section.key=value, got {text!r}")
    *path, last = key.split(".")
    for name in path:
        if values.get(name) is None:
            values[name] = {}
        values = values[name]
        if not isinstance(values, dict):
            raise ValueError(f"--set must name a key in a section, got {text!r}")
    try:
        values[last] = yaml.load(value, Loader=_Loader)
    except yaml.YAMLError:
        raise ValueError(f"--set must have a YAML value, got {text!r}") from None


def _anchor(data: Any, folder: Path) -> None:
    """Make the paths of a files section absolute, and name the files of globs and folders."""
    if isinstance(data, dict) and data.get("source") == "files":
        for key in ("train", "valid", "test"):
            paths = data.get(key)
            if isinstance(paths, list) and paths and all(isinstance(p, str) for p in paths):
                data[key] = found_files(folder / p for p in paths)
