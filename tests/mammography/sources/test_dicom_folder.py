"""Any folder of mammography DICOMs."""

import os

import numpy as np
import pytest
from dicom_files import write_dicom
from project_paths import SHARED_DATA
from pydicom.dataset import Dataset

from miram.errors import MiramError
from miram.mammography.sources import make_source
from miram.mammography.sources.dicom_folder import view_and_laterality_of_name

AWKWARD = SHARED_DATA / "dicom_awkward"
FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"


def mammogram(path, uid="1.2.3.4", **tags):
    """Write a small mammogram; a tag given as None is left out."""
    values = {
        "SOPClassUID": FOR_PRESENTATION,
        "SOPInstanceUID": uid,
        "StudyInstanceUID": "1.2.9.1",
        "SeriesInstanceUID": "1.2.9.2",
        "PatientID": "anna",
        "ViewPosition": "MLO",
        "ImageLaterality": "L",
    }
    return write_dicom(path, bits=12, **{**values, **tags})


def ingest(root, **options):
    return make_source("dicom_folder", options).ingest(root)


def codes(ingested):
    return dict(zip(ingested.audit["file"], ingested.audit["code"], strict=True))


def test_every_mammogram_at_any_depth_is_one_row_without_a_lesion(tmp_path):
    mammogram(tmp_path / "a.dcm", "1.2.1")
    mammogram(tmp_path / "x/y/z/no_suffix", "1.2.2", PatientID="berta")
    mammogram(tmp_path / "x/IM.7", "1.2.3", ViewPosition="CC", ImageLaterality="R")
    lesions = ingest(tmp_path).lesions.set_index("image_id")
    assert sorted(lesions.index) == ["1.2.1", "1.2.2", "1.2.3"]
    assert (lesions["lesion_id"] == lesions.index).all()
    assert all(masks == [] for masks in lesions["mask_paths"])
    assert lesions["pathology"].isna().all() and lesions["box_x0"].isna().all()
    row = lesions.loc["1.2.3"]
    assert (row["view"], row["laterality"], row["patient_id"]) == ("CC", "RIGHT", "anna")
    assert (row["image_rows"], row["image_columns"], row["source_bits"]) == (12, 10, 12)
    assert row["image_path"] == "x/IM.7"
    assert (lesions["presentation_intent"] == "FOR PRESENTATION").all()


@pytest.mark.parametrize("broken", ["a.dcm", "b.dcm", "c.dcm"])
def test_of_copies_the_first_whole_one_is_taken(tmp_path, broken):
    for name in ("a.dcm", "b.dcm", "c.dcm"):
        path = mammogram(tmp_path / name, "1.2.1")
    (tmp_path / broken).write_bytes(path.read_bytes()[:-40])
    ingested = ingest(tmp_path)
    taken, other = sorted({"a.dcm", "b.dcm", "c.dcm"} - {broken})
    assert list(ingested.lesions["image_path"]) == [taken]
    assert codes(ingested) == {broken: "truncated", other: "duplicate"}
    details = ingested.audit.set_index("file")["detail"]
    assert details[other].endswith(f"as {taken}")


def test_one_uid_on_two_images_costs_neither_and_names_both(tmp_path):
    for place, name in enumerate(["a.dcm", "b.dcm", "c.dcm"]):
        pixels = np.full((12, 10), place % 2, np.uint16)
        mammogram(tmp_path / name, "1.2.1", pixels=pixels, PatientID=name)
    ingested = ingest(tmp_path)
    lesions = ingested.lesions
    assert list(lesions["image_path"]) == ["a.dcm", "b.dcm"]
    assert list(lesions["image_id"]) == ["1.2.1", "b.dcm"]
    assert list(lesions["patient_id"]) == ["a.dcm", "b.dcm"]
    named = ingested.audit.query("code == 'uid_twice'").iloc[0]
    assert (named["file"], named["action"]) == ("b.dcm", "kept") and "a.dcm" in named["detail"]
    assert codes(ingested)["c.dcm"] == "duplicate"


def test_a_file_without_preamble_and_suffix_is_taken(tmp_path):
    content = mammogram(tmp_path / "whole.dcm", "1.3.7").read_bytes()
    meta = 144 + int.from_bytes(content[140:144], "little")
    (tmp_path / "whole.dcm").unlink()
    (tmp_path / "IM_0001").write_bytes(content[meta:])
    (tmp_path / "IM_0002").write_bytes(content[132:].replace(b"1.3.7", b"1.3.8"))
    ingested = ingest(tmp_path)
    assert list(ingested.lesions["image_path"]) == ["IM_0001", "IM_0002"]
    assert ingested.audit.empty


def view_code(value, modifier=None):
    item = Dataset()
    item.CodeValue = value
    if modifier:
        item.ViewModifierCodeSequence = [view_code(modifier)]
    return item


EXTRAORDINARY = pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({"SOPClassUID": TOMOSYNTHESIS, "NumberOfFrames": 1}, "tomosynthesis"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.4"}, "tomosynthesis"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "tomosynthesis"),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMO_PROJ"]}, "tomosynthesis"),
        ({"ImageType": ["DERIVED", "PRIMARY", "", "GENERATED_2D"]}, "tomosynthesis"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "STEREO_MINUS"]}, "stereo"),
        ({"ViewCodeSequence": [view_code("G-8310")]}, "specimen"),
        ({"ViewCodeSequence": [view_code("R-10242", "R-102D6")]}, "magnification"),
        ({"ViewCodeSequence": [view_code("399162004", "399055006")]}, "magnification"),
        ({"EstimatedRadiographicMagnificationFactor": "1.8"}, "magnification"),
        (
            {"SOPClassUID": SECONDARY_CAPTURE, "ImageType": ["DERIVED", "SECONDARY"]},
            "secondary_capture",
        ),
        ({"SOPClassUID": SECONDARY_CAPTURE, "SeriesDescription": "R2 CAD"}, "secondary_capture"),
    ],
)


@EXTRAORDINARY
def test_what_is_no_ordinary_mammogram_is_left_out_unless_its_kind_is_asked_for(
    tmp_path, tags, kind
):
    mammogram(tmp_path / "good.dcm", "1.2.1", EstimatedRadiographicMagnificationFactor="1.07")
    mammogram(tmp_path / "other.dcm", "1.2.2", **tags)
    ingested = ingest(tmp_path)
    assert list(ingested.lesions["image_path"]) == ["good.dcm"]
    assert codes(ingested) == {"other.dcm": kind}
    assert f"special: [{kind}]" in ingested.audit["detail"].iloc[0]
    assert len(ingest(tmp_path, special=[kind]).lesions) == 2


@EXTRAORDINARY
def test_a_table_that_names_such_images_has_to_ask_for_them_too(tmp_path, tags, kind):
    mammogram(tmp_path / "good.dcm", "1.2.1", Modality="CR")  # the table says that it is one
    mammogram(tmp_path / "other.dcm", "1.2.2", **tags)
    (tmp_path / "images.csv").write_text("patient_id,image_path\np,good.dcm\nq,other.dcm\n")
    ingested = make_source("image_table", {}).ingest(tmp_path)
    assert list(ingested.lesions["image_path"]) == ["good.dcm"]
    assert codes(ingested) == {"other.dcm": kind}
    taken = f"take it with sources.image_table.special: [{kind}]"
    assert ingested.audit["detail"].iloc[0].endswith(taken)
    assert len(make_source("image_table", {"special": [kind]}).ingest(tmp_path).lesions) == 2


def test_a_table_may_name_films_that_were_converted_afterwards(tmp_path):
    types = ["DERIVED", "SECONDARY"]
    for number, modality in enumerate(("CR", "OT", None)):
        about = {"Modality": modality, "ImageType": types, "SOPClassUID": SECONDARY_CAPTURE}
        mammogram(tmp_path / f"{number}.dcm", f"1.2.{number}", **about)
    rows = "".join(f"p{number},{number}.dcm\n" for number in range(3))
    (tmp_path / "images.csv").write_text(f"patient_id,image_path\n{rows}")
    assert len(make_source("image_table", {}).ingest(tmp_path).lesions) == 3


def test_a_table_has_to_ask_for_raw_images_too(tmp_path):
    mammogram(tmp_path / "good.dcm", "1.2.1")
    mammogram(tmp_path / "raw.dcm", "1.2.2", PresentationIntentType="FOR PROCESSING")
    (tmp_path / "images.csv").write_text("patient_id,image_path\np,good.dcm\nq,raw.dcm\n")
    assert codes(make_source("image_table", {}).ingest(tmp_path)) == {"raw.dcm": "for_processing"}
    asked = make_source("image_table", {"for_processing": True})
    assert len(asked.ingest(tmp_path).lesions) == 2


def test_a_digitized_film_and_a_displaced_implant_are_ordinary(tmp_path):
    mammogram(tmp_path / "a.dcm", "1.2.1", SOPClassUID=SECONDARY_CAPTURE)
    displaced = [view_code("R-10242", "R-102D5")]
    mammogram(tmp_path / "b.dcm", "1.2.2", ViewPosition=None, ViewCodeSequence=displaced)
    assert list(ingest(tmp_path).lesions["view"]) == ["MLO", "CC"]


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"Modality": "SR", "Rows": None, "Columns": None}, "other_modality"),
        ({"Modality": "CT"}, "other_modality"),
        ({"Modality": None}, "other_modality"),
        ({"Rows": None}, "no_pixel_data"),
        ({"SOPClassUID": TOMOSYNTHESIS, "NumberOfFrames": 60}, "multi_frame"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "color"),
        ({"BitsAllocated": 32}, "unsupported_depth"),
        ({"SOPClassUID": FOR_PROCESSING}, "for_processing"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "for_processing"),
        (
            {"SOPClassUID": SECONDARY_CAPTURE, "PresentationIntentType": "FOR PROCESSING"},
            "for_processing",
        ),
        ({"SeriesDescription": "cropped images"}, "mask_or_crop"),
        ({"SeriesDescription": "ROI mask images", "BitsAllocated": 8}, "mask_or_crop"),
        ({"PatientID": "Mass-Training_P_00001_LEFT_CC_1"}, "mask_or_crop"),
        ({"PatientID": "Calc-Test_P_00038_LEFT_CC_2", "BitsAllocated": 8}, "mask_or_crop"),
        ({"PatientID": None, "StudyInstanceUID": None}, "no_patient"),
    ],
)
def test_what_is_no_single_mammogram_becomes_an_audit_row(tmp_path, tags, code):
    mammogram(tmp_path / "good.dcm", "1.2.1")
    mammogram(tmp_path / "other.dcm", "1.2.2", **tags)
    ingested = ingest(tmp_path)
    assert list(ingested.lesions["image_path"]) == ["good.dcm"]
    assert codes(ingested) == {"other.dcm": code}
    assert set(ingested.audit["action"]) == {"left out"}


def test_every_file_that_is_not_taken_has_an_audit_row(tmp_path):
    mammogram(tmp_path / "good.dcm")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "text.dcm").write_text("not at all DICOM, but long enough to be looked at" * 9)
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    for name in ("b.zip", "c.tgz", "d.rar"):
        (tmp_path / name).write_bytes(b"PK")
    for name in ("notes.txt", "e.nii", "f.mha", "g.bmp", "h.nrrd", "nothing"):
        (tmp_path / name).write_text("hello")
    (tmp_path / ".hidden.dcm").write_bytes(b"x")
    assert codes(ingest(tmp_path)) == {
        "a.png": "picture",
        **dict.fromkeys(["b.zip", "c.tgz", "d.rar"], "archive"),
        **dict.fromkeys(["e.nii", "f.mha", "g.bmp", "h.nrrd", "nothing"], "other_file"),
        "notes.txt": "other_file",
        "empty.dcm": "empty",
        "text.dcm": "not_dicom",
    }


def test_raw_images_come_in_when_asked_for_and_stay_recognizable(tmp_path):
    mammogram(tmp_path / "a.dcm", "1.2.1")
    mammogram(tmp_path / "b.dcm", "1.2.2", SOPClassUID=FOR_PROCESSING)
    lesions = ingest(tmp_path, for_processing=True).lesions
    assert list(lesions["presentation_intent"]) == ["FOR PRESENTATION", "FOR PROCESSING"]


def test_of_cbis_ddsm_the_full_mammograms_are_taken_and_nothing_else(tiny_phantom):
    known = make_source("cbis_ddsm").ingest(tiny_phantom).lesions
    ingested = ingest(tiny_phantom, patient_pattern=r"P_\d{5}")
    assert set(ingested.lesions["image_path"]) == set(known["image_path"])
    left = ingested.audit.query("code == 'mask_or_crop'")
    assert set(known["mask_paths"].explode()) < set(left["file"])
    assert left["detail"].str.contains("source=cbis_ddsm").all()


def test_eight_bits_alone_make_no_mask(tmp_path):
    mammogram(tmp_path / "a.dcm", BitsAllocated=8, BitsStored=8, HighBit=7)
    assert len(ingest(tmp_path).lesions) == 1


def test_view_and_side_come_from_the_name_where_the_tags_are_silent(tmp_path):
    silent = {"ViewPosition": None, "ImageLaterality": None}
    mammogram(tmp_path / "P1_RIGHT_CC.dcm", "1.2.1", **silent)
    mammogram(tmp_path / "P1_R_ML.dcm", "1.2.2", ImageLaterality=None)  # the view's tag speaks
    mammogram(tmp_path / "IM0001.dcm", "1.2.3", **silent)
    mammogram(tmp_path / "IM0002.dcm", "1.2.4", **silent, SeriesDescription="L CC")
    ingested = ingest(tmp_path)
    lesions = ingested.lesions.set_index("image_id")
    assert (lesions.loc["1.2.1", "view"], lesions.loc["1.2.1", "laterality"]) == ("CC", "RIGHT")
    assert (lesions.loc["1.2.2", "view"], lesions.loc["1.2.2", "laterality"]) == ("MLO", "RIGHT")
    assert lesions.loc["1.2.3", ["view", "laterality"]].isna().all()
    assert list(lesions.loc["1.2.4", ["view", "laterality"]]) == ["CC", "LEFT"]
    assert lesions.loc["1.2.1", "repairs"] == ["read_from_name"]
    assert lesions.loc["1.2.3", "repairs"] == []
    assert (ingested.audit["code"] == "read_from_name").sum() == 3


@pytest.mark.parametrize(
    ("stem", "view", "side"),
    [
        ("Mass-Test_P_00145_LEFT_CC_1", "CC", "LEFT"),
        ("20586908_6c613a14b80a8591_MG_R_ML_ANON", "ML", "RIGHT"),
        ("case7-lmlo", "MLO", "LEFT"),
        ("P2_L_DM_CC", "CC", "LEFT"),
        ("RCC and LCC", "CC", None),
        ("LM", "LM", None),
        ("accession", None, None),
    ],
)
def test_names_as_data_sets_write_them(stem, view, side):
    assert view_and_laterality_of_name(stem) == (view, side)


def test_patients_without_a_patient_id_are_distinguished_by_their_study(tmp_path):
    mammogram(tmp_path / "a.dcm", "1.2.1", PatientID="", StudyInstanceUID="1.5.1")
    mammogram(tmp_path / "b.dcm", "1.2.2", PatientID="", StudyInstanceUID="1.5.1")
    ingested = ingest(tmp_path)
    assert list(ingested.lesions["patient_id"]) == ["1.5.1", "1.5.1"]
    assert set(ingested.audit["code"]) == {"patient_from_study"}


def test_a_pattern_finds_the_patient_within_the_patient_id(tmp_path):
    mammogram(tmp_path / "a.dcm", "1.2.1", PatientID="Mass-Test_P_00016_LEFT_CC")
    mammogram(tmp_path / "b.dcm", "1.2.2", PatientID="Calc-Training_P_00016_RIGHT_MLO")
    mammogram(tmp_path / "c.dcm", "1.2.3", PatientID="phantom")
    ingested = ingest(tmp_path, patient_pattern=r"P_\d{5}")
    assert list(ingested.lesions["patient_id"]) == ["P_00016", "P_00016"]
    assert codes(ingested) == {"c.dcm": "no_patient"}


def test_links_to_folders_are_followed_and_circles_end(tmp_path):
    mammogram(tmp_path / "elsewhere/a.dcm")
    root = tmp_path / "root"
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "circle").symlink_to(root)
    assert list(ingest(root).lesions["image_path"]) == ["linked/a.dcm"]


def test_a_folder_without_mammograms_says_what_was_found(tmp_path):
    mammogram(tmp_path / "a.dcm", Modality="CT")
    with pytest.raises(MiramError, match=r"1 files are left out \(other_modality\).*MG"):
        ingest(tmp_path)
    with pytest.raises(MiramError, match="no folder"):
        ingest(tmp_path / "nowhere")


def test_unknown_options_are_refused_with_the_known_ones():
    with pytest.raises(
        MiramError, match=r"sources\.dicom_folder: .*modality; did you mean modalities"
    ):
        make_source("dicom_folder", {"modality": ["CR"]})
    with pytest.raises(MiramError, match="not a regular expression"):
        make_source("dicom_folder", {"patient_pattern": "("})


@pytest.mark.skipif(not AWKWARD.is_dir(), reason="no shared/data/dicom_awkward here")
def test_real_awkward_files_give_their_six_radiographs_and_a_reason_for_each_other():
    ingested = ingest(AWKWARD, modalities=["CR", "RG"])
    names = [f"RG3_{kind}.dcm" for kind in ("J2KR", "JLSL", "JPLL", "RLE")]
    assert sorted(ingested.lesions["image_path"]) == ["MG1_J2KI.dcm", "MG1_JPLY.dcm", *names]
    assert len(ingested.audit.query("file != 'INDEX.csv'")) == 28 - 6
    film = ingested.lesions[ingested.lesions["image_path"] == "MG1_J2KI.dcm"].iloc[0]
    assert (film["view"], film["laterality"], film["source_bits"]) == ("MLO", "LEFT", 12)


def test_a_pipe_and_a_name_of_other_bytes_are_named_and_left_out(tmp_path):
    mammogram(tmp_path / "a.dcm", "1.2.1")
    mammogram(tmp_path / os.fsdecode(b"caf\xe9.dcm"), "1.2.2")
    os.mkfifo(tmp_path / "pipe.dcm")
    os.mkfifo(tmp_path / "pipe")
    found = ingest(tmp_path)
    assert list(found.lesions["image_path"]) == ["a.dcm"]
    assert codes(found) == {
        r"caf\udce9.dcm": "name_not_utf8",
        "pipe": "unreadable",
        "pipe.dcm": "unreadable",
    }
    found.audit.to_csv(tmp_path / "audit.csv")
