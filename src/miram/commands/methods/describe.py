"""`miram describe`: what a method costs, before it is run."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miram.commands.options import AsJson, Env, OneOrAllMethods, Params
from miram.errors import MiramError
from miram.files import atomic_path

if TYPE_CHECKING:
    from miram.models.describe import Part

Costs = dict[str, "list[Part]"]

_COLUMNS = ("method", "part", "parameters (M)", "GMAC", "tokens", "activations (MiB)")
_BEGIN, _END = "<!-- begin: miram describe -->", "<!-- end: miram describe -->"


def describe(
    method: OneOrAllMethods = None,
    env: Env = None,
    params: Params = None,
    page: Annotated[
        Path | None, typer.Option(help="Markdown page whose table of costs is renewed")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count trained parameters, multiplications and activation memory of each part of a method.

    Costs are for one image and one forward pass, memory for float32.

    Example: miram describe mae --params encoder.patch_size=16
    """
    from miram.integrations.parameters import load_parameters

    costs = describe_methods(load_parameters(env, params), method)
    if page is not None:
        renew(page, costs)
    if as_json:
        typer.echo(json.dumps({name: [asdict(p) for p in parts] for name, parts in costs.items()}))
    else:
        typer.echo(text_table(costs))


def describe_methods(parameters: dict[str, Any], method: str | None = None) -> Costs:
    """Measure one method of the project's parameters, by default all.

    Raises:
        MiramError: There is no such method.
    """
    from miram.models.describe import describe as measure
    from miram.models.encoder import EncoderConfig
    from miram.models.methods.kinds import methods_of

    encoder = EncoderConfig.model_validate(parameters["encoder"])
    methods = methods_of(parameters, method)
    return {name: measure(config, encoder) for name, config in methods.items()}


def renew(page: Path, costs: Costs) -> None:
    """Write the table of costs between its two marks on a page.

    Raises:
        MiramError: The page has no marks.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise MiramError(f"{page} has no lines {_BEGIN!r} and {_END!r} to write between")
    table = markdown_table(costs)
    with atomic_path(page) as temporary:
        temporary.write_text(f"{before}{begin}\n{table}\n{end}{after}", encoding="utf-8")


def markdown_table(costs: Costs) -> str:
    """The costs as a Markdown table."""
    ruler = ("---", "---", *["---:"] * (len(_COLUMNS) - 2))
    return "\n".join(f"| {' | '.join(row)} |" for row in (_COLUMNS, ruler, *_rows(costs)))


def text_table(costs: Costs) -> str:
    """The costs as aligned text."""
    rows = [_COLUMNS, *_rows(costs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        [text.ljust(width) if place < 2 else text.rjust(width) for place, (text, width) in cells]
        for cells in (enumerate(zip(row, widths, strict=True)) for row in rows)
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _rows(costs: Costs) -> list[tuple[str, ...]]:
    """One row per part, and a sum where there are several; the name stands once."""
    rows: list[tuple[str, ...]] = []
    for method, parts in costs.items():
        name = method
        for part in parts:
            tokens = str(part.tokens or "")
            rows.append((name, part.name, *_costs([part]), tokens, _memory([part])))
            name = ""
        if len(parts) > 1:
            rows.append(("", "sum", *_costs(parts), "", _memory(parts)))
    return rows


def _costs(parts: "list[Part]") -> tuple[str, str]:
    parameters = sum(part.parameters for part in parts)
    return f"{parameters / 1e6:.1f}", f"{sum(part.macs for part in parts) / 1e9:.2f}"


def _memory(parts: "list[Part]") -> str:
    return f"{sum(part.activation_bytes for part in parts) / 2**20:.0f}"
