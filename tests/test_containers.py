"""Files of other programs: MATLAB's structures, HDF5, Excel, TDMS, MF4, Feather, JSON."""

from __future__ import annotations

import io
import json
import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.io import savemat

import sysid
from sysid.data.readers.matlab import read_arrays
from sysid.data.readers.structures import Cells, Structure

N = 40
T = 0.1 * np.arange(N)
U = np.sin(T)
Y = np.cos(2 * T)
FRAME = pd.DataFrame({"t": T, "u": U, "y": Y})


def structures(fields: list[str], *elements: tuple[Any, ...]) -> Any:
    """Return a structure array for savemat."""
    out = np.zeros((len(elements),), dtype=[(f, object) for f in fields])
    for i, element in enumerate(elements):
        out[i] = element
    return out


def cells(*elements: Any) -> Any:
    out = np.empty((1, len(elements)), dtype=object)
    for i, element in enumerate(elements):
        out[0, i] = element
    return out


def scope(*labels: str) -> dict[str, Any]:
    """Return Simulink's structure with time."""
    signals = [(U[:, None], 1.0, labels[0]), (Y[:, None], 1.0, labels[1])]
    return {"time": T[:, None], "signals": structures(["values", "dimensions", "label"], *signals)}


def dspace(*names: str) -> dict[str, Any]:
    y = [(n, unit, v[None]) for n, unit, v in zip(names, "Vm", (U, Y), strict=True)]
    x = {"Name": "time", "Unit": "s", "Data": T[None]}
    return {"X": x, "Y": structures(["Name", "Unit", "Data"], *y), "Description": {}}


U_AND_Y = {"u": ["u"], "y": ["y"]}
MATLAB: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a structure": ({"data": {"u": U[:, None], "y": Y[:, None], "Ts": 0.1}}, {}),
    "by dotted names": ({"data": {"u": U, "y": Y}}, {"u": ["data.u"], "y": ["data.y"]}),
    "as single numbers, by one string": (
        {"data": {"u": U.astype("f4"), "y": Y.astype("f4")}},
        {"u": "data.u", "y": "data.y"},
    ),
    "structures in a structure": (
        {"log": {"in": {"u": U}, "out": {"y": Y}, "note": "x"}},
        {"u": ["log.in.u"], "y": ["out.y"]},
    ),
    "a name in two structures": (
        {"a": {"x": U}, "b": {"x": Y}},
        {"u": ["a.x"], "y": ["b.x"]},
    ),
    "beside parameters": ({"p": {"k": np.arange(3.0), "m": 2.0}, "d": {"u": U, "y": Y}}, U_AND_Y),
    "Simulink by labels": (
        {"ScopeData": scope("pump", "level")},
        {"u": ["pump"], "y": ["level"], "time": "time"},
    ),
    "Simulink by places": (
        {"ScopeData": scope("", "")},
        {
            "u": ["ScopeData.signals(1).values"],
            "y": ["signals(2).values"],
            "time": "ScopeData.time",
        },
    ),
    "Simulink with one label twice": (
        {"S": scope("x", "x")},
        {"u": ["signals(1).values"], "y": ["signals(2).values"]},
    ),
    "Simulink's cube": (
        {
            "S": {
                "time": T,
                "signals": structures(["values", "label"], (np.stack([U, Y])[:, None], "")),
            }
        },
        {"u": ["values1"], "y": ["values2"]},
    ),
    "dSPACE": ({"rec1": dspace("pump", "level")}, {"u": ["pump"], "y": ["level"], "time": "time"}),
    "dSPACE by places": (
        {"rec1": dspace("a", "b")},
        {"u": ["rec1.Y(1).Data"], "y": ["rec1.Y(2).Data"], "time": "rec1.X.Data"},
    ),
    "timeseries as structures": (
        {"pump": {"Time": T, "Data": U}, "level": {"Time": T, "Data": Y}},
        {"u": ["pump.Data"], "y": ["level.Data"], "time": "pump.Time"},
    ),
    "To File": ({"ans": np.vstack([T, U, Y])}, {"u": ["ans2"], "y": ["ans3"], "time": "ans1"}),
    "To File with its time": (
        {"log": np.vstack([T, U, Y])},
        {"u": ["log2"], "y": ["log3"], "time": "time"},
    ),
    "rows": ({"u": U[None], "y": Y[None], "Ts": 0.1}, {}),
    "rows of two signals": ({"x": np.vstack([U, Y]), "t": T}, {"u": ["x1"], "y": ["x2"]}),
    "a cell of one": ({"u": cells(U), "y": cells(Y)}, U_AND_Y),
    "a cell's element": ({"c": cells(U, Y)}, {"u": ["c{1}"], "y": ["c{2}"]}),
    "an element of a structure array": (
        {"s": structures(["x"], (U,), (Y,))},
        {"u": ["s(1).x"], "y": ["s(2).x"]},
    ),
}


def write_73(path: Path, values: dict[str, Any]) -> None:
    """Write a file as MATLAB's version 7.3 does: columns first, structures as groups."""
    with h5py.File(path, "w", userblock_size=512) as f:
        references = f.create_group("#refs#")

        def put(parent: Any, name: str, value: Any) -> Any:
            if isinstance(value, dict):
                item = parent.create_group(name)
                for field, inner in value.items():
                    put(item, field, inner)
                kind = "struct"
            elif isinstance(value, str):
                codes = np.frombuffer(value.encode("utf-16-le"), "u2")[:, None]
                item, kind = parent.create_dataset(name, data=codes), "char"
            elif getattr(value, "dtype", None) is not None and value.dtype.names:
                item, kind = parent.create_group(name), "struct"
                for field in value.dtype.names:
                    put_references(item, field, [v[field] for v in value.ravel()])
            elif getattr(value, "dtype", np.dtype("f8")).kind == "O":
                item, kind = put_references(parent, name, list(value.ravel())), "cell"
            else:
                array = np.atleast_2d(value)
                item, kind = parent.create_dataset(name, data=array.T), "double"
            item.attrs["MATLAB_class"] = np.bytes_(kind)
            return item

        def put_references(parent: Any, name: str, elements: list[Any]) -> Any:
            targets = [put(references, f"r{len(references)}", e).ref for e in elements]
            return parent.create_dataset(name, data=np.array([targets], dtype=h5py.ref_dtype).T)

        for name, value in values.items():
            put(f, name, value)
    with path.open("r+b") as f:
        f.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


@pytest.mark.parametrize("version", ["5", "5 compressed", "7.3"])
@pytest.mark.parametrize("name", MATLAB)
def test_signals_in_a_mat_file(name: str, version: str, tmp_path: Path) -> None:
    values, options = MATLAB[name]
    path = tmp_path / "a.mat"
    if version == "7.3":
        write_73(path, values)
    else:
        savemat(path, values, do_compression=version != "5")
    record = sysid.read(path, **options)
    kind = "f4" if "single" in name else "f8"
    assert_array_equal(record.u[:, 0], U.astype(kind))
    assert_array_equal(record.y[:, 0], Y.astype(kind))
    if "time" in options:
        assert record.sampling_time == pytest.approx(0.1)


def test_units_of_dspace_are_kept(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"rec1": dspace("pump", "level")})
    record = sysid.read(tmp_path / "a.mat", u="pump", y="level")
    assert (record.u_units, record.y_units) == (("V",), ("m",))


def test_the_rows_of_to_file_are_signals_without_the_time(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"ans": np.vstack([T, U, Y])})
    record = sysid.read(tmp_path / "a.mat", y=["ans"], time="time")
    assert_array_equal(record.y, np.column_stack([U, Y]))


def test_what_is_read_transposed_is_said(tmp_path: Path, caplog: Any) -> None:
    savemat(tmp_path / "a.mat", {"ans": np.vstack([T, U, Y])})
    with caplog.at_level(logging.WARNING):
        sysid.read(tmp_path / "a.mat", u="ans2", y="ans3")
    assert "'ans' of the shape (3, 40) is read transposed, as its first row rises" in caplog.text


@pytest.mark.parametrize("suffix", [".mat", ".npz"])
def test_a_matrix_on_its_side_without_a_time_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    values = {"x": np.vstack([U, Y])}
    savemat(path, values) if suffix == ".mat" else np.savez(path, **values)
    with pytest.raises(ValueError, match=r"samples in rows, its shape \(2, 40\)"):
        sysid.read(path, u="x1", y="x2")


def opaque(name: str, class_name: str) -> bytes:
    """Return a .mat file with an object of one of MATLAB's classes."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    parts = element(6, struct.pack("<II", 17, 0))
    parts += b"".join(element(1, word.encode()) for word in (name, "MCOS", class_name))
    header = b"MATLAB".ljust(124) + struct.pack("<H", 0x100) + b"IM"
    return header + element(14, parts)


TYPED = {
    "timeseries": "y = squeeze(log.Data)",
    "Simulink.SimulationData.Dataset": "log{1}.Values",
    "Simulink.SimulationOutput": "log.yout{1}.Values",
    "timetable": "writetimetable(log, 'FILE.csv')",
    "table": "writetable(log, 'FILE.csv')",
    "iddata": "u = log.u; y = log.y",
    "datetime": "t = seconds(log - log(1))",
    "my.own.Class": "log.PROPERTY",
}


@pytest.mark.parametrize("class_name", TYPED)
@pytest.mark.parametrize("version", ["5", "7.3"])
def test_an_object_says_what_to_type_in_matlab(
    class_name: str, version: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.mat"
    if version == "5":
        path.write_bytes(opaque("log", class_name))
    else:
        with h5py.File(path, "w") as f:
            item = f.create_dataset("log", data=np.arange(6, dtype="u4")[None])
            item.attrs["MATLAB_class"] = np.bytes_(class_name)
            item.attrs["MATLAB_object_decode"] = 3
    with pytest.raises(ValueError, match=rf"got a MATLAB {class_name}; type in MATLAB") as caught:
        sysid.read(path, u="u", y="y")
    assert TYPED[class_name] in str(caught.value)


SEVERAL: dict[str, dict[str, Any]] = {
    "cells": {"u": cells(U, Y), "y": cells(Y, U), "Ts": 0.1},
    "cells in a structure": {"data": {"u": cells(U, Y), "y": cells(Y, U)}},
    "a structure array": {"exp": structures(["u", "y"], (U, Y), (Y, U))},
    "cells of structures": {"exp": cells({"u": U, "y": Y}, {"u": Y, "y": U})},
    "structures side by side": {"run1": {"u": U, "y": Y}, "run2": {"u": Y, "y": U}},
    "structures of other lengths": {"a": {"u": U, "y": Y}, "b": {"u": Y[:9], "y": U[:9]}},
}


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("name", SEVERAL)
def test_experiments_in_a_mat_file(name: str, version: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, SEVERAL[name]) if version == "5" else write_73(path, SEVERAL[name])
    with pytest.raises(ValueError, match=r"holds 2 experiments, .*sysid\.read_many"):
        sysid.read(path, u="u", y="y")
    first, second = sysid.read_many(path, u="u", y="y")
    assert_array_equal(first.u[:, 0], U)
    assert_array_equal(second.y[:, 0], U[: len(second)])
    assert first.name != second.name
    part = second.name.removeprefix("a ")
    assert sysid.read(f"{path}#{part}", u="u", y="y") == second
    with pytest.raises(ValueError, match="must hold the part 'none'"):
        sysid.read(f"{path}#none", u="u", y="y")


def deep(levels: int) -> bytes:
    value: Any = {"u": U}
    for _ in range(levels):
        value = {"s": value}
    out = io.BytesIO()
    savemat(out, {"s": value})
    return out.getvalue()


def crowded() -> bytes:
    """Return a structure that claims a hundred million elements."""
    out = io.BytesIO()
    savemat(out, {"s": structures(["x"], (1.0,), (2.0,))})
    return out.getvalue().replace(struct.pack("<2i", 1, 2), struct.pack("<2i", 10**8, 2), 1)


def turning_round() -> bytes:
    """Return a cell that refers to itself."""
    out = io.BytesIO()
    with h5py.File(out, "w") as f:
        item = f.create_dataset("c", (2, 1), dtype=h5py.ref_dtype)
        item[:] = np.array([[item.ref], [item.ref]], dtype=h5py.ref_dtype)
    return out.getvalue()


@pytest.mark.parametrize("content", [deep(20), crowded(), turning_round()])
def test_structures_without_end_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(ValueError, match="must be at most 16 deep and hold at most 65536"):
        sysid.read(tmp_path / "a.mat", u="u")


def test_a_structure_cut_off_anywhere_is_one_line(tmp_path: Path) -> None:
    out = io.BytesIO()
    savemat(out, {"s": structures(["u", "y"], (U[:4], cells(1.0)), (Y[:4], "note"))})
    content = out.getvalue()
    for end in range(128, len(content), 7):
        (tmp_path / "a.mat").write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"must be readable as|a\.mat: "):
            sysid.read(tmp_path / "a.mat", u="s.u")


def test_nested_values_are_those_that_scipy_wrote(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"s": {"a": {"b": U}, "c": cells(1.0, "two")}})
    found = read_arrays(tmp_path / "a.mat")["s"]
    assert isinstance(found, Structure)
    (fields,) = found.elements
    assert_array_equal(fields["a"].elements[0]["b"].ravel(), U)
    assert isinstance(fields["c"], Cells)
    assert [str(v.item()) for v in fields["c"].elements] == ["1.0", "two"]


def write_tdms(path: Path) -> None:
    nptdms = pytest.importorskip("nptdms", reason="nptdms is not installed")
    properties = {"wf_increment": 0.1, "wf_start_offset": 0.0, "unit_string": "V"}
    with nptdms.TdmsWriter(path) as writer:
        writer.write_segment(
            [
                nptdms.ChannelObject("log", "u", U, properties),
                nptdms.ChannelObject("log", "y", Y, properties | {"unit_string": "m"}),
                nptdms.ChannelObject("log", "note", ["a", "b"]),
            ]
        )


def write_mf4(path: Path) -> None:
    asammdf = pytest.importorskip("asammdf", reason="asammdf is not installed: sysid[mf4]")
    signals = [
        asammdf.Signal(v, T, name=n, unit=unit) for n, v, unit in (("u", U, "V"), ("y", Y, "m"))
    ]
    with asammdf.MDF(version="4.10") as file:
        file.append(signals)
        file.save(path)


def write_h5(path: Path) -> None:
    with h5py.File(path, "w") as f:
        for name, values in (("t", T), ("u", U), ("y", Y)):
            f[name] = values
        f["u"].attrs["unit"], f["y"].attrs["units"] = "V", np.bytes_("m")


def write_h5_table(path: Path) -> None:
    with h5py.File(path, "w") as f:
        f["group/table"] = FRAME.to_records(index=False)


def write_group(path: Path) -> None:
    with h5py.File(path, "w") as f:
        for name, values in (("t", T), ("u", U), ("y", Y)):
            f[f"measured/{name}"] = values


def write_matrix(path: Path) -> None:
    with h5py.File(path, "w") as f:
        f["t"], f["u"], f["y"] = T, U[:, None], Y[:, None]


def excel(**options: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        pytest.importorskip("openpyxl", reason="openpyxl is not installed")
        FRAME.to_excel(path, index=False, **options)

    return write


def sheet(*rows: list[Any]) -> Callable[[Path], None]:
    """Return what writes a workbook of these rows above the samples, and a sheet of text."""

    def write(path: Path) -> None:
        openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed")
        book = openpyxl.Workbook()
        for row in (*rows, *FRAME.to_numpy().tolist()):
            book.active.append(row)
        book.create_sheet("Info").append(["made by", "a logger"])
        book.save(path)

    return write


def as_json(**options: Any) -> Callable[[Path], None]:
    return lambda path: FRAME.to_json(path, double_precision=15, **options)


NAMES = ["t", "u", "y"]
CONTAINERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "Feather": ("a.feather", FRAME.to_feather),
    "Feather by zstd": ("a.feather", lambda p: FRAME.to_feather(p, compression="zstd")),
    "Feather of single numbers": ("a.arrow", lambda p: FRAME.astype("f4").to_feather(p)),
    "HDF5": ("a.h5", write_h5),
    "HDF5 in a group": ("a.hdf5", write_group),
    "HDF5 of columns": ("a.h5", write_matrix),
    "an HDF5 table": ("a.hdf5", write_h5_table),
    "JSON of columns": ("a.json", as_json()),
    "JSON of rows": ("a.json", as_json(orient="records")),
    "JSON split": ("a.json", as_json(orient="split")),
    "JSON table": ("a.json", as_json(orient="table")),
    "JSON lines": ("a.jsonl", as_json(orient="records", lines=True)),
    "JSON lists": ("a.json", lambda p: p.write_text(json.dumps(FRAME.to_dict("list")))),
    "JSON in an object": (
        "a.json", lambda p: p.write_text(json.dumps({"log": FRAME.to_dict("list"), "by": "me"}))
    ),
    "records in .npy": ("a.npy", lambda p: np.save(p, FRAME.to_records(index=False))),
    "Excel": ("a.xlsx", excel()),
    "Excel, shifted": ("a.xlsx", excel(startrow=3, startcol=2)),
    "Excel with units": ("a.xlsx", sheet(NAMES, ["s", "V", "m"])),
    "Excel with a title": ("a.xlsx", sheet(["Pump test"], [], ["Operator:", "X"], NAMES)),
    "Excel with an empty row": ("a.xlsx", sheet(NAMES, [])),
    "Excel with title and units": ("a.xlsx", sheet(["Pump"], NAMES, ["[s]", "[V]", "[m]"])),
    "TDMS": ("a.tdms", write_tdms),
    "MF4": ("a.mf4", write_mf4),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers(name: str, tmp_path: Path) -> None:
    file, write = CONTAINERS[name]
    write(tmp_path / file)
    record = sysid.read(tmp_path / file)
    # JSON has 15 decimals here, a workbook 16 digits, a single number 7.
    tolerance = 1e-6 if "single" in name else 1e-14 if name[:4] in ("JSON", "Exce") else 0.0
    np.testing.assert_allclose(record.u[:, 0], U, atol=tolerance, rtol=0)
    np.testing.assert_allclose(record.y[:, 0], Y, atol=tolerance, rtol=0)
    if name not in ("HDF5", "records in .npy"):
        assert record.sampling_time == pytest.approx(0.1)
    if "units" in name or name in ("TDMS", "MF4", "HDF5"):
        assert (record.u_units, record.y_units) == (("V",), ("m",))


def test_a_npy_array_has_columns_by_number(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FRAME.to_numpy())
    record = sysid.read(tmp_path / "a.npy", u="2", y="3", time="1")
    assert_array_equal(record.u[:, 0], U)
    np.save(tmp_path / "b.npy", np.vstack([U, Y]))
    with pytest.raises(ValueError, match="samples in rows"):
        sysid.read(tmp_path / "b.npy", u="1")
    np.save(tmp_path / "c.npy", np.array([print], dtype=object))
    with pytest.raises(ValueError, match="must be readable as"):
        sysid.read(tmp_path / "c.npy", u="1")


def test_sheets_are_chosen_or_are_experiments(tmp_path: Path, caplog: Any) -> None:
    pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    path = tmp_path / "runs.xlsx"
    with pd.ExcelWriter(path) as book:
        FRAME.to_excel(book, sheet_name="Run 1", index=False)
        FRAME.iloc[:20].to_excel(book, sheet_name="Run 2", index=False)
        FRAME.rename(columns={"u": "v", "y": "w"}).to_excel(book, sheet_name="Other", index=False)
    with pytest.raises(ValueError, match=r"2 experiments, Run 1, Run 2; .* as runs\.xlsx#Run 1"):
        sysid.read(path)
    assert len(sysid.read(f"{path}#Run 2")) == 20
    assert len(sysid.read(path, u="v", y="w")) == N  # one sheet alone has them
    assert [(r.name, len(r)) for r in sysid.read_many(path)] == [
        ("runs Run 1", N),
        ("runs Run 2", 20),
    ]
    assert "Other left out, without columns called u or y" in caplog.text


def test_dates_and_text_in_a_sheet(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    stamps = pd.date_range("2026-01-31 12:00", periods=N, freq="2s")
    frame = FRAME.assign(t=stamps, u=[*U[:-1], "#N/A"], y=[*Y[:-1], "broken"])
    frame.to_excel(tmp_path / "a.xlsx", index=False)
    record = sysid.read(tmp_path / "a.xlsx", u="u", time="t")
    assert record.sampling_time == 2.0
    assert np.isnan(record.u[-1, 0])
    with pytest.raises(ValueError, match=r"column 'y' must hold numbers, got 'broken' in row 39"):
        sysid.read(tmp_path / "a.xlsx", u="u", y="y")


def test_groups_of_an_hdf5_file_are_experiments(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        for name, n in (("run1", 30), ("run2", 40)):
            f[f"{name}/u"], f[f"{name}/y"] = U[:n], Y[:n]
    assert [(r.name, len(r)) for r in sysid.read_many(tmp_path / "a.h5")] == [
        ("a run1", 30),
        ("a run2", 40),
    ]
    assert len(sysid.read(tmp_path / "a.h5", u="run2.u", y="run2.y")) == 40


def test_a_link_in_a_group_is_not_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["u"] = U
        f.create_group("g")["y"] = h5py.ExternalLink("other.h5", "y")
    with pytest.raises(ValueError, match="'y' is a link to elsewhere"):
        sysid.read(tmp_path / "a.h5", u="u")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a.pkl", "can execute code"),
        ("a.xls", r"save it as \.xlsx or \.csv"),
        ("a.ods", "LibreOffice"),
        ("a.rds", r"write\.csv"),
        ("a.bag", "export its topics"),
        ("a.zip", "unpack it"),
    ],
)
def test_files_that_are_not_read_say_what_to_convert_to(
    name: str, hint: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=f"{name} is not read: .*{hint}"):
        sysid.read(tmp_path / name)


@pytest.mark.parametrize(
    ("file", "module", "extra"),
    [
        ("a.xlsx", "openpyxl", "excel"),
        ("a.tdms", "nptdms", "tdms"),
        ("a.mf4", "asammdf", "mf4"),
    ],
)
def test_a_missing_library_is_a_line_with_the_command(
    file: str, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / file).write_bytes(b"x")
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ImportError, match=rf"{file}: .*pip install 'sysid\[{extra}\]'"):
        sysid.read(tmp_path / file)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xlsx", b"PK\x03\x04"),
        ("a.tdms", b"TDSm"),
        ("a.h5", b"\x89HDF\r\n\x1a\n"),
        ("a.feather", b"ARROW1"),
        ("a.json", b'{"u": [1, 2'),
        ("a.json", b"[" * 100_000),
        ("a.json", b"3"),
        ("a.json", b'[{"u": 1}, 2]'),
        ("a.npy", b"\x93NUMPY"),
    ],
)
def test_a_damaged_container_is_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"must be readable as .*{name}: ") as caught:
        sysid.read(tmp_path / name, u="u")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", [{"header": 2}, {"skip_rows": 1}, {"pivot": "tag,value"}])
def test_options_of_text_files_are_refused_for_others(
    option: dict[str, Any], tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", u=np.arange(5.0), y=np.arange(5.0))
    with pytest.raises(ValueError, match=f"no text file, so {next(iter(option))} cannot be used"):
        sysid.read(tmp_path / "a.npz", **option)
