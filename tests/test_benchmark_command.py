"""`sysid benchmark`: the protocol, the results directory, and that test records decide nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

import sysid
from sysid.cli import app
from sysid.data.benchmarks import BENCHMARKS, Benchmark
from sysid.data.published import PUBLISHED
from sysid.data.records import Record
from sysid.experiment.benchmark import (
    Benchmarked,
    read_recipe,
    run_benchmarks,
    seeded,
    shipped_recipes,
)

N_INIT = 50
TINY = {
    "name": "tiny",
    "data": {"source": "benchmark", "name": "silverbox", "valid": {"fraction": 0.25}},
    "model": {"kind": "narx", "na": 2, "nb": 2, "hidden_sizes": [3]},
    "training": {
        "loss": "full_sequence",
        "optimiser": "lm",
        "horizons": [1],
        "horizon_epochs": 2,
        "max_epochs": 3,
    },
}


def stand_in(poison: Callable[[Record], Record] = lambda r: r) -> Callable[..., Benchmark]:
    """Return a loader of simulated records in place of the official ones."""

    def load(name: str, data_dir: str | None = None) -> Benchmark:
        train = sysid.generate("duffing", 600, seed=1, noise=0.01)
        tests = [
            sysid.generate("duffing", 300, seed=10 + i, noise=0.01).replace(
                name=test, n_init=N_INIT
            )
            for i, test in enumerate(BENCHMARKS[name].tests)
        ]
        return Benchmark(name, [train], [poison(t) for t in tests])

    return load


def poisoned(record: Record) -> Record:
    y = np.array(record.y)
    y[N_INIT:] = 1e3 * np.random.default_rng(0).standard_normal(y[N_INIT:].shape)
    return record.replace(y=y)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sysid.experiment.data.load_benchmark", stand_in())
    path = tmp_path / "tiny.yaml"
    path.write_text("# Chosen by\n# nobody.\n" + yaml.safe_dump(TINY))
    return path


def run(recipe: Path, out: Path, seeds: int = 2) -> Benchmarked:
    return run_benchmarks(out=out, recipe=recipe, seeds=seeds, progress=False)


@pytest.mark.slow
def test_scores_are_the_protocols_and_a_second_call_goes_on(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(recipe, out)
    (found,) = result.sets
    tests = stand_in()("silverbox").test
    assert [r.seed for r in found.runs] == [0, 1]
    for seed_run in found.runs:
        model = sysid.load(Path(seed_run.directory) / "model.safetensors")
        for test in tests:
            error = (model.simulate(test) - test.y)[N_INIT:]
            assert seed_run.rmse[test.name] == pytest.approx(1e3 * np.sqrt(np.mean(error**2)))
    for test in tests:
        both = [r.rmse[test.name] for r in found.runs]
        assert found.spread()[test.name] == (np.mean(both), min(both), max(both))
    written = json.loads((out / "results.json").read_text())
    assert written["sets"] == [json.loads(json.dumps(found.document()))]
    assert (out / "silverbox" / "recipe.yaml").read_text() == recipe.read_text()

    models = sorted(out.glob("silverbox/seed-*/model.safetensors"))
    before = [(p.stat().st_mtime_ns, p.read_bytes()) for p in models]
    again = run(recipe, out, seeds=3)
    assert [(p.stat().st_mtime_ns, p.read_bytes()) for p in models] == before
    assert again.sets[0].runs[:2] == found.runs
    recipe.write_text(recipe.read_text().replace("max_epochs: 3", "max_epochs: 4"))
    with pytest.raises(ValueError, match=r"out must hold runs of the same config.*max_epochs"):
        run(recipe, out)


def test_the_page_has_every_published_row_in_order(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(recipe, out, seeds=1)
    page = (out / "benchmarks.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(PUBLISHED["silverbox"].rows) + 1
    for row in PUBLISHED["silverbox"].rows:
        assert any(row.model in line and row.source in line for line in rows)
    assert "Chosen by nobody." in page
    ours = result.sets[0].spread()["multisine"][0]
    (position,) = [i for i, line in enumerate(rows) if line.startswith("| **sysid**")]
    assert f"{ours:.4g}" in rows[position]
    better = sum((r.rmse[0] or r.rmse[1] or 0) <= ours for r in PUBLISHED["silverbox"].rows)
    assert position == 1 + better


@pytest.mark.slow
def test_a_poisoned_test_record_changes_nothing_but_its_score(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe.write_text(yaml.safe_dump(TINY | {"training": TINY["training"] | {"starts": 2}}))  # type: ignore[operator]
    clean = run(recipe, tmp_path / "clean", seeds=1)
    monkeypatch.setattr("sysid.experiment.data.load_benchmark", stand_in(poisoned))
    wrong = run(recipe, tmp_path / "wrong", seeds=1)
    (a,), (b,) = clean.sets[0].runs, wrong.sets[0].runs
    one, other = Path(a.directory), Path(b.directory)
    assert (one / "config.yaml").read_bytes() == (other / "config.yaml").read_bytes()
    for name in ("model", "starts/0", "starts/1"):
        weights, same = (sysid.load(d / f"{name}.safetensors").state_dict() for d in (one, other))
        assert all(torch.equal(weights[key], same[key]) for key in weights), name
    metrics = [json.loads((d / "metrics.json").read_text()) for d in (one, other)]
    assert metrics[0]["valid"] == metrics[1]["valid"]
    timeless = [_without_seconds(d / "history.csv") for d in (one, other)]
    assert timeless[0] == timeless[1]
    # The poison was there: else this test could not fail.
    assert all(b.rmse[name] > 100 * a.rmse[name] for name in a.rmse)


def _without_seconds(history: Path) -> list[dict[str, float]]:
    import pandas as pd

    return pd.read_csv(history).drop(columns="seconds").to_dict(orient="records")


def test_shipped_recipes_are_one_a_benchmark() -> None:
    shipped = shipped_recipes()
    assert set(shipped) == set(BENCHMARKS) == set(PUBLISHED)
    for name, path in shipped.items():
        recipe = read_recipe(path)
        assert recipe.name == name
        assert len(recipe.comment) > 50, "says how it was chosen"
        limited = seeded(recipe, 2, minutes=0.5)
        assert limited.training.seconds == 30
        seed = recipe.config.seed + 2 * recipe.config.training.starts  # no start twice
        assert (limited.seed, limited.training.seed) == (seed, seed)
        assert len(PUBLISHED[name].rows[0].rmse) == len(BENCHMARKS[name].tests)


def test_the_command(recipe: Path, tmp_path: Path) -> None:
    arguments = ["benchmark", "--recipe", str(recipe), "--seeds", "1", "--out", str(tmp_path / "o")]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert "SUBNET" in shown.output
    assert "sysid" in shown.output
    printed = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(printed.stdout)["sets"][0]["name"] == "silverbox"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["silver"]}, "NAME must be one of .*silverbox.*, got 'silver'"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"minutes": 0.0}, "budget must be more than 0 minutes, got 0"),
    ],
)
def test_wrong_requests(tmp_path: Path, arguments: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=message):
        run_benchmarks(out=tmp_path, **arguments)


def test_recipes_that_are_none(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NAME must be that of the recipe, silverbox"):
        run_benchmarks(["emps"], tmp_path, recipe=recipe)
    recipe.write_text(yaml.safe_dump(TINY | {"data": {"source": "system", "name": "duffing"}}))
    with pytest.raises(ValueError, match=r"data.source of a recipe must be benchmark"):
        run_benchmarks(out=tmp_path, recipe=recipe)
