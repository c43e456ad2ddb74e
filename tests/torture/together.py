"""Train in many processes at once: no file is spoilt, and no directory has two masters.

    python tests/torture/together.py [--runs 200]

Twenty at a time train into directories of their own, and with each twenty two more start into
one directory at the same moment: one trains, one is refused.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from runs import Training, bits, config, write_config

import sysid
from sysid.experiment.config import read_config

AT_ONCE = 20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    total = parser.parse_args().runs
    trained = refused = 0
    with tempfile.TemporaryDirectory() as folder:
        values = config("adam", "one_step", epochs=3)
        path = write_config(Path(folder) / "config.yaml", values)
        seen = set()
        for block in range(0, total, AT_ONCE):
            outs = [Path(folder) / f"run-{block + i}" for i in range(min(AT_ONCE, total - block))]
            shared = Path(folder) / f"shared-{block}"
            alone = [Training("train", path, "--out", out) for out in outs]
            pair = [Training("train", path, "--out", shared) for _ in range(2)]
            for training, out in zip(alone, outs, strict=True):
                training.finish()
                seen.add(check(out))
                trained += 1
            refused += one_of_two(pair)
            seen.add(check(shared))
            print(f"{trained} trained, {refused} refused", flush=True)
    if len(seen) != 1:
        raise SystemExit(f"{len(seen)} different models from one config and seed")
    print(
        f"{trained} trainings, {AT_ONCE} at once: every file whole, all with the same bits; of "
        f"{refused} pairs into one directory the second was refused"
    )


def one_of_two(pair: list[Training]) -> int:
    """Check that one process trained and the other was told why it may not."""
    said = {training: training.wait() for training in pair}
    ends = sorted((training.code or 0, line) for training, line in said.items())
    if [code for code, _ in ends] != [0, 2]:
        raise SystemExit(f"two in one directory ended with {ends}")
    if not ("must not be in use" in ends[1][1] or "must be new or empty" in ends[1][1]):
        raise SystemExit(f"the second was refused with: {ends[1][1]}")
    return 1


def check(run: Path) -> str:
    """Open all that a run directory holds."""
    names = {p.name for p in run.iterdir()}
    expected = {
        *("config.yaml", "model.safetensors", "history.csv", "metrics.json", "report.html"),
        *("environment.json", "simulation.png"),
    }
    if names != expected:
        raise SystemExit(f"{run} holds {sorted(names)}")
    sysid.load(run / "model.safetensors")
    read_config(run / "config.yaml")
    for name in ("metrics.json", "environment.json"):
        json.loads((run / name).read_text(encoding="utf-8"))
    if not (run / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>"):
        raise SystemExit(f"{run}: the report is cut off")
    return bits(run)


if __name__ == "__main__":
    main()
