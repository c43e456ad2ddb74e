"""Files that try to run a command: none runs, each is refused in one line.

Each payload is first loaded the unsafe way, which proves that it is a live one.
"""

from __future__ import annotations

import base64
import hashlib
import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
import torch
import yaml
from payload import Payload

import sysid
from sysid.experiment.config import read_config
from sysid.training import checkpoints
from sysid.training.checkpoints import load_checkpoint

Load = Callable[[Path], object]


def pickled(path: Path, payload: Payload) -> None:
    path.write_bytes(pickle.dumps(payload))


def unpickled(path: Path) -> None:
    pickle.loads(path.read_bytes())


def torch_pickle(path: Path, payload: Payload) -> None:
    torch.save({"model": payload}, path)


def torch_unpickled(path: Path) -> None:
    torch.load(path, weights_only=False)


def signed_checkpoint(path: Path, payload: Payload) -> None:
    """Write a checkpoint whose checksum is right: whoever writes one can compute it."""
    buffer = io.BytesIO()
    torch.save({"model": payload}, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest().encode()
    path.write_bytes(checkpoints._MAGIC + digest + b"\n" + content)


def signed_unpickled(path: Path) -> None:
    torch.load(io.BytesIO(path.read_bytes().split(b"\n", 1)[1]), weights_only=False)


def object_arrays(path: Path, payload: Payload) -> None:
    np.savez(path, u1=np.array([payload, payload], dtype=object), y1=np.ones(2))


def object_arrays_unpickled(path: Path) -> None:
    with np.load(path, allow_pickle=True) as archive:
        archive["u1"]


def pickled_member(path: Path, payload: Payload) -> None:
    """Write an archive in which a pickle stands where an array has to."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("u1.npy", pickle.dumps(payload))


def pickled_member_unpickled(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        pickle.loads(archive.read("u1.npy"))


def mat_with_bytes(path: Path, payload: Payload) -> None:
    """Write a .mat file whose description of the record is a pickle."""
    code = np.frombuffer(pickle.dumps(payload), dtype=np.uint8)
    scipy.io.savemat(path, {"u1": np.ones(3), "y1": np.ones(3), "sysid_record": code})


def mat_with_bytes_unpickled(path: Path) -> None:
    pickle.loads(scipy.io.loadmat(path)["sysid_record"].tobytes())


def parquet_type(path: Path, payload: Payload) -> None:
    """Write a column whose type is said to be one that Python unpickles (CVE-2023-47248)."""
    field = pa.field(
        "u1",
        pa.float64(),
        metadata={
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": pickle.dumps(payload),
        },
    )
    description = b'{"attributes": {"sysid_record": "{}"}}'
    schema = pa.schema([field], metadata={b"pandas": description})
    pq.write_table(
        pa.table({"u1": [1.0, 2.0]}).cast(pa.schema([pa.field("u1", pa.float64())])).cast(schema),
        path,
    )


def parquet_type_unpickled(path: Path) -> None:
    stored = pq.read_metadata(path).metadata[b"ARROW:schema"]
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(stored)))
    pickle.loads(schema.field("u1").metadata[b"ARROW:extension:metadata"])


def parquet_bytes(path: Path, payload: Payload) -> None:
    pd.DataFrame({"u1": [pickle.dumps(payload)] * 2, "y1": [1.0, 2.0]}).to_parquet(path)


def parquet_bytes_unpickled(path: Path) -> None:
    pickle.loads(pd.read_parquet(path).u1[0])


def yaml_call(path: Path, payload: Payload) -> None:
    path.write_text(f"!!python/object/apply:subprocess.call [[touch, {str(payload.path)!r}]]\n")


def yaml_state(path: Path, payload: Payload) -> None:
    """Write a config that is right but for one value, which makes an object."""
    path.write_text(
        "data: {source: system, name: linear}\nmodel: {kind: rnn, hidden_size: 3}\n"
        f"name: !!python/object/apply:subprocess.call [[touch, {str(payload.path)!r}]]\n"
    )


def yaml_constructed(path: Path) -> None:
    yaml.load(path.read_text(), Loader=yaml.UnsafeLoader)


Case = tuple[str, Callable[[Path, Payload], None], Load, Load]
CASES: dict[str, Case] = {
    "model file that is a pickle": ("m.safetensors", pickled, unpickled, sysid.load),
    "model file that torch unpickles": (
        "m.pt",
        torch_pickle,
        torch_unpickled,
        sysid.load,
    ),
    "checkpoint": ("c.pt", torch_pickle, torch_unpickled, load_checkpoint),
    "checkpoint with a right checksum": (
        "c.pt",
        signed_checkpoint,
        signed_unpickled,
        load_checkpoint,
    ),
    "npz of objects": ("a.npz", object_arrays, object_arrays_unpickled, sysid.read),
    "npz that is a pickle": ("a.npz", pickled, unpickled, sysid.read),
    "npz with a pickle in it": ("a.npz", pickled_member, pickled_member_unpickled, sysid.read),
    "mat that is a pickle": ("a.mat", pickled, unpickled, sysid.read),
    "mat with a pickle in it": ("a.mat", mat_with_bytes, mat_with_bytes_unpickled, sysid.read),
    "parquet with a type to unpickle": (
        "a.parquet",
        parquet_type,
        parquet_type_unpickled,
        sysid.read,
    ),
    "parquet of pickles": ("a.parquet", parquet_bytes, parquet_bytes_unpickled, sysid.read),
    "yaml that calls": ("c.yaml", yaml_call, yaml_constructed, read_config),
    "yaml that calls for a value": ("c.yaml", yaml_state, yaml_constructed, read_config),
}


@pytest.mark.parametrize("case", CASES)
def test_what_tries_to_run_is_refused_unrun(case: str, tmp_path: Path) -> None:
    name, write, load_unsafely, load = CASES[case]
    mark, path = tmp_path / "ran", tmp_path / name
    write(path, Payload(mark))
    load_unsafely(path)
    assert mark.exists(), "the payload is none"
    mark.unlink()
    with pytest.raises(ValueError, match=str(path)) as caught:
        load(path)
    assert not mark.exists()
    assert "\n" not in str(caught.value)


def test_there_are_ten_hostile_files() -> None:
    assert len(CASES) >= 10


def test_an_expression_in_a_header_is_not_evaluated(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    header = f"{{'descr': __import__('pathlib').Path({str(mark)!r}).touch(), 'shape': (2,)}}"
    raw = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    eval(header, {"__builtins__": __builtins__})
    mark.unlink()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("u1.npy", raw)
    with pytest.raises(ValueError, match=r"must be readable as \.npz"):
        sysid.read(tmp_path / "a.npz")
    assert not mark.exists()


def test_a_command_in_a_text_is_a_text(tmp_path: Path) -> None:
    """A spreadsheet would run it; here it is a field that is no number."""
    (tmp_path / "a.csv").write_text("u1,y1\n1,2\n=cmd|' /C calc'!A0,3\n")
    with pytest.raises(ValueError, match="'u1' must hold numbers, got \"=cmd"):
        sysid.read(tmp_path / "a.csv")


def packed_mat(kind: int, shape: tuple[int, ...], code: int, content: bytes) -> bytes:
    """Return a compressed .mat file with an array ``u1``."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    parts = (
        element(6, struct.pack("<II", kind, 0)),
        element(5, struct.pack(f"<{len(shape)}i", *shape)),
        element(1, b"u1"),
        element(code, content),
    )
    packed = zlib.compress(element(14, b"".join(parts)), 9)
    header = b"MATLAB".ljust(124) + struct.pack("<H", 0x100) + b"IM"
    return header + struct.pack("<II", 15, len(packed)) + packed


def never_written(path: Path) -> None:
    with h5py.File(path, "w") as f:
        f.create_dataset("u1", (5 * 10**7,), "f8")


def one_large_chunk(path: Path) -> None:
    with h5py.File(path, "w") as f:
        f.create_dataset("u1", (3,), "f8", chunks=(5 * 10**7,), maxshape=(None,))


def one_run(path: Path) -> None:
    table = pa.table({"u1": pa.array(np.zeros(5 * 10**7), pa.float64())})
    pq.write_table(table, path, row_group_size=5 * 10**7, data_page_size=1 << 30)


def one_text(path: Path) -> None:
    pq.write_table(pa.table({"u1": pa.array(["1" * 1000]).take([0] * 10**5)}), path)


def one_category(path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(np.zeros(10**5, "i4"), ["1" * 1000])
    pq.write_table(pa.table({"u1": text}), path)


def one_list(path: Path) -> None:
    values = pa.array(np.zeros(10**6), pa.float64())
    pq.write_table(pa.table({"u1": pa.ListArray.from_arrays([0, 10**6], values)}), path)


def short_numbers(path: Path) -> None:
    path.write_bytes(packed_mat(6, (4 * 10**7, 1), 2, bytes(4 * 10**7)))


def on_its_side(path: Path) -> None:
    np.savez_compressed(path, u=np.zeros((2, 10**6), "u1"), y1=[1.0, 2.0])


def zeros_in_an_archive(path: Path) -> None:
    np.savez_compressed(path, u1=np.zeros(4 * 10**7, "u1"))


SWOLLEN: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "an array never written": ("a.mat", never_written, "the arrays must be at most 1000 times"),
    "a chunk larger than its array": ("a.mat", one_large_chunk, "the arrays must be at most 1000"),
    "zeros of one byte": ("a.mat", short_numbers, "1 columns of 40000000 samples must be at most"),
    "a record laid on its side": ("a.npz", on_its_side, "must have its samples in rows"),
    "one number many times": ("a.parquet", one_run, "1 columns of 50000000 samples must be at m"),
    "one text many times": ("a.parquet", one_text, "its texts unpacked must be at most 1000"),
    "one category many times": ("a.parquet", one_category, "its texts unpacked must be at most"),
    "a list in a row": ("a.parquet", one_list, "must be plain ones"),
    "zeros in an archive": ("a.npz", zeros_in_an_archive, "40000000 samples must be at most 1000"),
}


@pytest.mark.parametrize("case", SWOLLEN)
def test_a_small_file_that_would_fill_the_memory_is_refused(case: str, tmp_path: Path) -> None:
    name, write, message = SWOLLEN[case]
    path = tmp_path / name
    write(path)
    assert path.stat().st_size < 10**6
    with pytest.raises(ValueError, match=message) as caught:
        sysid.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_packed_well_is_read(tmp_path: Path) -> None:
    """Small or not: a step that lasts a million samples, and times that are texts."""
    n = 10**6
    dates = pd.date_range("2026-01-01", periods=2000, freq="s").strftime("%Y-%m-%dT%H:%M:%S")
    for count, frame in (
        (n, pd.DataFrame({"u1": np.ones(n), "y1": np.zeros(n)})),
        (2000, pd.DataFrame({"time": dates, "y1": pd.Categorical(["0.5"] * 2000), "u1": 1.0})),
    ):
        frame.to_parquet(tmp_path / "a.parquet")
        record = sysid.read(tmp_path / "a.parquet")
        assert len(record) == count
        assert record.u_names == ("u1",)
        assert (record.u == 1).all()
        assert (record.y == record.y[0]).all()
