"""Errors of data, and what a library says about one in the one line that a user is shown."""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST = 300
_MOST_NAMES = 12


def one_line(error: Exception) -> str:
    """Return an error's message in one line, or what it is called if it has none."""
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__


def shown(names: Sequence[object]) -> str:
    """Return names with commas, the first dozen of them.

    Example:
        >>> shown(["u1", "u2"])
        'u1, u2'
    """
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return ", ".join(map(str, names[:_MOST_NAMES])) + more


class TimeStampError(ValueError):
    """Time stamps that do not tell a sampling time."""
