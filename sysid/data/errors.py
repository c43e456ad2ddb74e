"""What a library says about an error, in the one line that a user is shown."""

from __future__ import annotations

_LONGEST = 300


def one_line(error: Exception) -> str:
    """Return an error's message in one line, or what it is called if it has none."""
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
