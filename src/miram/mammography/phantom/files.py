"""All files of a phantom as a stream of paths and bytes."""

from collections.abc import Iterator
from io import BytesIO
from itertools import groupby
from operator import itemgetter

import numpy as np
from joblib import Parallel, delayed
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from miram.mammography.phantom.cases import draw_cases
from miram.mammography.phantom.config import PhantomConfig
from miram.mammography.phantom.layout import FilePlace, case_tables, lesion_places
from miram.mammography.phantom.render import Row, render_view

STUDY_DATE, CONTENT_DATE = "20160720", "20160426"
IMPLEMENTATION = generate_uid(entropy_srcs=["miram phantom implementation"])


def dicom_bytes(pixels: np.ndarray, place: FilePlace, description: str) -> bytes:
    """Encode an image the way CBIS-DDSM files are made.

    A Secondary Capture object of modality MG with neither window, pixel spacing nor
    ViewPosition, explicit VR little endian, uncompressed (DICOM PS3.3 A.8.1, PS3.10 7).

    Args:
        pixels: Shape (H, W), uint16 for images and crops, uint8 for masks.
        place: Folder and UIDs; the folder's name is also patient id and name.
        description: SeriesDescription, which may be blank.

    Returns:
        The content of a DICOM file.
    """
    side, view = place.folder.split("_")[3:5]  # Mass-Test_P_00016_LEFT_CC_1
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
    data.Laterality = side[0]
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


VIEWS_PER_WORKER = 8

File = tuple[str, bytes]


def phantom_files(config: PhantomConfig, workers: int = 1) -> Iterator[File]:
    """Make all files of a phantom in the NBIA classic layout.

    The order and the bytes follow from the configuration alone, whatever the number of
    workers. The four tables come last, so that an interrupted write is visible. Nothing is
    written to disk, and no more than a few views per worker are held in memory.

    Args:
        config: Size, seed, noise and rates.
        workers: Number of processes.

    Yields:
        Path relative to the raw root, with forward slashes, and content.
    """
    cases = draw_cases(config)
    rows: list[Row] = [{str(k): v for k, v in row.items()} for row in cases.to_dict("records")]
    views = [list(view) for _, view in groupby(rows, itemgetter("patient", "side", "view"))]
    if workers == 1:
        for view in views:
            yield from _view_files(view, config)
    else:
        # joblib renders on while the reader is busy: batches bound what it can pile up.
        batch = VIEWS_PER_WORKER * workers
        with Parallel(n_jobs=workers, return_as="generator") as parallel:
            for start in range(0, len(views), batch):
                tasks = (delayed(_view_files)(v, config) for v in views[start : start + batch])
                for files in parallel(tasks):
                    yield from files
    yield from case_tables(cases, config.seed)


def _view_files(rows: list[Row], config: PhantomConfig) -> list[File]:
    """Render one view and encode its image, once per kind of abnormality, crops and masks."""
    first = rows[0]
    side, view = int(first["side"] == "RIGHT"), int(first["view"] == "MLO")
    rendered = render_view(rows, config.image_size, [config.seed, 1, first["patient"], side, view])
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
