"""Sweep: many trainings over a search space, by workers that a database coordinates.

Every trial has a slot, a row that waits in the database from the start: workers take waiting
rows until none is left. A worker that dies leaves a running row without signs of life, which
another one marks as failed and puts back to wait. So no server is needed, workers may come and
go, on one machine or on several, and the same command goes on where a sweep was left.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from sysid.data.atomic import write_text
from sysid.experiment.config import Config, parse_config
from sysid.experiment.data import load_data
from sysid.experiment.directory import new_directory
from sysid.experiment.space import SweepSection, with_values
from sysid.experiment.study import Task, check_reachable, fail_abandoned, mark_begun
from sysid.training.trainer import Trainer

if TYPE_CHECKING:
    import optuna

_LENGTHS = ("na", "nb", "n_init", "length", "washout")  # that a record may be too short for
_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    ``trials`` has a row per slot, the best first: trial, state, valid_loss, the parameters,
    epochs, seconds, restarts (how often a worker died of it or under it) and reason.
    """

    directory: Path
    trials: pd.DataFrame
    best: Path | None

    @property
    def counts(self) -> dict[str, int]:
        """How many trials are complete, pruned and failed, and how many restarts there were."""
        states = Counter(self.trials["state"])
        out = {name: states[name] for name in _STATES.values()}
        return out | {"restarts": int(self.trials["restarts"].sum())}


def run_sweep(
    config: Config,
    out: Path | None = None,
    *,
    storage: str | None = None,
    workers: int = 1,
    data_dir: str | None = None,
) -> Sweep:
    """Try a config's search space; the free run on the validation part decides.

    Test data are never looked at. Nothing is begun before the space has been found to go with
    the config, the data to be there and the storage to be reached.

    Args:
        config: a config with a ``sweep`` section.
        out: the sweep's directory; ``runs/NAME-sweep`` by default. One that holds the same
            sweep is gone on with.
        storage: a database URL, ``postgresql://...``, that several machines share; by default a
            file in ``out``.
        workers: processes on this machine.
        data_dir: where benchmark files are looked for first.

    Raises:
        ImportError: if optuna is not installed.
        ValueError: if the request is wrong, or the storage cannot be reached.
    """
    section = _checked(config, data_dir)
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if storage is not None:
        check_reachable(storage, section.heartbeat)
    directory = _directory(config, out)
    url = storage or f"sqlite:///{(directory / 'study.db').resolve()}"
    task = Task(config.to_yaml(), url, data_dir, _threads(workers))
    with task.study(create=True) as study:
        write_text(directory / "sweep.yaml", config.to_yaml())
        if any(t.state.name in ("WAITING", "RUNNING") for t in study.get_trials(deepcopy=False)):
            _work_together(task, workers)
        trials = _table(study, section)
        _plot(study, directory / "parallel_coordinates.png")
    trials.to_csv(directory / "trials.csv", index=False)
    best = _write_best(config, section, trials, directory)
    if unfinished := section.trials - len(trials):
        raise RuntimeError(
            f"{unfinished} of {section.trials} trials are not done, since all workers on this "
            "machine died; the same command goes on"
        )
    return Sweep(directory, trials, best)


def _checked(config: Config, data_dir: str | None) -> SweepSection:
    """Return the sweep section, after everything that can be wrong has been looked at."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ImportError(
            "optuna must be installed to sweep, got none; pip install 'sysid[sweep]'"
        ) from None
    section = config.sweep
    if section is None:
        raise ValueError("config must have a sweep section, got none; see configs/lstm_sweep.yaml")
    base = config.model_dump(mode="json", exclude_unset=True)
    wrong = []
    for key, dimension in section.space.items():
        if key.split(".")[0] not in ("model", "training") or "." not in key:
            wrong.append(f"sweep.space must name keys of model or training, got {key!r}")
            continue
        for value in dimension.examples():
            try:
                tried = parse_config(with_values(base, {key: value}))
                if key.split(".")[-1] in _LENGTHS:
                    load_data(tried, data_dir)
            except ValueError as error:
                reason = " ".join(str(error).partition("\n")[2].split()) or str(error)
                wrong.append(f"sweep.space.{key} = {value!r}: {reason}")
                break
    if wrong:
        listed = "\n  ".join(wrong)
        raise ValueError(f"config must be right, {len(wrong)} problem(s):\n  {listed}")
    if config.training.starts > 1:
        raise ValueError(
            f"training.starts must be 1 in a sweep, got {config.training.starts}; its trials are "
            "starts enough"
        )
    data = load_data(parse_config(with_values(base, {})), data_dir)
    if not data.valid:
        raise ValueError("data.valid must hold records for a sweep to be decided by, got none")
    return section


def _directory(config: Config, out: Path | None) -> Path:
    """Return the sweep's directory: a new one, or the one of the same sweep."""
    out = out or Path("runs") / f"{config.name}-sweep"
    known = out / "sweep.yaml"
    if known.is_file():
        if known.read_text(encoding="utf-8") != config.to_yaml():
            raise ValueError(
                f"out must be new or hold the same sweep, got {out} with another one's config; "
                "choose another directory"
            )
        return out
    return new_directory(out)


def _threads(workers: int) -> int | None:
    """Return torch's threads for each worker; ``None``: as the environment says."""
    if "OMP_NUM_THREADS" in os.environ:
        return None
    return max(1, (os.cpu_count() or 1) // workers)


def _work_together(task: Task, workers: int) -> None:
    if workers == 1:
        _work(task)
        return
    # spawn: a forked child would inherit torch's threads and the open database.
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=_work, args=(task, worker), daemon=True) for worker in range(workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def _work(task: Task, worker: int = 0) -> None:
    """Take trials until none waits and none runs."""
    import optuna
    import torch

    if task.threads is not None:
        torch.set_num_threads(task.threads)
    config = parse_config(yaml.safe_load(task.config))
    section = config.sweep
    if section is None:
        raise ValueError("config must have a sweep section, got none")
    with task.study(worker) as study, warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        while True:
            fail_abandoned(study, section.heartbeat)
            states = Counter(t.state.name for t in study.get_trials(deepcopy=False))
            if states["WAITING"]:
                study.optimize(
                    lambda trial: _try(config, section, trial, task.data_dir),
                    n_trials=1,
                    catch=(Exception,),
                )
            elif states["RUNNING"]:
                time.sleep(section.heartbeat / 2)
            else:
                return


def _try(config: Config, section: SweepSection, trial: optuna.Trial, data_dir: str | None) -> float:
    """Train a trial's config; what goes wrong stands in the table."""
    import optuna

    if "slot" not in trial.user_attrs:  # another worker took the last one that waited
        raise optuna.TrialPruned
    mark_begun(trial)
    base = config.model_dump(mode="json", exclude_unset=True)
    values = {key: d.draw(trial, key) for key, d in section.space.items()}
    try:
        return _train(parse_config(with_values(base, values)), trial, data_dir)
    except KeyboardInterrupt:
        again = optuna.storages.RetryHeartbeatStaleTrialCallback()
        again(trial.study, trial.study.trials[trial.number])
        raise
    except optuna.TrialPruned:
        raise
    except Exception as error:
        trial.set_user_attr("reason", " ".join(str(error).split()))
        raise


def _train(config: Config, trial: optuna.Trial, data_dir: str | None) -> float:
    """Return the best validation loss of a config; a trial that falls behind is cut short."""
    import optuna

    data = load_data(config, data_dir)
    model = config.build_model(data.train[0].nu, data.train[0].ny)
    trainer = Trainer(model, data.train, data.valid, config.settings())
    try:
        for epoch in trainer.epochs():
            if math.isfinite(epoch.valid_loss):
                trial.report(epoch.valid_loss, epoch.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
    finally:
        trial.set_user_attr("epochs", len(trainer.history))
        trial.set_user_attr("seconds", trainer.history[-1].seconds if trainer.history else 0.0)
    if not math.isfinite(trainer.best_loss):
        trial.set_user_attr("reason", "training diverged")
        raise optuna.TrialPruned
    return trainer.best_loss


def _table(study: optuna.Study, section: SweepSection) -> pd.DataFrame:
    """Return a row per slot whose last trial has ended, the best first."""
    last: dict[int, Any] = {}
    tries: Counter[int] = Counter()
    for trial in study.get_trials(deepcopy=False):
        if (slot := trial.user_attrs.get("slot")) is not None:
            last[slot] = trial
            tries[slot] += 1
    rows = [
        {
            "trial": slot,
            "state": _STATES[t.state.name],
            "valid_loss": t.value if t.state.name == "COMPLETE" else None,
            **{k: d.read(t.params[k]) if k in t.params else None for k, d in section.space.items()},
            "epochs": t.user_attrs.get("epochs", 0),
            "seconds": t.user_attrs.get("seconds", 0.0),
            "restarts": tries[slot] - 1,
            "reason": t.user_attrs.get("reason", ""),
        }
        for slot, t in last.items()
        if t.state.name in _STATES
    ]
    columns = ["trial", "state", "valid_loss", *section.space]
    columns += ["epochs", "seconds", "restarts", "reason"]
    return pd.DataFrame(rows, columns=columns).sort_values(["valid_loss", "trial"])


def _write_best(
    config: Config, section: SweepSection, trials: pd.DataFrame, directory: Path
) -> Path | None:
    """Write the config of the best trial, ready to run."""
    complete = trials[trials["state"] == "complete"]
    if complete.empty:
        return None
    values = {key: _plain(complete.iloc[0][key]) for key in section.space}
    base = config.model_dump(mode="json", exclude_unset=True)
    best = parse_config(with_values(base | {"name": f"{config.name}-best"}, values))
    path = directory / "best.yaml"
    write_text(path, best.to_yaml())
    return path


def _plain(value: Any) -> Any:
    """Return Python's own number for one of NumPy's."""
    return value.item() if hasattr(value, "item") else value


def _plot(study: optuna.Study, path: Path) -> None:
    import matplotlib
    import optuna

    if not any(t.state.name == "COMPLETE" for t in study.get_trials(deepcopy=False)):
        return
    matplotlib.use("agg")
    from matplotlib import pyplot

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the function is experimental, its colours deprecated
        optuna.visualization.matplotlib.plot_parallel_coordinate(
            study, target_name="validation loss"
        )
    pyplot.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close()
