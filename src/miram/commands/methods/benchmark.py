"""`miram benchmark`: how fast is this machine, and what do attentions cost on it?"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from miram.commands.options import AsJson, Env, OneOrAllMethods, Params

if TYPE_CHECKING:
    from miram.commands.methods.rates import Rate

benchmark = typer.Typer(
    no_args_is_help=True, help="Speed of this machine: attentions, and the stages of a study."
)
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1")]


@benchmark.command()
def attention(
    kinds: Annotated[
        list[str] | None, typer.Argument(help="attentions; all of them without names")
    ] = None,
    grids: Annotated[
        str, typer.Option(help="patches per side, joined by +; 112 are 12,544 tokens")
    ] = "14+28+56",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure time and memory of attentions in a layer of the paper's decoder; needs no study.

    Each row is measured in a process of its own. `kedro run --pipeline benchmark` adds how far
    each attention is from softmax in a trained decoder, and writes a page.

    Example: miram benchmark attention softmax math nystrom --grids 14+28+56 --device cuda
    """
    import pandas as pd

    from miram.models.attention_benchmark import AttentionBenchmarkConfig, measure_attention

    given = {"kinds": kinds or ["all"], "grids": grids, "device": device}
    config = AttentionBenchmarkConfig.model_validate(given)
    found = pd.concat([measure_attention(kind, config) for kind in config.kinds])
    if as_json:
        typer.echo(found.to_json(orient="records"))
        return
    # Per image but for the peak; the share is of the rate at which the device multiplies matrices.
    names = {"ms": "ms", "kept_mib": "kept MiB", "peak_mib": "peak MiB", "share": "share"}
    table = Table("attention", "tokens", "precision", "step", *names.values(), box=None)
    for row in found.to_dict("records"):
        cells = ["-"] * len(names) if row["note"] else [f"{row[name]:.2f}" for name in names]
        about = (str(row[name]) for name in ("tokens", "precision", "step"))
        table.add_row(f"{row['kind']} {row['kernel']}", *about, *cells)
    Console(highlight=False).print(table)
    noted = found.loc[found["note"] != "", ["kind", "kernel", "note"]].drop_duplicates()
    for kind, kernel, note in noted.itertuples(index=False):
        typer.echo(f"{f'{kind} {kernel}'.strip()}: {note}")


@benchmark.command()
def step(
    method: OneOrAllMethods = None,
    env: Env = None,
    params: Params = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Train the methods of the study for 24 steps each: images per second and memory.

    Example: miram benchmark step miram_nystrom --env paper --params training.batch_size=64
    """
    from miram.commands.methods.rates import step_rates
    from miram.integrations.parameters import load_parameters

    _show(step_rates(load_parameters(env, params), method, device), as_json)


@benchmark.command()
def loader(
    method: OneOrAllMethods = None,
    env: Env = None,
    params: Params = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Gather and augment batches without a model: where it is no faster than a step, it waits.

    Example: miram benchmark loader mae --env paper
    """
    from miram.commands.methods.rates import loader_rates
    from miram.integrations.parameters import load_parameters

    _show(loader_rates(load_parameters(env, params), method, device), as_json)


@benchmark.command()
def ingest(env: Env = None, params: Params = None, as_json: AsJson = False) -> None:
    """Write, read and cut a phantom of 12 patients on one core.

    Example: miram benchmark ingest --json
    """
    from miram.commands.methods.rates import ingest_rates
    from miram.integrations.parameters import load_parameters

    _show(ingest_rates(load_parameters(env, params)), as_json)


@benchmark.command()
def probe(env: Env = None, params: Params = None, as_json: AsJson = False) -> None:
    """Fit the linear probe to made-up features, with its inner cross-validation.

    Example: miram benchmark probe --env paper
    """
    from miram.commands.methods.rates import probe_rates
    from miram.integrations.parameters import load_parameters

    _show(probe_rates(load_parameters(env, params)), as_json)


def _show(rates: "Iterator[Rate]", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([rate._asdict() for rate in rates]))
        return
    for rate in rates:
        typer.echo(f"{rate.what:<44}{rate.rate:>10.1f} {rate.unit:<10}{rate.note}".rstrip())
