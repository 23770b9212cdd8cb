"""`miram ui`: the runs and the lineage of a study, in the browser."""

import json
from pathlib import Path
from typing import Annotated

import typer

from miram.commands.options import AsJson, Env


def ui(
    data_root: Annotated[
        Path | None, typer.Option(help="folder of the study's data; default: of the parameters")
    ] = None,
    env: Env = None,
    mlflow_port: Annotated[int, typer.Option(help="port of MLflow")] = 5000,
    viz_port: Annotated[int, typer.Option(help="port of Kedro-Viz")] = 4141,
    as_json: AsJson = False,
) -> None:
    """Serve MLflow and Kedro-Viz of a study until Ctrl-C.

    Example: miram ui --data-root data
    """
    from miram.integrations.ui import serve

    def show(mlflow: str, viz: str) -> None:
        if as_json:
            typer.echo(json.dumps({"mlflow": mlflow, "kedro_viz": viz}))
        else:
            typer.echo(f"MLflow    {mlflow}\nKedro-Viz {viz}\nopen them in a browser; Ctrl-C stops")

    serve(data_root, env, (mlflow_port, viz_port), show)
