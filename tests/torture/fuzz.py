"""Fuzz every reader and the config, guided by coverage: nothing but one-line errors may come out.

    python tests/torture/fuzz.py [--seconds 600] [TARGET]...

Each target runs in processes of its own under libFuzzer (by atheris). An exception other than the
promised one, ten seconds over one input or two gigabytes of memory are a finding; the input that
did it is kept. All seconds are those of the processor, so that a busy machine finds nothing that
is not there. Formats with a checksum are also fuzzed behind it.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import io
import json
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sysid", "numpy.lib", "yaml", "nptdms", "openpyxl"]):
    import h5py
    import nptdms
    import numpy as np
    import safetensors.torch
    import scipy.io
    import torch

    import sysid
    from sysid.experiment.config import read_config
    from sysid.models import files as model_files
    from sysid.training import checkpoints

_HUNG, _MEMORY = 10, 2048  # seconds, megabytes
_MEMORY_DISK = "/dev/shm" if os.path.isdir("/dev/shm") else None
_ROOT = Path(__file__).resolve().parents[2]


def expect_one_line(load: Callable[[Path], object], path: Path) -> None:
    """Load a file; all that may go wrong is a ``ValueError`` that names the file."""
    try:
        load(path)
    except ValueError as error:
        if not str(error) or "Traceback" in str(error):
            raise RuntimeError(f"no clear line: {error!r}") from error


def data_file(suffix: str) -> Callable[[bytes], None]:
    path = Path(f"input{suffix}")

    def target(data: bytes) -> None:
        path.write_bytes(data)
        expect_one_line(sysid.read, path)

    return target


def npz(data: bytes) -> None:
    """Read an archive as it is, or one that holds the bytes as an array."""
    path = Path("input.npz")
    if data[:1] == b"P":
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(("u1.npy", "sysid_record.npy")[len(data) % 2], data)
    expect_one_line(sysid.read, path)


def model(data: bytes) -> None:
    """Load the bytes as a model file, or as the header of one with a right checksum."""
    path = Path("input.safetensors")
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
    path = Path("input.pt")
    digest = hashlib.sha256(data).hexdigest().encode()
    path.write_bytes(checkpoints._MAGIC + digest + b"\n" + data)
    expect_one_line(checkpoints.load_checkpoint, path)


def config(data: bytes) -> None:
    path = Path("input.yaml")
    path.write_bytes(data)
    expect_one_line(read_config, path)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "csv": data_file(".csv"),
    "parquet": data_file(".parquet"),
    "mat": data_file(".mat"),
    "npz": npz,
    "h5": data_file(".h5"),
    "feather": data_file(".feather"),
    "json": data_file(".json"),
    "npy": data_file(".npy"),
    "xlsx": data_file(".xlsx"),
    "tdms": data_file(".tdms"),
    "model": model,
    "checkpoint": checkpoint,
    "config": config,
}


def seeds(name: str, folder: Path) -> None:
    """Write inputs that are right, for the fuzzer to change."""
    record = sysid.generate("linear", 12, seed=0)
    inputs: list[bytes] = []
    if name in ("csv", "parquet", "mat", "npz"):
        path = Path(f"seed.{name}")
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
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as f:
            f["u1"], f["y1"] = record.u.T, record.y.T
        inputs.append(buffer.getvalue())
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, {"u": record.u, "y": record.y, "note": "x"}, do_compression=True)
        inputs.append(buffer.getvalue())
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, {"u": record.u, "y": record.y, "note": "x"}, format="4")
        inputs.append(buffer.getvalue())
        buffer = io.BytesIO()
        cells = np.array([[record.u, "x"]], dtype=object)
        scipy.io.savemat(buffer, {"s": {"u": record.u, "c": cells, "in": {"y": record.y}}})
        inputs.append(buffer.getvalue())
    frame = record.to_frame()
    path = Path(f"seed.{name}")
    if name == "h5":
        with h5py.File(path, "w") as f:
            f["run1/u"], f["run1/y"], f["table"] = record.u, record.y, frame.to_records()
    elif name == "npy":
        np.save(path, frame.to_numpy())
    elif name == "tdms":
        channels = [nptdms.ChannelObject("g", n, v.to_numpy()) for n, v in frame.items()]
        with nptdms.TdmsWriter(path) as writer:
            writer.write_segment(channels)
    elif name == "feather":
        frame.to_feather(path)
    elif name == "json":
        frame.to_json(path)
    elif name == "xlsx":
        frame.to_excel(path, index=False)
    if path.exists() and not inputs:
        inputs.append(path.read_bytes())
    if name == "npz":
        with zipfile.ZipFile(io.BytesIO(inputs[0])) as archive:
            inputs += [archive.read(member) for member in archive.namelist()]
    if name == "model":
        path = Path("seed.safetensors")
        sysid.save(sysid.NARX(1, 1, 1, 1, hidden_sizes=(2,)), path)
        inputs.append(path.read_bytes())
        header = json.loads(inputs[0][8:].split(b"}}", 1)[0] + b"}}")
        inputs.append(header["__metadata__"]["sysid"].encode())
    if name == "checkpoint":
        buffer = io.BytesIO()
        torch.save({"state": {"model": {"w": torch.ones(3)}}, "history": [{"epoch": 1}]}, buffer)
        inputs.append(buffer.getvalue())
    if name == "config":
        inputs += [p.read_bytes() for p in (_ROOT / "configs").glob("*.yaml")]
    for i, content in enumerate(inputs):
        (folder / f"seed-{i}").write_bytes(content)


def fuzz(name: str, seconds: int, findings: str) -> None:
    """Fuzz one target in this process, in the present directory; libFuzzer ends it."""
    warnings.simplefilter("ignore")
    logging.disable()
    torch.set_num_threads(1)
    # Whatever hangs, be it in C, gets its traceback written and is ended.
    faulthandler.register(signal.SIGXCPU, chain=True)
    corpus = Path("corpus")
    if not corpus.exists():
        corpus.mkdir()
        seeds(name, corpus)
    options = [
        f"-max_total_time={seconds}",
        "-timeout=1000000",  # it looks at the clock on the wall
        "-report_slow_units=1000000",
        f"-rss_limit_mb={_MEMORY}",
        "-max_len=65536",
        f"-artifact_prefix={findings}",
        "-print_final_stats=1",
    ]

    before = 0

    def limited(data: bytes) -> None:
        nonlocal before
        # Whole seconds, so that the limit lies between ten and eleven.
        limit = int(time.process_time()) + _HUNG + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        TARGETS[name](data)
        # libFuzzer looks once a second, when the input that did it may be a thousand back.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        if peak > _MEMORY:
            raise MemoryError(f"{peak} MB over this input, at most {before} MB before it")
        before = peak

    atheris.Setup([sys.argv[0], *options, str(corpus)], limited)
    atheris.Fuzz()


def report(name: str, seconds: int) -> bool:
    """Fuzz one target for so many seconds and print one line; return whether it stood."""
    findings = f"{Path.cwd()}/{name}-"
    spent, runs, covered, peak = 0.0, 0, 0, 0
    with tempfile.TemporaryDirectory(dir=_MEMORY_DISK) as folder:
        # Where the machine was busy, time on the wall is up too early, and it goes on.
        while seconds - spent >= 1:
            command = [sys.executable, __file__, name, "--findings", findings]
            before = _processor_seconds()
            done = subprocess.run(
                [*command, "--seconds", str(int(seconds - spent))],
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            spent += _processor_seconds() - before
            runs += _figure(r"number_of_executed_units: (\d+)", done.stderr)
            covered = max(covered, _figure(r"cov: (\d+)", done.stderr))
            peak = max(peak, _figure(r"rss_mb: +(\d+)", done.stderr))
            if done.returncode:
                break
        if done.returncode:
            end = "hung" if done.returncode == -signal.SIGXCPU else "last"
            for path in Path(folder).glob("input.*"):
                shutil.copy(path, f"{findings}{end}{path.suffix}")
    verdict = "FOUND SOMETHING" if done.returncode else "nothing found"
    print(
        f"{name:11} {spent:5.0f} s, {runs:>8} inputs, {covered:>5} edges, {peak:>5} MB: {verdict}",
        flush=True,
    )
    if done.returncode:
        print(f"exit code {done.returncode}", done.stdout[-3000:], done.stderr[-3000:], flush=True)
    return done.returncode == 0


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _figure(pattern: str, text: str) -> int:
    return int((re.findall(pattern, text) or ["0"])[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], default=[])
    parser.add_argument("--seconds", type=int, default=600, help="of the processor, a target")
    parser.add_argument("--findings", help=argparse.SUPPRESS)  # set in the process that fuzzes
    arguments = parser.parse_args()
    if arguments.findings:
        fuzz(arguments.targets[0], arguments.seconds, arguments.findings)
        return
    stood = [report(name, arguments.seconds) for name in arguments.targets or TARGETS]
    print(f"{stood.count(True)} of {len(stood)} targets without a finding")
    raise SystemExit(0 if all(stood) else 1)


if __name__ == "__main__":
    main()
