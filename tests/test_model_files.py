"""Model files: what was saved comes back, an old file too, and a damaged or hostile one never."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.testing import assert_allclose
from systems import linear_record

import sysid
from sysid.models import LSTM, NARX
from sysid.models import files as model_files

OLD = Path(__file__).parent / "files" / "narx_version_1.safetensors"
# What the sysid that wrote the file simulated with it over `linear_record(12, seed=5)`.
OLD_OUTPUT = [
    *(7.0, 5.396137149493105, 1.7938969081165759, -0.0030303144745422728),
    *(1.8332229353897818, 6.898179678597441, 10.58997780139066, 10.348696110279876),
    *(7.220048760242492, 6.454532711201377, 10.093536080356145, 12.842108654271497),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a small model that was trained."""
    torch.manual_seed(0)
    model = NARX(1, 1, 1, 1, hidden_sizes=(2,))
    sysid.fit(model, linear_record(200), max_epochs=1)
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    sysid.save(model, path)
    return path.read_bytes()


def rewritten(content: bytes, *, sign: bool = True, **changes: Any) -> bytes:
    """Return a model file with another header, with a right checksum unless told otherwise."""
    tensors = safetensors.torch.load(content)
    (size,) = struct.unpack("<Q", content[:8])
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    text = json.dumps(json.loads(metadata["sysid"]) | changes)
    checksum = model_files._checksum(text, tensors) if sign else metadata["checksum"]
    return safetensors.torch.save(tensors, {"sysid": text, "checksum": checksum})


def test_a_file_of_the_previous_version_still_loads() -> None:
    model = sysid.load(OLD)
    assert (model.u_names, model.y_names, model.sampling_time) == (("u1",), ("y1",), 0.1)
    # float32 weights, on whatever processor: 7 digits of outputs of about ten.
    assert_allclose(model.simulate(linear_record(12, seed=5))[:, 0], OLD_OUTPUT, atol=1e-5)
    assert model.baseline is not None


def test_an_old_file_saved_again_has_a_checksum(tmp_path: Path) -> None:
    sysid.save(sysid.load(OLD), tmp_path / "new.safetensors")
    assert b'"checksum"' in (tmp_path / "new.safetensors").read_bytes()
    assert b'"checksum"' not in OLD.read_bytes()
    first, second = sysid.load(OLD).state_dict(), sysid.load(tmp_path / "new.safetensors")
    for name, p in second.state_dict().items():
        assert torch.equal(p, first[name])


def test_every_single_bit_counts(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="model"):
            sysid.load(path)


def test_a_file_cut_off_anywhere_is_refused(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="model file must be whole"):
            sysid.load(path)


LSTM_ARGUMENTS = {"nu": 1, "ny": 1, "hidden_size": 4}
NARX_ARGUMENTS = {"nu": 1, "ny": 1, "na": 1, "nb": 1, "hidden_sizes": [2]}
MEAN = {"orders": [1, 1, 0], "weight": None, "constant": [0.0], "mean": [0.0]}

DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "a version to come": ({"format_version": 9}, "format version 1 to 3, got 9.*use the sysid"),
    "a version that is no number": ({"format_version": "two"}, "format version 1 to 3"),
    "another checksum": ({"fitted": False, "sign": False}, "the checksum of .* is another"),
    "an unknown kind": ({"kind": "tcn"}, "model kind must be one of ffn, narx"),
    "another kind": ({"kind": "lstm", "arguments": LSTM_ARGUMENTS}, "must fit its own header"),
    "no kind": ({"kind": None}, "must have a right header, got kind"),
    "an unknown argument": ({"arguments": {"nu": 1, "shell": "true"}}, "must fit its own header"),
    "arguments that are none": ({"arguments": [1, 2]}, "must have a right header, got arguments"),
    "another width": (
        {"arguments": NARX_ARGUMENTS | {"hidden_sizes": [3]}},
        r"network.0.bias has the shape \(2,\) where \(3,\) is needed",
    ),
    "terabytes of weights": (
        {"arguments": NARX_ARGUMENTS | {"hidden_sizes": [10**12]}},
        "must fit its own header",
    ),
    "lags beyond all bounds": ({"arguments": NARX_ARGUMENTS | {"na": 10**9}}, "must fit its own"),
    "a million layers": (
        {"arguments": NARX_ARGUMENTS | {"hidden_sizes": [1] * 10**6}},
        "hidden_sizes is 1000000 where there are",
    ),
    "a billion layers": (
        {"kind": "lstm", "arguments": LSTM_ARGUMENTS | {"num_layers": 10**9}},
        "num_layers is 1000000000 where there are",
    ),
    "a billion inputs, each to be named": (
        {"kind": "lstm", "arguments": LSTM_ARGUMENTS | {"nu": 10**9}},
        "u_names are 1 for 1000000000 channels",
    ),
    "a type that is a function": ({"dtype": "load"}, "must have a right header, got dtype"),
    "a sampling time below zero": ({"sampling_time": -1.0}, "right header, got sampling_time"),
    "names that are missing": ({"y_names": []}, "y_names are 0 for 1 channels"),
    "names that are none": ({"y_names": "y"}, "right header, got y_names"),
    "a key of its own": ({"hook": "os.system"}, "right header, got hook"),
    "a baseline of others": ({"baseline": MEAN | {"mean": [1.0, 2.0]}}, "baseline has other"),
    "a baseline beyond all bounds": (
        {"baseline": MEAN | {"orders": [10**9, 1, 0], "weight": [[1.0, 2.0, 3.0]]}},
        "baseline has other",
    ),
    "a baseline that is none": ({"baseline": {"run": "id"}}, "must fit its own header"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_header_that_is_wrong(case: str, whole: bytes, tmp_path: Path) -> None:
    changes, match = DAMAGED[case]
    path = tmp_path / "m.safetensors"
    path.write_bytes(rewritten(whole, **changes))
    started = time.perf_counter()
    with pytest.raises(ValueError, match=match) as caught:
        sysid.load(path)
    assert time.perf_counter() - started < 5
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("size", [2**63, 10**12, 50_000_000])
def test_an_oversized_header_is_refused_before_it_is_read(size: int, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with path.open("wb") as f:
        f.write(struct.pack("<Q", size) + b"{" + b" " * 100)
        f.truncate(100_000_000)
    with pytest.raises(ValueError, match=f"with a header of {size} bytes"):
        sysid.load(path)


def test_a_model_of_another_kind_loads_with_its_kind(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sysid.save(LSTM(1, 1, 4, 2).double(), tmp_path / "m.safetensors")
    again = sysid.load(tmp_path / "m.safetensors")
    assert isinstance(again, LSTM)
    assert again.dtype == torch.float64
    assert np.isfinite(again.simulate(linear_record(20))).all()
