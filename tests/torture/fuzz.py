"""Fuzz every reader and the config, guided by coverage: nothing but one-line errors may come out.

    python tests/torture/fuzz.py [--seconds 600] [--corpus DIR] [TARGET]...

Each target runs in a process of its own under libFuzzer (by atheris), which takes an exception
other than the promised one, ten seconds over one input or two gigabytes of memory for a finding,
writes the input that did it and ends. Formats with a checksum are also fuzzed behind it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sysid", "numpy.lib", "yaml"]):
    import safetensors.torch
    import scipy.io
    import torch

    import sysid
    from sysid.experiment.config import read_config
    from sysid.models import files as model_files
    from sysid.training import checkpoints

_HUNG, _MEMORY = 10, 2048  # seconds, megabytes
_FOLDER = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))


def expect_one_line(load: Callable[[Path], object], path: Path) -> None:
    """Load a file; all that may go wrong is a ``ValueError`` that names the file."""
    try:
        load(path)
    except ValueError as error:
        if not str(error) or "Traceback" in str(error):
            raise RuntimeError(f"no clear line: {error!r}") from error


def data_file(suffix: str) -> Callable[[bytes], None]:
    path = _FOLDER / f"a{suffix}"

    def target(data: bytes) -> None:
        path.write_bytes(data)
        expect_one_line(sysid.read, path)

    return target


def npz(data: bytes) -> None:
    """Read an archive as it is, or one that holds the bytes as an array."""
    path = _FOLDER / "a.npz"
    if data[:1] == b"P":
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(("u1.npy", "sysid_record.npy")[len(data) % 2], data)
    expect_one_line(sysid.read, path)


def model(data: bytes) -> None:
    """Load the bytes as a model file, or as the header of one with a right checksum."""
    path = _FOLDER / "m.safetensors"
    if data[:1] == b"{":
        tensors = sysid.NARX(1, 1, 1, 1, hidden_sizes=(2,)).state_dict()
        text = data.decode("utf-8", "replace")
        checksum = model_files._checksum(text, tensors)
        path.write_bytes(safetensors.torch.save(tensors, {"sysid": text, "checksum": checksum}))
    else:
        path.write_bytes(data)
    expect_one_line(sysid.load, path)


def checkpoint(data: bytes) -> None:
    """Load the bytes as what stands behind a right checksum."""
    path = _FOLDER / "c.pt"
    digest = hashlib.sha256(data).hexdigest().encode()
    path.write_bytes(checkpoints._MAGIC + digest + b"\n" + data)
    expect_one_line(checkpoints.load_checkpoint, path)


def config(data: bytes) -> None:
    path = _FOLDER / "c.yaml"
    path.write_bytes(data)
    expect_one_line(read_config, path)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "csv": data_file(".csv"),
    "parquet": data_file(".parquet"),
    "mat": data_file(".mat"),
    "npz": npz,
    "model": model,
    "checkpoint": checkpoint,
    "config": config,
}


def seeds(name: str, folder: Path) -> None:
    """Write inputs that are right, for the fuzzer to change."""
    record = sysid.generate("linear", 12, seed=0)
    inputs: list[bytes] = []
    if name in ("csv", "parquet", "mat", "npz"):
        path = _FOLDER / f"seed.{name}"
        sysid.write(record, path)
        inputs.append(path.read_bytes())
    if name == "csv":
        inputs += [
            b"t;u1;y1\nms;V;m\n0;0,5;1,0\n20;1,5;2,5\n",
            b"# u1 y1\n1e0 2\n3 NaN\n",
            b'\xef\xbb\xbf"u1","y1"\r\n"0,5",True\r\n"1,5",\r\n',
            b"time,u1,y1\n2026-01-01T00:00:00,1,2\n2026-01-01T00:00:01,1,2\n",
            "u1\ty1\n1\t2\n".encode("utf-16"),
        ]
    if name == "mat":
        import h5py

        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as f:
            f["u1"], f["y1"] = record.u.T, record.y.T
        inputs.append(buffer.getvalue())
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, {"u": record.u, "y": record.y, "note": "x"}, do_compression=True)
        inputs.append(buffer.getvalue())
    if name == "npz":
        with zipfile.ZipFile(io.BytesIO(inputs[0])) as archive:
            inputs += [archive.read(member) for member in archive.namelist()]
    if name == "model":
        path = _FOLDER / "seed.safetensors"
        sysid.save(sysid.NARX(1, 1, 1, 1, hidden_sizes=(2,)), path)
        inputs.append(path.read_bytes())
        header = json.loads(inputs[0][8:].split(b"}}", 1)[0] + b"}}")
        inputs.append(header["__metadata__"]["sysid"].encode())
    if name == "checkpoint":
        buffer = io.BytesIO()
        torch.save({"state": {"model": {"w": torch.ones(3)}}, "history": [{"epoch": 1}]}, buffer)
        inputs.append(buffer.getvalue())
    if name == "config":
        inputs += [p.read_bytes() for p in Path("configs").glob("*.yaml")]
    for i, content in enumerate(inputs):
        (folder / f"seed-{i}").write_bytes(content)


def fuzz(name: str, seconds: int, corpus: Path) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    warnings.simplefilter("ignore")
    logging.disable()
    torch.set_num_threads(1)
    corpus.mkdir(parents=True, exist_ok=True)
    seeds(name, corpus)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={_HUNG}",
        f"-rss_limit_mb={_MEMORY}",
        "-max_len=65536",
        f"-artifact_prefix={name}-",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], default=[])
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--corpus", type=Path, help="folder in which to keep what was learned")
    parser.add_argument("--here", action="store_true", help="in this process, one target")
    arguments = parser.parse_args()
    corpus = arguments.corpus or _FOLDER / "corpus"
    if arguments.here:
        fuzz(arguments.targets[0], arguments.seconds, corpus)
        return
    found = 0
    for name in arguments.targets or TARGETS:
        command = [sys.executable, __file__, name, "--here", "--seconds", str(arguments.seconds)]
        command += ["--corpus", str(corpus / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        runs, covered, peak = (
            (re.findall(pattern, done.stderr) or ["?"])[-1]
            for pattern in (r"number_of_executed_units: (\d+)", r"cov: (\d+)", r"rss_mb: +(\d+)")
        )
        verdict = "nothing found" if done.returncode == 0 else "FOUND SOMETHING"
        print(
            f"{name:11} {runs:>9} inputs, {covered:>5} edges, {peak:>5} MB: {verdict}", flush=True
        )
        if done.returncode:
            found += 1
            print(done.stdout[-3000:], done.stderr[-1000:])
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
