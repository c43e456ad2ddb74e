"""What readers make of the odd places of a file: its head, its last bytes, its names and sizes."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.io import loadmat, savemat

from sysid import Record, load_benchmark, read, write
from sysid.data.readers.matlab import read_arrays
from sysid.data.readers.tables import METADATA, StoredRecord

STORED = (
    '{"name": "n", "sampling_time": 0.1, "u_names": ["u"], "y_names": ["y"], '
    '"u_units": ["V"], "y_units": ["m"], "n_init": 0}'
)


def _element(kind: int, data: bytes, size: int | None = None) -> bytes:
    padded = data + b"\0" * (-len(data) % 8)
    return struct.pack("<II", kind, len(data) if size is None else size) + padded


def _array(name: bytes, kind: int = 6, shape: tuple[int, ...] = (1, 3), data: bytes = b"") -> bytes:
    flags = struct.pack("<II", kind, 0)
    dimensions = struct.pack(f"<{len(shape)}i", *shape)
    parts = [(6, flags), (5, dimensions), (1, name)]
    return _element(14, b"".join(_element(*p) for p in parts) + data)


def _mat(path: Path, content: bytes) -> Path:
    path.write_bytes(b"MATLAB".ljust(124) + struct.pack("<H", 0x100) + b"IM" + content)
    return path


THREE = _element(9, np.arange(3.0).tobytes())


def test_a_matlab_name_in_another_encoding_is_kept_as_it_can_be(tmp_path: Path) -> None:
    found = read_arrays(_mat(tmp_path / "a.mat", _array(b"F\xfc\xdfe", data=THREE)))
    assert list(found) == ["F��e"]
    savemat(tmp_path / "b.mat", {"name": np.arange(3.0)}, format="4")
    old = (tmp_path / "b.mat").read_bytes().replace(b"name", b"n\xfcme")
    (tmp_path / "b.mat").write_bytes(old)
    assert list(read_arrays(tmp_path / "b.mat")) == ["n�me"]


def test_an_array_without_a_name_is_matlabs_own(tmp_path: Path) -> None:
    path = _mat(tmp_path / "a.mat", _array(b"", data=THREE) + _array(b"u1", data=THREE))
    assert list(read_arrays(path)) == ["u1"]


def test_an_array_of_no_rows_is_empty_and_of_its_shape(tmp_path: Path) -> None:
    path = _mat(tmp_path / "a.mat", _array(b"a", shape=(0, 5), data=_element(9, b"")))
    assert read_arrays(path)["a"].shape == (0, 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_element(14, b""), "it is cut off in an array"),
        (_element(14, _element(6, b"")), "it is cut off in an array"),
        (_array(b"u1"), "it is cut off in an array"),
        (_array(b"u1", data=_element(3, b"1234567")), "must be readable"),
        (_array(b"u1", data=_element(99, b"12345678")), "numbers of an unknown type, 99"),
        (_array(b"u1", shape=(-1, -3), data=THREE), r"shape \(-1, -3\) holds 3 numbers"),
        (_element(14, b"12345678", size=16), "it is cut off, or its sizes are wrong"),
        (struct.pack("<HH", 6, 5) + b"1234", "it is cut off, or its sizes are wrong"),
        (_element(15, b"12345678"), "must be readable"),
    ],
)
def test_a_damaged_matlab_file_says_where(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read(_mat(tmp_path / "a.mat", content))


@pytest.mark.parametrize("values", [[7], [7, 8], [7, 8, 9, 10]])
def test_few_numbers_share_the_bytes_of_their_size(values: list[int], tmp_path: Path) -> None:
    """A small element of one to four bytes, as MATLAB writes them, and a whole one after it."""
    small = struct.pack("<HH", 2, len(values)) + bytes(values).ljust(4, b"\0")
    shape = (1, len(values))
    path = _mat(
        tmp_path / "a.mat",
        _array(b"small", 9, shape, small) + _array(b"next", data=THREE),
    )
    assert_array_equal(read_arrays(path)["small"], [values])
    assert_array_equal(loadmat(path)["small"], [values])
    assert_array_equal(read_arrays(path)["next"], [[0, 1, 2]])


def test_a_matlab_file_is_known_by_the_letters_of_its_byte_order(tmp_path: Path) -> None:
    path = _mat(tmp_path / "a.mat", _array(b"u1", data=THREE))
    path.write_bytes(path.read_bytes().replace(b"IM", b"XX", 1))
    with pytest.raises(ValueError, match=r"it is no \.mat file of version 4 to 7\.3"):
        read(path)


def test_long_names_are_written_to_matlab(tmp_path: Path) -> None:
    name = "u" * 50
    record = Record([1.0, 2.0], [3.0, 4.0], u_names=[name], y_names=["y"])
    write(record, tmp_path / "a.mat")
    assert read(tmp_path / "a.mat").u_names == (name,)


def test_what_has_another_length_is_told_beside_three_of_the_usual(tmp_path: Path) -> None:
    columns = {name: np.ones(5) for name in ("u1", "u2", "u3", "u4", "y1")}
    np.savez(tmp_path / "a.npz", **columns, y2=np.ones(2), rate=np.ones(1))
    with pytest.raises(ValueError, match="got 2 samples of 'y2' where 'u1', 'u2', 'u3' have 5"):
        read(tmp_path / "a.npz")


def test_one_sample_a_channel_is_a_record(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", u1=np.ones(1), y1=np.ones((1, 1)))
    assert len(read(tmp_path / "a.npz")) == 1


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.ones(4) * 1j, "complex numbers"),
        (np.array(["a", "b", "c", "d"]), "text"),
        (np.array([b"a", b"b", b"c", b"d"]), "text"),
        (np.ones(4, dtype="datetime64[s]"), "objects"),
        (np.ones((2, 2, 1)), r"be a vector or a matrix, got the shape \(2, 2, 1\)"),
        (np.ones((0, 2)), r"be a vector or a matrix, got the shape \(0, 2\)"),
        (np.float64(3.0), r"be a vector or a matrix, got the shape \(\)"),
    ],
)
def test_what_no_channel_can_be_made_of(array: Any, kind: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", u1=np.arange(4.0), y1=array)
    with pytest.raises(ValueError, match=kind):
        read(tmp_path / "a.npz", u=["u1"], y=["y1"])


def test_a_matrix_of_too_many_columns_is_no_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysid.data.readers.structures._CHANNELS", 3)
    np.savez(tmp_path / "a.npz", u=np.ones((4, 2)), y=np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"have a channel in each column, got the shape \(4, 2\)"):
        read(tmp_path / "a.npz", u=["u1"], y=["y"])
    np.savez(tmp_path / "b.npz", u=np.ones((4, 1)), y=np.ones((4, 2)))
    assert read(tmp_path / "b.npz").ny == 2


@pytest.mark.parametrize("value", [STORED, STORED.encode()])
def test_what_is_stored_may_be_text_of_either_kind(value: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", u=np.ones(4), y=np.ones(4), **{METADATA: np.array(value)})
    record = read(tmp_path / "a.npz")
    assert (record.name, record.u_units, record.y_units) == ("n", ("V",), ("m",))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"n_init": 0', '"n_init": -1', "its stored n_init is not what was written"),
        ('"u_units": ["V"]', '"u_units": []', "its stored u_units are not one per channel"),
        ('"y_units": ["m"]', '"y_units": []', "its stored y_units are not one per channel"),
        ('"u_names": ["u"]', '"u_names": ["u", 2]', r"its stored u_names\.1 is not what"),
        ("{", "", f"its stored {METADATA} is not what was written"),
        ('"sampling_time": 0.1', '"sampling_time": 0', "its stored sampling_time is not"),
    ],
)
def test_what_is_stored_must_be_what_was_written(old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StoredRecord.from_json(STORED.replace(old, new, 1))


def test_a_cell_of_a_new_matlab_file_is_what_it_refers_to(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w") as f:
        f["u1"], f["y1"] = np.arange(4.0)[None], np.ones((1, 4))
        f.create_group("#refs#")
        f["cell"] = np.array([f["u1"].ref], dtype=h5py.ref_dtype)
    assert_array_equal(read(tmp_path / "a.mat", u=["u1"], y=["y1"]).u[:, 0], np.arange(4.0))
    assert_array_equal(read(tmp_path / "a.mat", y=["cell"]).y[:, 0], np.arange(4.0))


# Text


def test_blanks_part_quoted_names(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text('"u1"  "y1"\n1  2\n3  4\n')
    assert read(tmp_path / "a.txt").u_names == ("u1",)


def test_text_throughout_has_its_names_in_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("u1,y1\n\nred,green\nblue,white\n")
    with pytest.raises(ValueError, match="column 'u1' must hold numbers, got 'red' in row 0"):
        read(tmp_path / "a.csv")


def test_the_first_data_may_be_missing_altogether(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("u1,y1\nnan,NA\n1,2\n")
    record = read(tmp_path / "a.csv")
    assert_array_equal(record.u[:, 0], [np.nan, 1])


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_lines_end_as_they_do_anywhere(ends: str, tmp_path: Path) -> None:
    text = ends.join(["u1,y1", "1,2", "3,4", ""])
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert_array_equal(read(tmp_path / "a.csv").y[:, 0], [2, 4])


@pytest.mark.parametrize("rows", [97, 98, 99, 100, 101, 102, 250])
def test_no_line_is_lost_where_the_look_at_the_head_ends(rows: int, tmp_path: Path) -> None:
    lines = [f"{i},{i / 2}" for i in range(rows)]
    (tmp_path / "a.csv").write_text("\n".join(["u1,y1", *lines]))
    assert_array_equal(read(tmp_path / "a.csv").y[:, 0], np.arange(rows) / 2)


@pytest.mark.parametrize("size", [10, 11, 12, 13, 16, 40, 1000])
def test_a_head_that_is_cut_anywhere(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysid.data.readers.lines._BLOCK", size)
    text = "u1,y1 [°C]\n" + "".join(f"{i},{i}\n" for i in range(200))
    (tmp_path / "a.csv").write_bytes(text.encode())
    record = read(tmp_path / "a.csv", u=["u1"], y=["y1 [°C]"])
    assert_array_equal(record.u[:, 0], np.arange(200))


def test_lines_may_be_as_long_as_the_longest_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sysid.data.readers.lines._BLOCK", 8)
    monkeypatch.setattr("sysid.data.readers.lines._LONGEST", 32)
    names = ",".join(f"u{i}" for i in range(20))
    row = ",".join(["1"] * 20)
    (tmp_path / "a.csv").write_text(f"{names}\n{row}\n{row}\n")
    with pytest.raises(ValueError, match="its lines are longer than 32 bytes"):
        read(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("u1,y1\n1,2\n3,4\n5,6\n7,8\n9,10\n11,12\n")
    assert len(read(tmp_path / "b.csv")) == 6


def test_a_benchmark_is_loaded_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    if not os.environ.get("SYSID_DATA"):
        pytest.skip("SYSID_DATA names no folder with the benchmarks' files")
    load_benchmark("cascaded_tanks")
    assert capfd.readouterr() == ("", "")


def test_two_samples_a_channel_are_a_record_beside_one_of_more(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", u1=np.ones(2), y1=np.zeros(2), setting=np.ones(1))
    assert len(read(tmp_path / "a.npz", u=["u1"], y=["y1"])) == 2


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("u1,y1\n1,2\n3,4\n")
    with pytest.raises(ValueError, match="column must be one of u1, y1, got 'q'"):
        read(tmp_path / "a.csv", u=["q"], y=["y1"])
