"""A lab's own table, turned into the columns of the lesion table."""

import csv
import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from miram.errors import MiramError
from miram.mammography.lesion_table import BY_NAME, LARGEST_NUMBER, Column

_MISSING = {"", "na", "n/a", "nan", "none", "null"}
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_LONGEST_CELL = 2**31 - 1  # a report in a column that nothing reads; csv allows 131,072 by default


def read_text_table(path: Path, delimiter: str) -> pd.DataFrame:
    """Read a CSV as text, cells stripped; the index is the line of the file.

    Empty rows and columns without a name are left out; missing cells at the end of a row are empty.

    Raises:
        MiramError: There is no such file, it has no rows, it is not a table, a name stands
            twice in the header, or a row has more cells than the header.
    """
    if not path.is_file():
        raise MiramError(f"no table {path}: name it in the option `table`, relative to raw_root")
    csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            cells = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        refuse_workbook(path)
        raise MiramError(
            f"{path} cannot be read as a table: {error}; save it as CSV in UTF-8, "
            f"or set the option `delimiter` (it is {delimiter!r})"
        ) from error
    filled = {line: row for line, row in cells if any(row)}
    if len(filled) < 2:
        raise MiramError(f"{path} has no rows")
    names = filled.pop(min(filled))
    others = [mark for mark in ";\t,|" if mark in names[0]]
    if len(names) == 1 and others:
        mark = json.dumps(others[0])  # as YAML reads it
        raise MiramError(f"{path} has one column, {names[0]!r}: set the option delimiter: {mark}")
    _check_cells(names, filled, path, delimiter)
    rows = [[*row, *[""] * len(names)][: len(names)] for row in filled.values()]
    table = pd.DataFrame(rows, columns=names, index=list(filled), dtype="str")
    return table.loc[:, [name != "" for name in names]]


def refuse_workbook(path: Path) -> None:
    """Say so where a file that is no table is a workbook of Excel, which is a zip archive.

    Raises:
        MiramError: It is one.
    """
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            raise MiramError(f"{path} is an Excel file: save it as CSV in UTF-8")


def _check_cells(
    names: list[str], rows: Mapping[int, list[str]], path: Path, delimiter: str
) -> None:
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise MiramError(f"{path} has several columns {twice[0]!r}: give each its own name")
    for line, row in rows.items():
        if any(row[len(names) :]):
            raise MiramError(
                f"{path}, line {line} has {len(row)} cells, the header {len(names)}: put cells "
                f"that hold the delimiter {delimiter!r} into double quotes, or set the option "
                "`delimiter`"
            )


def filled_in(table: pd.DataFrame, recipe: str, where: str) -> pd.Series:
    """Take a column, or fill a template such as `images/{study}/{name}.dcm` from columns.

    Where a column of the template is missing in a row, all of it is.

    Raises:
        MiramError: A column is not in the table; `where` names the option.
    """
    if recipe in table:
        return _without_missing(table[recipe])
    names = _PLACEHOLDER.findall(recipe)
    for name in names or [recipe]:
        if name not in table:
            near = difflib.get_close_matches(name, table.columns, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "it has: " + ", ".join(table)
            raise MiramError(f"{where}: there is no column {name!r}; {hint}")
    cells = {name: _without_missing(table[name]) for name in names}
    filled = [_fill(recipe, row) for row in pd.DataFrame(cells).to_dict("records")]
    return pd.Series(filled, index=table.index, dtype=object)


def plain_name(name: str) -> str:
    """A name in small letters, its words parted by single spaces."""
    return re.sub(r"[\W_]+", " ", name).strip().lower()


def like_name(wanted: str, names: Iterable[str]) -> str | None:
    """Find the name that is another spelling of one, such as `Pathology` or `breast density`."""
    spellings = {plain_name(name): name for name in names}
    plain = plain_name(wanted)
    holding = [found for found in spellings if set(plain.split()) <= set(found.split())]
    near = difflib.get_close_matches(plain, spellings, n=1, cutoff=0.8) or holding
    return spellings[near[0]] if near else None


def as_labels(
    texts: pd.Series, separator: str, values: Mapping[str, str]
) -> list[list[str] | None]:
    """Split cells into sorted labels without repeats, renamed by `values`; None where none.

    An empty `separator` takes a cell for one label; an empty new name drops the label.
    """
    labels = []
    for text in texts:
        parts = [] if _absent(text) else (text.split(separator) if separator else [text])
        renamed = (values.get(part.strip(), part.strip()) for part in parts)
        labels.append(sorted({name for name in renamed if not _absent(name)}) or None)
    return labels


def as_values(texts: pd.Series, column: str, values: Mapping[str, str], where: str) -> pd.Series:
    """Rename values, an empty new name for missing, and check that they fit their column.

    Raises:
        MiramError: A value is not allowed; the message gives the lines that would map it.
    """
    schema = BY_NAME[column]
    renamed = _without_missing(texts.map(lambda text: values.get(text, text)))
    wrong = sorted({text for text in renamed.dropna() if not fits(text, schema)})
    if wrong:
        lines = ", ".join(f"{text!r}: {nearest(text, schema)}" for text in wrong[:10])
        raise MiramError(
            f"{where} holds {', '.join(map(repr, wrong[:10]))}, but {column} may be "
            f"{schema.allowed}; map them with the option values: {{{column}: {{{lines}}}}} "
            "('' leaves a value out)"
        )
    if schema.kind == "integer":
        return renamed.map(lambda text: None if _absent(text) else int(float(text)))
    return renamed


def as_pixels(texts: pd.Series, where: str) -> pd.Series:
    """Turn cells into numbers of pixels, float64, NaN where missing; MiramError for other text."""
    numbers = pd.to_numeric(texts, errors="coerce").astype("float64")
    wrong = texts[texts.notna() & numbers.isna()]
    if len(wrong):
        raise MiramError(f"{where} holds {wrong.iloc[0]!r}, which is no number of pixels")
    return numbers


def _fill(template: str, row: Mapping[Any, Any]) -> str | None:
    if any(_absent(cell) for cell in row.values()):
        return None
    return _PLACEHOLDER.sub(lambda found: str(row[found[1]]), template)


def _without_missing(texts: pd.Series) -> pd.Series:
    return texts.astype(object).where(~texts.map(_absent), None)


def _absent(text: object) -> bool:
    return not isinstance(text, str) or text.lower() in _MISSING


def fits(text: str, schema: Column) -> bool:
    """Whether a value may stand in a column of the lesion table."""
    if schema.values:
        return text in schema.values
    if schema.kind != "integer":
        return True
    try:
        number = float(text)
    except ValueError:
        return False
    least, most = schema.span or (-LARGEST_NUMBER, LARGEST_NUMBER)
    return number.is_integer() and least <= number <= most


def nearest(text: str, schema: Column) -> str:
    """The allowed value that a text is most like; `''`, in quotes for YAML, for none."""
    by_lower = {str(value).lower(): str(value) for value in schema.values}
    near = difflib.get_close_matches(text.lower(), by_lower, n=1, cutoff=0.5)
    begins = [name for low, name in by_lower.items() if text and low.startswith(text.lower())]
    return by_lower[near[0]] if near else (begins or ["''"])[0]
