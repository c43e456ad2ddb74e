"""What a hostile file holds: an object whose unpickling does something."""

from __future__ import annotations

from pathlib import Path


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)
