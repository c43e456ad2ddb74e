"""Records, files and configs at random: what is written is read, and what is wrong is refused."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from sysid.data.files import read, write
from sysid.data.records import Record
from sysid.experiment.config import parse_config, read_config

# The folder is only a place for one file that each example writes anew.
ONE_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)

NUMBERS = st.floats(-1e300, 1e300, allow_nan=False).map(lambda v: v + 0.0)
SAMPLES = st.one_of(NUMBERS, st.just(math.nan))
WORDS = st.text("abcdefghij_", min_size=1, max_size=8).map("n".__add__)


@st.composite
def records(draw: st.DrawFn) -> Record:
    n = draw(st.integers(2, 12))
    nu, ny = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    names = draw(st.lists(WORDS, min_size=nu + ny, max_size=nu + ny, unique=True))
    blocks = [draw(arrays(np.float64, (n, k), elements=SAMPLES)) for k in (nu, ny)]
    for block in blocks:
        block[0] = np.where(np.isnan(block).all(axis=0), 1.0, block[0])  # no empty columns
    return Record(
        blocks[0] if nu else None,
        blocks[1],
        draw(st.one_of(st.none(), st.floats(1e-6, 1e6))),
        name=draw(st.text(max_size=10).filter(lambda t: "\x00" not in t)),
        u_names=names[:nu],
        y_names=names[nu:],
        u_units=draw(st.lists(st.text(max_size=3), min_size=nu, max_size=nu)),
        n_init=draw(st.integers(0, 5)),
    )


@ONE_FOLDER
@given(record=records(), suffix=st.sampled_from([".npz", ".mat", ".parquet"]))
def test_a_record_comes_back_whole(record: Record, suffix: str, tmp_path: Path) -> None:
    write(record, tmp_path / f"r{suffix}")
    assert read(tmp_path / f"r{suffix}") == record


@ONE_FOLDER
@given(
    values=arrays(np.float64, st.tuples(st.integers(1, 8), st.just(3)), elements=SAMPLES),
    separator=st.sampled_from([",", ";", "\t", " "]),
    decimal=st.sampled_from([".", ","]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    quoted=st.booleans(),
    units=st.booleans(),
    comment=st.booleans(),
    last_end=st.booleans(),
)
def test_a_table_is_read_however_it_is_written(  # type: ignore[no-untyped-def]
    values, separator, decimal, end, encoding, quoted, units, comment, last_end, tmp_path: Path
) -> None:
    """Every bit of every value comes back from every way to write a table."""
    assume(not np.isnan(values).all(axis=0).any())
    # Between commas, a decimal comma needs quotes, and numbers that no thousands look like.
    assume(separator != "," or decimal == "." or quoted)

    def field(value: float) -> str:
        text = "NaN" if math.isnan(value) else repr(float(value)).replace(".", decimal)
        return f'"{text}"' if quoted else text

    rows = [separator.join(["u1", "y1", "y2"])]
    # Between blanks, a line that begins with % is a comment.
    unit = "V" if separator == " " else "%"
    rows += [separator.join([unit, "µm", "V"])] * units
    rows += [separator.join(map(field, row)) for row in values]
    text = end.join(["# bench 7"] * comment + rows) + end * last_end
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode(encoding))
    ambiguous = separator == decimal == "," and all(
        len(f.split(",")[1].strip('"')) == 3 and f.strip('"+-')[0] != "0"
        for row in values
        for f in map(field, row)
        if "," in f and "e" not in f
    )
    assume(not ambiguous)
    record = read(path)
    assert_array_equal(record.u, values[:, :1])
    assert_array_equal(record.y, values[:, 1:])
    assert record.u_units == ((unit,) if units else ("",))


@ONE_FOLDER
@given(
    content=st.one_of(
        st.binary(max_size=200), st.text('0123456789.,;\t\n\r"u1y-e# ').map(str.encode)
    )
)
@example(content=b"u1,y1\n1,2\n")
def test_any_bytes_are_a_table_or_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    message = refusal(read, path)
    assert message is None or (str(path) in message and "\n" not in message)


def refusal(load: Callable[[Any], object], given: Any) -> str | None:
    """Return why something is refused, or ``None``."""
    try:
        load(given)
    except ValueError as error:
        return str(error)
    return None


CONFIG: dict[str, Any] = {
    "data": {"source": "system", "name": "linear"},
    "model": {"kind": "narx", "na": 2, "nb": 2},
    "training": {"loss": "one_step", "max_epochs": 2},
}
KEYS = st.sampled_from(
    [*("data", "model", "training", "name", "seed", "kind", "source", "loss", "length"), "na", "x"]
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=5), KEYS
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=5,
)


@settings(deadline=None, max_examples=150)
@given(section=st.sampled_from([None, "data", "model", "training"]), key=KEYS, value=VALUES)
def test_a_config_is_right_or_refused_and_reads_back(section: Any, key: str, value: Any) -> None:
    values = copy.deepcopy(CONFIG)
    (values if section is None else values[section])[key] = value
    message = refusal(parse_config, values)
    if message is None:
        config = parse_config(values)
        again = parse_config(yaml.safe_load(config.to_yaml()))
        assert again == config.resolved()
        assert again.settings() == config.settings()
    else:
        assert "must be right" in message


@ONE_FOLDER
@given(text=st.text(max_size=80))
def test_any_text_is_a_config_or_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(ValueError, match="config must be"):
        read_config(path)
