"""The command line: parses, calls, prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sysid.commands import benchmark, deploy, inspection, search, training
from sysid.commands.options import (
    ADVICE_HELP,
    DATA_HELP,
    Command,
    DataDirOption,
    HorizonsOption,
    InitOption,
    JsonOption,
    OutputOption,
    RunArgument,
    SetOption,
    parse_horizons,
    reads_files,
)
from sysid.data.reading import Reading
from sysid.terminal import fail, json_rows, print_advice, print_json, print_notes, print_scores

app = typer.Typer(
    help="System identification with PyTorch: from a data file to a simulated model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    _State.debug = debug


class _State:
    debug = False


@app.command(
    cls=Command,
    epilog="Example: sysid train configs/quickstart.yaml --set training.learning_rate=1e-3",
)
@reads_files
def train(
    *,
    reading: Reading,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG | DATA...",
            help="A YAML config, see configs/; that of DIR with --resume. With --auto: data "
            "files, or the name of an official benchmark.",
        ),
    ] = None,
    overrides: SetOption = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Run directory to write.")] = None,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="auto, cpu or cuda.")] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Run directory of an interrupted training to resume."),
    ] = None,
    auto: Annotated[
        bool, typer.Option("--auto", help="Look at data and decide, in place of a config.")
    ] = False,
    test: Annotated[
        list[str] | None,
        typer.Option("--test", metavar="FILE...", help="With --auto: data files to score."),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="MINUTES", help="With --auto: time to take; 10.")
    ] = None,
    n_init: InitOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train what a config describes, or what --auto finds, and leave a run directory.

    Ctrl-C and SIGTERM end the training early and save its state. Exit codes: 0 done, 1 diverged
    or interrupted, 2 the request was wrong.
    """
    of_auto = {
        "--test": test,
        "--budget": budget,
        "--n-init": n_init,
        **{"--" + name.replace("_", "-"): value for name, value in vars(reading).items()},
    }
    if auto:
        if overrides or device is not None or resume is not None:
            raise ValueError("--set, --device and --resume must be left out with --auto")
        training.train_automatically(
            sources or [],
            test or [],
            reading,
            n_init,
            10.0 if budget is None else budget,
            out,
            data_dir,
            as_json,
        )
        return
    if given := [name for name, value in of_auto.items() if value is not None]:
        raise ValueError(f"{', '.join(given)} must come with --auto; a config has its own section")
    if len(sources or []) > 1:
        raise ValueError(f"CONFIG must be one file, got {sources}; use --auto to train on data")
    training.train_by_config(
        Path(sources[0]) if sources else None,
        list(overrides or []),
        out,
        device,
        resume,
        data_dir,
        as_json,
    )


@app.command(cls=Command, epilog="Example: sysid evaluate runs/quickstart new.csv --horizons 1,10")
@reads_files
def evaluate(
    *,
    reading: Reading,
    run: RunArgument,
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help=DATA_HELP)],
    horizons: HorizonsOption = "1,simulation",
    n_init: InitOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a model on data beside a linear one: steps ahead and free run, per output."""
    from sysid.analysis.compare import compare as score
    from sysid.experiment.data import read_all, remarks
    from sysid.experiment.run import open_models

    models = open_models([run])
    records = read_all(list(models.values()), data, reading, n_init, data_dir)
    scores = score(models, records, parse_horizons(horizons))
    notes = remarks(list(models.values()), records)
    if as_json:
        print_json({"scores": json_rows(scores), "notes": notes})
    else:
        print_notes(notes)
        print_scores(scores, f"{run}: fit per output")


@app.command(cls=Command, epilog="Example: sysid compare runs/narx runs/lstm --data new.csv")
@reads_files
def compare(
    *,
    reading: Reading,
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Run directories or model files.")
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", metavar="FILE...", help=DATA_HELP + " Without it: the first run's test data."
        ),
    ] = None,
    horizons: HorizonsOption = "1,10,simulation",
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Directory for the report; runs/compare without it."),
    ] = None,
    n_init: InitOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score several models on the same data, beside the mean and a linear model."""
    from sysid.experiment.comparison import compare_runs

    comparison = compare_runs(runs, data, parse_horizons(horizons), reading, n_init, out, data_dir)
    if as_json:
        print_json(
            {
                "report": None if comparison.report is None else str(comparison.report),
                "scores": json_rows(comparison.scores),
                "notes": comparison.notes,
            }
        )
    else:
        print_notes(comparison.notes)
        print_scores(comparison.scores, "fit per output")
        if comparison.report is not None:
            print(f"report: {comparison.report}")


@app.command(cls=Command, epilog="Example: sysid advice run1.csv run2.csv --test run3.csv")
@reads_files
def advice(
    *,
    reading: Reading,
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help=ADVICE_HELP)],
    test: Annotated[
        list[str] | None,
        typer.Option("--test", metavar="FILE...", help="Data files to compare the range with."),
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether records are fit for identification, and what to choose for them."""
    from dataclasses import asdict

    from sysid.experiment.data import advise

    found = advise(data, test or [], reading, data_dir)
    suggestion = None if found.suggestion is None else asdict(found.suggestion)
    if as_json:
        print_json({"findings": [asdict(f) for f in found.findings], "suggestion": suggestion})
    else:
        print_advice(found)


@app.command(cls=Command, epilog="Example: sysid simulate runs/quickstart new.csv -o y.csv")
@reads_files
def simulate(
    *,
    reading: Reading,
    run: RunArgument,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A data file; its outputs may be missing.")
    ],
    output: OutputOption,
    n_init: InitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate a model over the inputs of a file and write inputs and simulated outputs."""
    from sysid.data.files import write
    from sysid.experiment.data import read_for, remarks
    from sysid.experiment.run import open_model
    from sysid.models.stability import refuse_unbounded

    model = open_model(run)
    record = read_for(model, data, reading, n_init)
    y_hat = model.simulate(record)
    refuse_unbounded(record, model.y_names, y_hat)
    simulated = record.replace(y=y_hat, y_names=model.y_names, y_units=model.y_units)
    write(simulated, output)
    notes = remarks([model], [record])
    if as_json:
        print_json(
            {
                "output": str(output),
                "samples": len(simulated),
                "y": simulated.y_names,
                "n_init": model.scoring_start(record),
                "notes": notes,
            }
        )
    else:
        print_notes(notes)
        print(f"{len(simulated)} samples of {', '.join(simulated.y_names)} written to {output}")
        if start := model.scoring_start(record):
            print(f"The simulation starts from the first {start} measured samples.")


@app.command(cls=Command, epilog="Example: sysid summary configs/quickstart.yaml")
def summary(
    target: Annotated[
        str, typer.Argument(metavar="CONFIG|RUN", help="A config, run directory or model file.")
    ],
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
        print_json(
            {"kind": model.kind, "arguments": arguments, "parameters": count, "shapes": layers}
        )
    else:
        model.summary()


@app.command(cls=Command, epilog="Example: sysid generate cascaded_tanks -o tanks.csv --noise 0.01")
def generate(
    system: Annotated[
        str, typer.Argument(metavar="SYSTEM", help="A built-in system, e.g. cascaded_tanks.")
    ],
    output: OutputOption,
    samples: Annotated[int | None, typer.Option(metavar="N", help="Number of samples.")] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed of the excitation and the noise.")
    ] = 0,
    noise: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Standard deviation of the noise, over that of the clean output."
        ),
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Simulate a built-in system and write its record."""
    from sysid.data.files import write
    from sysid.data.systems import generate as simulate_system

    record = simulate_system(system, samples, seed=seed, noise=noise)
    write(record, output)
    if as_json:
        print_json(
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


app.command(
    cls=Command, epilog="Example: sysid plot run1.csv run2.csv --u pump --y level -o data.html"
)(reads_files(inspection.plot))
app.command(cls=Command, epilog="Example: sysid export runs/quickstart -o plant.c")(deploy.export)
app.command(cls=Command, epilog="Example: sysid smooth runs/smoother measured.csv -o y.csv")(
    reads_files(deploy.smooth)
)
app.command(cls=Command, epilog="Example: sysid benchmark silverbox --seeds 1")(benchmark.benchmark)
app.command(cls=Command, epilog="Example: sysid sweep configs/lstm_sweep.yaml --workers 4")(
    search.sweep
)


def main() -> None:
    """Run the command line; errors are one line and an exit code, never a traceback."""
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError) as error:
        if _State.debug:
            raise
        fail(_message(error), 2)
    except Exception as error:
        if _State.debug:
            raise
        if type(error).__module__.startswith("sysid."):  # it says what there is to say
            fail(str(error), 1)
        fail(f"the work failed: {type(error).__name__}: {error}; --debug shows where", 1)


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


if __name__ == "__main__":
    main()
