"""Benchmarks: recipes trained from several seeds and scored by the official protocol."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sysid.data.atomic import write_text
from sysid.data.benchmarks import BENCHMARKS
from sysid.data.published import PUBLISHED
from sysid.experiment.config import BenchmarkData, Config, differences, read_config
from sysid.experiment.directory import CONFIG_FILE, MODEL_FILE, is_begun, write_json
from sysid.experiment.run import train_config

RESULTS_FILE, PAGE_FILE = "results.json", "benchmarks.md"
# In an installed package beside the code; in a checkout where all configs are.
_FOLDERS = (
    Path(__file__).parents[1] / "recipes",
    Path(__file__).parents[2] / "configs" / "benchmarks",
)

_RULE = """# The public benchmarks

Free-run RMSE on the official test records, `RMSE(test.y[n:], y_model[n:])`, where a model sees the
inputs and the first `n` outputs, with the `n` of nonlinear_benchmarks 1.0.1.

**The rule.** The test record decides nothing: orders, sizes, stopping and recipe were chosen by
free run on a part of the training record that was held out, in time or by the range of its
output. Seeds count from 0; a recipe of several starts takes as many of them at once.
`tests/test_benchmark_command.py` replaces test records by random numbers: no weight, no choice
and no other figure changes. How each recipe was chosen stands below its table, and which test
scores were known by then.

**The machine.** {processor}, {cores}, Python {python}. Seconds are of a whole run: reading,
training, and the report.

This page is written by `sysid benchmark`, which leaves it in its results directory. Published
figures are those of the sources named."""


@dataclass(frozen=True)
class Recipe:
    """A config for an official benchmark, and the comment at its head: how it was chosen."""

    config: Config
    text: str
    comment: str

    @property
    def name(self) -> str:
        """The benchmark's name."""
        data = self.config.data
        if not isinstance(data, BenchmarkData):
            raise ValueError(f"data.source of a recipe must be benchmark, got {data.source}")
        return data.name


@dataclass(frozen=True)
class SeedRun:
    """What one seed reached: RMSE per test record, in the unit of the public table."""

    seed: int
    rmse: dict[str, float]
    seconds: float
    directory: str


@dataclass(frozen=True)
class SetResult:
    """What a recipe reached from several seeds."""

    recipe: Recipe
    runs: tuple[SeedRun, ...]

    def spread(self) -> dict[str, tuple[float, float, float]]:
        """Return median, least and largest RMSE over the seeds, for each test record."""
        out = {}
        for record in self.runs[0].rmse:
            values = [run.rmse[record] for run in self.runs]
            out[record] = (statistics.median(values), min(values), max(values))
        return out

    def document(self) -> dict[str, Any]:
        """Return the result as it is written and printed."""
        table = PUBLISHED[self.recipe.name]
        return {
            "name": self.recipe.name,
            "recipe": self.recipe.config.name,
            "unit": table.unit,
            "rmse": {
                record: dict(zip(("median", "min", "max"), map(_finite, figures), strict=True))
                for record, figures in self.spread().items()
            },
            "seconds": statistics.median(run.seconds for run in self.runs),
            "runs": [
                vars(run) | {"rmse": {r: _finite(v) for r, v in run.rmse.items()}}
                for run in self.runs
            ],
            "published": [vars(row) for row in table.rows],
        }


@dataclass(frozen=True)
class Benchmarked:
    """All results of one call, and where they are."""

    directory: Path
    machine: dict[str, Any]
    sets: tuple[SetResult, ...]

    def document(self) -> dict[str, Any]:
        """Return what ``results.json`` holds."""
        return {
            "directory": str(self.directory),
            "machine": self.machine,
            "sets": [s.document() for s in self.sets],
        }


def page(result: Benchmarked) -> str:
    """Return the results as a Markdown page: the rule, and for each benchmark its table."""
    machine = result.machine
    parts = [
        _RULE.format(
            processor=machine["processor"],
            cores="1 core" if machine["cores"] == 1 else f"{machine['cores']} cores",
            python=machine["python"],
        )
    ]
    for found in result.sets:
        table = PUBLISHED[found.recipe.name]
        records = list(found.runs[0].rmse)
        heads = ["model", *(f"{r}, {table.unit}" for r in records), "source"]
        lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in table_rows(found, bold="**")]
        seeds = ", ".join(str(run.seed) for run in found.runs)
        seconds = ", ".join(f"{run.seconds:.0f}" for run in found.runs)
        parts += [
            f"## {table.title}",
            "\n".join(lines),
            f"Seeds {seeds}; {seconds} s of wall time each, everything included.",
            f"**Recipe** `configs/benchmarks/{found.recipe.name}.yaml`. {found.recipe.comment}",
        ]
    return "\n\n".join(parts) + "\n"


def table_rows(found: SetResult, bold: str = "") -> list[list[str]]:
    """Return the rows of a benchmark's table, ours among the published ones, the best first."""
    records = list(found.runs[0].rmse)
    spread = found.spread()
    rows: list[tuple[float, list[str]]] = []
    for row in PUBLISHED[found.recipe.name].rows:
        cells = ["" if v is None else f"{v:g}" for v in row.rmse]
        first = next(v for v in row.rmse if v is not None)
        rows.append((first, [row.model, *cells, row.source]))
    ours = [
        f"{bold}{median:.4g}{bold} ({least:.4g} to {most:.4g})"
        for median, least, most in (spread[r] for r in records)
    ]
    count = len(found.runs)
    source = f"this run, median and range of {count} seed{'s' if count > 1 else ''}"
    rows.append((spread[records[0]][0], [f"{bold}sysid{bold}", *ours, source]))
    return [cells for _, cells in sorted(rows, key=lambda pair: pair[0])]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def shipped_recipes() -> dict[str, Path]:
    """Return the recipe of each benchmark that comes with the package."""
    folder = next((f for f in _FOLDERS if f.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f"recipes must be in {_FOLDERS[0]}; install sysid again")
    return {p.stem: p for p in sorted(folder.glob("*.yaml"))}


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        ValueError: if it is not a config for an official benchmark.
    """
    config = read_config(path)
    text = path.read_text(encoding="utf-8")
    recipe = Recipe(config, text, _head(text))
    if recipe.name not in BENCHMARKS:
        raise ValueError(f"benchmark must be one of {', '.join(BENCHMARKS)}, got {recipe.name!r}")
    return recipe


def _head(text: str) -> str:
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)


def run_benchmarks(
    names: Sequence[str] = (),
    out: Path = Path("runs/benchmark"),
    *,
    recipe: Path | None = None,
    seeds: int = 3,
    minutes: float | None = None,
    data_dir: str | None = None,
    progress: bool | None = None,
) -> Benchmarked:
    """Train recipes from several seeds and score them on the test records.

    The results directory gets a run directory for each seed, the recipes, ``results.json`` and
    ``benchmarks.md``. In one that is there already, finished runs of the same config are taken
    as they are, and others are gone on with.

    Args:
        names: benchmarks, all that have a recipe by default.
        out: the results directory.
        recipe: a recipe in place of the shipped ones.
        seeds: how many, from the recipe's ``seed`` on; so far apart that no two of them share one
            of the recipe's ``starts``.
        minutes: most training time of a seed, in place of a recipe's longer one.
        data_dir: where benchmark files are looked for first.
        progress: whether to show progress bars; ``None``: on a terminal.

    Raises:
        ValueError: for an unknown name, or an ``out`` that holds another experiment.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, got {seeds}")
    if minutes is not None and not minutes > 0:
        raise ValueError(f"budget must be more than 0 minutes, got {minutes}")
    recipes = [read_recipe(p) for p in _chosen(names, recipe)]
    if recipe is not None and names and list(names) != [recipes[0].name]:
        raise ValueError(f"NAME must be that of the recipe, {recipes[0].name}, got {list(names)}")
    sets = []
    for found in recipes:
        runs = [
            _seed_run(found, number, minutes, out / found.name, data_dir, progress)
            for number in range(seeds)
        ]
        write_text(out / found.name / "recipe.yaml", found.text)
        sets.append(SetResult(found, tuple(runs)))
    result = Benchmarked(out, machine(), tuple(sets))
    write_json(out / RESULTS_FILE, result.document())
    write_text(out / PAGE_FILE, page(result))
    return result


def _chosen(names: Sequence[str], recipe: Path | None) -> list[Path]:
    if recipe is not None:
        return [recipe]
    shipped = shipped_recipes()
    for name in names:
        if name not in shipped:
            raise ValueError(f"NAME must be one of {', '.join(shipped)}, got {name!r}")
    return [shipped[name] for name in names or shipped]


def seeded(recipe: Recipe, number: int, minutes: float | None) -> Config:
    """Return a recipe's config with its seed moved on past those of ``number`` runs."""
    config = recipe.config
    training = config.settings()
    seed = number * training.starts
    changes: dict[str, Any] = {"seed": training.seed + seed}
    if minutes is not None:
        changes["seconds"] = min(60 * minutes, training.seconds or float("inf"))
    return config.model_copy(
        update={"seed": config.seed + seed, "training": training.model_copy(update=changes)}
    )


def _seed_run(
    recipe: Recipe,
    number: int,
    minutes: float | None,
    folder: Path,
    data_dir: str | None,
    progress: bool | None,
) -> SeedRun:
    config = seeded(recipe, number, minutes)
    directory = folder / f"seed-{config.seed}"
    if (directory / MODEL_FILE).is_file() and not is_begun(directory):
        before = read_config(directory / CONFIG_FILE)
        if changed := differences(before.model_dump(), config.resolved().model_dump()):
            raise ValueError(
                f"out must hold runs of the same config, {directory} has another "
                f"{', '.join(changed)}; choose another directory"
            )
    else:
        run = train_config(
            config, directory, data_dir=data_dir, progress=progress, resume=is_begun(directory)
        )
        if run is not None and run.result.stopped_because == "interrupted":
            raise KeyboardInterrupt
    metrics = json.loads((directory / "metrics.json").read_text(encoding="utf-8"))
    environment = json.loads((directory / "environment.json").read_text(encoding="utf-8"))
    factor = PUBLISHED[recipe.name].factor
    rmse = {}
    for record, outputs in metrics["test"].items():
        value = next(iter(outputs.values()))["simulation"]["rmse"]
        rmse[record] = math.inf if value is None else factor * float(value)
    return SeedRun(config.seed, rmse, float(environment["seconds"]), str(directory))


def machine() -> dict[str, Any]:
    """Return what the work was done on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
