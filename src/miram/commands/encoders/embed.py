"""`miram embed`: features and probabilities of a folder of mammograms."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from miram.commands.options import AsJson, Env, RegistryRoot
from miram.errors import MiramError, resumable


def embed(
    folder: Annotated[Path, typer.Argument(help="folder of DICOM files, searched through")],
    model: Annotated[
        str,
        typer.Option(
            help="models:/miram-<method>@champion, the folder of a predictor, or an "
            "encoder.safetensors, which gives no probabilities"
        ),
    ],
    out: Annotated[Path, typer.Option(help="Parquet file to write; the audit stands beside it")],
    source: Annotated[str, typer.Option(help="kind of raw data")] = "dicom_folder",
    rows: Annotated[
        str, typer.Option(help="image or patches: a row per mammogram or per patch of it")
    ] = "image",
    patches: Annotated[
        int | None, typer.Option(help="patches of a mammogram in which nothing is marked")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="processes that decode; all cores if not given")
    ] = None,
    env: Env = None,
    data_root: RegistryRoot = None,
    as_json: AsJson = False,
) -> None:
    """Embed mammograms: one row each, or one for each lesion that a source marks.

    A mammogram in which nothing is marked is represented by patches of its breast
    tissue, averaged. What is finished is not done again: run the same command after
    an interruption. The registry is that of MLFLOW_TRACKING_URI, else of mlflow.yml.
    Research use only.

    Example: miram embed /data/new --model models:/miram-miram_nystrom@champion --out new.parquet
    """
    if out.suffix.lower() != ".parquet":
        raise MiramError(
            f"--out {out}: the table is a Parquet file, name it {out.stem}.parquet; "
            "pandas.read_parquet(...).to_csv(...) makes a CSV of it"
        )

    from miram.integrations.embedding import plan_folder
    from miram.serving.embed import EmbeddingConfig
    from miram.serving.embed import embed as write

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("miram").setLevel(logging.INFO)
    given = {"model": model, "rows": rows, "patches": patches, "workers": workers}
    config = EmbeddingConfig.model_validate(given)
    with resumable():
        summary = write(plan_folder(folder, source, config, env=env, data_root=data_root), out)
    if as_json:
        typer.echo(json.dumps({"table": str(out), **asdict(summary)}))
    else:
        typer.echo(
            f"{summary.mammograms} mammograms in {summary.rows} rows of {out}, "
            f"{summary.left_out} left out (named in {out.stem}.audit.csv); research use only\n"
            f'read it with pandas.read_parquet("{out}")'
        )
