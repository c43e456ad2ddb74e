"""Libraries that only some files need."""

from __future__ import annotations

import importlib
from typing import Any


def needed(module: str, extra: str) -> Any:
    """Import a library of one of the package's extras.

    Raises:
        ImportError: if it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(
            f"{module} must be installed to read this file: pip install 'sysid[{extra}]'"
        ) from None
