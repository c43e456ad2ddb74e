"""ahead: the next items of an iterator are made in a thread while one is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T], depth: int = 1) -> Iterator[T]:
    """Yield the items of an iterable, which a thread draws up to ``depth`` ahead of need.

    What drawing an item raises is raised here, in its place. Leaving the loop early ends the
    thread.

    Args:
        items: what to draw from; nothing else may draw from it meanwhile.
        depth: items that may wait.

    Example:
        >>> list(ahead(range(3)))
        [0, 1, 2]
    """
    waiting: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue()
    free = threading.Semaphore(depth)
    left = threading.Event()

    def draw() -> None:
        try:
            for item in items:
                free.acquire()
                if left.is_set():
                    return
                waiting.put((item, None))
        except BaseException as error:
            waiting.put((None, error))
        else:
            waiting.put((None, StopIteration()))

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # an item, where there is no error
            free.release()
    finally:
        left.set()
        free.release()
        thread.join()
