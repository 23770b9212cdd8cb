"""A first guess of what columns and words of a lab's own table mean, to be read and corrected."""

import csv
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from miram.errors import MiramError
from miram.mammography.lesion_table import BOX, BY_NAME
from miram.mammography.sources.files import files_under
from miram.mammography.sources.table_columns import (
    filled_in,
    fits,
    like_name,
    nearest,
    plain_name,
    read_text_table,
    refuse_workbook,
)

_DELIMITERS = ",;\t|"
_PICTURES = {".png", ".tif", ".tiff", ".jpg", ".jpeg", ".dcm", ".dicom"}
_MOST_VALUES = 12  # of a column that is kept as a further label
# Other names of columns, and other words for values, all in small letters.
_NAMES = {
    "patient_id": ("patient", "case", "case id", "subject", "subject id", "pid", "study id"),
    "image_path": ("image", "file", "filename", "file name", "path", "image file"),
    "mask_paths": ("mask", "mask file", "mask path", "segmentation"),
    "laterality": ("side", "breast"),
    "view": ("projection", "view position"),
    "pathology": ("diagnosis", "label", "class", "malignancy", "outcome", "histology", "target"),
    "abnormality_type": ("lesion type", "finding type", "type", "lesion", "finding", "abnormality"),
    "density": ("acr", "breast density", "acr density"),
    "assessment": ("birads", "bi rads"),
    "subtlety": (),
    "mass_shape": ("shape",),
    "mass_margins": ("margin", "margins"),
    "calc_type": (),
    "calc_distribution": ("distribution",),
    "official_split": ("split", "set", "partition", "subset"),
    "lesion_id": ("lesion",),
}
_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "pathology": {
        "MALIGNANT": ("malignant", "malign", "cancer", "carcinoma", "m", "1", "positive", "true"),
        "BENIGN": ("benign", "b", "0", "negative", "false"),
        "": ("normal", "unknown"),
    },
    "laterality": {"LEFT": ("left", "l"), "RIGHT": ("right", "r")},
    "official_split": {
        "train": ("train", "training", "val", "valid", "validation"),
        "test": ("test", "testing"),
    },
    "abnormality_type": {"mass": ("mass", "masses"), "calcification": ("calc", "calcifications")},
    "density": {"1": ("a",), "2": ("b",), "3": ("c",), "4": ("d",)},
}
_NUMBERED = {"id", "no", "nr", "number", "code", "name"}  # at the end of a column's name
_SEPARATORS = ("", "/", "|", "+", ";", ",", "-")
_BOXES = (
    ("corners", BOX),
    ("corners", ("x0", "y0", "x1", "y1")),
    ("corners", ("xmin", "ymin", "xmax", "ymax")),
    ("corners", ("x min", "y min", "x max", "y max")),
    ("corners", ("x1", "y1", "x2", "y2")),
    ("corners", ("left", "top", "right", "bottom")),
    ("size", ("left", "top", "width", "height")),
    ("size", ("x", "y", "width", "height")),
    ("size", ("x", "y", "w", "h")),
)


@dataclass(frozen=True)
class Guess:
    """What a table seems to mean: options of the source `image_table`, and doubts in words."""

    options: dict[str, Any]
    doubts: list[str]


def guess_table(path: Path, raw_root: Path) -> Guess:
    """Guess columns, words and boxes of a CSV with one row per lesion, its images in a folder.

    Raises:
        MiramError: The table cannot be read.
    """
    delimiter = _delimiter(path)
    table = read_text_table(path, delimiter)
    table = table.where(table != "")
    inside = path.absolute().is_relative_to(raw_root.absolute())
    name = str(path.absolute().relative_to(raw_root.absolute()) if inside else path.absolute())
    form, box = _box(table)
    free = [column for column in table if column not in box]
    columns: dict[str, str] = {}
    doubts: list[str] = []
    for wanted, others in _NAMES.items():
        column = _named_like(wanted, others, [one for one in free if _may_be(wanted, table[one])])
        if column:
            columns[wanted] = column
            free.remove(column)
    _find_images(table, raw_root, columns, free, doubts)
    lists = {
        wanted: column
        for wanted, column in columns.items()
        if column in table and BY_NAME[wanted].kind == "labels"
    }
    separator = _label_separator(table[list(lists.values())])
    if separator:
        split = ", ".join(map(repr, lists.values()))
        doubts.append(f"cells of {split} are split into labels at {separator!r}: are they?")
    values = {
        wanted: words
        for wanted, column in columns.items()
        if column in table and (words := _values(table[column], wanted, column, doubts))
    }
    values |= {
        wanted: words
        for wanted, column in lists.items()
        if (words := _standard_labels(table[column], separator))
    }
    if "patient_id" not in columns:
        doubts.append("no column seems to name the patient: set columns.patient_id")
    if not box and "mask_paths" not in columns:
        doubts.append("there is neither a mask nor a box: no lesion can be cut")
    options = {
        "table": name,
        "delimiter": delimiter if delimiter != "," else None,
        "label_separator": separator,
        # Columns that bear the name of the lesion table's need no entry.
        "columns": {wanted: column for wanted, column in columns.items() if wanted != column},
        "values": values,
        "box_columns": list(box) if box != BOX else None,
        "box_format": form if box != BOX else None,
        "label_columns": [name for name in free if 2 <= table[name].nunique() <= _MOST_VALUES],
    }
    return Guess({name: value for name, value in options.items() if value}, doubts)


def _delimiter(path: Path) -> str:
    if not path.is_file():
        raise MiramError(f"there is no table at {path}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
    except (OSError, ValueError) as error:
        refuse_workbook(path)
        raise MiramError(f"{path} cannot be read as a table: save it as CSV in UTF-8") from error
    return max(_DELIMITERS, key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))


def _unnumbered(name: str) -> str:
    """`case` of `Case No`."""
    *words, last = plain_name(name).split() or [""]
    return " ".join([*words, *([] if words and last in _NUMBERED else [last])])


def _may_be(wanted: str, texts: pd.Series) -> bool:
    """Whether cells fit a column whose name says too little: `lesion` is a number or a type."""
    if wanted == "lesion_id":
        return bool(texts.notna().all() and texts.is_unique)
    if wanted == "abnormality_type":
        known = {word for words in _WORDS[wanted].values() for word in words}
        return {plain_name(text) for text in texts.dropna()} <= known
    return True


def _labels(cells: pd.Series, separator: str) -> set[str]:
    parts = (text.split(separator) if separator else [text] for text in cells.dropna())
    return {part.strip() for several in parts for part in several}


def _label_separator(cells: pd.DataFrame) -> str:
    """The mark at which cells fall into the fewest different labels; empty for none."""

    def count(mark: str) -> int:
        return len(set().union(*(_labels(cells[column], mark) for column in cells)))

    return min(_SEPARATORS, key=count)


def _standard_labels(cells: pd.Series, separator: str) -> dict[str, str]:
    """Spellings of the tasks, such as `ILL_DEFINED`, for labels in other ones."""
    standard = {one: re.sub(r"\W+", "_", one).upper() for one in sorted(_labels(cells, separator))}
    return {one: name for one, name in standard.items() if one != name}


def _named_like(wanted: str, others: Collection[str], free: list[str]) -> str | None:
    if wanted in free:
        return wanted
    spellings = {_unnumbered(name): name for name in reversed(free)}
    spellings |= {plain_name(name): name for name in free}
    for other in (wanted.replace("_", " "), *others):
        if other in spellings:
            return spellings[other]
    return like_name(wanted, free)


def _box(columns: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """The format of a box and its columns; empty where there is none."""
    spellings = {plain_name(name): name for name in columns}
    for form, names in _BOXES:
        plain = [plain_name(name) for name in names]
        if set(plain) <= set(spellings):
            return form, tuple(spellings[name] for name in plain)
    return "", ()


def _find_images(
    table: pd.DataFrame, raw_root: Path, columns: dict[str, str], free: list[str], doubts: list[str]
) -> None:
    """Find the column, or the template, that names files which exist."""
    files = [
        file.relative_to(raw_root).as_posix()
        for file in files_under(raw_root)
        if file.suffix.lower() in _PICTURES
    ]
    for wanted in ("image_path", "mask_paths"):
        tried = [columns[wanted]] if wanted in columns else free if wanted == "image_path" else []
        for column in tried:
            texts = list(table[column].dropna().unique()[:50])
            if template := _template(column, texts, files):
                columns[wanted] = template
                if column in free:
                    free.remove(column)
                break
        else:
            if files and tried and wanted in columns:
                doubts.append(
                    f"no file under {raw_root} is called as column {columns[wanted]!r} says: set "
                    f"columns.{wanted}, perhaps to a template such as images/{{name}}.png"
                )
    if "image_path" not in columns and (template := _joined(table, files)):
        columns["image_path"] = template
    if "image_path" not in columns:
        doubts.append(
            f"no column names image files under {raw_root}: set columns.image_path, perhaps to a "
            "template such as png/{case}_{side}_{view}.png"
        )


def _template(column: str, texts: list[str], files: list[str]) -> str | None:
    """The column, or a folder before it and an ending behind it, that give existing files."""
    if not texts or not files:
        return None
    there = set(files)
    if any(text in there for text in texts):
        return column
    for file in files:
        path = Path(file)
        for ending in ("", path.suffix):
            name = path.name.removesuffix(ending) if ending else path.name
            if name in texts:
                folder = "" if str(path.parent) == "." else f"{path.parent.as_posix()}/"
                made = [f"{folder}{text}{ending}" for text in texts]
                if sum(one in there for one in made) * 2 > len(made):
                    return f"{folder}{{{column}}}{ending}"
    return None


def _joined(table: pd.DataFrame, files: list[str]) -> str | None:
    """A template of several columns, such as `png/{case}_{side}_{view}.png`."""
    row = {str(text): name for name, text in reversed(table.iloc[0].dropna().to_dict().items())}
    there = set(files)
    for file in files:
        path = Path(file)
        parts = re.split(r"([_\- ])", path.stem)
        if not all(part in row for part in parts[::2]):
            continue
        stem = "".join(f"{{{row[part]}}}" if part in row else part for part in parts)
        template = (path.parent / f"{stem}{path.suffix}").as_posix()
        made = filled_in(table, template, "image_path").dropna()
        if made.isin(there).sum() * 2 > len(made):
            return template
    return None


def _values(texts: pd.Series, wanted: str, column: str, doubts: list[str]) -> dict[str, str]:
    """New names of the values that the lesion table does not know."""
    schema = BY_NAME[wanted]
    if not schema.values and schema.kind != "integer":
        return {}
    renamed = {}
    for text in sorted(map(str, texts.dropna().unique())):
        if fits(text, schema):
            continue
        plain = plain_name(text)
        known = {word: name for name, words in _WORDS.get(wanted, {}).items() for word in words}
        digits = re.search(r"\d", plain) if schema.kind == "integer" else None
        word = plain.split()[-1] if wanted == "density" and plain else plain  # of `DENSITY A`
        if word in known:
            renamed[text] = known[word]
        elif digits and fits(digits[0], schema):
            renamed[text] = digits[0]
        else:
            renamed[text] = nearest(text, schema).strip("'")
            kept = f"as {renamed[text]}" if renamed[text] else "as missing"
            doubts.append(f"{text!r} of column {column!r} is taken {kept} for {wanted}: is it?")
    if wanted == "pathology" and {"0", "1"} & set(renamed):
        doubts.append(f"column {column!r} is taken as 1 for malignant, 0 for benign: is it?")
    return renamed
