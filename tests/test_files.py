"""Data files: every format round-trips, foreign files read, broken ones refused."""

from __future__ import annotations

import struct

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix

from sysid.data import memory
from sysid.data.assembly import guess_columns
from sysid.data.columns import unknown_column
from sysid.data.files import column_names, read, write
from sysid.data.memory import refuse_swollen
from sysid.data.readers.matlab import read_arrays
from sysid.data.readers.tables import distinct, repeated
from sysid.data.records import Record
from sysid.data.stamps import seconds_of, uniform_step

RNG = np.random.default_rng(0)
RECORD = Record(
    RNG.standard_normal((30, 2)),
    RNG.standard_normal((30, 1)),
    0.1,
    name="bench",
    u_names=["pump", "valve"],
    y_names=["level"],
    u_units=["V", ""],
    y_units=["m"],
    n_init=4,
)


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".parquet"])
def test_a_record_comes_back_whole(suffix: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    write(RECORD, tmp_path / f"r{suffix}")
    assert read(tmp_path / f"r{suffix}") == RECORD
    one = read(tmp_path / f"r{suffix}", u=["valve"], y=["level"])
    assert one.u_units == ("",)
    assert_array_equal(one.u[:, 0], RECORD.u[:, 1])


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_text_keeps_every_bit_of_the_values(suffix: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / f"r{suffix}"
    write(RECORD, path)
    again = read(path, u=["pump", "valve"], y=["level"], time="t")
    assert_array_equal(again.u, RECORD.u)
    assert_array_equal(again.y, RECORD.y)
    assert again.sampling_time == pytest.approx(0.1)
    assert again.name == "r"
    assert column_names(path) == ["t", "pump", "valve", "level"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_foreign_text(delimiter: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    rows = ["time", "u", "y1", "y2"], ["0", "1", "2", "3"], ["0.5", "2", "", "4"]
    text = "\r\n".join(delimiter.join(r) for r in rows)
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    record = read(tmp_path / "a.csv")
    assert (record.u_names, record.y_names, record.sampling_time) == (("u",), ("y1", "y2"), 0.5)
    assert_array_equal(record.y, [[2, 3], [np.nan, 4]])


def test_what_was_written_is_known_again_after_matlab_kept_it_in_another_version(tmp_path) -> None:  # type: ignore[no-untyped-def]
    record = Record([1.0, 2.0], [3.0, 4.0], 0.5, name="tank", u_names=["pump"], u_units=["V"])
    write(record, tmp_path / "a.mat")
    with h5py.File(tmp_path / "b.mat", "w") as f:  # texts are character codes, columns first
        for name, value in read_arrays(tmp_path / "a.mat").items():
            text = value.dtype.kind in "US"
            f[name] = np.array([[ord(c)] for c in value.ravel()[0]], "u2") if text else value.T
    assert read(tmp_path / "b.mat") == record


def test_what_is_compressed_must_fit_into_memory(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    savemat(tmp_path / "a.mat", {"u": np.zeros(5000), "y": np.zeros(5000)}, do_compression=True)
    monkeypatch.setattr(memory, "free_memory", lambda: 70_000)  # an array of 40 kB is there twice
    with pytest.raises(ValueError, match="its arrays unpacked must fit in memory"):
        read(tmp_path / "a.mat")
    monkeypatch.setattr(memory, "free_memory", lambda: 90_000)
    assert read_arrays(tmp_path / "a.mat")["u"].size == 5000


def test_settings_beside_the_channels_are_none(tmp_path) -> None:  # type: ignore[no-untyped-def]
    settings = {name: np.array([7.0]) for name in ("fs", "gain", "offset")}
    np.savez(tmp_path / "a.npz", u=np.arange(5.0), y=np.arange(5.0) ** 2, **settings)
    assert_array_equal(read(tmp_path / "a.npz", u=["u"], y=["y"]).y[:, 0], np.arange(5.0) ** 2)


def test_what_is_measured_may_be_packed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A thousandfold at most, and less than 0.27 GB however it is packed."""
    (tmp_path / "packed").write_bytes(bytes(1_000_000))
    refuse_swollen("it", 0.9e9, tmp_path / "packed")
    with pytest.raises(ValueError, match="at most 1000 times"):
        refuse_swollen("it", 1.1e9, tmp_path / "packed")
    (tmp_path / "packed").write_bytes(b"x")
    refuse_swollen("it", 1e6, tmp_path / "packed")


def test_matlab_v5_and_v73_matrices(tmp_path) -> None:  # type: ignore[no-untyped-def]
    u, y = RNG.standard_normal((30, 2)), RNG.standard_normal((1, 30))
    savemat(tmp_path / "old.mat", {"u": u, "y": y, "fs": 10.0, "note": "x"})
    with h5py.File(tmp_path / "new.mat", "w") as f:  # MATLAB stores columns first
        f["u"], f["y"], f["fs"] = u.T, y.T, 10.0
    for name in ("old", "new"):
        for record in (
            read(tmp_path / f"{name}.mat"),
            read(tmp_path / f"{name}.mat", u=["u"], y=["y"], sampling_time=0.1),
        ):
            assert_array_equal(record.u, u)
            assert_array_equal(record.y, y.T)
            assert record.u_names == ("u1", "u2")


@pytest.mark.parametrize("kind", ["f8", "f4", "i4", "i2", "u2", "u1"])
def test_a_mat_file_of_version_4_is_read_as_by_scipy(kind, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.mat"
    u, y = (10 * RNG.random((7, 2))).astype(kind), np.arange(7).astype(kind)
    others = {"note": "x", "mixed": u * 1j, "holes": csc_matrix(np.eye(3)), "none": u[:0]}
    savemat(path, {"u": u, "y": y} | others, format="4")
    assert_array_equal(read(path).u, u)
    assert_array_equal(read(path).y[:, 0], y)
    found = read_arrays(path)
    assert [found[name].dtype.kind for name in ("note", "mixed")] == ["U", "c"]
    assert [found[name].size for name in ("note", "mixed")] == [0, 0]
    assert "full(holes)" in found["holes"].rule
    assert found["none"].shape == (0, 2)
    whole = path.read_bytes()
    for size in (len(whole) - 1, 10):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="it is cut off"):
            read(path)
    # The same on a machine that begins with the high byte.
    number = 1000 + 10 * ("f8", "f4", "i4", "i2", "u2", "u1").index(kind)
    head = struct.pack(">5i", number, 7, 2, 0, 2) + b"u\0"
    path.write_bytes(head + u.astype(f">{kind}").tobytes(order="F"))
    assert_array_equal(read_arrays(path)["u"], u)
    assert_array_equal(loadmat(path)["u"], u)
    path.write_bytes(struct.pack(">5i", 2000, 7, 2, 0, 2) + b"u\0")  # a VAX
    with pytest.raises(ValueError, match="file of version 4"):
        read(path)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["f8", "f4", "i1", "u2", "i8", ">f8", "?"])
def test_arrays_of_a_mat_file_are_those_that_scipy_wrote(compressed, kind, tmp_path) -> None:  # type: ignore[no-untyped-def]
    arrays = {
        "u": (10 * RNG.standard_normal((7, 3))).astype(kind),
        "y": np.arange(7).astype(kind),
        "cube": np.arange(24).reshape(2, 3, 4).astype(kind),
        "long_name_of_an_array": np.ones((7, 1), kind),
    }
    path = tmp_path / "a.mat"
    savemat(path, arrays | {"text": "Füße", "cell": {"a": 1}}, do_compression=compressed)
    found = read_arrays(path)
    for name, expected in loadmat(path).items():
        if name in arrays:
            assert_array_equal(found[name], expected)
    assert str(found["text"]) == "Füße"
    assert_array_equal(found["cell"].elements[0]["a"], [[1]])


def test_names_that_stand_twice_or_not_at_all() -> None:
    names = ["u", "y", "", "y"]
    assert distinct(names) == ["u", "y (column 2)", "column 3", "y (column 4)"]
    assert repeated(names) == {
        "y": "stand once, got it in columns 2, 4; ask for 'y (column 2)'",
    }


def test_a_step_is_that_of_stamps_from_anywhere() -> None:
    assert uniform_step(np.array([100.0, 100.5, 101.0]), "t") == 0.5


def test_time_stamps_count_from_the_first() -> None:
    dates = pd.DataFrame({"t": ["2026-01-01T00:00:01", "2026-01-01T00:00:03"]})
    assert_array_equal(seconds_of(dates, "t"), [0.0, 2.0])
    assert_array_equal(seconds_of(pd.DataFrame({"t": [7, 9]}), "t"), [0.0, 2.0])
    assert_array_equal(seconds_of(pd.DataFrame({"t": [7.5, 9.5]}), "t"), [0.0, 2.0])
    for unit, factor in (("ms", 1e-3), ("min", 60.0), ("h", 3600.0), ("us", 1e-6), ("ns", 1e-9)):
        assert_array_equal(seconds_of(pd.DataFrame({"t": [0.0, 2.0]}), "t", unit), [0, 2 * factor])
    named = pd.DataFrame({"time_ms": [0.0, 2.0], "time/h": [0.0, 1.0], "rows": [0.0, 1.0]})
    assert_array_equal(seconds_of(named, "time_ms"), [0, 2e-3])
    assert_array_equal(seconds_of(named, "time/h"), [0, 3600])
    assert_array_equal(seconds_of(named, "rows"), [0, 1])


def test_an_unknown_column_lists_the_others() -> None:
    assert (
        unknown_column("q", ["u", "y"]) == "column must be one of u, y, got 'q'; look at the header"
    )
    assert "c11, ..., got" in unknown_column("q", [f"c{i}" for i in range(20)])


def test_a_record_to_be_simulated(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.csv").write_text("u1\n1\n2\n")
    assert read(tmp_path / "a.csv").ny == 0


def test_the_rule_for_names() -> None:
    assert guess_columns(["time", "u", "u2", "y1", "up"]) == (["u", "u2"], ["y1"], "time")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"u1,y1\n", "must hold samples, got none"),
        ("a.csv", b"a,b\n1,2\n", "be called u1, y1, ..., got a, b"),
        ("a.csv", b"a,b,c,d,e,f,g,h,i,j,k,l\n" + b"1," * 11 + b"2\n", "i, j, k, l$"),
        ("a.csv", b"a,b,c,d,e,f,g,h,i,j,k,l,m\n" + b"1," * 12 + b"2\n", r"j, k, l, \.\.\.$"),
        ("a.csv", b"u1,y1\n1,2\n3,x\n", "column 'y1' must hold numbers, got 'x' in row 1"),
        ("a.csv", b"\xff\xfe\x00", r"must be readable as \.csv"),
        ("a.xlw", b"x", "file must hold samples, got none"),
        ("a.xls", b"x", "save it as .xlsx or .csv"),
        ("a.npz", b"PK not a zip", "must be readable as .npz"),
        ("a.mat", b"not a mat file at all, but long enough to be one" * 9, "must be readable as"),
        ("a.parquet", b"PAR1", "must be readable as .parquet"),
    ],
)
def test_files_that_cannot_be_read(name: str, content: bytes, match: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=match):
        read(tmp_path / name)


def test_paths_that_are_no_files(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FileNotFoundError, match="file must exist"):
        read(tmp_path / "none.csv")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(ValueError, match="got the directory"):
        read(tmp_path / "d.csv")
    with pytest.raises(ValueError, match="file must be writable"):
        write(RECORD, tmp_path / "no" / "a.csv")
    np.savez(tmp_path / "text.npz", a=np.array(["x"]))
    with pytest.raises(ValueError, match="no numeric arrays"):
        read(tmp_path / "text.npz")


def test_arrays_of_unequal_lengths_are_not_left_out_silently(tmp_path) -> None:  # type: ignore[no-untyped-def]
    np.savez(tmp_path / "a.npz", u1=np.ones(19), y1=np.ones(20), note=np.ones(3))
    with pytest.raises(ValueError, match="equal lengths, got 20 samples of 'y1' where 'u1' have"):
        read(tmp_path / "a.npz")
    assert read(tmp_path / "a.npz", u=["u1"]).nu == 1


def test_an_archive_that_would_run_code_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    np.savez(tmp_path / "evil.npz", u=np.array([print, print], dtype=object))
    with pytest.raises(ValueError, match="must be readable as"):
        read(tmp_path / "evil.npz")


def test_a_mat_file_of_a_machine_that_begins_with_the_high_byte(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Written by hand: scipy writes those of this machine alone."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    def array(name: str, kind: int, shape: tuple[int, int], code: int, data: bytes) -> bytes:
        flags, dimensions = struct.pack(">II", kind, 0), struct.pack(">2i", *shape)
        parts = (6, flags), (5, dimensions), (1, name.encode()), (code, data)
        return element(14, b"".join(element(*part) for part in parts))

    path = tmp_path / "a.mat"
    numbers = np.arange(6.0).reshape(3, 2)
    arrays = array("u", 6, (3, 2), 9, numbers.astype(">f8").tobytes(order="F"))
    arrays += array("note", 4, (1, 4), 17, "Füße".encode("utf-16-be"))
    arrays += array("plain", 4, (1, 2), 16, b"ab") + array("none", 4, (0, 0), 4, b"")
    path.write_bytes(b"MATLAB".ljust(124) + struct.pack(">H", 0x100) + b"MI" + arrays)
    for found in (read_arrays(path), loadmat(path)):
        assert_array_equal(found["u"], numbers)
        assert [str(found[name].item()) for name in ("note", "plain")] == ["Füße", "ab"]
    assert str(read_arrays(path)["none"]) == ""
    assert_array_equal(read(path).u, numbers)


def test_an_array_that_is_not_of_its_shape_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.mat"
    savemat(path, {"u1": np.arange(6.0), "y1": np.ones(6)})
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<2i", 1, 6), struct.pack("<2i", 1, 7), 1))
    with pytest.raises(ValueError, match=r"its array 'u1' of the shape \(1, 7\) holds 6 numbers"):
        read(path)


@pytest.mark.parametrize("unit", ["-", "1", ""])
def test_a_unit_that_is_none(unit: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.csv").write_text(f"t,u1,y1\ns,{unit},[mm]\n0,1,2\n1,1,2\n")
    record = read(tmp_path / "a.csv")
    assert (record.u_units, record.y_units) == (("",), ("mm",))


@pytest.mark.parametrize("word", ["true", "False", "INF", "-Infinity"])
def test_a_word_that_is_a_value_begins_the_data(word: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.csv").write_text(f"c,u1\n{word},word\n1,2\n")
    with pytest.raises(ValueError, match="'u1' must hold numbers, got 'word' in row 0"):
        read(tmp_path / "a.csv")
