"""Let the disk fill up during trainings: exit code 1, one line, and nothing lost.

    python tests/torture/disk_full.py [--rounds 10] [--seed 0]

The run directories are on a memory file system of four megabytes (mounted by root), of which a
file takes all but a random rest; without the right to mount, the largest file is limited instead.
Once there is room again, each training goes on to the bits of one that had it all along.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runs import LOSSES, OPTIMISERS, Training, bits, config, write_config

from sysid.training.checkpoints import load_checkpoint

SIZE = 4 << 20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    full = 0
    with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder)) as disk:
        for i in range(arguments.rounds):
            optimiser, loss = rng.choice(OPTIMISERS), rng.choice(LOSSES)
            values = config(optimiser, loss, epochs=10)
            path = write_config(Path(folder) / f"{i}.yaml", values)
            Training("train", path, "--out", Path(folder) / f"straight-{i}").finish()
            # From hardly a checkpoint to all but the report.
            room = int(rng.uniform(20_000, 1_700_000))
            run = (disk or Path(folder)) / f"run-{i}"
            full += train_without_room(path, run, room, disk)
            if not (run / "model.safetensors").exists() or (run / "checkpoint.pt").exists():
                Training("train", "--resume", run).finish()
            if bits(run) != bits(Path(folder) / f"straight-{i}"):
                raise SystemExit(f"{optimiser}-{loss}: other bits after a full disk")
            print(f"{i + 1:3} {optimiser}-{loss}: {room} bytes of room, then the same bits")
            subprocess.run(["rm", "-r", run], check=True)
    print(f"{full} of {arguments.rounds} trainings met a full disk with exit code 1; none lost")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Lend a small file system, or ``None`` where none can be mounted."""
    disk = folder / "disk"
    disk.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(options, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    print("a tmpfs of four megabytes" if mounted else "no right to mount: files are limited")
    try:
        yield disk if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", str(disk)], check=True)


def train_without_room(path: Path, run: Path, room: int, disk: Path | None) -> bool:
    """Train with so many bytes of room; return whether that was too little."""
    if disk is None:
        training = Training("train", path, "--out", run, limit=room)
    else:
        filler = disk / "filler"
        filler.write_bytes(b"x" * (SIZE - room))
        training = Training("train", path, "--out", run)
    said = training.wait()
    if disk is not None:
        filler.unlink()
    if training.code == 0:
        return False
    lines = [line for line in said.splitlines() if line.startswith("sysid: ")]
    if training.code != 1 or "Traceback" in said or len(lines) != 1:
        raise SystemExit(f"exit code {training.code} on a full disk:\n{said}")
    if (run / "checkpoint.pt").exists():
        load_checkpoint(run / "checkpoint.pt")  # raises unless whole
    partial = [p.name for p in run.iterdir() if p.suffix == ".partial"]
    if partial:
        raise SystemExit(f"left behind: {partial}")
    return True


if __name__ == "__main__":
    main()
