"""All files of a phantom as a stream of paths and bytes, in the NBIA classic layout."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO, StringIO
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from miram.mammography.phantom.breast import Row
from miram.mammography.phantom.cases import draw_cases
from miram.mammography.phantom.config import KINDS, Kind, PhantomConfig
from miram.mammography.phantom.render import render_view
from miram.mammography.workers import local_workers

STUDY_DATE, CONTENT_DATE = "20160720", "20160426"
IMPLEMENTATION = generate_uid(entropy_srcs=["miram phantom implementation"])
PREFIX = {"mass": "Mass", "calcification": "Calc"}
SPLIT_NAME = {"train": "Training", "test": "Test"}
HEADERS = {
    "mass": ("breast_density", "mass shape", "mass margins"),
    "calcification": ("breast density", "calc type", "calc distribution"),
}
VIEWS_PER_WORKER = 8

File = tuple[str, bytes]


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


def phantom_files(config: PhantomConfig, workers: int = 1) -> Iterator[File]:
    """Make all files of a phantom: path relative to the raw root, with slashes, and content.

    The order and the bytes follow from the configuration alone, whatever the number of worker
    processes. The four tables come last, so that an interrupted write is visible. No more than a
    few views per worker are held in memory.
    """
    cases = draw_cases(config)
    rows: list[Row] = [{str(k): v for k, v in row.items()} for row in cases.to_dict("records")]
    views = [list(view) for _, view in groupby(rows, itemgetter("patient", "laterality", "view"))]
    if workers == 1:
        for view in views:
            yield from _view_files(view, config)
    else:
        # joblib renders on while the reader is busy: batches bound what it can pile up.
        batch = VIEWS_PER_WORKER * workers
        with local_workers(), Parallel(n_jobs=workers, return_as="generator") as parallel:
            for start in range(0, len(views), batch):
                tasks = (delayed(_view_files)(v, config) for v in views[start : start + batch])
                for files in parallel(tasks):
                    yield from files
    yield from case_tables(cases, config.seed)


def _view_files(rows: list[Row], config: PhantomConfig) -> list[File]:
    """Render one view and encode its image, once per kind of abnormality, crops and masks."""
    first = rows[0]
    breast = int(first["laterality"] == "RIGHT"), int(first["view"] == "MLO")
    rendered = render_view(rows, config.image_size, [config.seed, 1, first["patient"], *breast])
    files: dict[str, bytes] = {}
    for row, mask, crop in zip(rows, rendered.masks, rendered.crops, strict=True):
        places = lesion_places(row, config.seed)
        for pixels, place, description, blank in (
            (rendered.image, places.image, "full mammogram images", row["blank_image"]),
            (crop, places.crop, "cropped images", row["blank_crop"]),
            (mask, places.mask, "ROI mask images", row["blank_mask"]),
        ):
            path = f"CBIS-DDSM/{place.path}"
            if path not in files:  # lesions of one kind share their full image
                files[path] = dicom_bytes(pixels, place, "" if blank else description)
    return list(files.items())


def lesion_places(row: dict[Any, Any], seed: int) -> LesionPlaces:
    """Give the places of the three files of a row of `draw_cases`, and what the table says.

    Masses file the crop as 000000.dcm and the mask as 000001.dcm, calcifications the other way
    round. In a row with `swapped_files` the files are exchanged and the table does not know;
    with `separate_series` both are 000000.dcm in a series and study of their own.
    """
    kind, split = row["kind"], row["split"]
    view = f"{row['patient_id']}_{row['laterality']}_{row['view']}"
    image_folder = f"{PREFIX[kind]}-{SPLIT_NAME[split]}_{view}"
    folder = f"{image_folder}_{row['number']}"

    def place(owner: str, role: str, series: str, name: str) -> FilePlace:
        study, its_series, instance = (
            str(generate_uid(entropy_srcs=["miram phantom", str(seed), owner, *words]))
            for words in (("study", series), ("series", series), ("instance", role))
        )
        return FilePlace(owner, study, its_series, instance, name)

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


def case_tables(cases: pd.DataFrame, seed: int) -> list[tuple[str, bytes]]:
    """Write the four tables of a phantom: path under the raw root and content of each.

    Lines end with CRLF, and one path cell of each row ends with a quoted LF: the mask's in the
    mass tables, the crop's in the calcification tables.
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
    written = ["patient_id", "density_written", "laterality", "view", "number", "kind"]
    written += ["first_written", "second_written", "assessment", "pathology", "subtlety_written"]
    for row in rows:
        places = lesion_places(row, seed)
        crop, mask = places.crop_cell, places.mask_cell
        crop, mask = (crop, mask + "\n") if kind == "mass" else (crop + "\n", mask)
        writer.writerow([*(row[name] for name in written), places.image.path, crop, mask])
    return text.getvalue().encode("ascii")


def dicom_bytes(pixels: np.ndarray, place: FilePlace, description: str) -> bytes:
    """Encode an (H, W) uint16 image or crop, or a uint8 mask, the way CBIS-DDSM files are made.

    A Secondary Capture object without window, pixel spacing and ViewPosition, explicit VR little
    endian (DICOM PS3.3 A.8.1, PS3.10 7). The name of its folder is also patient id and name.
    """
    laterality, view = place.folder.split("_")[3:5]  # Mass-Test_P_00016_LEFT_CC_1
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = UID(place.instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION
    meta.ImplementationVersionName = "MIRAM_PHANTOM"
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SpecificCharacterSet = "ISO_IR 100"
    data.SOPClassUID = SecondaryCaptureImageStorage
    data.SOPInstanceUID = place.instance
    data.StudyDate, data.ContentDate = STUDY_DATE, CONTENT_DATE
    data.StudyTime, data.ContentTime = "214951", "131732.685000"
    data.AccessionNumber = ""
    data.Modality = "MG"
    data.ConversionType = "WSD"
    data.ReferringPhysicianName = ""
    data.SecondaryCaptureDeviceManufacturer = "miram"
    data.SecondaryCaptureDeviceManufacturerModelName = "phantom"
    data.SeriesDescription = description
    data.PatientName = data.PatientID = place.folder
    data.PatientBirthDate = data.PatientSex = ""
    data.BodyPartExamined = "BREAST"
    data.StudyInstanceUID, data.SeriesInstanceUID = place.study, place.series
    data.StudyID = "DDSM"
    data.SeriesNumber = data.InstanceNumber = 1
    data.PatientOrientation = view
    data.Laterality = laterality[0]
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = 0
    data.SmallestImagePixelValue = int(pixels.min())
    data.LargestImagePixelValue = int(pixels.max())
    content = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    data.PixelData = content + b"\0" * (len(content) % 2)
    data["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    file = BytesIO()
    dcmwrite(file, data, enforce_file_format=True)
    return file.getvalue()
