"""Headers: the fields that sorting files needs, size and depth, and why a file has none."""

import gzip

import numpy as np
import pytest
from dicom_files import dicom
from PIL import Image
from pydantic import ValidationError
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from miram.mammography.decoding.errors import DecodingError
from miram.mammography.decoding.guards import LARGEST_FILE
from miram.mammography.decoding.headers import image_facts, read_header
from miram.mammography.decoding.read import DecodingConfig


def cbis_like(**values):
    fields = {
        "SOPInstanceUID": "1.3.6.1.1",
        "SeriesInstanceUID": "1.3.6.1.2",
        "StudyInstanceUID": "1.3.6.1.3",
        "SeriesDescription": "cropped images",
        "PatientID": "Mass-Test_P_00016_LEFT_CC_1",
        "PatientOrientation": "CC",
        "Laterality": "L",
    }
    return dicom(np.zeros((8, 4), np.uint16), **{**fields, **values})


def test_all_fields_are_read(saved):
    header = read_header(saved(cbis_like()))
    assert (header.rows, header.columns, header.frames, header.samples) == (8, 4, 1, 1)
    assert (header.bits_allocated, header.bits_stored) == (16, 16)
    assert (header.study_uid, header.series_uid) == ("1.3.6.1.3", "1.3.6.1.2")
    assert (header.sop_instance_uid, header.modality) == ("1.3.6.1.1", "MG")
    assert header.series_description == "cropped images"
    assert header.patient_id == "Mass-Test_P_00016_LEFT_CC_1"
    assert (header.view, header.laterality) == ("CC", "L")
    assert header.transfer_syntax == ExplicitVRLittleEndian


@pytest.mark.parametrize(
    ("tag", "sop_class", "intent"),
    [
        (" FOR PROCESSING", "1.2.840.10008.5.1.4.1.1.7", "FOR PROCESSING"),
        ("FOR PROCESSING", "1.2.840.10008.5.1.4.1.1.1.2", "FOR PROCESSING"),
        ("", "1.2.840.10008.5.1.4.1.1.1.2.1", "FOR PROCESSING"),
        ("", "1.2.840.10008.5.1.4.1.1.1.2", "FOR PRESENTATION"),
        ("", "1.2.840.10008.5.1.4.1.1.7", ""),
    ],
)
def test_the_intent_is_that_of_the_tag_else_of_the_class(saved, tag, sop_class, intent):
    path = saved(cbis_like(PresentationIntentType=tag, SOPClassUID=sop_class))
    assert read_header(path).presentation_intent == intent


def test_what_is_absent_or_blank_is_empty(saved):
    dataset = cbis_like(SeriesDescription="", Laterality=None)
    del dataset.PatientOrientation
    header = read_header(saved(dataset))
    assert (header.series_description, header.laterality, header.view) == ("", "", "")


def test_the_pixels_need_not_be_there(saved):
    path = saved(cbis_like())
    whole = read_header(path)
    path.write_bytes(path.read_bytes()[:-40])
    assert read_header(path) == whole


def test_a_malformed_number_gives_a_reason(saved):
    path = saved(cbis_like(NumberOfFrames=12))
    path.write_bytes(path.read_bytes().replace(b"IS\x02\x0012", b"IS\x02\x00x2"))
    with pytest.raises(DecodingError) as caught:
        read_header(path)
    assert caught.value.code == "unreadable"


def view_code(value):
    item = Dataset()
    item.CodeValue = value
    return item


@pytest.mark.parametrize(
    ("values", "view"),
    [
        ({"ViewPosition": "MLO"}, "MLO"),
        ({"ViewPosition": "CCID"}, "CC"),
        ({"ViewPosition": "CC ID"}, "CC"),
        ({"ViewPosition": "AT"}, "AT"),
        ({"ViewCodeSequence": [view_code("R-10226")]}, "MLO"),
        ({"ViewCodeSequence": [view_code("1"), view_code("399192008")]}, "XCCL"),
        ({}, "CC"),
        ({"PatientOrientation": ["A", "F"]}, ""),
    ],
)
def test_the_view_is_found_wherever_a_vendor_puts_it(saved, values, view):
    assert read_header(saved(cbis_like(**values))).view == view


def save_npy(path):
    np.save(path, np.zeros((40, 30), np.uint16))


def save_bmp(path):
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(path)


def save_text(path):
    path.write_text("no image at all, but long enough to be looked at " * 9)


def save_nifti(path):
    path.write_bytes(bytes(344) + b"n+1\0" + bytes(100))


def save_nrrd(path):
    path.write_bytes(b"NRRD0004\n# Complete NRRD file format")


@pytest.mark.parametrize(
    ("name", "save", "words"),
    [
        ("a.npy", save_npy, "a NumPy array: convert it to"),
        ("a.bmp", save_bmp, r"a bitmap \(BMP\): convert it to"),
        ("a.nii", save_nifti, "a NIfTI volume: convert it to"),
        ("a.nrrd", save_nrrd, "an NRRD volume: convert it to"),
        ("a.nii.gz", lambda path: path.write_bytes(gzip.compress(b"x")), "packed with gzip"),
        ("a.dcm", save_text, r"neither DICOM nor a picture \(JPEG, .* it is damaged"),
    ],
)
def test_a_file_of_another_format_is_refused_with_its_name(tmp_path, name, save, words):
    save(tmp_path / name)
    with pytest.raises(DecodingError, match=words) as caught:
        image_facts(tmp_path / name)
    assert caught.value.code == "not_dicom"


def test_a_damaged_dicom_file_keeps_its_own_fault(tmp_path):
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + b"junk" * 50)
    with pytest.raises(DecodingError) as caught:
        image_facts(tmp_path / "a.dcm")
    assert "neither DICOM nor" not in caught.value.detail


def test_a_limit_above_what_headers_are_read_of_is_refused():
    assert DecodingConfig(max_bytes=LARGEST_FILE).max_bytes == LARGEST_FILE
    with pytest.raises(ValidationError, match="less than or equal"):
        DecodingConfig(max_bytes=LARGEST_FILE + 1)
