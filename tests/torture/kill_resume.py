"""Kill trainings at random moments and go on with them: each must end in the same bits.

    python tests/torture/kill_resume.py --rounds 40 [--signal KILL|TERM|INT] [--seed 0]

A round takes one optimiser and loss, kills its training up to three times, goes on each time and
compares weights and history with those of a training that was never killed.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

from runs import LOSSES, OPTIMISERS, Training, bits, config, losses_of, write_config

from sysid.experiment.config import parse_config


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--signal", choices=("KILL", "TERM", "INT"), default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="an optimiser")
    arguments = parser.parse_args()
    number = getattr(signal, f"SIG{arguments.signal}")
    rng = random.Random(arguments.seed)
    optimisers = [arguments.only] if arguments.only else OPTIMISERS
    cases = list(itertools.product(optimisers, LOSSES))
    same = kills = 0
    with tempfile.TemporaryDirectory() as folder:
        straight: dict[tuple[str, str], Path] = {}
        for i in range(arguments.rounds):
            case = cases[i % len(cases)]
            if case not in straight:
                straight[case] = run_straight(Path(folder), *case)
            reference = straight[case]
            run = Path(folder) / f"round-{i}"
            count = run_killed(run, reference.with_suffix(".yaml"), number, rng)
            equal = bits(run) == bits(reference) and losses_of(run) == losses_of(reference)
            same, kills = same + equal, kills + count
            verdict = "the same bits" if equal else "OTHER BITS"
            print(f"{i + 1:3} {'-'.join(case):24} {count} times killed: {verdict}", flush=True)
    print(
        f"{same} of {arguments.rounds} trainings, killed {kills} times with "
        f"SIG{arguments.signal}, ended bit-identical to those never killed"
    )
    raise SystemExit(0 if same == arguments.rounds else 1)


def run_straight(folder: Path, optimiser: str, loss: str) -> Path:
    """Train undisturbed."""
    values = config(optimiser, loss)
    parse_config(values)
    out = folder / f"{optimiser}-{loss}"
    Training("train", write_config(out.with_suffix(".yaml"), values), "--out", out).finish()
    return out


def run_killed(run: Path, path: Path, number: int, rng: random.Random) -> int:
    """Train with one to three kills; return how many hit a process that was still there."""
    kills, wanted = 0, rng.randint(1, 3)
    while kills < wanted:
        training = next_attempt(run, path)
        wait_for_a_moment(training, run, rng)
        if training.code is not None:
            training.finish()
            if kills:
                break
            shutil.rmtree(run)  # it was faster: once more
            continue
        training.send(number)
        said = training.wait()
        kills += 1
        # Interrupted while it trained, or ended by the signal before or after.
        if training.code not in ((-number,) if number == signal.SIGKILL else (0, 1, 130, -number)):
            raise SystemExit(f"exit code {training.code} after a signal:\n{said}")
    if not is_finished(run):
        next_attempt(run, path).finish()
    return kills


def wait_for_a_moment(training: Training, run: Path, rng: random.Random) -> None:
    """Wait until the training begins, writes one of its checkpoints, or writes what it found."""
    part = rng.random()
    if part < 0.1:
        time.sleep(rng.uniform(0, 1))
        return
    epochs = rng.randint(1, 8) if part < 0.8 else 10**9
    seen, last = 0, 0
    while training.code is None and seen < epochs:
        if (run / "model.safetensors").exists() and epochs == 10**9:
            break
        try:
            now = (run / "checkpoint.pt").stat().st_mtime_ns
        except FileNotFoundError:
            now = last
        seen, last = seen + (now != last), now
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.05 if part < 0.8 else 2))


def next_attempt(run: Path, path: Path) -> Training:
    """Go on with what is there, or begin where nothing is."""
    if (run / "config.yaml").exists() and not is_finished(run):
        return Training("train", "--resume", run)
    return Training("train", path, "--out", run)


def is_finished(run: Path) -> bool:
    return (run / "model.safetensors").exists() and not (run / "checkpoint.pt").exists()


if __name__ == "__main__":
    main()
