"""Checkpoints: all that an interrupted training needs to go on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a trainer's state; the file is complete or the one before it."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as f:
        torch.save(state, f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(partial, path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a trainer's state; no code from the file is run.

    Raises:
        ValueError: if it is not a checkpoint.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"checkpoint must be whole, got {path}: {reason}") from None
    return state
