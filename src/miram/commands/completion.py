"""What the shell offers when the tabulator key is pressed; typer leaves out what does not match."""

from typing import Annotated

import typer


def complete_method() -> list[str]:
    """Methods of the study."""
    from miram.models.methods import METHODS

    return list(METHODS)


def complete_result() -> list[str]:
    """Methods and anchors: all that a study has predictions of."""
    from miram.models.methods import BASELINES

    return [*complete_method(), *BASELINES]


OneOrAllMethods = Annotated[
    str | None,
    typer.Argument(help="name of a method; without it all of them", autocompletion=complete_method),
]
