"""`miram replay`: take a step again whose loss or gradient was not finite."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from miram.commands.options import AsJson

if TYPE_CHECKING:
    from torch import nn

    from miram.training.nonfinite import BadStep


def replay(
    folder: Annotated[Path, typer.Argument(help="a folder nonfinite-step-..., left by a training")],
    as_json: AsJson = False,
) -> None:
    """Take a step again and name the first place that is not finite.

    Example: miram replay data/06_models/mae/training/nonfinite-step-000000123
    """
    from miram.training.nonfinite import load_step, take_again

    bad = load_step(folder)
    finding = take_again(bad, build_again(bad))
    if as_json:
        step = {"step": bad.step + 1, "epoch": bad.epoch, "indices": bad.indices}
        typer.echo(json.dumps({**step, **asdict(finding), "finite": finding.finite}))
    else:
        typer.echo(f"step {bad.step + 1}, epoch {bad.epoch}, {len(bad.indices)} samples")
        typer.echo(f"loss {finding.loss:g}, gradient norm {finding.gradient_norm:g}")
        if finding.finite:
            typer.echo("all is finite here: it may be the device or its precision")
        else:
            typer.echo(f"first at: {finding.where}")
            typer.echo(f"advice: {finding.advice(bad.precision)}")
    raise typer.Exit(code=0 if finding.finite else 1)


def build_again(bad: "BadStep") -> "nn.Module":
    """Make the model of a step with fresh weights."""
    from miram.finetuning.model import build_again as build_finetuned
    from miram.models.encoder import EncoderConfig
    from miram.models.methods.kinds import METHOD_KINDS
    from miram.models.methods.supervised import SupervisedConfig

    if "method" not in bad.identity:
        return build_finetuned(bad.identity, bad.model)
    method = METHOD_KINDS.model_validate(bad.identity["method"]).without_files()
    encoder = EncoderConfig.model_validate(bad.identity["encoder"])
    if isinstance(method, SupervisedConfig):
        several = bad.labels is not None and bad.labels.ndim == 2
        return method.build_classifier(encoder, 0, bad.model["weights"], several=several)
    return method.build(encoder, seed=0)
