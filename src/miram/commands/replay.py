"""`miram replay`: take a step again whose loss or gradient was not finite."""

import json
from pathlib import Path
from typing import Annotated

import typer


def replay(
    folder: Annotated[Path, typer.Argument(help="a folder nonfinite-step-..., left by a training")],
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Take a step again and tell the first place that is not finite.

    The folder holds a pickled model: open only your own.

    Example: miram replay data/06_models/mae/training/nonfinite-step-000000123
    """
    from miram.training.nonfinite import advice, facts, load_replay, take_again

    kept = load_replay(folder)
    finding = take_again(kept)
    if as_json:
        typer.echo(json.dumps(facts(kept, finding)))
    else:
        typer.echo(f"step {kept.step + 1}, epoch {kept.epoch}, {len(kept.indices)} samples")
        typer.echo(f"loss {finding.loss:g}, gradient norm {finding.gradient_norm:g}")
        if finding.finite:
            typer.echo("all is finite here: it may be the device or its precision")
        else:
            typer.echo(f"first at: {finding.where}")
            typer.echo(f"advice: {advice(finding, kept.precision)}")
    raise typer.Exit(code=0 if finding.finite else 1)
