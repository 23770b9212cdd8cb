"""Numbers, lists and tables as they are written in prose, in Markdown and on a page."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from miram.reporting.styles import metric_label

NOT_DEFINED = "not defined"
_SPECIAL = re.compile(r"([\\`*<>|~]|\](?=[(\[]))")  # a bracket alone is no link
_SPACE = re.compile(r"\s+")


def number(value: float | None, digits: int = 3) -> str:
    """A number with its decimals, or that it is not defined."""
    if value is None or not np.isfinite(value):
        return NOT_DEFINED
    return f"{value:.{digits}f}"


def interval(lower: float | None, upper: float | None) -> str:
    """Both ends of an interval, or that it is not defined."""
    ends = number(lower), number(upper)
    return NOT_DEFINED if NOT_DEFINED in ends else " to ".join(ends)


def ends(value: Any) -> str:
    """The interval of anything with `lower` and `upper`."""
    if isinstance(value, Mapping):
        return interval(value["lower"], value["upper"])
    return interval(value.lower, value.upper)


def with_interval(value: Mapping[str, Any]) -> str:
    """Estimate and interval of a metric: `0.712 (0.601 to 0.803)`."""
    return f"{number(value['estimate'])} ({ends(value)})"


def p_value(value: float) -> str:
    """A p-value with its decimals, never 0, and below 0.05 where it is."""
    if 0.0495 <= value < 0.05:
        return f"{np.floor(value * 1e4 + 1e-6) / 1e4:.4f}"
    return "< 0.001" if value < 0.001 else number(value)


def percent(share: float) -> str:
    """A share in percent: `61.0 %`."""
    return f"{100 * share:.1f} %"


def percents(value: Any) -> str:
    """The interval of a share in percent: `57.3 to 64.5 %`."""
    if not np.isfinite([value.lower, value.upper]).all():
        return NOT_DEFINED
    return f"{100 * value.lower:.1f} to {100 * value.upper:.1f} %"


def counted(count: int, word: str, plural: str = "") -> str:
    """A number with its noun: `1 patient`, `2 patients`."""
    return f"{count} {word if count == 1 else plural or word + 's'}"


def listed(items: Iterable[object], none: str = "none") -> str:
    """Items in one line, or a word for an empty list."""
    return ", ".join(map(str, items)) or none


def known_numbers(values: Iterable[float]) -> list[float | None]:
    """Cells of a table that are empty where a number is not defined."""
    return [float(value) if np.isfinite(value) else None for value in values]


@dataclass(frozen=True)
class Table:
    """Column headings and cells; the first cell of a row names the row, None is an empty one."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, columns: Mapping[str, Iterable[Any]]) -> Self:
        """A table from its columns by heading."""
        return cls(tuple(columns), tuple(zip(*columns.values(), strict=True)))

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers, to be aligned right."""
        cells = zip(*self.rows, strict=True) if self.rows else [()] * len(self.columns)
        kinds = [{type(cell) for cell in column if cell is not None} for column in cells]
        return tuple(bool(kind) and kind <= {int, float} for kind in kinds)


def inline(text: object) -> Markup:
    """Text as it is, wherever it stands in a line of Markdown or in a cell of a table.

    Markup is escaped and line breaks become spaces: names from the data may hold anything.
    """
    if isinstance(text, Markup):
        return text
    return Markup(_SPECIAL.sub(r"\\\1", _SPACE.sub(" ", str(text))))  # nosec B704


def markdown_table(content: Table) -> Markup:
    """A table in GitHub's Markdown, numbers aligned right."""
    ruler = ["---:" if numeric else "---" for numeric in content.numeric]
    rows = [[str(inline(_cell(value))) for value in row] for row in content.rows]
    lines = [[str(inline(name)) for name in content.columns], ruler, *rows]
    return Markup("\n".join(f"| {' | '.join(line)} |" for line in lines))  # nosec B704


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else value


@cache
def markdown_environment() -> Environment:
    """Jinja for Markdown: every value is escaped that is not `Markup` already."""
    environment = Environment(
        loader=PackageLoader("miram.reporting"),
        # Values are escaped for Markdown, by `finalize`; escaping for HTML would be in its way.
        autoescape=False,  # nosec B701
        undefined=StrictUndefined,
        finalize=inline,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        table=markdown_table,
        number=number,
        interval=ends,
        counted=counted,
        listed=listed,
        p_value=p_value,
        with_interval=with_interval,
        label=metric_label,
    )
    return environment
