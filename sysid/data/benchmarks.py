"""The official benchmark records of nonlinearbenchmark.org, by their own loader and protocol."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sysid.data.records import Record


@dataclass(frozen=True)
class Benchmark:
    """Training and test records; a test record's ``n_init`` is the protocol's."""

    name: str
    train: list[Record]
    test: list[Record]


@dataclass(frozen=True)
class _Source:
    loader: str
    u_name: str
    y_name: str
    u_unit: str
    y_unit: str
    tests: tuple[str, ...] = ("test",)


BENCHMARKS: dict[str, _Source] = {
    "wiener_hammerstein": _Source("WienerHammerBenchMark", "input", "output", "V", "V"),
    "silverbox": _Source(
        "Silverbox",
        "input",
        "output",
        "V",
        "V",
        ("multisine", "arrow_full", "arrow_no_extrapolation"),
    ),
    "cascaded_tanks": _Source("Cascaded_Tanks", "pump", "level", "V", "V"),
    "emps": _Source("EMPS", "force", "position", "V", "m"),
}


def load_benchmark(name: str, data_dir: str | Path | None = None) -> Benchmark:
    """Load an official benchmark.

    Files are looked for in ``data_dir``, then in ``$SYSID_DATA``, then where the package
    nonlinear_benchmarks keeps its downloads, which it downloads to if they are nowhere.

    Args:
        name: ``wiener_hammerstein``, ``silverbox``, ``cascaded_tanks`` or ``emps``.
        data_dir: a cache folder of nonlinear_benchmarks.

    Returns:
        A ``Benchmark``: ``train`` and ``test``, lists of records with units; ``n_init`` of a test
        record is the protocol's.

    Raises:
        ValueError: for another name, a missing folder, or data that cannot be loaded.
        ImportError: if the package nonlinear_benchmarks is not installed.

    Source: the loader of nonlinear_benchmarks 1.0.1, and through it nonlinearbenchmark.org.

    Example:
        >>> load_benchmark("silverbox", data_dir="not/there")  # names the folder, or downloads
        Traceback (most recent call last):
        ValueError: data_dir must be a folder with benchmark files, got not/there
    """
    if name not in BENCHMARKS:
        raise ValueError(f"benchmark must be one of {', '.join(BENCHMARKS)}, got {name!r}")
    source = BENCHMARKS[name]
    folder = data_dir or os.environ.get("SYSID_DATA") or None
    if folder is not None and not Path(folder).is_dir():
        raise ValueError(f"data_dir must be a folder with benchmark files, got {folder}")
    try:
        import nonlinear_benchmarks
    except ModuleNotFoundError:
        raise ImportError(
            "nonlinear_benchmarks must be installed to load official benchmarks; "
            'pip install "sysid[benchmarks]"'
        ) from None
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the loader prints its progress
            train, test = getattr(nonlinear_benchmarks, source.loader)(
                dir_placement=None if folder is None else str(folder),
                atleast_2d=True,
                always_return_tuples_of_datasets=True,
            )
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"benchmark {name} must be there or downloadable, looked in "
            f"{folder or 'the download cache'}: {reason}"
        ) from None
    many = len(train) > 1
    return Benchmark(
        name,
        [_record(d, source, f"train{i + 1}" if many else "train") for i, d in enumerate(train)],
        [_record(d, source, n) for d, n in zip(test, source.tests, strict=True)],
    )


def _record(data: Any, source: _Source, name: str) -> Record:
    return Record(
        data.u,
        data.y,
        float(data.sampling_time),
        name=name,
        u_names=[source.u_name],
        y_names=[source.y_name],
        u_units=[source.u_unit],
        y_units=[source.y_unit],
        n_init=data.state_initialization_window_length or 0,
    )
