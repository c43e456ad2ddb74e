"""export: a trained model as ONNX or C, for where there is no Python."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from sysid.deploy.weights import refuse_ensemble
from sysid.models import Model
from sysid.models.parts import refuse_replaced

FORMATS = {"onnx": ".onnx", "c": ".c"}
"""The formats, and the suffix of their files."""


def export(
    model: Model,
    path: str | Path,
    format: str | None = None,
    *,
    dtype: str | None = None,
    notes: Sequence[str] = (),
) -> list[Path]:
    """Write a model for where there is no Python; physical units in and out.

    - ``c``: ``NAME.h`` and ``NAME.c``, C99 without heap, and ``NAME_main.c``, a program that
      simulates a CSV file; see ``sysid.deploy.c_code``.
    - ``onnx``: ``NAME.onnx`` for whole sequences of any length, and ``NAME_step.onnx`` for one
      sample with the state in and out where the model is one-way; see ``sysid.deploy.onnx_graph``.

    Args:
        model: the model.
        path: the first file to write, ``NAME.c`` or ``NAME.onnx``; its directory must exist.
        format: ``c`` or ``onnx``; by default what the path's suffix says.
        dtype: ``double`` (the default) or ``float``, of the C code.
        notes: lines that go with the model, on how well it fits, say.

    Returns:
        The files that were written.

    Raises:
        ValueError: for another format or suffix, a file that exists, a name that is no C
            identifier, or a model that the format cannot hold.
        ImportError: if onnx is not installed.

    Example:
        >>> import sysid
        >>> model = sysid.NARX(nu=1, ny=1, na=2, nb=2, hidden_sizes=(4,))
        >>> [file.name for file in export(model, "plant.c")]
        ['plant.h', 'plant.c', 'plant_main.c']
    """
    refuse_ensemble(model, "export")
    refuse_replaced(model)
    path = Path(path)
    format = format or {suffix: f for f, suffix in FORMATS.items()}.get(path.suffix)
    if format not in FORMATS or path.suffix != FORMATS[format]:
        allowed = ", ".join(f"{f} for NAME{suffix}" for f, suffix in FORMATS.items())
        raise ValueError(f"format must be {allowed}, got {format} for {path}; change one of them")
    if not path.parent.is_dir():
        raise ValueError(f"path must be in a directory that exists, got {path}; make it first")
    texts = _c_files(model, path, dtype or "double", notes) if format == "c" else None
    if texts is None:
        if dtype is not None:
            raise ValueError(f"dtype must be left out with onnx, which has one, got {dtype!r}")
        from sysid.deploy.onnx_graph import onnx_files

        contents = onnx_files(model, path, notes)
    else:
        contents = {p: text.encode() for p, text in texts.items()}
    for file in contents:
        if file.exists():
            raise ValueError(f"path must be new, got {file}, which exists; choose another name")
    for file, content in contents.items():
        partial = file.with_name(file.name + ".partial")
        partial.write_bytes(content)
        os.replace(partial, file)
    return list(contents)


def _c_files(model: Model, path: Path, dtype: str, notes: Sequence[str]) -> dict[Path, str]:
    from sysid.deploy.c_code import c_code

    name = path.stem
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(
            f"path must be a C identifier with .c, got {path.name!r}; every name in the code "
            "begins with it: use letters, digits and _"
        )
    code = c_code(model, name, dtype, notes)
    return {
        path.with_suffix(".h"): code.header,
        path: code.source,
        path.with_name(f"{name}_main.c"): code.main,
    }
