"""Pieces of work side by side, on the threads that torch already has.

After each of its own operations torch's OpenMP threads spin for a while, waiting for more. Other
threads would have to share the cores with them, at half the speed; so the pieces are given to
these very threads, through the library's own entry. Where it cannot be found, a pool does.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Piece = Callable[[], None]


def side_by_side(pieces: Sequence[Piece]) -> None:
    """Run pieces of work that do not need each other, each on a thread of its own.

    Raises:
        BaseException: what a piece raised, after all have ended.
    """
    team = _team() if len(pieces) > 1 and not _forked else None
    if len(pieces) == 1:
        pieces[0]()
    elif team is None:
        _in_pool(pieces)
    else:
        _in_team(team, pieces)


def _in_team(library: Any, pieces: Sequence[Piece]) -> None:
    raised: list[BaseException] = []

    def run(_: int | None) -> None:
        first, step = library.omp_get_thread_num(), library.omp_get_num_threads()
        for piece in pieces[first::step]:
            try:
                piece()
            except BaseException as error:  # a foreign thread could not hand it on
                raised.append(error)

    callback = _CALLBACK(run)
    library.GOMP_parallel(callback, None, len(pieces), 0)
    if raised:
        raise raised[0]


_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@functools.cache
def _team() -> Any:
    """Return torch's OpenMP library, or ``None`` where it is not to be found."""
    from threadpoolctl import threadpool_info

    for module in threadpool_info():
        path = str(module["filepath"])
        if module["user_api"] == "openmp" and f"{os.sep}torch{os.sep}" in path:
            library = ctypes.CDLL(path)
            if hasattr(library, "GOMP_parallel"):
                library.GOMP_parallel.argtypes = [
                    _CALLBACK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint,
                ]  # fmt: skip
                library.GOMP_parallel.restype = None
                return library
    return None


_pool: list[ThreadPoolExecutor] = []
_forked: list[bool] = []


def _after_fork() -> None:
    """Begin anew in a child: all threads stayed behind, and OpenMP's would be waited for."""
    _pool.clear()
    _forked.append(True)


os.register_at_fork(after_in_child=_after_fork)


def _in_pool(pieces: Sequence[Piece]) -> None:
    if not _pool:
        _pool.append(ThreadPoolExecutor(os.cpu_count(), "sysid-kernels"))
    others = [_pool[0].submit(piece) for piece in pieces[1:]]
    pieces[0]()
    for other in others:
        other.result()
