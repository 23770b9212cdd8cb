"""A CSV that names images, masks or boxes, patients and labels: how a lab's own data come in."""

import logging
import math
import posixpath
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from miram.errors import MiramError
from miram.mammography.cbis_tables import leaking_patients
from miram.mammography.decoding_errors import DecodingError, DecodingFailure
from miram.mammography.image_facts import ImageFacts, image_facts
from miram.mammography.lesion_table import COLUMNS, audit_rows, validate_lesions
from miram.mammography.sources.base import Ingested, Source
from miram.mammography.table_columns import (
    as_labels,
    as_pixels,
    as_values,
    filled_in,
    read_text_table,
)
from miram.progress import track

log = logging.getLogger(__name__)

_KINDS = {column.name: column.kind for column in COLUMNS}
_BOX = ("box_x0", "box_y0", "box_x1", "box_y1")
# What the source finds out itself, from the files or from other columns.
_COMPUTED = {"leaks", "source_bits", "image_rows", "image_columns", "repairs", *_BOX}
_FROM_TABLE = tuple(name for name in _KINDS if name not in _COMPUTED)


class ImageTableSource(Source):
    """A table with one row per lesion, or per image where nothing is marked.

    A row without a mask and without a box stands for an image without a marked lesion; its
    `mask_paths` is empty. A column of the lesion table that neither `columns` nor `constants`
    names is taken from the column of the same name, where the table has one. `lesion_id` may
    be absent: it is then made of the image and the number of the row within it; `image_id`
    may be absent: it is then the path of the image.
    """

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
        None, description="the table's columns of a box, in pixels of the full image"
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

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for option in ("columns", "constants", "values"):
            for name in getattr(self, option):
                if name not in _FROM_TABLE:
                    raise ValueError(f"{option}: {name!r} is none of {', '.join(_FROM_TABLE)}")
        for name in self.label_columns:
            if name in _KINDS:
                raise ValueError(
                    f"label_columns: {name} is a column of the lesion table; use columns"
                )
        return self

    def ingest(self, raw_root: Path) -> Ingested:
        """Read the table and the header of every file that it names.

        Args:
            raw_root: Folder of the table and of the files.

        Returns:
            The rows whose files are there and fit together; an audit row for every other.

        Raises:
            MiramError: The table or a column is missing, a value is not allowed, a path leads
                out of `raw_root`, or no row can be used.
        """
        rows = self._read(raw_root / self.table)
        finder = _Files(raw_root, self.aspect_tolerance)
        records = track(rows.to_dict("records"), "checked files", total=len(rows))
        found = [row for record in records if (row := finder.completed(record)) is not None]
        if not found:
            code, count = Counter(row["code"] for row in finder.problems).most_common(1)[0]
            first = next(row for row in finder.problems if row["code"] == code)
            raise MiramError(
                f"none of the {len(rows)} rows of {raw_root / self.table} can be used; "
                f"{count} x {code}, first {first['file']}: {first['detail']}"
            )
        lesions = pd.DataFrame(found)
        log.info("%d of %d rows of %s can be used", len(lesions), len(rows), self.table)
        return Ingested(validate_lesions(lesions), audit_rows(finder.problems))

    def _read(self, path: Path) -> pd.DataFrame:
        table = read_text_table(path, self.delimiter)
        columns = {name: self._column(table, name, str(path)) for name in _FROM_TABLE}
        rows = pd.DataFrame({k: v for k, v in columns.items() if v is not None}, dtype=object)
        for name in ("image_path", "patient_id"):
            if name not in rows:
                raise MiramError(
                    f"{path} has no column {name} (it has: {', '.join(table)}): "
                    f"name one with the option columns: {{{name}: ...}}"
                )
            if rows[name].isna().any():
                line = int(rows.index[rows[name].isna()][0]) + 2
                raise MiramError(f"{path}, line {line}: {name} is empty")
        if "image_id" not in rows:
            rows["image_id"] = rows["image_path"]
        _check_images(rows, str(path))
        if "lesion_id" not in rows:
            number = (rows.groupby("image_id").cumcount() + 1).astype(str)
            rows["lesion_id"] = rows["image_id"] + "_" + number
        masks = rows["mask_paths"] if "mask_paths" in rows else [None] * len(rows)
        rows["mask_paths"] = [self._mask_names(cell) for cell in masks]
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
        if _KINDS[name] == "labels":
            labels = as_labels(texts, self.label_separator, values)
            return pd.Series(labels, index=table.index, dtype=object)
        source = "constants" if name in self.constants else f"column {recipe!r}"
        return as_values(texts, name, values, f"{path}: {source}")

    def _mask_names(self, cell: str | None) -> list[str]:
        parts = (cell or "").split(self.mask_separator) if self.mask_separator else [cell or ""]
        return [part.strip() for part in parts if part.strip()]

    def _with_boxes(self, rows: pd.DataFrame, table: pd.DataFrame, path: str) -> pd.DataFrame:
        if self.box_columns is None:
            return rows
        cells = [filled_in(table, name, f"{path}, box_columns") for name in self.box_columns]
        x0, y0, x1, y1 = (
            as_pixels(cell, f"{path}: column {name!r}")
            for cell, name in zip(cells, self.box_columns, strict=True)
        )
        if self.box_format == "size":
            x1, y1 = x0 + x1, y0 + y1
        return rows.assign(box_x0=x0, box_y0=y0, box_x1=x1, box_y1=y1)


def _check_images(rows: pd.DataFrame, path: str) -> None:
    """Refuse an image of two patients or of two files: splits and crops would mix them."""
    for name in ("patient_id", "image_path"):
        several = rows.groupby("image_id")[name].nunique()
        if (several > 1).any():
            image = several.index[several > 1][0]
            both = sorted(rows.loc[rows["image_id"] == image, name].unique())[:2]
            raise MiramError(
                f"{path}: image {image} has {name} {both[0]} and {both[1]}: give every image "
                "its own image_id, or leave image_id out"
            )


class _Files:
    """Checks the files of one row after the other and keeps the audit."""

    def __init__(self, raw_root: Path, aspect_tolerance: float) -> None:
        self.raw_root, self.tolerance = raw_root, aspect_tolerance
        self.facts: dict[str, ImageFacts | DecodingError] = {}
        self.problems: list[dict[str, str]] = []

    def completed(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """Add what the files of a row say, or note why the row is left out."""
        lesion_id = row["lesion_id"]
        row["image_path"] = self._inside(lesion_id, row["image_path"])
        row["mask_paths"] = [self._inside(lesion_id, name) for name in row["mask_paths"]]
        image = self._look(lesion_id, row["image_path"], "image")
        if image is None:
            return None
        row["repairs"] = []
        for name in row["mask_paths"]:
            mask = self._look(lesion_id, name, "mask")
            if mask is None or not self._fits(lesion_id, name, mask, image):
                return None
            if (mask.rows, mask.columns) != (image.rows, image.columns):
                row["repairs"].append("mask_resized")
        box = self._box(row, image)
        if box is None:
            return None
        size = {"image_rows": image.rows, "image_columns": image.columns}
        return {**row, **box, **size, "source_bits": image.bits}

    def note(self, lesion_id: str, name: str, code: str, action: str, detail: str) -> None:
        row = {"lesion_id": lesion_id, "file": name, "code": code}
        self.problems.append({**row, "action": action, "detail": detail})

    def _inside(self, lesion_id: str, name: str) -> str:
        """Give a path relative to the raw root without detours."""
        path = posixpath.normpath(name.replace("\\", "/"))
        if Path(path).is_absolute():
            # Links stay as they are: data often lie on another disk.
            root = self.raw_root.absolute()
            if not Path(path).is_relative_to(root):
                self._refuse(lesion_id, name)
            path = Path(path).relative_to(root).as_posix()
        if PurePosixPath(path).parts[:1] == ("..",):
            self._refuse(lesion_id, name)
        return path

    def _refuse(self, lesion_id: str, name: str) -> None:
        raise MiramError(
            f"lesion {lesion_id}: {name} leads out of raw_root {self.raw_root}: paths in the "
            "table are relative to raw_root; link other folders into it"
        )

    def _look(self, lesion_id: str, name: str, kind: str) -> ImageFacts | None:
        if name not in self.facts:
            try:
                self.facts[name] = image_facts(self.raw_root / name)
            except DecodingError as error:
                self.facts[name] = error
        facts = self.facts[name]
        if isinstance(facts, ImageFacts):
            return facts
        missing = facts.code == DecodingFailure.NOT_FOUND
        code = f"{kind}_missing" if missing else f"{kind}_{facts.code}"
        self.note(lesion_id, name, code, "left out", facts.detail)
        return None

    def _fits(self, lesion_id: str, name: str, mask: ImageFacts, image: ImageFacts) -> bool:
        if (mask.rows, mask.columns) == (image.rows, image.columns):
            return True
        detail = f"mask {mask.columns} x {mask.rows}, image {image.columns} x {image.rows}"
        aspect = (image.rows / mask.rows) / (image.columns / mask.columns)
        fits = abs(aspect - 1) <= self.tolerance
        code, action = ("mask_resized", "repaired") if fits else ("mask_aspect_differs", "left out")
        self.note(lesion_id, name, code, action, detail)
        return fits

    def _box(self, row: dict[str, Any], image: ImageFacts) -> dict[str, int | None] | None:
        """Give a row's box in whole pixels of the image; None for one that cannot be right."""
        numbers = [row.get(name, math.nan) for name in _BOX]
        if all(math.isnan(number) for number in numbers):
            return dict.fromkeys(_BOX)
        detail = "x {} to {}, y {} to {}".format(*(numbers[i] for i in (0, 2, 1, 3)))
        detail += f" in {image.columns} x {image.rows} pixels"
        if any(math.isnan(number) for number in numbers):
            self.note(row["lesion_id"], row["image_path"], "box_incomplete", "left out", detail)
            return None
        x0, y0, x1, y1 = numbers
        inside = (
            max(math.floor(x0), 0),
            max(math.floor(y0), 0),
            min(math.ceil(x1), image.columns),
            min(math.ceil(y1), image.rows),
        )
        if x0 >= x1 or y0 >= y1 or inside[0] >= inside[2] or inside[1] >= inside[3]:
            code = "box_empty" if x0 >= x1 or y0 >= y1 else "box_outside"
            self.note(row["lesion_id"], row["image_path"], code, "left out", detail)
            return None
        if x0 < 0 or y0 < 0 or x1 > image.columns or y1 > image.rows:
            self.note(row["lesion_id"], row["image_path"], "box_clipped", "repaired", detail)
            row["repairs"].append("box_clipped")
        return dict(zip(_BOX, inside, strict=True))
