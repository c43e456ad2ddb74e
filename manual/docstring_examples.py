"""Lets mkdocstrings show what stands under ``Example:`` in a docstring as code and its output."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class Examples(Extension):
    """Calls the section by the only name that griffe takes for one, ``Examples:``."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        """Rename the section of one object."""
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.M
            )
