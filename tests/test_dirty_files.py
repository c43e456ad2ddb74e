"""Files as they come from test benches: each is read rightly, or refused in one line."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.io import savemat
from scipy.sparse import csc_matrix

from sysid.data.files import read

NAN = np.nan
U, Y = [0.5, 1.25, -3.0], [1.0, 2.5, 4e-3]


@dataclass(frozen=True)
class Readable:
    """What the file has to be read as; without values: ``u1`` is ``U`` and ``y1`` is ``Y``."""

    u: Any = field(default_factory=lambda: list(U))
    y: Any = field(default_factory=lambda: list(Y))
    step: float | None = None
    units: tuple[str, str] | None = None


def csv(*lines: str, end: str = "\n") -> bytes:
    return (end.join(lines) + end).encode()


def stamped(*times: object) -> bytes:
    return csv("t,u1,y1", *(f"{t},{i},{i}" for i, t in enumerate(times)))


def wide(columns: int) -> bytes:
    """Many channels, of which the first and the last have the values."""
    header = ["u1", *(f"c{i}" for i in range(columns - 2)), "y1"]
    rows = ([str(a), *["7.125"] * (columns - 2), str(b)] for a, b in zip(U, Y, strict=True))
    return csv(",".join(header), *(",".join(r) for r in rows))


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def parquet(frame: pd.DataFrame) -> bytes:
    out = io.BytesIO()
    frame.to_parquet(out)
    return out.getvalue()


def mat(**arrays: Any) -> bytes:
    out = io.BytesIO()
    savemat(out, arrays)
    return out.getvalue()


def hdf5(fill: Callable[[h5py.File], None]) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as f:
        fill(f)
    return out.getvalue()


def external(f: h5py.File) -> None:
    f["u1"] = U
    f["y1"] = h5py.ExternalLink("/etc/hostname", "/y1")


def outside(f: h5py.File) -> None:
    f["u1"] = U
    f.create_dataset("y1", (3,), "f8", external=[("/etc/hostname", 0, 24)])


def huge(f: h5py.File) -> None:
    f.create_dataset("u1", (10**13,), "f8", chunks=(10**6,))


def bomb() -> bytes:
    """A short archive that claims to hold ten terabytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**13 // 8,)}
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("u1.npy", header.getvalue())
    raw = bytearray(out.getvalue())
    at = raw.index(b"PK\x01\x02")  # the directory entry; its size is written at byte 24
    raw[at + 20 : at + 28] = (0xFFFFFF00).to_bytes(4, "little") * 2
    return bytes(raw)


PLAIN = csv("u1,y1", "0.5,1.0", "1.25,2.5", "-3.0,4e-3")
DECIMAL_COMMA = csv("u1;y1", "0,5;1,0", "1,25;2,5", "-3,0;4e-3")
SECONDS = ["0", "0.5", "1.0"]

CASES: dict[str, tuple[str, bytes, dict[str, Any], Readable | str]] = {
    # How the text is written
    "plain": ("a.csv", PLAIN, {}, Readable()),
    "no line end at the end": ("a.csv", PLAIN[:-1], {}, Readable()),
    "windows line ends": ("a.csv", PLAIN.replace(b"\n", b"\r\n"), {}, Readable()),
    "old mac line ends": ("a.csv", PLAIN.replace(b"\n", b"\r"), {}, Readable()),
    "mixed line ends": ("a.csv", b"u1,y1\r\n0.5,1.0\n1.25,2.5\r-3.0,4e-3\r\n", {}, Readable()),
    "doubled line ends": ("a.csv", PLAIN.replace(b"\n", b"\r\r\n"), {}, Readable()),
    "byte-order mark": ("a.csv", b"\xef\xbb\xbf" + PLAIN, {}, Readable()),
    "utf-16 from a spreadsheet": (
        "a.txt",
        PLAIN.decode().replace(",", "\t").encode("utf-16"),
        {},
        Readable(),
    ),
    "windows-1252 unit": (
        "a.csv",
        "u1;y1\n%;°C\n0,5;1,0\n1,25;2,5\n-3,0;0,004\n".encode("cp1252"),
        {},
        Readable(units=("%", "°C")),
    ),
    "semicolons": ("a.csv", PLAIN.replace(b",", b";"), {}, Readable()),
    "tabs in a csv": ("a.csv", PLAIN.replace(b",", b"\t"), {}, Readable()),
    "blanks in columns": (
        "a.txt",
        csv("  u1     y1", " 0.5    1.0", " 1.25   2.5", "-3.0   4e-3"),
        {},
        Readable(),
    ),
    "blank after each comma": ("a.csv", PLAIN.replace(b",", b" , "), {}, Readable()),
    "separator at the end of each line": ("a.csv", PLAIN.replace(b"\n", b",\n"), {}, Readable()),
    "separator at the end of each line of data": (
        "a.csv",
        csv("u1,y1", "0.5,1.0,", "1.25,2.5,", "-3.0,4e-3,"),
        {},
        Readable(),
    ),
    "nul bytes": ("a.csv", PLAIN + b"1\x00,2\n", {}, "a.csv: it is not text: it holds NUL bytes"),
    "binary": ("a.csv", bytes(range(1, 256)) * 20, {}, "must be"),
    "a spreadsheet called csv": ("a.csv", b"PK\x03\x04\x14\x00\x06\x00" + b"x" * 99, {}, "NUL"),
    # Numbers
    "decimal commas": ("a.csv", DECIMAL_COMMA, {}, Readable()),
    "decimal commas and tabs": ("a.tsv", DECIMAL_COMMA.replace(b";", b"\t"), {}, Readable()),
    "decimal commas and blanks": ("a.txt", DECIMAL_COMMA.replace(b";", b"  "), {}, Readable()),
    "decimal commas in quotes between commas": (
        "a.csv",
        csv("u1,y1", '"0,5","1,0"', '"1,25","2,5"', '"-3,0","0,004"'),
        {},
        Readable(),
    ),
    "decimal commas between commas": (
        "a.csv",
        csv("u1,y1", "0,5,1,0", "1,25,2,5"),
        {},
        "line 1 must name 4 columns, as many as the lines below have, got 2",
    ),
    "both decimal signs": (
        "a.csv",
        csv("u1;y1", "0,5;1.0"),
        {},
        "must have one decimal sign, got '0,5' in line 2 and '1.0' in line 2",
    ),
    "a point far below decimal commas": (
        "a.csv",
        csv("u1;y1", *["0,5;1,5"] * 500, "0,5;1.5"),
        {},
        "it must have one decimal sign, got '0,5' in line 2 and '1.5' in line 502",
    ),
    "text among decimal commas": (
        "a.csv",
        csv("u1;y1", "0,5;1,0", "off;2,5"),
        {},
        "'u1' must hold numbers, got 'off' in row 1",
    ),
    "thousands in quotes": (
        "a.csv",
        csv("u1,y1", '"1,234",1', '"2,500",2'),
        {},
        "got '1,234' in line 2, which is one number or a thousand times as much",
    ),
    "thousands points": (
        "a.csv",
        csv("u1;y1", "1.234,5;1,5"),
        {},
        Readable([1234.5], [1.5]),
    ),
    "quoted numbers": (
        "a.csv",
        csv('"u1","y1"', '"0.5","1.0"', '"1.25","2.5"', '"-3.0","4e-3"'),
        {},
        Readable(),
    ),
    "a unit behind each number": (
        "a.csv",
        csv("u1,y1", "0.5 V,1", "0.6 V,2"),
        {},
        Readable([0.5, 0.6], [1, 2], units=("V", "")),
    ),
    "words for missing": (
        "a.csv",
        csv("u1,y1", "0.5,NaN", "N/A,2.5", ",null"),
        {},
        Readable([0.5, NAN, NAN], [NAN, 2.5, NAN]),
    ),
    "a first sample that is missing": (
        "a.csv",
        csv("u1,y1", ",", "1,2"),
        {},
        Readable([NAN, 1], [NAN, 2]),
    ),
    "infinity": (
        "a.csv",
        csv("u1,y1", "1,1", "inf,2"),
        {},
        "'u1' must be finite, got inf in row 1",
    ),
    "a spreadsheet's error": (
        "a.csv",
        csv("u1,y1", "#REF!,#REF!", "1,2"),
        {},
        "line 2 must hold units or numbers, got '#REF!'",
    ),
    "booleans": (
        "a.csv",
        csv("u1,y1", "True,1", "FALSE,2", "true,3"),
        {},
        Readable([1, 0, 1], [1, 2, 3]),
    ),
    "booleans with a gap": (
        "a.csv",
        csv("u1,y1", "True,1", ",2", "False,3"),
        {},
        Readable([1, NAN, 0], [1, 2, 3]),
    ),
    "on and off": (
        "a.csv",
        csv("u1,y1", "on,1", "off,2"),
        {},
        "'u1' must hold numbers, got 'on' in row 0",
    ),
    "integers and booleans as text": (
        "a.parquet",
        parquet(pd.DataFrame({"u1": ["1", " 2 ", ""], "y1": ["True", "false", None]})),
        {},
        Readable([1, 2, NAN], [1, 0, NAN]),
    ),
    "large whole numbers": (
        "a.csv",
        csv("u1,y1", "123456789012345678901,1", "2,2"),
        {},
        Readable([123456789012345678901.0, 2], [1, 2]),
    ),
    # Headers
    "a line of units": (
        "a.csv",
        csv("t,u1,y1", "ms,[V],-", "0,0.5,1", "20,1.25,2.5", "40,-3,4e-3"),
        {},
        Readable(step=0.02, units=("V", "")),
    ),
    "comments and a title above": (
        "a.csv",
        csv("# bench 5", "Run of Tuesday", "", "u1,y1", "0.5,1", "1.25,2.5", "-3,0.004"),
        {},
        Readable(),
    ),
    "names in a comment that begin and end with an X": (
        "a.csv",
        csv("#X,uX", "0.5,1", "1.25,2.5", "-3,0.004"),
        {"u": ["X"], "y": ["uX"]},
        Readable(),
    ),
    "names in quotes after blanks": (
        "a.csv",
        csv('u1, "y1"', "0.5, 1.0", "1.25, 2.5", "-3.0, 4e-3"),
        {},
        Readable(),
    ),
    "units in brackets of two kinds": (
        "a.csv",
        csv("u1,y1", "[kX],(XV)", "0.5,1", "1.25,2.5", "-3,0.004"),
        {},
        Readable(units=("kX", "XV")),
    ),
    "names in a comment": (
        "a.txt",
        csv("# u1 y1", "5.0e-01 1.0e+00", "1.25e+00 2.5e+00", "-3.0e+00 4.0e-03"),
        {},
        Readable(),
    ),
    "three lines of text": (
        "a.csv",
        csv("u1,y1", "V,m", "pump,level", "1,2"),
        {},
        "lines 1 to 3 must be names and units, got 3 lines of text",
    ),
    "no names": (
        "a.csv",
        csv("0.5,1", "1,2"),
        {},
        "no line names the columns, which are called column 1, column 2",
    ),
    "names for some columns": (
        "a.csv",
        csv("u1,y1", "0,1,2", "1,2,3"),
        {},
        "line 1 must name 3 columns, as many as the lines below have, got 2",
    ),
    "a name that stands twice": (
        "a.csv",
        csv("u1,y1,y1", "1,2,3", "2,3,4"),
        {"u": ["u1"], "y": ["y1"]},
        r"'y1' must stand once, got it in columns 2, 3; ask for 'y1 \(column 2\)'",
    ),
    "an empty column": (
        "a.csv",
        csv("u1,y1", "1,", "2,", "3,"),
        {},
        "'y1' must hold numbers, all its 3 samples are missing; leave it out",
    ),
    "an empty column that is not asked for": (
        "a.csv",
        csv("u1,spare,y1", "0.5,,1", "1.25,,2.5", "-3,,4e-3"),
        {},
        Readable(),
    ),
    "10 000 columns": ("a.csv", wide(10_000), {}, Readable()),
    # Lines
    "one row": ("a.csv", csv("u1,y1", "0.5,1"), {}, Readable([0.5], [1])),
    "one row with a time stamp": ("a.csv", stamped(0), {}, "'t' must have at least 2 rows, got 1"),
    "one column with a gap": (
        "a.csv",
        csv("u1", "1", "", "3", ""),
        {},
        Readable([1, NAN, 3], np.empty((3, 0))),
    ),
    "a line cut off": (
        "a.csv",
        csv("u1,y1", "1,2", "3"),
        {},
        "line 3 must have 2 fields, got 1; the file may be cut off there",
    ),
    "a line too long": (
        "a.csv",
        csv("u1,y1", "1,2", "3,4,5"),
        {},
        "line 3 must have 2 fields, got 3",
    ),
    "a quote that is never closed": (
        "a.csv",
        csv("u1,y1", '1,"2', "3,4"),
        {},
        "must close its quotes",
    ),
    # Time stamps
    "time stamps": ("a.csv", stamped(*SECONDS), {}, Readable([0, 1, 2], [0, 1, 2], 0.5)),
    "time stamps in milliseconds by their name": (
        "a.csv",
        stamped(0, 500, 1000).replace(b"t,", b"t [ms],"),
        {"time": "t [ms]"},
        Readable([0, 1, 2], [0, 1, 2], 0.5),
    ),
    "time stamps in days": (
        "a.csv",
        csv("t,u1,y1", "d,V,m", "0,1,1", "1,2,2"),
        {},
        Readable([1, 2], [1, 2], 86400.0),
    ),
    "dates": (
        "a.csv",
        stamped("2026-01-31T23:59:59.5", "2026-02-01T00:00:00", "2026-02-01T00:00:00.5"),
        {},
        Readable([0, 1, 2], [0, 1, 2], 0.5),
    ),
    "dates of no clear order": (
        "a.csv",
        stamped("01.02.2026 10:00", "01.02.2026 10:01"),
        {},
        "'t' has '01.02.2026 10:00' in row 0, and no date in it tells whether the day or the month",
    ),
    "nanoseconds since 1970": (
        "a.parquet",
        parquet(pd.DataFrame({"t_ns": 10**18 + np.array([0, 100, 200]), "u1": U, "y1": Y})),
        {"time": "t_ns"},
        Readable(step=1e-7),
    ),
    "a repeated time stamp": (
        "a.csv",
        stamped(0, 1, 1, 2),
        {},
        "'t' must increase, row 2 repeats the time of row 1; delete one",
    ),
    "unsorted time stamps": (
        "a.csv",
        stamped(0, 2, 1, 3),
        {},
        "not at row 2; sort the rows by time",
    ),
    "jittering time stamps": (
        "a.csv",
        stamped(0, 1, 2.05, 3, 4),
        {},
        r"uniformly spaced, got a step of 1.05 s at row 2 where 1 s is usual \(2 steps are off",
    ),
    "rounded time stamps": (
        "a.csv",
        stamped(*(f"{i / 3:.3f}" for i in range(301))),
        {},
        Readable(range(301), range(301), 1 / 3),
    ),
    "a gap in the time stamps": ("a.csv", stamped(0, 1, 2, 7), {}, "step of 5 s at row 3"),
    "a missing time stamp": ("a.csv", stamped(0, "", 2), {}, "'t' must be complete, row 1 misses"),
    "a wrong sampling time": (
        "a.csv",
        stamped(*SECONDS),
        {"sampling_time": 0.05},
        "sampling_time must be that of the time stamps, got 0.05 s where column 't' has 0.5 s",
    ),
    "a sampling time in seconds beside stamps in milliseconds": (
        "a.csv",
        b"t;u1;y1\nms;V;m\n0;1;2\n20;3;4\n40;5;6\n",
        {"sampling_time": 0.02},
        Readable([1, 3, 5], [2, 4, 6], 0.02),
    ),
    "a comma in quotes where a field is missing": (
        "a.csv",
        b'u1,y1,z1\n1,2,3\n"1,5",2\n3,4,5\n',
        {},
        "line 3 must have 3 fields, got 2",
    ),
    "a note between the names and the numbers": (
        "a.csv",
        b"u1,y1\na note\n1,2\n3,4\n5,6\n",
        {},
        "line 2 must have 2 fields, as the names above it and the lines below, got 1",
    ),
    "a unit that is a text": (
        "a.csv",
        b"u1,y1\nV,seventeen letters\n1,2\n3,4\n5,6\n",
        {},
        "line 2 must hold units or numbers, got 'seventeen letters'",
    ),
    "blank lines alone": ("a.csv", b"\n\n", {}, "a.csv: it holds no lines with data"),
    # Arrays
    "complex numbers": ("a.mat", mat(u1=U, y1=np.array(Y) * 1j), {}, "real numbers, got complex"),
    "text in an array": ("a.npz", npz(u1=U, y1=np.array(["a", "b", "c"])), {}, "got text"),
    "text in bytes": (
        "a.npz",
        npz(u1=U, y1=np.array([b"a", b"b", b"c"])),
        {},
        "real numbers, got text",
    ),
    "dates as outputs": (
        "a.parquet",
        parquet(pd.DataFrame({"u1": U, "y1": pd.date_range("2026-01-01", periods=len(U))})),
        {"u": ["u1"], "y": ["y1"]},
        "column 'y1' must hold numbers, got dates; use it as time",
    ),
    "a sparse matrix": ("a.mat", mat(u1=U, y1=csc_matrix(np.eye(3))), {}, r"x = full\(y1\); save"),
    "a cube": (
        "a.npz",
        npz(u1=U, y1=np.ones((3, 2, 2))),
        {},
        "a vector or a matrix, got the shape",
    ),
    "a sampling rate beside": ("a.mat", mat(u1=U, y1=Y, fs=50.0), {}, Readable()),
    "whole numbers": (
        "a.npz",
        npz(u1=np.array([1, 2], "u1"), y1=[True, False]),
        {},
        Readable([1, 2], [1, 0]),
    ),
    "unequal lengths": (
        "a.npz",
        npz(u1=U, y1=[1.0, 2.0]),
        {},
        "equal lengths, got 2 samples of 'y1'",
    ),
    "a link to another file": ("a.mat", hdf5(external), {}, "'y1' is a link to elsewhere"),
    "data in another file": ("a.mat", hdf5(outside), {}, "data of 'y1' are in another file"),
    "terabytes in a short .mat": (
        "a.mat",
        hdf5(huge),
        {},
        "must fit in memory, got an estimate of",
    ),
    "terabytes in a short .npz": ("a.npz", bomb(), {}, "must be readable|must fit in memory"),
    "a record's own description spoilt": (
        "a.npz",
        npz(u1=U, sysid_record=np.array('{"name": 3}')),
        {},
        "its stored name is not what was written",
    ),
}


def test_there_are_sixty() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES)
def test_a_dirty_file(case: str, tmp_path: Path) -> None:
    name, content, arguments, expected = CASES[case]
    path = tmp_path / name
    path.write_bytes(content)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=rf"(?<!\w){expected}(?!\w)") as caught:
            read(path, **arguments)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
        return
    record = read(path, **arguments)
    assert_array_equal(record.u.ravel(), np.ravel(expected.u))
    assert_array_equal(record.y.ravel(), np.ravel(expected.y))
    if expected.step is None:
        assert record.sampling_time is None
    else:
        assert record.sampling_time == pytest.approx(expected.step, rel=1e-12)
    if expected.units is not None:
        assert (*record.u_units, *record.y_units) == expected.units
