"""The command line: parses, calls, prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="System identification with PyTorch: from a data file to a simulated model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else.")
]
DataDirOption = Annotated[
    str | None, typer.Option(help="Where benchmark files are looked for first.")
]
ColumnsU = Annotated[str | None, typer.Option("--u", help="Input columns, with commas.")]
ColumnsY = Annotated[str | None, typer.Option("--y", help="Output columns, with commas.")]
TimeOption = Annotated[str | None, typer.Option("--time", help="Column of time stamps.")]
StepOption = Annotated[float | None, typer.Option(help="Seconds between samples.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a config key.")
]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    _State.debug = debug


class _State:
    debug = False


@app.command(
    epilog="Example: sysid train configs/quickstart.yaml --set training.learning_rate=1e-3"
)
def train(
    config: Annotated[Path, typer.Argument(help="A YAML config; see configs/.")],
    overrides: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Run directory to write.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Run directory of an interrupted training to go on with.")
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train what a config describes and leave a run directory."""
    from sysid.experiment.config import read_config
    from sysid.experiment.run import train_config

    changes = list(overrides or [])
    if device is not None:
        changes.append(f"training.device={device}")
    parsed = read_config(config, changes)
    run = train_config(
        parsed,
        resume if resume is not None else out,
        data_dir=data_dir,
        progress=False if as_json else None,
        resume=resume is not None,
    )
    files = {
        "run": run.directory,
        "model": run.directory / "model.safetensors",
        "figure": run.directory / "simulation.png",
        "report": run.directory / "report.html",
    }
    result = run.result
    if as_json:
        _print_json(
            {
                "files": {k: str(v) for k, v in files.items()},
                "seconds": run.seconds,
                "epochs": len(result.history),
                "best_epoch": result.best_epoch,
                "stopped_because": result.stopped_because,
                "scores": _rows(run.scores),
            }
        )
    else:
        _print_scores(run.scores, f"{parsed.name}: fit per output")
        print(
            f"{len(result.history)} epochs in {run.seconds:.1f} s, stopped because of "
            f"{result.stopped_because}, best epoch {result.best_epoch}"
        )
        for name, path in files.items():
            print(f"{name + ':':8}{path}")
    if result.stopped_because == "interrupted":
        print(f"sysid: go on with: sysid train {config} --resume {run.directory}", file=sys.stderr)
    if result.stopped_because == "diverged":
        _fail("training diverged; the best weights are kept; lower training.learning_rate", 1)


@app.command(epilog="Example: sysid evaluate runs/quickstart new.csv --horizons 1,10")
def evaluate(
    run: Annotated[str, typer.Argument(help="A run directory or model file.")],
    data: Annotated[list[str], typer.Argument(help="Data files.")],
    horizons: Annotated[str, typer.Option(help="Steps ahead, with commas.")] = "1",
    u: ColumnsU = None,
    y: ColumnsY = None,
    time: TimeOption = None,
    sampling_time: StepOption = None,
    n_init: Annotated[int, typer.Option(help="Samples to start from, not scored.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Score a model on data: steps ahead and free run, per output."""
    from sysid.analysis.compare import evaluate as score
    from sysid.experiment.data import read_for
    from sysid.experiment.run import open_model

    model = open_model(run)
    try:
        steps = [int(h) for h in horizons.split(",")]
    except ValueError:
        raise ValueError(f"horizons must be whole numbers, got {horizons!r}") from None
    records = [
        read_for(model, p, _split(u), _split(y), time, sampling_time).replace(n_init=n_init)
        for p in data
    ]
    scores = score(model, records, (*steps, "simulation"))
    if as_json:
        _print_json({"scores": _rows(scores)})
    else:
        _print_scores(scores, f"{run}: fit per output")


@app.command(epilog="Example: sysid simulate runs/quickstart new.csv -o y.csv")
def simulate(
    run: Annotated[str, typer.Argument(help="A run directory or model file.")],
    data: Annotated[str, typer.Argument(help="A data file; its outputs may be missing.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")],
    u: ColumnsU = None,
    y: ColumnsY = None,
    time: TimeOption = None,
    sampling_time: StepOption = None,
    n_init: Annotated[int, typer.Option(help="Measured outputs to start from.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Simulate a model over the inputs of a file and write inputs and simulated outputs."""
    from sysid.data.files import write
    from sysid.experiment.data import read_for
    from sysid.experiment.run import open_model

    model = open_model(run)
    record = read_for(model, data, _split(u), _split(y), time, sampling_time)
    record = record.replace(n_init=n_init)
    simulated = record.replace(
        y=model.simulate(record), y_names=model.y_names, y_units=model.y_units
    )
    write(simulated, output)
    if as_json:
        _print_json({"output": str(output), "samples": len(simulated), "y": simulated.y_names})
    else:
        print(f"{len(simulated)} samples of {', '.join(simulated.y_names)} written to {output}")


@app.command(epilog="Example: sysid summary configs/quickstart.yaml")
def summary(
    target: Annotated[str, typer.Argument(help="A config, run directory or model file.")],
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print layers, shapes and parameter counts of a model."""
    from sysid.experiment.config import read_config
    from sysid.experiment.data import load_data
    from sysid.experiment.run import open_model

    if Path(target).suffix in (".yaml", ".yml"):
        config = read_config(target)
        record = load_data(config, data_dir, gap=0).train[0]
        model = config.build_model(record.nu, record.ny)
    else:
        model = open_model(target)
    if as_json:
        layers = {n: list(p.shape) for n, p in model.named_parameters()}
        count = sum(p.numel() for p in model.parameters())
        arguments = model.arguments
        _print_json(
            {"kind": model.kind, "arguments": arguments, "parameters": count, "shapes": layers}
        )
    else:
        model.summary()


@app.command(epilog="Example: sysid generate cascaded_tanks -o tanks.csv --noise 0.01")
def generate(
    system: Annotated[str, typer.Argument(help="A built-in system, e.g. cascaded_tanks.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")],
    samples: Annotated[int | None, typer.Option(help="Number of samples.")] = None,
    seed: Annotated[int, typer.Option(help="Of excitation and noise.")] = 0,
    noise: Annotated[float, typer.Option(help="Std over the clean output's std.")] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Simulate a built-in system and write its record."""
    from sysid.data.files import write
    from sysid.data.systems import generate as simulate_system

    record = simulate_system(system, samples, seed=seed, noise=noise)
    write(record, output)
    if as_json:
        _print_json(
            {
                "output": str(output),
                "samples": len(record),
                "u": record.u_names,
                "y": record.y_names,
                "sampling_time": record.sampling_time,
            }
        )
    else:
        columns = ", ".join((*record.u_names, *record.y_names))
        print(f"{len(record)} samples of {columns} written to {output}")


def main() -> None:
    """Run the command line; errors are one line and an exit code, never a traceback."""
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError) as error:
        if _State.debug:
            raise
        _fail(_message(error), 2)
    except Exception as error:
        if _State.debug:
            raise
        _fail(f"the work failed: {type(error).__name__}: {error}; --debug shows where", 1)


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _fail(message: str, code: int) -> None:
    print(f"sysid: {message}", file=sys.stderr)
    raise SystemExit(code)


def _split(names: str | None) -> list[str] | None:
    return None if names is None else [n.strip() for n in names.split(",") if n.strip()]


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2, allow_nan=False))


def _rows(scores: Any) -> list[dict[str, Any]]:
    """Return a table's rows with null where a figure is not finite."""
    import math

    return [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        for row in scores.to_dict(orient="records")
    ]


def _print_scores(scores: Any, title: str) -> None:
    """Print a fit table: coloured on a terminal, plain in a pipe."""
    from matplotlib.ticker import EngFormatter
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title=title, title_justify="left")
    names = [c for c in ("part", "record", "output", "horizon") if c in scores]
    for name in names:
        table.add_column(name)
    for name in ("rmse", "nrmse", "fit_index %", "r2"):
        table.add_column(name, justify="right")
    for row in scores.to_dict(orient="records"):
        unit = row.get("unit") or ""
        rmse = EngFormatter(unit, places=3)(row["rmse"]) if unit else f"{row['rmse']:.5g}"
        fit = row["fit_index"]
        style = "green" if fit >= 90 else "yellow" if fit >= 70 else "red"
        table.add_row(
            *(str(row[n]) for n in names),
            rmse,
            f"{row['nrmse']:.4f}",
            f"[{style}]{fit:.2f}[/]" if fit == fit else "undefined",
            f"{row['r2']:.4f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
