"""Which attention for which image size on this machine: costs and distances as a page."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from miram.models.attention_benchmark import AttentionBenchmarkConfig, crossover
from miram.reporting.facts.words import Table, interval, markdown_environment, number

Row = dict[str, Any]


def attention_page(
    costs: pd.DataFrame, distances: pd.DataFrame, config: AttentionBenchmarkConfig
) -> str:
    """Write what was measured in Markdown.

    Args:
        costs: As `measure_attention`, of several kinds.
        distances: `kind`, `crops`, `distance`, `lower`, `upper`.
        config: What was measured.
    """
    import torch

    # A CSV file has no empty texts.
    costs = costs.astype({"kernel": object, "note": object}).fillna({"kernel": "", "note": ""})
    trained = costs[costs["step"] == "training"]
    columns: dict[str, Callable[[Row], str]] = {
        "Milliseconds per image": _milliseconds,
        "Kept for the backward pass, MiB per image": lambda row: (
            row["note"] or number(row["kept_mib"], 1)
        ),
        "Peak memory, MiB": lambda row: row["note"] or number(row["peak_mib"], 0),
        "Share of the rate of matrix products": lambda row: row["note"] or number(row["share"], 2),
    }
    return (
        markdown_environment()
        .get_template("attention_page.md")
        .render(
            machine=config.machine,
            torch=torch.__version__,
            config=config,
            pays=pays(costs),
            distances=_distances(distances),
            crops=int(distances["crops"].max()),
            by_size={
                (title, precision): _by_size(trained[trained["precision"] == precision], show)
                for title, show in columns.items()
                for precision in config.precisions
            },
        )
    )


def _milliseconds(row: Row) -> str:
    if row["note"]:
        return row["note"]
    return f"{row['ms']:.1f} ({row['ms_low']:.1f} to {row['ms_high']:.1f}, n {row['runs']})"


def _by_size(costs: pd.DataFrame, show: Callable[[Row], str]) -> Table:
    """A row per attention and kernel, a column per number of tokens."""
    sizes = sorted(costs["tokens"].unique())
    rows = [
        (" ".join(filter(None, names)), *map(show, found.sort_values("tokens").to_dict("records")))
        for names, found in costs.groupby(["kind", "kernel"], sort=False)
    ]
    columns = ("attention", *(f"{size:,} tokens" for size in sizes))
    return Table(columns, tuple(rows))


def pays(costs: pd.DataFrame) -> Table:
    """From how many tokens on each attention is faster, and keeps less, in training."""
    keys = ["kind", "precision", "step"]
    found = crossover(costs).merge(crossover(costs, "kept_mib", "kept_mib"), on=keys)
    found = found[found["step"] == "training"]
    return Table.of(
        {
            "attention": found["kind"],
            "precision": found["precision"],
            "faster from": map(_from, found["from_tokens_x"]),
            "keeps less from": map(_from, found["from_tokens_y"]),
        }
    )


def _from(tokens: Any) -> str:
    return "never" if pd.isna(tokens) else f"{tokens:,} tokens"


def _distances(distances: pd.DataFrame) -> Table:
    known = distances.dropna().sort_values("distance")
    return Table.of(
        {
            "attention": known["kind"],
            "distance from softmax": map(number, known["distance"]),
            "95 %": map(interval, known["lower"], known["upper"]),
        }
    )
