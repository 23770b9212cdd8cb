"""`miram evaluate`: any model's scores, judged as our own are."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

    from miram.evaluation.external import ExternalConfig

Predictions = Annotated[
    list[str],
    typer.Argument(help="CSV or Parquet files of scores, as FILE or NAME=FILE", metavar="FILE"),
]
Labels = Annotated[
    Path, typer.Option(help="CSV or Parquet file with lesion_id, patient_id and the labels")
]
Task = Annotated[str | None, typer.Option(help="name of the task; pathology if not given")]
Protocol = Annotated[
    str | None, typer.Option(help="of a study's predictions: linear, mae_probe or knn")
]
Part = Annotated[
    str | None, typer.Option(help="judge exactly these lesions, such as official_split=test")
]
Reference = Annotated[
    str | None, typer.Option(help="model that the others are compared with, in pairs")
]
CompareBy = Annotated[str | None, typer.Option(help="figure compared; ROC AUC if not given")]
WithoutCallback = Annotated[
    str | None, typer.Option(help="benign or drop: lesions that were not recalled")
]
LabelSeparator = Annotated[
    str | None, typer.Option(help="between several labels in a cell of the label table")
]
Draws = Annotated[int | None, typer.Option(help="bootstrap draws")]
Seed = Annotated[int | None, typer.Option(help="seed of the draws")]
Output = Annotated[
    Path | None, typer.Option(help="CSV file for the figures, one row per model and figure")
]
AsJson = Annotated[bool, typer.Option("--json", help="print the result for machines, on one line")]


def evaluate(
    predictions: Predictions,
    labels: Labels,
    task: Task = None,
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
    """Give any model's scores the figures, intervals and paired tests of a study.

    A file of scores has a row per lesion, with lesion_id and a column per class;
    or a row per lesion and class, with lesion_id, class and score, as a study's
    predictions.parquet. Scores are probabilities. Several models come as several
    files, or in one file with a column method.

    Example: miram evaluate ours.parquet theirs.csv --labels lesions.csv --reference ours
    """
    from miram.commands.evaluation_tables import print_evaluation
    from miram.evaluation.external import evaluate_scores
    from miram.evaluation.external_tables import read_table

    asked = {"task": task, "protocol": protocol, "part": part, "reference": reference}
    rules = {"without_callback": without_callback, "label_separator": label_separator}
    config = _config(**asked, **rules, compare_by=compare_by, draws=draws, seed=seed)
    found = evaluate_scores(read_models(predictions), read_table(labels), config, where=str(labels))
    if output is not None:
        _write(found.table(), output)
    if as_json:
        typer.echo(json.dumps(found.plain(), allow_nan=False))
    else:
        print_evaluation(found)


def _write(table: "pd.DataFrame", output: Path) -> None:
    from miram.files import atomic_path

    with atomic_path(output) as temporary:
        table.to_csv(temporary, index=False)


def read_models(arguments: list[str]) -> "dict[str, pd.DataFrame]":
    """Read the files of scores and tell their models apart.

    Args:
        arguments: `FILE` or `NAME=FILE`. Without a name, and without a column `method`, a model is
            called like its file, or like the folder of a file named `predictions`.

    Returns:
        A table by model.

    Raises:
        MiramError: A file cannot be read, or two models have one name.
    """
    from miram.errors import MiramError
    from miram.evaluation.external_tables import read_table, split_methods

    models: dict[str, pd.DataFrame] = {}
    for argument in arguments:
        name, path = _named(argument)
        for method, table in split_methods(read_table(path), name, str(path)).items():
            if method in models:
                raise MiramError(
                    f"{path} holds a second model {method!r}: give it another name, "
                    f"{method}2={path}"
                )
            models[method] = table
    return models


def _named(argument: str) -> tuple[str, Path]:
    name, equals, rest = argument.partition("=")
    if equals and name and not Path(argument).is_file():
        return name, Path(rest)
    path = Path(argument)
    return (path.absolute().parent.name if path.stem == "predictions" else path.stem), path


def _config(**given: Any) -> "ExternalConfig":
    """Check what was given; what was not keeps the default of the configuration."""
    from miram.evaluation.external import ExternalConfig

    return ExternalConfig.model_validate(
        {name: value for name, value in given.items() if value is not None}
    )
