"""The study of a sweep: the database in which its trials wait, and who may open it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import yaml

from sysid.experiment.config import parse_config

if TYPE_CHECKING:
    import optuna

_BEGUN = "begun"
_RETRIES = 2  # of a trial whose worker died: a third death is the trial's own doing
_PAUSES = (0.1, 0.2, 0.4, 0.8)  # between tries to open a database, seconds


@dataclass(frozen=True)
class Task:
    """What a worker needs to know."""

    config: str
    url: str
    data_dir: str | None
    threads: int | None

    @contextmanager
    def study(self, worker: int = 0, create: bool = False) -> Iterator[optuna.Study]:
        """Open the study for a worker, and with ``create`` make it first if it is not there."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        config = parse_config(yaml.safe_load(self.config))
        if config.sweep is None:
            raise ValueError("config must have a sweep section, got none")
        local = self.url.startswith("sqlite")
        storage = _opened(self.url, config.sweep.heartbeat, local)
        # Each worker its own draws; with several it also counts in which order trials end.
        sampler = optuna.samplers.TPESampler(seed=config.seed + worker if local else None)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
        name = f"{config.name}-sweep"
        kept: Any = {"sampler": sampler, "pruner": pruner}
        if create:
            try:
                study = optuna.create_study(storage=storage, study_name=name, **kept)
            except optuna.exceptions.DuplicatedStudyError:
                pass  # another machine's, or an earlier sweep's
            else:  # who made it fills it
                for slot in range(config.sweep.trials):
                    study.enqueue_trial({}, user_attrs={"slot": slot})
                study.set_user_attr("config", self.config)
        try:
            study = optuna.load_study(storage=storage, study_name=name, **kept)
            _wait_until_filled(study, self.config, name)
            yield study
        finally:
            storage.remove_session()
            storage.engine.dispose()


def fail_abandoned(study: optuna.Study, heartbeat: int) -> None:
    """Take back the trials of workers that died, and let them be tried again.

    optuna knows them by a heartbeat that stopped. One that died before its first, between taking
    a trial and beginning it, never had one: such a trial is known by what ``mark_begun`` did not
    write.
    """
    import optuna

    optuna.storages.fail_stale_trials(study)
    latest = datetime.now() - timedelta(seconds=10 * heartbeat)
    running = (optuna.trial.TrialState.RUNNING,)
    for trial in study.get_trials(deepcopy=False, states=running):
        begun = trial.user_attrs.get(_BEGUN) == trial.number
        if begun or trial.datetime_start is None or trial.datetime_start > latest:
            continue
        try:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        except (ValueError, RuntimeError):  # another worker was there first
            continue
        again = optuna.storages.RetryHeartbeatStaleTrialCallback(_RETRIES)
        again(study, study.trials[trial.number])


def mark_begun(trial: optuna.Trial) -> None:
    """Say that a worker has begun with a trial, whose heartbeat counts from now on.

    The first beat is written here: optuna's is by a thread, and a worker that died after this and
    before that would be waited for without end.
    """
    storage: Any = trial.storage
    storage.record_heartbeat(trial._trial_id)
    trial.set_user_attr(_BEGUN, trial.number)


def check_reachable(url: str, heartbeat: int) -> None:
    """Raise if a database cannot be opened.

    Raises:
        ValueError: saying which, without its password.
    """
    _opened(url, heartbeat, url.startswith("sqlite")).engine.dispose()


def _opened(url: str, heartbeat: int, local: bool) -> optuna.storages.RDBStorage:
    import optuna
    import sqlalchemy

    try:
        shown = sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        raise ValueError(
            "storage must be a database URL, postgresql://user@host/name, say, got something else"
        ) from None
    # SQLite: workers wait for each other's writes. Servers: see whether a connection still stands.
    options: dict[str, Any] = {"connect_args": {"timeout": 60}} if local else {}
    reason = ""
    for pause in (0.0, *_PAUSES):
        time.sleep(pause)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                again = optuna.storages.RetryHeartbeatStaleTrialCallback(_RETRIES)
                return optuna.storages.RDBStorage(
                    url,
                    engine_kwargs={"pool_pre_ping": True, **options},
                    heartbeat_interval=heartbeat,
                    heartbeat_stale_trial_callback=again,
                )
        except ImportError as error:
            reason = str(error)
            break
        except sqlalchemy.exc.SQLAlchemyError as error:
            # Maybe for good; maybe since somebody else makes the tables at this moment.
            reason = str(error).splitlines()[0]
    raise ValueError(f"storage must be reachable, got {shown}: {reason}")


def _wait_until_filled(study: optuna.Study, config: str, name: str, seconds: float = 60) -> None:
    """Wait for whoever made the study, and check that it is the same sweep."""
    until = time.monotonic() + seconds
    while "config" not in study.user_attrs:
        if time.monotonic() > until:
            raise ValueError(
                f"storage must hold a whole sweep, got {name!r}, which whoever made it left half "
                "made; give the config another name"
            )
        time.sleep(0.2)
    if study.user_attrs["config"] != config:
        raise ValueError(
            f"storage must hold the same sweep, got {name!r} of another config; give the config "
            "another name, or go on with the one that began it"
        )
