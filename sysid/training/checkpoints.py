"""Checkpoints: all that an interrupted training needs to go on."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from sysid.data.atomic import replacing

# The first line of a checkpoint: this, the format's version, and SHA-256 of all that follows.
_MAGIC = b"sysid checkpoint 1 "
_HEAD = len(_MAGIC) + 2 * hashlib.sha256().digest_size + 1


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a trainer's state; the file is this one, on the disk, or the one before it.

    Args:
        state: tensors, numbers, strings, lists and dictionaries of them.
        path: file to write.

    Raises:
        OSError: if it cannot be written; the file before it is whole.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    with replacing(path) as partial:
        partial.write_bytes(_MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a trainer's state; no code from the file is run.

    Raises:
        ValueError: if it is not a whole checkpoint.
    """
    raw = path.read_bytes()
    head, content = raw[:_HEAD], raw[_HEAD:]
    if not head.startswith(_MAGIC):
        raise ValueError(f"checkpoint must be whole, got {path}, which sysid did not write")
    if head[len(_MAGIC) : -1].decode("latin-1") != hashlib.sha256(content).hexdigest():
        raise ValueError(f"checkpoint must be whole, got {path}, which is damaged; begin anew")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # torch's words are many, and advise to load it unsafely
        raise ValueError(
            f"checkpoint must be whole, got {path}, which holds more than numbers; begin anew"
        ) from None
    if not isinstance(state, dict):
        raise ValueError(f"checkpoint must be whole, got {path}, which holds no state")
    return state
