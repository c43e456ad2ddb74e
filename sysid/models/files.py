"""Model files: one safetensors file that holds the weights, the scaling and how to build it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sysid.models.baseline import Baseline
from sysid.models.model import Model

FORMAT_VERSION = 1


def save(model: Model, path: str | Path) -> None:
    """Write a model to one ``.safetensors`` file.

    The header holds kind, constructor arguments, channel names, units, sampling time and the
    linear baseline; the tensors are the weights and the scaling. The file is complete or not
    there at all.

    Args:
        model: any model of ``sysid.MODELS``.
        path: file to write; its directory must exist.

    Raises:
        TypeError: if ``model`` is not a sysid model.
    """
    import safetensors.torch

    if not isinstance(model, Model):
        raise TypeError(f"model must be a sysid model, got {type(model).__name__}")
    header = {
        "format_version": FORMAT_VERSION,
        "kind": model.kind,
        "arguments": model.arguments,
        "u_names": model.u_names,
        "y_names": model.y_names,
        "u_units": model.u_units,
        "y_units": model.y_units,
        "sampling_time": model.sampling_time,
        "fitted": model.fitted,
        "baseline": None if model.baseline is None else model.baseline.to_json(),
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    partial = Path(f"{path}.partial")
    safetensors.torch.save_file(tensors, partial, metadata={"sysid": json.dumps(header)})
    os.replace(partial, path)


def load(path: str | Path) -> Model:
    """Read a model that ``save`` wrote; no code from the file is run.

    Args:
        path: a ``.safetensors`` file.

    Returns:
        The model, on the CPU, in evaluation mode, with the bits it was saved with.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a model file of this format.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    from sysid.models import MODELS

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"model file must exist, got {path}")
    try:
        with safe_open(path, framework="pt") as f:
            header = json.loads((f.metadata() or {}).get("sysid", "null"))
            tensors = {key: f.get_tensor(key) for key in f.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"model file must be whole, got {path}: {error}") from None
    if not isinstance(header, dict) or "kind" not in header:
        raise ValueError(f"model file must be written by sysid.save, got {path}")
    if header.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"model file must have format version {FORMAT_VERSION}, got "
            f"{header.get('format_version')} in {path}; use the sysid that wrote it"
        )
    if header["kind"] not in MODELS:
        raise ValueError(f"model kind must be one of {', '.join(MODELS)}, got {header['kind']!r}")
    try:
        with torch.random.fork_rng(devices=[]):
            model = MODELS[header["kind"]](**header["arguments"])
        model.to(getattr(torch, header["dtype"]))
        model.load_state_dict(tensors)
    except (TypeError, RuntimeError, AttributeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"model file must fit its own header, {path} does not: {reason}") from None
    _describe(model, header)
    return model.eval()


def _describe(model: Model, header: dict[str, Any]) -> None:
    model.u_names, model.y_names = tuple(header["u_names"]), tuple(header["y_names"])
    model.u_units, model.y_units = tuple(header["u_units"]), tuple(header["y_units"])
    model.sampling_time = header["sampling_time"]
    model.fitted = header["fitted"]
    if header.get("baseline") is not None:
        model.baseline = Baseline.from_json(header["baseline"])
