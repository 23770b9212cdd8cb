"""`miram budget`: in which micro-batches a method is trained on the memory there is."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miram.commands.options import AsJson, Env, OneOrAllMethods, Params, given
from miram.errors import MiramError

if TYPE_CHECKING:
    from miram.training.memory_budget import Budget

# By method; a text says why there is no budget.
Budgets = dict[str, "Budget | str"]


def budget(
    method: OneOrAllMethods = None,
    env: Env = None,
    params: Params = None,
    memory: Annotated[
        str | None,
        typer.Option(help="such as 12GB; default: training.memory, or what the device has free"),
    ] = None,
    effective_batch: Annotated[
        int | None, typer.Option(min=1, help="samples per step; default: those of the training")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="bf16, fp16 or fp32; default: training.precision")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose how many samples of a step go through the model at once, for a given memory.

    With a GPU a few steps are taken on it. Without one memory is estimated: nothing is computed,
    and --memory may be that of another machine.

    Example: miram budget miram_nystrom --env paper --memory 12GB --effective-batch 1024
    """
    from miram.integrations.parameters import load_parameters

    asked = given(memory=memory, effective_batch=effective_batch, precision=precision)
    budgets = plan_methods(load_parameters(env, params), method, asked)
    if method is not None and isinstance(fault := budgets[method], str):
        raise MiramError(f"{method}: {fault}")
    if as_json:
        plain = {n: {"fault": b} if isinstance(b, str) else asdict(b) for n, b in budgets.items()}
        typer.echo(json.dumps(plain))
    else:
        typer.echo(text_table(budgets))


def plan_methods(parameters: dict[str, Any], method: str | None, asked: dict[str, Any]) -> Budgets:
    """Plan one method of a configuration, or all; what is asked goes over `training`.

    Raises:
        MiramError: There is no such method, or a setting is impossible.
    """
    from miram.models.encoder import EncoderConfig
    from miram.models.methods.kinds import build_on_meta_device, methods_of
    from miram.training.config import TrainingConfig, recipe_of
    from miram.training.device import find_device
    from miram.training.memory_budget import plan_budget

    shared = TrainingConfig.model_validate(parameters["training"])
    settings = {"effective_batch": shared.samples_per_step, **asked, "batch_size": "auto"}
    training = TrainingConfig.model_validate(shared.model_dump() | settings)
    encoder = EncoderConfig.model_validate(parameters["encoder"])
    device = find_device(training.device)
    on_gpu = device.type == "cuda"
    budgets: Budgets = {}
    for name, config in methods_of(parameters, method).items():
        if not config.trained:
            budgets[name] = "is not trained, so any memory that holds its weights will do"
            continue
        if on_gpu:
            model = config.without_files().build(encoder, seed=0)
        else:  # an estimate needs shapes only, and weights are half of its time
            model = build_on_meta_device(config, encoder)
        recipe, size = recipe_of(config, training), config.crop_size(encoder)
        try:
            budgets[name] = plan_budget(model, size, recipe, device)
        except MiramError as error:
            budgets[name] = str(error)
    return budgets


def text_table(budgets: Budgets) -> str:
    """The budgets as aligned text."""
    from miram.memory import show_size

    lines = [f"{'method':<18}{'batch':>8}{'micro-batches':>16}{'peak':>10}"]
    faults, caption = [], ""
    for name, found in budgets.items():
        if isinstance(found, str):
            faults.append(f"{name}: {found}")
            continue
        peak = show_size(found.peak)
        lines.append(f"{name:<18}{found.batch_size:>8}{found.accumulation:>16}{peak:>10}")
        how = "measured" if found.measured else "estimated"
        caption = f"{how} in {found.precision} for {show_size(found.limit)} of memory"
    if caption:
        caption += "; training.batch_size=auto finds it when a training starts"
    return "\n".join([*lines, caption, *faults])
