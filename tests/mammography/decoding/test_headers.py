"""The header scan reads the fields that sorting files needs, and nothing else."""

import numpy as np
import pytest
from dicom_files import dicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from miram.mammography.decoding.errors import DecodingError
from miram.mammography.decoding.headers import image_tags, read_header


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


def test_all_fields_are_read(tmp_path):
    cbis_like().save_as(tmp_path / "a.dcm", enforce_file_format=True)
    header = read_header(tmp_path / "a.dcm")
    assert (header.rows, header.columns, header.frames, header.samples) == (8, 4, 1, 1)
    assert (header.bits_allocated, header.bits_stored) == (16, 16)
    assert (header.study_uid, header.series_uid) == ("1.3.6.1.3", "1.3.6.1.2")
    assert (header.sop_instance_uid, header.modality) == ("1.3.6.1.1", "MG")
    assert header.series_description == "cropped images"
    assert header.patient_id == "Mass-Test_P_00016_LEFT_CC_1"
    assert (header.patient_orientation, header.view, header.laterality) == ("CC", "CC", "L")
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
def test_the_intent_is_that_of_the_tag_else_of_the_class(tmp_path, tag, sop_class, intent):
    dataset = cbis_like(PresentationIntentType=tag, SOPClassUID=sop_class)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert read_header(tmp_path / "a.dcm").presentation_intent == intent
    assert image_tags(dataset).presentation_intent == intent


def test_what_is_absent_or_blank_is_empty(tmp_path):
    dataset = cbis_like(SeriesDescription="", Laterality=None)
    del dataset.PatientOrientation
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    header = read_header(tmp_path / "a.dcm")
    assert (header.series_description, header.laterality, header.view) == ("", "", "")


def test_the_pixels_need_not_be_there(tmp_path):
    path = tmp_path / "a.dcm"
    cbis_like().save_as(path, enforce_file_format=True)
    whole = read_header(path)
    path.write_bytes(path.read_bytes()[:-40])
    assert read_header(path) == whole


def test_a_malformed_number_gives_a_reason(tmp_path):
    path = tmp_path / "a.dcm"
    cbis_like(NumberOfFrames=12).save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes().replace(b"IS\x02\x0012", b"IS\x02\x00x2"))
    with pytest.raises(DecodingError) as caught:
        read_header(path)
    assert caught.value.code == "unreadable"


def test_the_view_is_found_wherever_a_vendor_puts_it():
    assert image_tags(cbis_like(ViewPosition="MLO")).view == "MLO"
    code = Dataset()
    code.CodeValue = "R-10226"
    assert image_tags(cbis_like(ViewCodeSequence=[code])).view == "MLO"
    assert image_tags(cbis_like()).view == "CC"
    assert image_tags(cbis_like(PatientOrientation=["A", "F"])).view == ""


def test_the_presentation_intent_and_the_spacing_are_kept():
    tags = image_tags(
        cbis_like(
            PresentationIntentType="FOR PROCESSING",
            ImagerPixelSpacing=[0.07, 0.07],
            PixelSpacing=[0.065, 0.065],
            ImageLaterality="R",
            Manufacturer="A",
        )
    )
    assert tags.presentation_intent == "FOR PROCESSING"
    assert tags.pixel_spacing == (0.07, 0.07)
    assert (tags.laterality, tags.manufacturer) == ("R", "A")
