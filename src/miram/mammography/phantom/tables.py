"""The four case tables with the headers, line ends and file numbers of CBIS-DDSM."""

import csv
from io import StringIO
from typing import Any

import pandas as pd

from miram.mammography.phantom.config import KINDS, Kind
from miram.mammography.phantom.places import PREFIX, lesion_places

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
