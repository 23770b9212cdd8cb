"""Where the files of a lesion lie in the NBIA classic layout, and their UIDs."""

from dataclasses import dataclass
from typing import Any

from pydicom.uid import generate_uid

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
