"""A CSV that names images, masks or boxes, patients and labels: how a lab's own data come in."""

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal, Self

import pandas as pd
from pydantic import ConfigDict, Field, model_validator

from miram.errors import MiramError
from miram.mammography.lesion_table import (
    BOX,
    BY_NAME,
    has_place,
    leaking_patients,
    mark_unplaced,
    validate_lesions,
)
from miram.mammography.sources.base import Ingested, Source
from miram.mammography.sources.image_table_files import TableFiles, path_inside
from miram.mammography.sources.table_columns import (
    as_labels,
    as_pixels,
    as_values,
    filled_in,
    like_name,
    read_text_table,
)
from miram.mammography.sources.wanted import KINDS, WantedKinds
from miram.progress import track

log = logging.getLogger(__name__)

Note = Callable[[str, str, str, str, str], None]

# What the source finds out itself, from the files or from other columns.
_FOUND_OUT = {
    *("leaks", "source_bits", "image_rows", "image_columns", "repairs", "unplaced_lesion"),
    *BOX,
}
_FROM_TABLE = tuple(name for name in BY_NAME if name not in _FOUND_OUT)
_MALIGNANT = "MALIGNANT"
_OVER_EDGE = 0.05  # share of the image by which a box in parts of it may leave it


class ImageTableSource(WantedKinds, Source):
    """A table with one row per lesion, or per image where nothing is marked.

    A row without a mask and without a box stands for an image without a marked lesion; its
    `mask_paths` is empty. If it has a label of a lesion all the same, the audit lists it and
    the image gives no background patches. A column of the lesion table that neither `columns`
    nor `constants` names is taken from the column of the same name, where the table has one.
    `lesion_id` may be absent: it is then made of the image and the number of the row within it;
    `image_id` may be absent: it is then the path of the image.
    """

    audit_codes: ClassVar = {
        **KINDS,
        "no_location": "the row has a label of a lesion but neither mask nor box: no crop is cut, "
        "nor backgrounds from its image. Give a mask or a box; for a label of the whole image a "
        "box of the whole image",
        "box_incomplete": "some but not all of the four numbers of a box are given",
        "box_empty": "the box has no area. Check `box_format`",
        "box_outside": "the box lies outside of its image",
        "box_clipped": "the box reached over the edge of its image",
        "same_place": "another row has the same mask or box. Keep one of them",
    }
    model_config = ConfigDict(coerce_numbers_to_str=True)  # YAML reads 0 and 2 as numbers

    table: str = Field("images.csv", description="the CSV, relative to raw_root")
    delimiter: str = Field(",", min_length=1, max_length=1, description="between two cells")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="for columns of the lesion table, the table's column or a template with "
        "its columns in braces, such as images/{study}/{name}.dcm",
    )
    constants: dict[str, str] = Field(
        default_factory=dict, description="columns of the lesion table that are alike in all rows"
    )
    values: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="for columns of the lesion table, new names of values; '' for missing",
    )
    label_separator: str = Field("", description="between two labels of a multi-label cell")
    mask_separator: str = Field(";", description="between two mask files of a cell")
    box_columns: tuple[str, str, str, str] | None = Field(
        None,
        description="the table's columns of a box, in pixels of the full image; if not given, "
        "the corners box_x0, box_y0, box_x1, box_y1 where the table has these columns",
    )
    box_format: Literal["corners", "size"] = Field(
        "corners",
        description="x0, y0, x1, y1 with x1 and y1 one past the edge; or x0, y0, width, height",
    )
    label_columns: tuple[str, ...] = Field(
        (), description="further columns of the table to keep under their own names"
    )
    aspect_tolerance: float = Field(
        0.01, ge=0, lt=0.2, description="greatest relative difference of mask and image aspect"
    )

    @property
    def further_columns(self) -> tuple[str, ...]:
        """The labels that were asked for."""
        return self.label_columns

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for option in ("columns", "constants", "values"):
            for name in getattr(self, option):
                if name in BOX:
                    raise ValueError(f"{option}: name the columns of a box in box_columns")
                if name not in _FROM_TABLE:
                    raise ValueError(f"{option}: {name!r} is none of {', '.join(_FROM_TABLE)}")
        for name in self.label_columns:
            if name in BY_NAME:
                raise ValueError(
                    f"label_columns: {name} is a column of the lesion table; use columns"
                )
        return self

    def ingest(self, raw_root: Path) -> Ingested:
        """Read the table and the header of every file that it names.

        Returns:
            The rows whose files are there and fit together; an audit row for every other.

        Raises:
            MiramError: The table or a column is missing, a value is not allowed, a path leads
                out of `raw_root`, or no row can be used.
        """
        rows = self._read(raw_root)
        silent = {"abnormality_type"} & set(self.constants)  # said of the unmarked images too
        finder = TableFiles(raw_root, self.aspect_tolerance, silent, wanted=self)
        _check_places(rows, str(raw_root / self.table), finder.note)
        records = track(rows.to_dict("records"), "checked files", total=len(rows))
        found = [row for record in records if (row := finder.completed(record)) is not None]
        if not found:
            code, count = Counter(row["code"] for row in finder.audit.rows).most_common(1)[0]
            first = next(row for row in finder.audit.rows if row["code"] == code)
            raise MiramError(
                f"none of the {len(rows)} rows of {raw_root / self.table} can be used; "
                f"{count} x {code}, first {first['file']}: {first['detail']}"
            )
        lesions = mark_unplaced(pd.DataFrame(found), pd.DataFrame(finder.unplaced))
        log.info("%d of %d rows of the table can be used", len(lesions), len(rows))
        if not has_place(lesions).any():
            log.warning("no row of the table has a mask or a box: no lesion can be cut")
        return Ingested(validate_lesions(lesions), finder.audit.table())

    def _read(self, raw_root: Path) -> pd.DataFrame:
        path = raw_root / self.table
        table = read_text_table(path, self.delimiter)
        columns = {name: self._column(table, name, str(path)) for name in _FROM_TABLE}
        rows = pd.DataFrame({k: v for k, v in columns.items() if v is not None}, dtype=object)
        self._tell_columns(rows, table)
        _check_names(rows, table, path)
        rows["image_path"] = [
            path_inside(raw_root, name, f"{path}, line {line}")
            for line, name in rows["image_path"].items()
        ]
        if "image_id" not in rows:
            rows["image_id"] = rows["image_path"]
        _check_images(rows, str(path))
        if "lesion_id" not in rows:
            number = (rows.groupby("image_id").cumcount() + 1).astype(str)
            rows["lesion_id"] = rows["image_id"] + "_" + number
        masks = rows["mask_paths"] if "mask_paths" in rows else [None] * len(rows)
        rows["mask_paths"] = [
            [path_inside(raw_root, name, f"{path}, line {line}") for name in self._mask_names(cell)]
            for line, cell in zip(rows.index, masks, strict=True)
        ]
        leaking = leaking_patients(rows) if "official_split" in rows else []
        rows["leaks"] = rows["patient_id"].isin(leaking)
        return self._with_boxes(rows, table, str(path)).assign(
            **{
                name: filled_in(table, name, f"{path}, label_columns")
                for name in self.label_columns
            }
        )

    def _column(self, table: pd.DataFrame, name: str, path: str) -> pd.Series | None:
        values = self.values.get(name, {})
        if name in self.constants:
            recipe = texts = pd.Series(self.constants[name], index=table.index, dtype=object)
        elif name in self.columns or name in table:
            recipe = self.columns.get(name, name)
            texts = filled_in(table, recipe, f"{path}, columns.{name}")
        else:
            return None
        if BY_NAME[name].kind == "labels":
            labels = as_labels(texts, self.label_separator, values)
            return pd.Series(labels, index=table.index, dtype=object)
        source = "constants" if name in self.constants else f"column {recipe!r}"
        found = as_values(texts, name, values, f"{path}: {source}")
        return found.map(str.upper, na_action="ignore") if name == "view" else found

    def _tell_columns(self, rows: pd.DataFrame, table: pd.DataFrame) -> None:
        """Log what is taken, and ask about columns with a name like that of one that is not."""
        log.info("taken are %s", ", ".join(rows))
        recipes = " ".join(f"{{{recipe}}} {recipe}" for recipe in self.columns.values())
        used = {*rows, *BOX, *(self.box_columns or ()), *self.label_columns}
        free = [name for name in table if name not in used and f"{{{name}}}" not in recipes]
        for wanted in _FROM_TABLE:
            if wanted not in rows and (near := like_name(wanted, free)):
                log.warning(
                    "no column gives %s; if %r shall, set columns: {%s: %s}",
                    *(wanted, near, wanted, near),
                )

    def _mask_names(self, cell: str | None) -> list[str]:
        parts = (cell or "").split(self.mask_separator) if self.mask_separator else [cell or ""]
        return [part.strip() for part in parts if part.strip()]

    def _with_boxes(self, rows: pd.DataFrame, table: pd.DataFrame, path: str) -> pd.DataFrame:
        names = self.box_columns or tuple(name for name in BOX if name in table)
        if not names:
            return rows
        if len(names) < len(BOX):
            raise MiramError(f"{path} has {', '.join(names)}, but a box needs {', '.join(BOX)}")
        cells = [filled_in(table, name, f"{path}, box_columns") for name in names]
        x0, y0, x1, y1 = numbers = [
            as_pixels(cell, f"{path}: column {name!r}")
            for cell, name in zip(cells, names, strict=True)
        ]
        _check_pixels(numbers, path)
        if self.box_columns and self.box_format == "size":
            x1, y1 = x0 + x1, y0 + y1
        return rows.assign(box_x0=x0, box_y0=y0, box_x1=x1, box_y1=y1)


def _check_names(rows: pd.DataFrame, table: pd.DataFrame, path: Path) -> None:
    """Refuse a table that does not name the image and the patient of every row."""
    for name in ("image_path", "patient_id"):
        if name not in rows:
            raise MiramError(
                f"{path} has no column {name} (it has: {', '.join(table)}): "
                f"name one with the option columns: {{{name}: ...}}"
            )
    for name in ("image_path", "patient_id", "image_id", "lesion_id"):
        if name in rows and rows[name].isna().any():
            line = rows.index[rows[name].isna()][0]
            raise MiramError(f"{path}, line {line}: {name} is empty")


def _check_images(rows: pd.DataFrame, path: str) -> None:
    """Refuse an image of two patients or of two files: splits and crops would mix them."""
    own = "give every image its own image_id, or leave image_id out"
    for key, name, remedy in (
        ("image_id", "patient_id", own),
        ("image_path", "patient_id", "a file shows one patient"),
        ("image_id", "image_path", own),
    ):
        several = rows.groupby(key)[name].nunique()
        if (several > 1).any():
            image = several.index[several > 1][0]
            both = sorted(rows.loc[rows[key] == image, name].unique())[:2]
            raise MiramError(f"{path}: image {image} has {name} {both[0]} and {both[1]}: {remedy}")


def _check_pixels(numbers: list[pd.Series], path: str) -> None:
    """Refuse boxes in parts of the image, as YOLO has them, even if they are some of many."""
    boxes = pd.concat(numbers, axis=1).dropna()
    # Rounding, and boxes that reach over the edge, lead a little out of the image.
    inside = boxes.ge(-_OVER_EDGE) & boxes.le(1 + _OVER_EDGE)
    parts = boxes[inside.all(axis=1) & boxes.any(axis=1)]
    if len(parts):
        raise MiramError(
            f"{path}, line {parts.index[0]}: the numbers of {len(parts)} of {len(boxes)} boxes lie "
            "between 0 and 1, but they must be pixels of the full image: multiply x and widths by "
            "its columns, y and heights by its rows (a box of YOLO begins with its center: take "
            "half of its width and height off first)"
        )


def _check_places(rows: pd.DataFrame, path: str, note: Note) -> None:
    """Name rows that mark one place of an image; refuse it where it is malignant and is not."""
    placed = rows[has_place(rows)]
    places = [
        repr([row["image_path"], sorted(row["mask_paths"]) or [row[name] for name in BOX]])
        for row in placed.to_dict("records")
    ]
    for _, group in placed.groupby(places):
        given = sorted(group["pathology"].dropna().unique()) if "pathology" in group else []
        first = group.iloc[0]
        if _MALIGNANT in given and len(given) > 1:
            lines = " and ".join(map(str, group.index))
            raise MiramError(
                f"{path}, lines {lines}: one place of {first['image_path']} is "
                f"{' and '.join(given)}: keep the row that is right, or give each lesion its own "
                "mask or box"
            )
        for lesion in group["lesion_id"].iloc[1:]:
            detail = f"the mask or box is that of {first['lesion_id']}; two crops are equal"
            note(lesion, first["image_path"], "same_place", "kept", detail)
