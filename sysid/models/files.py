"""Model files: one safetensors file that holds the weights, the scaling and how to build it."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sysid.data.atomic import replacing
from sysid.data.errors import one_line
from sysid.models.baseline import Baseline
from sysid.models.model import Model
from sysid.models.parts import refuse_replaced

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 3
# Version 1 had no checksum; 1 and 2 had no data_n_init and nothing on bounds and on where states
# have been in training.
_READABLE = (1, 2, 3)
_PRIOR = ("prior.mean", "prior.root")
_LARGEST_HEADER = 1 << 24  # bytes; the names and the baseline of a thousand channels fit


class _Header(BaseModel):
    """What a model file says of its model beside the tensors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format_version: int
    kind: str
    arguments: dict[str, Any]
    u_names: list[str]
    y_names: list[str]
    u_units: list[str]
    y_units: list[str]
    sampling_time: float | None = Field(gt=0, allow_inf_nan=False)
    data_n_init: int = Field(default=0, ge=0)
    fitted: bool
    baseline: dict[str, Any] | None = None
    dtype: Literal["float32", "float64"]
    bounded: dict[str, Any] | None = None


def save(model: Model, path: str | Path) -> None:
    """Write a model to one ``.safetensors`` file.

    The header holds kind, constructor arguments, channel names, units, sampling time, the
    ``n_init`` of the records that the model was judged on, whether the model is bounded and why,
    the linear baseline and a checksum; the tensors are the weights, the scaling and where states
    were in training. The file is complete or not there at all.

    Args:
        model: any model of ``sysid.MODELS``, or an ensemble of them.
        path: file to write; its directory must exist.

    Raises:
        TypeError: if ``model`` is not a sysid model.
        OSError: if the file cannot be written.

    Example:
        >>> import sysid
        >>> model = sysid.GRU(nu=1, ny=1, hidden_size=4)
        >>> save(model, "plant.safetensors")  # or model.save("plant.safetensors")
        >>> Path("plant.safetensors").is_file()
        True
    """
    import safetensors.torch

    if not isinstance(model, Model):
        raise TypeError(f"model must be a sysid model, got {type(model).__name__}")
    refuse_replaced(model)
    header = _Header(
        format_version=FORMAT_VERSION,
        kind=model.kind,
        arguments=model.arguments,
        u_names=list(model.u_names),
        y_names=list(model.y_names),
        u_units=list(model.u_units),
        y_units=list(model.y_units),
        sampling_time=model.sampling_time,
        data_n_init=model.data_n_init,
        fitted=model.fitted,
        baseline=None if model.baseline is None else model.baseline.to_json(),
        dtype="float64" if "64" in str(model.dtype) else "float32",
        bounded=asdict(model.bounded),
    )
    text = header.model_dump_json()
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    metadata = {"sysid": text, "checksum": _checksum(text, tensors)}
    content = safetensors.torch.save(tensors, metadata)
    with replacing(Path(path)) as partial:
        partial.write_bytes(content)


def load(path: str | Path) -> Model:
    """Read a model that ``save`` wrote, with this version or one before it.

    No code from the file is run, and a file is not believed: it is refused where its checksum,
    header, tensors and model do not agree.

    Args:
        path: a ``.safetensors`` file.

    Returns:
        The model, on the CPU, in evaluation mode, with the bits it was saved with.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a model file of this format, or is damaged.

    Example:
        >>> import sysid
        >>> model = sysid.GRU(nu=1, ny=1, hidden_size=4)
        >>> save(model, "plant.safetensors")
        >>> load("plant.safetensors").arguments["hidden_size"]
        4
    """
    import torch

    from sysid.models import SAVED, Ensemble

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"model file must exist, got {path}")
    metadata, tensors = _read(path)
    header = _checked_header(path, metadata, tensors)
    if header.kind not in SAVED:
        raise ValueError(
            f"model kind must be one of {', '.join(SAVED)}, got {header.kind!r} in {path}; "
            "use the sysid that wrote it"
        )
    try:
        _refuse_other_sizes(header.arguments, header, tensors)
        # First without memory, so that no header makes a model larger than its file.
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            empty = SAVED[header.kind](**header.arguments)
            if header.format_version < 3:
                _add_prior(empty, tensors)
            _refuse_other_shapes(empty, tensors)
        with torch.random.fork_rng(devices=[]):
            model = SAVED[header.kind](**header.arguments)
        model.to(getattr(torch, header.dtype))
        model.load_state_dict(tensors)
        _describe(model, header)
        if isinstance(model, Ensemble):
            model.describe_as(model)  # the members too
    except (TypeError, RuntimeError, AttributeError, KeyError, ValueError) as error:
        raise ValueError(
            f"model file must fit its own header, {path} does not: {one_line(error)}"
        ) from None
    return model.eval()


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the metadata and the tensors, the header's size checked before it is read."""
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as f:
        prefix = f.read(8)
    if len(prefix) < 8:
        raise ValueError(f"model file must be whole, got {path} of {len(prefix)} bytes")
    (size,) = struct.unpack("<Q", prefix)
    if size > min(_LARGEST_HEADER, path.stat().st_size):
        raise ValueError(
            f"model file must be whole, got {path} with a header of {size} bytes; "
            "it is damaged, or was not written by sysid.save"
        )
    try:
        with safe_open(path, framework="pt") as f:
            tensors = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118 - not a dict
            return dict(f.metadata() or {}), tensors
    except (SafetensorError, ValueError, OSError, RuntimeError, AttributeError) as error:
        raise ValueError(f"model file must be whole, got {path}: {one_line(error)}") from None


def _checked_header(path: Path, metadata: dict[str, str], tensors: Mapping[str, Tensor]) -> _Header:
    text = metadata.get("sysid", "")
    try:
        values = json.loads(text)
        version = values["format_version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(f"model file must be written by sysid.save, got {path}") from None
    if version not in _READABLE:
        raise ValueError(
            f"model file must have format version {_READABLE[0]} to {FORMAT_VERSION}, got "
            f"{version} in {path}; use the sysid that wrote it"
        )
    if version > 1 and metadata.get("checksum") != _checksum(text, tensors):
        raise ValueError(
            f"model file must be as it was written, the checksum of {path} is another; "
            "copy or train it again"
        )
    try:
        return _Header.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(
            f"model file must have a right header, got {where} in {path}: {first['msg']}"
        ) from None


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return SHA-256 of the header's text and of each tensor's name, type, shape and bytes."""
    import numpy as np

    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return digest.hexdigest()


def _refuse_other_sizes(
    arguments: dict[str, Any], header: _Header, tensors: Mapping[str, Tensor]
) -> None:
    """Raise for layers or channels in numbers that the file does not have.

    To build them takes for ever, or all memory for their names.
    """
    for member in arguments.get("members", ()):
        _refuse_other_sizes(member, header, tensors)
    names = {"nu": "u_names", "input_size": "u_names", "ny": "y_names", "output_size": "y_names"}
    for name, value in arguments.items():
        count = len(value) if isinstance(value, list) else value if name == "num_layers" else 0
        if isinstance(count, int) and count > len(tensors):
            raise ValueError(f"{name} is {count} where there are {len(tensors)} tensors")
        if name in names and value != (named := len(getattr(header, names[name]))):
            raise ValueError(f"{names[name]} are {named} for {value} channels")


def _add_prior(model: Model, tensors: dict[str, Tensor]) -> None:
    """Complete the tensors of an older file: it expects nothing of initial states."""
    import torch

    for name, tensor in model.state_dict().items():
        if name.endswith(_PRIOR):
            tensors.setdefault(name, torch.zeros(tensor.shape, dtype=tensor.dtype))


def _refuse_other_shapes(model: Model, tensors: Mapping[str, Tensor]) -> None:
    expected = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in tensors.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"{name} has the shape {found.get(name)} where {expected.get(name)} is needed"
            )


def _describe(model: Model, header: _Header) -> None:
    for name, count in (("u", model.nu), ("y", model.ny)):
        for what in ("names", "units"):
            labels = getattr(header, f"{name}_{what}")
            if len(labels) != count:
                raise ValueError(f"{name}_{what} are {len(labels)} for {count} channels")
            setattr(model, f"{name}_{what}", tuple(labels))
    model.sampling_time = header.sampling_time
    model.data_n_init = header.data_n_init
    model.fitted = header.fitted
    if header.baseline is not None:
        model.baseline = baseline = Baseline.from_json(header.baseline)
        na, nb, nk = baseline.orders
        wide = model.ny * na + model.nu * (nb - nk + 1)
        shape = (model.ny, wide) if baseline.weight is None else baseline.weight.shape
        lengths = {len(baseline.constant), len(baseline.mean)}
        if lengths != {model.ny} or shape != (model.ny, wide):
            raise ValueError("the baseline has other channels than the model")
