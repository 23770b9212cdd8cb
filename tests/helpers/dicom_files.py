"""Small DICOM files, written for tests that need some attribute or fault of their own."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def dicom(pixels=None, bits=None, **values):
    """Make a data set of one mammogram.

    Args:
        pixels: (H, W) or (frames, H, W) integers; a few empty ones where not given.
        bits: BitsStored; all of the word where not given.
        **values: Further attributes or other values by keyword; None leaves one out.
    """
    pixels = np.zeros((12, 10), np.uint16) if pixels is None else np.asarray(pixels)
    word = 8 * pixels.dtype.itemsize
    fields = {
        "SOPClassUID": SECONDARY_CAPTURE,
        "SOPInstanceUID": "1.3.6.1.1",
        "Modality": "MG",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "NumberOfFrames": len(pixels) if pixels.ndim == 3 else None,
        "BitsAllocated": word,
        "BitsStored": bits or word,
        "HighBit": (bits or word) - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes(),
        **values,
    }
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in fields.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def write_dicom(path, pixels=None, bits=None, **values):
    """Write the data set of `dicom`; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dicom(pixels, bits, **values).save_as(path, enforce_file_format=True)
    return path
