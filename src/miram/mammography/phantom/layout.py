"""Where the files of a lesion lie in the NBIA classic layout, and their UIDs."""

import csv
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pandas as pd
from pydicom.uid import generate_uid

from miram.mammography.phantom.config import KINDS, Kind

PREFIX = {"mass": "Mass", "calcification": "Calc"}
SPLIT_NAME = {"train": "Training", "test": "Test"}


def phantom_uid(seed: int, *names: str) -> str:
    """Give the UID that belongs to a seed and some names, under pydicom's root.

    Args:
        seed: Seed of the phantom.
        names: What the UID stands for, for example a folder and `series`.

    Returns:
        A UID of at most 64 characters, always the same for the same arguments.
    """
    return str(generate_uid(entropy_srcs=["miram phantom", str(seed), *names]))


@dataclass(frozen=True)
class FilePlace:
    """Where a file lies in the NBIA classic layout, and its UIDs."""

    folder: str
    study: str
    series: str
    instance: str
    name: str

    @property
    def path(self) -> str:
        """Path under the folder `CBIS-DDSM`, as the tables write it."""
        return f"{self.folder}/{self.study}/{self.series}/{self.name}"


@dataclass(frozen=True)
class LesionPlaces:
    """The places of the three files of a row, and what the table says of crop and mask."""

    image: FilePlace
    crop: FilePlace
    mask: FilePlace
    crop_cell: str
    mask_cell: str


def lesion_places(row: dict[Any, Any], seed: int) -> LesionPlaces:
    """Give the places of image, crop and mask of one row of `draw_cases`.

    Masses file the crop as 000000.dcm and the mask as 000001.dcm, calcifications the other way
    round. In a row with `swapped_files` the files are exchanged and the table does not know;
    with `separate_series` both are 000000.dcm in a series and study of their own.

    Args:
        row: One row of the cases.
        seed: Seed of the phantom, which sets the UIDs.

    Returns:
        The true places and the two cells of the table.
    """
    kind, split = row["kind"], row["split"]
    view = f"{row['patient_id']}_{row['side']}_{row['view']}"
    image_folder = f"{PREFIX[kind]}-{SPLIT_NAME[split]}_{view}"
    folder = f"{image_folder}_{row['number']}"

    def place(owner: str, role: str, series: str, name: str) -> FilePlace:
        study_uid, series_uid, instance_uid = (
            phantom_uid(seed, owner, *words)
            for words in (("study", series), ("series", series), ("instance", role))
        )
        return FilePlace(owner, study_uid, series_uid, instance_uid, name)

    image = place(image_folder, "image", "image", "000000.dcm")
    if row["separate_series"]:
        crop = place(folder, "crop", "crop", "000000.dcm")
        mask = place(folder, "mask", "mask", "000000.dcm")
        return LesionPlaces(image, crop, mask, crop.path, mask.path)
    names = ["000000.dcm", "000001.dcm"] if kind == "mass" else ["000001.dcm", "000000.dcm"]
    written = [place(folder, "", "regions", name).path for name in names]
    if row["swapped_files"]:
        names.reverse()
    crop = place(folder, "crop", "regions", names[0])
    mask = place(folder, "mask", "regions", names[1])
    return LesionPlaces(image, crop, mask, *written)


HEADERS = {
    "mass": ("breast_density", "mass shape", "mass margins"),
    "calcification": ("breast density", "calc type", "calc distribution"),
}


def case_tables(cases: pd.DataFrame, seed: int) -> list[tuple[str, bytes]]:
    """Write the four tables of a phantom.

    Lines end with CRLF, and one path cell of each row ends with a quoted LF: the mask's in the
    mass tables, the crop's in the calcification tables.

    Args:
        cases: The rows of `draw_cases`.
        seed: Seed of the phantom.

    Returns:
        Path under the raw root and content of each table.
    """
    tables = []
    for kind in KINDS:
        for split in ("train", "test"):
            rows = cases[(cases["kind"] == kind) & (cases["split"] == split)]
            name = f"csv/{PREFIX[kind].lower()}_case_description_{split}_set.csv"
            tables.append((name, _table(kind, rows.to_dict("records"), seed)))
    return tables


def _table(kind: Kind, rows: list[dict[Any, Any]], seed: int) -> bytes:
    text = StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(
        "patient_id,{},left or right breast,image view,abnormality id,abnormality type,{},{},"
        "assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path"
        "".format(*HEADERS[kind]).split(",")
    )
    written = ["patient_id", "density_written", "side", "view", "number", "kind"]
    written += ["first_written", "second_written", "assessment", "pathology", "subtlety_written"]
    for row in rows:
        places = lesion_places(row, seed)
        crop, mask = places.crop_cell, places.mask_cell
        crop, mask = (crop, mask + "\n") if kind == "mass" else (crop + "\n", mask)
        writer.writerow([*(row[name] for name in written), places.image.path, crop, mask])
    return text.getvalue().encode("ascii")
