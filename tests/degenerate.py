"""Degenerate records: what loggers write when something is wrong, or nothing happens."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

import sysid
from sysid.analysis.compare import scores_to_dict
from sysid.analysis.contents import Contents
from sysid.analysis.report import write_report
from sysid.data.records import Array, Record
from sysid.models.baseline import fit_baseline

KINDS = (
    "noise", "constant", "zero", "up to rounding", "one value changed", "integers", "two levels",
    "held", "all missing but three", "every second missing", "begins missing", "ends missing",
    "sum", "tiny", "huge", "far off", "spike", "sine", "equal to the first",
)  # fmt: skip


def channel(kind: str, n: int, rng: np.random.Generator, first: Array | None) -> Array:
    """Return one signal of a kind, ``(n,)``."""
    x = rng.standard_normal(n)
    level = float(rng.choice([0.4, -3.0, 1e5]))
    few = np.isin(np.arange(n), rng.integers(0, n, 3))
    late = np.arange(n) < n // 2
    return {
        "noise": x,
        "constant": np.full(n, level),
        "zero": np.zeros(n),
        "up to rounding": np.where(x > 0, level, np.nextafter(level, np.inf)),
        "one value changed": np.full(n, level) + (np.arange(n) == n // 3),
        "integers": np.round(3 * x),
        "two levels": np.sign(x),
        "held": np.repeat(x, 7)[:n],
        "all missing but three": np.where(few, x, np.nan),
        "every second missing": np.where(np.arange(n) % 2, np.nan, x),
        "begins missing": np.where(late, np.nan, x),
        "ends missing": np.where(late, x, np.nan),
        "sum": np.cumsum(x),
        "tiny": 1e-200 * x,
        "huge": 1e200 * x,
        "far off": 1e12 + x,
        "spike": x + 1e9 * (np.arange(n) == n // 2),
        "sine": np.sin(0.3 * np.arange(n)),
        "equal to the first": x if first is None else first,
    }[kind]


@st.composite
def groups(draw: st.DrawFn) -> list[Record]:
    """Draw one to six records of the same channels."""
    nu, ny = draw(st.integers(0, 3)), draw(st.integers(1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=nu + ny, max_size=nu + ny))
    sizes = st.sampled_from([1, 2, 3, 5, 12, 40, 130, 400])
    step = draw(st.sampled_from([None, 0.1]))
    records = []
    for i, n in enumerate(draw(st.lists(sizes, min_size=1, max_size=6))):
        block: list[Array] = []
        for kind in kinds:
            block.append(channel(kind, n, rng, block[0] if block else None))
        data = np.column_stack(block)
        u = data[:, :nu] if nu else None
        records.append(
            Record(u, data[:, nu:], step, name=f"r{i}", n_init=draw(st.sampled_from([0, 0, 3, 50])))
        )
    return records


def everything(records: list[Record], directory: Path) -> str:
    """Do all that is said of data and a model; return why there is no model, if it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sysid.advice(records, records[:1])
        str(found), found.table()
        first = records[0]
        model: sysid.Model = sysid.NARX(first.nu, first.ny, 1, min(first.nu, 1), hidden_sizes=(2,))
        if first.nu and len(first) % 2:
            model = sysid.StateSpace(first.nu, first.ny, nx=1, hidden_sizes=(2,))
        try:
            model.scaling.fit_(records)
            model.describe(first)
            model.baseline = fit_baseline(records, model.scaling)
            table = sysid.compare({"m": model}, records)
        except ValueError as error:  # a channel without a value, an input that misses
            if not str(error) or "\n" in str(error):
                raise
            return str(error)
        json.dumps(scores_to_dict(table), allow_nan=False)
        contents = Contents("r", {"m": model}, records, table, train=records, advice=found)
        write_report(directory / "report.html", contents)
    return ""
