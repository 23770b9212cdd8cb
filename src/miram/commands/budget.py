"""`miram budget`: in which portions a method is trained on the memory there is."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miram.commands.study import OneOrAllMethods

if TYPE_CHECKING:
    from rich.table import Table

    from miram.models.encoder import EncoderConfig
    from miram.models.method_config import MethodConfig
    from miram.training.memory.budget import Budget

# By method; a text tells why there is no budget.
Budgets = dict[str, "Budget | str"]

_BYTES_PER_PIXEL = 2  # of a crop
_WIDTH = 120  # of a table that no terminal limits


def budget(
    method: OneOrAllMethods = None,
    env: Annotated[str | None, typer.Option(help="environment of the parameters")] = None,
    memory: Annotated[
        str | None,
        typer.Option(help="such as 12GB; without it training.memory, or what the device has free"),
    ] = None,
    effective_batch: Annotated[
        int | None, typer.Option(min=1, help="samples per step; without it those of the training")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="bf16, fp16 or fp32; without it training.precision")
    ] = None,
    crops: Annotated[
        int, typer.Option(min=0, help="crops that stay on the device, to be counted in")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="print the result for machines, on one line")
    ] = False,
) -> None:
    """Choose batch size, portions of a step and activation checkpointing for a given memory.

    With a GPU a few steps are taken on it. Without one memory is estimated: nothing is computed,
    and --memory may be that of another machine.

    Example: miram budget miram_nystrom --env paper --memory 12GB --effective-batch 1024
    """
    from miram.errors import MiramError
    from miram.integrations.parameters import load_parameters

    asked = {"memory": memory, "effective_batch": effective_batch, "precision": precision}
    budgets = plan_methods(load_parameters(env), method, asked, crops)
    if method is not None and isinstance(fault := budgets[method], str):
        raise MiramError(f"{method}: {fault}")
    if as_json:
        typer.echo(json.dumps({name: _plain(found) for name, found in budgets.items()}))
    else:
        _show(budgets)


def plan_methods(
    parameters: dict[str, Any],
    method: str | None = None,
    asked: dict[str, Any] | None = None,
    crops: int = 0,
) -> Budgets:
    """Plan the methods of a configuration.

    Args:
        parameters: Of the project.
        method: Name of one; None for all.
        asked: What goes over the fields of `training`; None values leave them as they are.
        crops: How many stay on the device.

    Raises:
        MiramError: There is no such method, or a setting is impossible.
    """
    from miram.errors import MiramError
    from miram.models.encoder import EncoderConfig
    from miram.models.method_kinds import METHOD_KINDS
    from miram.training.config import TrainingConfig

    blocks = {
        name: block["method"]
        for name, block in parameters.items()
        if isinstance(block, dict) and "method" in block
    }
    if method is not None and method not in blocks:
        raise MiramError(f"there is no method {method!r}: one of {', '.join(blocks)}")
    given = {name: value for name, value in (asked or {}).items() if value is not None}
    shared = TrainingConfig.model_validate(parameters["training"])
    training = TrainingConfig.model_validate(
        {
            **shared.model_dump(),
            "effective_batch": shared.samples_per_step,
            **given,
            "batch_size": "auto",
        }
    )
    encoder = EncoderConfig.model_validate(parameters["encoder"])
    side = parameters["rois"]["image_size"]
    return {
        name: _plan(METHOD_KINDS.model_validate(block), encoder, training, side, crops)
        for name, block in blocks.items()
        if method in (None, name)
    }


def _plan(
    method: "MethodConfig",
    encoder: "EncoderConfig",
    training: Any,
    store_size: int,
    crops: int,
) -> "Budget | str":
    import torch

    from miram.errors import MiramError
    from miram.training.config import recipe_of
    from miram.training.memory.budget import plan_budget

    if not method.trained:
        return "is not trained, so any memory that holds its weights will do"
    on_gpu = training.device == "auto" and torch.cuda.is_available()
    # An estimate needs shapes only, and weights are half of its time.
    with torch.device("cpu" if on_gpu else "meta"):
        model = method.without_files().build(encoder, seed=0)
    try:
        return plan_budget(
            model,
            method.crop_size(encoder),
            store_size,
            recipe_of(method, training),
            torch.device("cuda" if on_gpu else "cpu"),
            resident=crops * store_size**2 * _BYTES_PER_PIXEL,
        )
    except MiramError as error:
        return str(error)


def _plain(found: "Budget | str") -> dict[str, Any]:
    return {"fault": found} if isinstance(found, str) else {**asdict(found), "peak": found.peak}


def _show(budgets: Budgets) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
    console.print(_table(budgets))
    for name, found in budgets.items():
        if isinstance(found, str):
            console.print(f"{name}: {found}", markup=False)
        elif len(budgets) == 1:
            console.print(found.reason, markup=False)


def _table(budgets: Budgets) -> "Table":
    from rich import box
    from rich.table import Table

    from miram.memory import show_size

    table = Table(box=box.SIMPLE_HEAD, caption=_caption(budgets), caption_justify="left")
    table.add_column("method")
    for heading in ("batch", "portions", "activations", "fixed", "per image", "peak"):
        table.add_column(heading, justify="right")
    for name, found in budgets.items():
        if isinstance(found, str):
            table.add_row(name, *6 * ["-"])
            continue
        sizes = (found.bytes_fixed, found.bytes_per_image, found.peak)
        activations = "recomputed" if found.activation_checkpointing else "kept"
        counts = (str(found.batch_size), str(found.accumulation))
        table.add_row(name, *counts, activations, *map(show_size, sizes))
    return table


def _caption(budgets: Budgets) -> str | None:
    from miram.memory import show_size

    for found in budgets.values():
        if not isinstance(found, str):
            how = "measured" if found.measured else "estimated"
            return f"{how} in {found.precision} for {show_size(found.limit)} of memory"
    return None
