"""`miram benchmark`: what do attentions cost on this machine?"""

from typing import Annotated

import typer


def benchmark(
    kinds: Annotated[
        list[str] | None, typer.Argument(help="attentions; all of them without names")
    ] = None,
    grids: Annotated[
        str, typer.Option(help="patches per side, joined by +; 112 are 12,544 tokens")
    ] = "14+28+56",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1")] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="print the result for machines, on one line")
    ] = False,
) -> None:
    """Measure time and memory of attentions in a layer of the paper's decoder; needs no study.

    Each row is measured in a process of its own. `kedro run --pipeline benchmark` adds how far
    each attention is from softmax in a trained decoder, and writes a page.

    Example: miram benchmark softmax math nystrom --grids 14+28+56 --device cuda
    """
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

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
