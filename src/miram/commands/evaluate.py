"""`miram evaluate`: any model's scores, judged as our own are."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

    from miram.evaluation.score_files.evaluate import ExternalConfig
    from miram.evaluation.tasks.definitions import TaskConfig

Predictions = Annotated[
    list[str],
    typer.Argument(help="CSV or Parquet files of scores, as FILE or NAME=FILE", metavar="FILE"),
]
Labels = Annotated[
    Path, typer.Option(help="CSV or Parquet file with lesion_id, patient_id and the labels")
]
Task = Annotated[
    str | None,
    typer.Option(help="name of the task, in a project also of its own tasks; else pathology"),
]
Column = Annotated[
    str | None, typer.Option(help="column of the labels, for a task of one's own, with --classes")
]
Classes = Annotated[
    str | None,
    typer.Option(help="its values, such as low,high; of two the second is the one looked for"),
]
Protocol = Annotated[
    str | None,
    typer.Option(help="linear, mae_probe or knn, of files that hold several; linear if not given"),
]
Part = Annotated[
    str | None, typer.Option(help="judge exactly these lesions, such as official_split=test")
]
Reference = Annotated[
    str | None, typer.Option(help="model that the others are compared with, in pairs")
]
CompareBy = Annotated[str | None, typer.Option(help="metric compared; ROC AUC if not given")]
WithoutCallback = Annotated[
    str | None, typer.Option(help="benign or drop: lesions that were not recalled")
]
LabelSeparator = Annotated[
    str | None, typer.Option(help="between several labels in a cell of the label table")
]
Draws = Annotated[int | None, typer.Option(help="bootstrap draws")]
Seed = Annotated[int | None, typer.Option(help="seed of the draws")]
Output = Annotated[
    Path | None, typer.Option(help="CSV file for the metrics, one row per model and metric")
]
AsJson = Annotated[bool, typer.Option("--json", help="print the result for machines, on one line")]


def evaluate(
    predictions: Predictions,
    labels: Labels,
    task: Task = None,
    column: Column = None,
    classes: Classes = None,
    protocol: Protocol = None,
    part: Part = None,
    reference: Reference = None,
    compare_by: CompareBy = None,
    without_callback: WithoutCallback = None,
    label_separator: LabelSeparator = None,
    draws: Draws = None,
    seed: Seed = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Give any model's scores the metrics, intervals and paired tests of a study.

    A file of scores has a row per lesion, with lesion_id and a column per class;
    or a row per lesion and class, with lesion_id, class and score, as a study's
    predictions.parquet. Scores are probabilities. Several models come as several
    files, or in one file with a column method. A column label is checked against
    the labels; of cross-validated scores, a column fold tells the folds apart.

    Without --part all scored lesions are judged: name the part that trained no model.

    Example: miram evaluate theirs.csv --labels lesions.csv --part official_split=test
    """
    from miram.commands.evaluation_tables import print_evaluation
    from miram.evaluation.score_files.evaluate import evaluate_scores
    from miram.evaluation.score_files.tables import read_table

    own = _own_task(task, column, classes)
    task = own.name if own else task
    asked = {"task": task, "protocol": protocol, "part": part, "reference": reference}
    rules = {"without_callback": without_callback, "label_separator": label_separator}
    config = _config(**asked, **rules, compare_by=compare_by, draws=draws, seed=seed)
    models = read_models(predictions)
    tables = {name: model.table for name, model in models.items()}
    found = evaluate_scores(tables, read_table(labels), config, task=own, where=str(labels))
    digests = {path: _digest(path) for path in (*(one.path for one in models.values()), labels)}
    if as_json:
        files = {str(path): digest for path, digest in digests.items()}
        typer.echo(json.dumps(found.plain() | {"sha256": files}, allow_nan=False))
    else:
        print_evaluation(found)
    if output is not None:
        # Written last: a place that cannot be written to costs no metric.
        scored = {name: digests[model.path] for name, model in models.items()}
        table = found.table()
        table["scores_sha256"] = table["method"].map(scored)
        _write(table.assign(labels_sha256=digests[labels]), output)


@dataclass(frozen=True)
class ModelScores:
    """The scores of one model.

    Attributes:
        table: Long or wide.
        path: The file that it is from, which may hold other models as well.
    """

    table: "pd.DataFrame"
    path: Path


def _digest(path: Path) -> str:
    """By which a file is known again: the first 12 digits of its SHA-256."""
    from miram.mammography.crops.store import file_sha256

    return file_sha256(path)[:12]


def _write(table: "pd.DataFrame", output: Path) -> None:
    from miram.errors import MiramError
    from miram.files import atomic_path

    try:
        with atomic_path(output) as temporary:
            table.to_csv(temporary, index=False)
    except OSError as error:
        raise MiramError(
            f"{output} cannot be written ({error.strerror or error}): give --output the path of a "
            "CSV file in a folder that you may write to"
        ) from error


def _own_task(name: str | None, column: str | None, classes: str | None) -> "TaskConfig | None":
    """The task that the options or the project describe; None for one that miram has."""
    from miram.errors import MiramError
    from miram.evaluation.tasks.definitions import TASKS, TaskConfig

    if (column is None) != (classes is None):
        raise MiramError("a task of your own needs both --column and --classes")
    if column is not None and classes is not None:
        values = [value.strip() for value in classes.split(",")]
        kind = "binary" if len(values) == 2 else "single"
        return TaskConfig.model_validate(
            {"name": name or column, "kind": kind, "column": column, "classes": values}
        )
    return None if name is None or name in TASKS else _task_of_project(name)


def _task_of_project(name: str) -> "TaskConfig":
    from miram.errors import MiramError
    from miram.evaluation.config import AssessmentConfig
    from miram.evaluation.tasks.definitions import TASKS
    from miram.integrations.parameters import load_parameters

    try:
        parameters = load_parameters()
    except MiramError as error:
        raise MiramError(
            f"unknown task {name!r}: choose among {', '.join(TASKS)}, describe it with --column "
            f"and --classes, or name one of the own_tasks of a project ({error})"
        ) from error
    return AssessmentConfig.model_validate(parameters.get("evaluation", {})).task(name)


def read_models(arguments: list[str]) -> dict[str, ModelScores]:
    """Read the files of scores and tell their models apart.

    Args:
        arguments: `FILE` or `NAME=FILE`. Without a name, and without a column `method`, a model is
            called like its file, or like the folder of a file named `predictions`.

    Returns:
        Table and file by model.

    Raises:
        MiramError: A file cannot be read, or two models have one name.
    """
    from miram.errors import MiramError
    from miram.evaluation.score_files.tables import read_table, split_methods

    models: dict[str, ModelScores] = {}
    for argument in arguments:
        name, path = _named(argument)
        for method, table in split_methods(read_table(path), name, str(path)).items():
            if method in models:
                raise MiramError(
                    f"{path} holds a second model {method!r}: give it another name, "
                    f"{method}2={path}"
                )
            models[method] = ModelScores(table, path)
    return models


def _named(argument: str) -> tuple[str, Path]:
    name, equals, rest = argument.partition("=")
    if equals and name and not Path(argument).is_file():
        return name, Path(rest)
    path = Path(argument)
    return (path.absolute().parent.name if path.stem == "predictions" else path.stem), path


def _config(**given: Any) -> "ExternalConfig":
    """Check what was given; what was not keeps the default of the configuration."""
    from miram.evaluation.score_files.evaluate import ExternalConfig

    return ExternalConfig.model_validate(
        {name: value for name, value in given.items() if value is not None}
    )
