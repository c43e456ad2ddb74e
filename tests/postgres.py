"""A PostgreSQL server of a test's own: a temporary directory, a free port, loopback only."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg


def binaries() -> Path | None:
    """Return where Debian's package has the server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


@contextmanager
def server() -> Iterator[str]:
    """Run a server and give its URL; root has it run as the package's own user."""
    programs = binaries()
    if programs is None:
        raise FileNotFoundError("postgresql must be installed")
    user = "postgres" if os.getuid() == 0 else None
    # Not in pytest's directory, which another user cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="sysid-postgres-"))
    if user is not None:
        shutil.chown(folder, user)
    data = folder / "data"
    init = [programs / "initdb", "-D", data, "-A", "trust", "-U", "sysid", "-N"]
    subprocess.run(init, check=True, capture_output=True, user=user, cwd=folder)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    command = [programs / "postgres", "-D", data, *options]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd=folder
    )
    url = f"postgresql://sysid@127.0.0.1:{port}/postgres"
    try:
        _wait(url)
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # do not wait for clients to leave
        process.wait()
        shutil.rmtree(folder)


def _wait(url: str, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
