"""DICOM files with the tags of CBIS-DDSM, the same bytes for the same pixels."""

from io import BytesIO

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from miram.mammography.phantom.places import FilePlace

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
