"""`miram evaluate`: any model's scores, evaluated as our own are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from miram.commands.options import AsJson, ComparedMetric, Draws, DrawsSeed, given
from miram.commands.results.compare import comparison_table, metric_notes
from miram.errors import MiramError
from miram.files import atomic_path, file_sha256, harmless_table

if TYPE_CHECKING:
    import pandas as pd

    from miram.evaluation.score_files import Evaluation
    from miram.evaluation.tasks.definitions import TaskConfig


def evaluate(
    predictions: Annotated[
        list[str],
        typer.Argument(help="CSV or Parquet files of scores, as FILE or NAME=FILE", metavar="FILE"),
    ],
    labels: Annotated[
        Path, typer.Option(help="CSV or Parquet file with lesion_id, patient_id and the labels")
    ],
    task: Annotated[
        str | None,
        typer.Option(help="name of the task, in a project also of its own tasks; else pathology"),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="column of the labels, for a task of one's own, with --classes"),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="its values, such as low,high; of two the second is looked for"),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="linear, mae_probe or knn, of files that hold several; else linear"),
    ] = None,
    part: Annotated[
        str | None, typer.Option(help="evaluate these lesions, such as official_split=test")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="model that the others are compared with, in pairs")
    ] = None,
    compare_by: ComparedMetric = None,
    without_callback: Annotated[
        str | None, typer.Option(help="benign or drop: lesions that were not recalled")
    ] = None,
    draws: Draws = None,
    seed: DrawsSeed = None,
    identities: Annotated[
        Path | None,
        typer.Option(
            help="identities.parquet of a study, for files with own names of its lesions; if not "
            "given, the one beside the labels"
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="CSV file for the metrics, one row per model and metric")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give any model's scores the metrics, intervals and paired tests of a study.

    A file of scores has a row per lesion and class, with lesion_id, class and score,
    as a study's predictions.parquet; or a row per lesion, with lesion_id and a column
    per class. Scores are probabilities. Several models come as several files, or in
    one file with a column method. A column label, 0 or 1, is checked against the
    labels; a column fold names the folds of a cross-validation.

    Without --part all scored lesions are evaluated: name the part that trained no model.

    Example: miram evaluate theirs.csv --labels lesions.csv --part official_split=test
    """
    from pydantic_core import to_json

    from miram.evaluation.score_files import ScoreFilesConfig, evaluate_scores, read_table
    from miram.mammography.pseudonyms import with_pseudonyms

    config = ScoreFilesConfig.model_validate(
        given(
            protocol=protocol,
            part=part,
            reference=reference,
            compare_by=compare_by,
            without_callback=without_callback,
            draws=draws,
            seed=seed,
        )
    )
    asked = _task(task, column, classes)
    scores, files = _read_models(predictions)
    known = _identities(identities, labels)
    scores = {name: with_pseudonyms(table, known) for name, table in scores.items()}
    found = evaluate_scores(scores, with_pseudonyms(read_table(labels), known), asked, config)
    digests = {path: file_sha256(path)[:12] for path in (*files.values(), labels)}
    if as_json:
        typer.echo(to_json({**vars(found), "sha256": digests}, inf_nan_mode="null").decode())
    else:
        _print(found)
    if output is not None:
        # Written last: a place that cannot be written to costs no metric.
        scored = {name: digests[path] for name, path in files.items()}
        _write(found, scored, digests[labels], output)
        if not as_json:
            typer.echo(f"metrics: {output}")


def _task(name: str | None, column: str | None, classes: str | None) -> "TaskConfig":
    """The task that the options describe, or that miram or the project has."""
    from miram.evaluation.config import AssessmentConfig
    from miram.evaluation.tasks.definitions import TASKS, TaskConfig
    from miram.integrations.parameters import load_parameters

    if (column is None) != (classes is None):
        raise MiramError("a task of your own needs both --column and --classes")
    if column is not None and classes is not None:
        values = [value.strip() for value in classes.split(",")]
        kind = "binary" if len(values) == 2 else "single"
        return TaskConfig.model_validate(
            {"name": name or column, "kind": kind, "column": column, "classes": values}
        )
    if name in (None, *TASKS):
        return TASKS[name or "pathology"]
    try:
        parameters = load_parameters()
    except MiramError as error:
        raise MiramError(
            f"unknown task {name!r}: choose among {', '.join(TASKS)}, describe it with --column "
            f"and --classes, or name one of the own_tasks of a project ({error})"
        ) from error
    return AssessmentConfig.model_validate(parameters.get("evaluation", {})).task(str(name))


def _read_models(arguments: list[str]) -> "tuple[dict[str, pd.DataFrame], dict[str, Path]]":
    """The table of scores and the file by model.

    Without a name, and without a column `method`, a model is called like its file, or like the
    folder of a file named `predictions`.
    """
    from miram.evaluation.score_files import read_table

    tables: dict[str, pd.DataFrame] = {}
    files: dict[str, Path] = {}
    for argument in arguments:
        name, equals, rest = argument.partition("=")
        path = Path(rest if equals and not Path(argument).is_file() else argument)
        if path == Path(argument):
            name = path.absolute().parent.name if path.stem == "predictions" else path.stem
        table = read_table(path)
        for method, rows in table.groupby("method") if "method" in table else [(name, table)]:
            if method in tables:
                raise MiramError(
                    f"{path} holds a second model {method!r}: give it another name, "
                    f"{method}2={path}"
                )
            tables[str(method)], files[str(method)] = rows, path
    return tables, files


def _identities(asked: Path | None, labels: Path) -> "pd.DataFrame":
    """The identities that are given, or lie beside the labels; else none."""
    import pandas as pd

    from miram.mammography.pseudonyms import no_identities

    path = asked or labels.with_name("identities.parquet")
    if path.is_file():
        return pd.read_parquet(path)
    if asked is not None:
        raise MiramError(f"there is no file {asked}: --identities is 02_intermediate/{path.name}")
    return no_identities()


def _write(found: "Evaluation", scored: dict[str, str], labels: str, output: Path) -> None:
    """Write all metrics, with the digests of the files of scores, by model, and of labels."""
    table = found.table()
    table["scores_sha256"] = table["method"].map(scored)
    table = table.assign(labels_sha256=labels)
    with atomic_path(output) as temporary:
        harmless_table(table).to_csv(temporary, index=False)


def _print(found: "Evaluation") -> None:
    """Show metrics, comparisons and what to know about them."""
    console = Console(highlight=False)
    for line in found.warnings:
        console.print(Text(f"WARNING: {line}", style="bold red"))
    console.print(_metrics_table(found))
    if found.comparisons:
        delong = found.delong_p if found.comparisons[0].metric == "auc" else {}
        console.print(comparison_table(found.comparisons, "the same lesions", delong))
    for line in _notes(found):
        console.print(line, markup=False)


def _metrics_table(found: "Evaluation") -> Table:
    """A row per model and metric, with interval and, where there are some, deviations."""
    from miram.reporting.facts.words import interval, number

    first = next(iter(found.models.values()))
    counts = f"{first['lesions']} lesions of {first['patients']} patients"
    title = Text(f"{found.task} ({', '.join(first['classes'])}): {counts}")
    table = Table(title=title, title_justify="left")
    for name in ("model", "metric"):
        table.add_column(name, overflow="fold")
    spreads = [
        name
        for name in ("seed", "repeat")
        if any(f"by_{name}" in next(iter(e["metrics"].values())) for e in found.models.values())
    ]
    for name in ("estimate", "95 % interval", *(f"SD over {name}s" for name in spreads)):
        table.add_column(name, justify="right", no_wrap=True)
    for model, entry in found.models.items():
        table.add_section()
        rows: dict[str, Any] = dict(entry["metrics"])
        if entry["delong"]:
            rows["auc, DeLong"] = entry["delong"]
        for place, (metric, one) in enumerate(rows.items()):
            ends = interval(one["lower"], one["upper"])
            cells = [metric, number(one["estimate"]), ends]
            deviations = [one.get(f"{name}_deviation") for name in spreads]
            cells += ["" if value is None else number(value) for value in deviations]
            table.add_row(Text("" if place else model), *cells)
    return table


def _notes(found: "Evaluation") -> list[str]:
    """What to know about the metrics, a sentence each."""
    from miram.reporting.facts.words import number

    config = found.config
    first = next(iter(found.models.values()))
    lines = [
        f"The most frequent answer has an accuracy of {number(first['majority'])}.",
        *metric_notes(
            found.comparisons,
            {name: entry["seeds"] for name, entry in found.models.items()},
            first["patients"],
            draws=config.draws,
            seed=config.seed,
        ),
        *(
            f"The scores of {name} are of the protocol {entry['protocol']}, the only one it has."
            for name, entry in found.models.items()
            if entry["protocol"] not in (None, config.protocol)
        ),
        *(f"Left out: {row.lesions} {row.what}: {row.reason}." for row in found.skipped),
    ]
    if found.unscored:
        lines.append(f"{found.unscored} lesions of the label table have no score.")
    return lines
