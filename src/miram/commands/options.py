"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated, Any

import typer

from miram.models.methods import BASELINES, METHODS


def complete_method() -> list[str]:
    """Methods, for the shell's completion; typer leaves out what does not match."""
    return list(METHODS)


def complete_result() -> list[str]:
    """Methods and baselines: all that a study has predictions of."""
    return [*complete_method(), *BASELINES]


OneOrAllMethods = Annotated[
    str | None,
    typer.Argument(help="name of a method; all if not given", autocompletion=complete_method),
]
AsJson = Annotated[bool, typer.Option("--json", help="print the result for machines, on one line")]
Env = Annotated[str | None, typer.Option(help="environment of the parameters")]
Params = Annotated[
    str | None,
    typer.Option(
        help="settings that override the files, as in kedro run: training.batch_size=64,..."
    ),
]
DataRoot = Annotated[Path, typer.Option(help="folder of the study's data")]
RegistryRoot = Annotated[
    Path | None, typer.Option(help="folder of the study's data, where its registry lies")
]
ComparedMetric = Annotated[str | None, typer.Option(help="metric compared; ROC AUC if not given")]
Draws = Annotated[int | None, typer.Option(help="bootstrap draws")]
DrawsSeed = Annotated[int | None, typer.Option(help="seed of the draws")]


def given(**options: Any) -> dict[str, Any]:
    """The options that were given; what was not keeps the default of its configuration."""
    return {name: value for name, value in options.items() if value is not None}
