"""Full image, crop and mask are told apart by what they are; every repair is noted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_dicom
from PIL import Image

from miram.mammography.sources.cbis_ddsm.file_roles import (
    FileResolver,
    FileRole,
    ImageFile,
    is_two_valued,
    role_of,
    shaped_alike,
)
from miram.mammography.sources.cbis_ddsm.layouts import index_series

IMAGE, CROP, MASK = (f"1.3.6.1.4.1.9590.{n}" for n in (1, 2, 3))
FULL_NAME = "Mass-Test_P_00016_LEFT_CC"
LESION_NAME = f"{FULL_NAME}_1"


def grey(rows, columns):
    return np.linspace(40, 215, rows * columns).reshape(rows, columns).astype(np.uint8)


def black_and_white(rows, columns):
    mask = np.zeros((rows, columns), np.uint8)
    mask[rows // 3 : rows // 2, columns // 3 : columns // 2] = 255
    return mask


FULL = grey(300, 200)
PIXELS = {
    FileRole.FULL: FULL,
    FileRole.CROP: grey(40, 30),
    FileRole.MASK: black_and_white(300, 200),
}


def jpeg(root, series, name, role, pixels=None):
    path = root / series / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS[role] if pixels is None else pixels).save(path)
    return path


def dicom(root, series, name, role, **values):
    pixels = PIXELS[role] if role == FileRole.MASK else PIXELS[role].astype(np.uint16) * 257
    fields = {
        "SOPInstanceUID": f"{series}.{len(name)}",
        "SeriesInstanceUID": series,
        "SeriesDescription": "",
        "PatientID": FULL_NAME if role == FileRole.FULL else LESION_NAME,
    }
    return write_dicom(root / series / name, pixels, **{**fields, **values})


def resolve(root, image=IMAGE, crop=CROP, mask=MASK):
    """Resolve a lesion; image and masks by their paths."""
    files = FileResolver(index_series(root)).resolve(image, crop, mask)
    full = files.full and files.full.path
    return replace(files, full=full, masks=tuple(mask.path for mask in files.masks))


def codes(files):
    return [code for code, _ in files.notes]


@pytest.fixture(params=[jpeg, dicom], ids=["jpeg", "dicom"])
def make(request, tmp_path):
    suffix = ".jpg" if request.param is jpeg else ".dcm"
    return lambda series, name, role: request.param(tmp_path, series, name + suffix, role)


@pytest.mark.parametrize(
    ("crop_at", "mask_at", "mask_column", "notes"),
    [
        ((CROP, "a"), (MASK, "a"), MASK, []),
        ((CROP, "1-1"), (CROP, "2-2"), CROP, []),
        ((CROP, "2-2"), (CROP, "1-1"), CROP, []),
        ((MASK, "a"), (CROP, "a"), MASK, ["swapped_columns"]),
        ((CROP, "a"), (CROP, "b"), MASK, ["mask_in_crop_series"]),
    ],
)
def test_crop_and_mask_are_distinguished_wherever_they_are_and_repairs_are_noted(
    tmp_path, make, crop_at, mask_at, mask_column, notes
):
    full = make(IMAGE, "1-9", FileRole.FULL)
    crop, mask = make(*crop_at, FileRole.CROP), make(*mask_at, FileRole.MASK)
    files = resolve(tmp_path, mask=mask_column)
    assert (files.full, files.crop, files.masks) == (full, crop, (mask,))
    assert codes(files) == notes


def test_a_full_image_in_the_series_of_the_mask_column_is_found_and_noted(tmp_path):
    crop = dicom(tmp_path, CROP, "a.dcm", FileRole.CROP)
    mask = dicom(tmp_path, IMAGE, "a.dcm", FileRole.MASK)
    full = dicom(tmp_path, MASK, "a.dcm", FileRole.FULL)
    files = resolve(tmp_path)
    assert (files.full, files.crop, files.masks) == (full, crop, (mask,))
    assert codes(files) == ["swapped_columns", "swapped_columns"]


def test_a_full_image_swapped_with_its_crop_is_found_by_content(tmp_path):
    crop = jpeg(tmp_path, IMAGE, "a.jpg", FileRole.CROP)
    full = jpeg(tmp_path, CROP, "a.jpg", FileRole.FULL)
    mask = jpeg(tmp_path, CROP, "b.jpg", FileRole.MASK)
    files = resolve(tmp_path, mask=CROP)
    assert (files.full, files.masks, files.crop) == (full, (mask,), crop)
    assert codes(files) == ["swapped_columns"]


def test_several_masks_are_all_given_those_of_the_mask_column_first(tmp_path, make):
    make(IMAGE, "a", FileRole.FULL)
    make(CROP, "a", FileRole.CROP)
    other = make(CROP, "b", FileRole.MASK)
    own = make(MASK, "z", FileRole.MASK)
    files = resolve(tmp_path)
    assert files.masks == (own, other)
    assert codes(files) == ["several_masks"]


def test_what_is_missing_is_noted_with_its_series(tmp_path, make):
    mask = make(MASK, "a", FileRole.MASK)
    files = resolve(tmp_path)
    assert (files.full, files.crop, files.masks) == (None, None, (mask,))
    assert codes(files) == ["image_missing", "crop_missing"]
    assert IMAGE in files.notes[0].detail
    nothing = resolve(tmp_path, mask="1.2.3.4.5")
    assert codes(nothing) == ["image_missing", "mask_missing", "crop_missing"]


def test_a_crop_alone_is_not_taken_for_a_mask(tmp_path, make):
    make(IMAGE, "a", FileRole.FULL)
    crop = make(CROP, "a", FileRole.CROP)
    files = resolve(tmp_path, mask=CROP)
    assert (files.crop, files.masks) == (crop, ())
    assert codes(files) == ["mask_missing"]


@pytest.mark.parametrize(
    ("crop_pixels", "mask_pixels", "notes"),
    [
        (None, black_and_white(round(300 / 1.149), round(200 / 1.149)), []),  # another scanner
        (grey(290, 195), None, ["role_doubtful"]),  # a crop as large as the image
        (None, black_and_white(100, 100), ["role_doubtful"]),
    ],
)
def test_pictures_of_odd_sizes_are_distinguished_by_content(
    tmp_path, crop_pixels, mask_pixels, notes
):
    jpeg(tmp_path, IMAGE, "a.jpg", FileRole.FULL)
    crop = jpeg(tmp_path, CROP, "a.jpg", FileRole.CROP, crop_pixels)
    mask = jpeg(tmp_path, CROP, "b.jpg", FileRole.MASK, mask_pixels)
    files = resolve(tmp_path, mask=CROP)
    assert (files.masks, files.crop) == ((mask,), crop)
    assert codes(files) == notes


def test_unreadable_files_are_noted_not_raised(tmp_path):
    jpeg(tmp_path, IMAGE, "a.jpg", FileRole.FULL)
    broken = jpeg(tmp_path, CROP, "a.jpg", FileRole.CROP)
    broken.write_bytes(b"\xff\xd8\xff" + bytes(60))
    (tmp_path / MASK).mkdir()
    (tmp_path / MASK / "a.dcm").write_bytes(b"x" * 200)
    files = resolve(tmp_path)
    assert codes(files) == ["unreadable", "unreadable", "mask_missing", "crop_missing"]


def test_dicom_images_with_picture_masks_are_noted(tmp_path):
    dicom(tmp_path, IMAGE, "a.dcm", FileRole.FULL)
    jpeg(tmp_path, MASK, "a.jpg", FileRole.MASK)
    assert "mixed_formats" in codes(resolve(tmp_path))


def test_the_largest_of_several_full_images_is_taken(tmp_path):
    jpeg(tmp_path, IMAGE, "a.jpg", FileRole.FULL, grey(150, 100))
    large = jpeg(tmp_path, IMAGE, "b.jpg", FileRole.FULL)
    jpeg(tmp_path, MASK, "a.jpg", FileRole.MASK)
    files = resolve(tmp_path)
    assert files.full == large
    assert codes(files)[0] == "several_images"


def copy_of(path, root, size=None):
    """Copy a file to another folder named by its series; perhaps only its first bytes."""
    copy = root / path.parent.name / path.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(path.read_bytes()[:size])
    return copy


@pytest.mark.parametrize("whole_first", [True, False])
@pytest.mark.parametrize("role", [FileRole.FULL, FileRole.MASK])
def test_of_two_copies_the_whole_one_is_taken_wherever_it_stands(tmp_path, make, role, whole_first):
    series = {FileRole.FULL: IMAGE, FileRole.MASK: MASK}
    made = {kind: make(uid, "a", kind) for kind, uid in series.items()}
    make(CROP, "a", FileRole.CROP)
    whole = made[role]
    copy = copy_of(whole, tmp_path / "zz")
    cut = copy if whole_first else whole
    made[role] = whole if whole_first else copy
    cut.write_bytes(cut.read_bytes()[:-40])
    files = resolve(tmp_path)
    assert (files.full, files.masks) == (made[FileRole.FULL], (made[FileRole.MASK],))
    assert codes(files) == ["differing_copies"]
    assert f"zz/{whole.parent.name}/{whole.name} (" in files.notes[0].detail


def test_the_larger_of_two_equally_large_images_is_taken_and_both_are_named_with_folder(tmp_path):
    values = {"SOPInstanceUID": "1.2.3.4"}
    first = dicom(tmp_path, IMAGE, "000000.dcm", FileRole.FULL)
    second = dicom(tmp_path / "zz", IMAGE, "000000.dcm", FileRole.FULL, **values)
    first.write_bytes(first.read_bytes()[:-200])
    dicom(tmp_path, MASK, "a.dcm", FileRole.MASK)
    dicom(tmp_path, CROP, "a.dcm", FileRole.CROP)
    files = resolve(tmp_path)
    assert files.full == second and codes(files) == ["several_images"]
    detail = files.notes[0].detail
    assert f"of zz/{IMAGE}/000000.dcm, {IMAGE}/000000.dcm is" in detail


def test_several_masks_of_one_series_stay_whether_side_by_side_or_copied(tmp_path):
    dicom(tmp_path, IMAGE, "a.dcm", FileRole.FULL)
    dicom(tmp_path, CROP, "a.dcm", FileRole.CROP)
    first = dicom(tmp_path, MASK, "a.dcm", FileRole.MASK)
    second = dicom(tmp_path, MASK, "bb.dcm", FileRole.MASK)
    copy_of(first, tmp_path / "zz", -30)
    copy_of(second, tmp_path / "zz", -30)
    files = resolve(tmp_path)
    assert files.masks == (first, second)
    assert codes(files) == ["differing_copies", "differing_copies", "several_masks"]


def test_a_file_that_several_lesions_share_is_read_once(tmp_path, make):
    full = make(IMAGE, "a", FileRole.FULL)
    make(MASK, "a", FileRole.MASK)
    resolver = FileResolver(index_series(tmp_path))
    first = resolver.resolve(IMAGE, CROP, MASK)
    full.unlink()
    assert resolver.resolve(IMAGE, CROP, MASK) == first


@pytest.mark.parametrize(
    ("bits", "description", "names", "role"),
    [
        (8, "", ["P_00562_LEFT_CC_2.dcm"], FileRole.MASK),
        (8, "cropped images", [LESION_NAME], FileRole.MASK),
        (16, "", [LESION_NAME], FileRole.CROP),
        (16, "", [FULL_NAME], FileRole.FULL),
        (16, "", ["patient 7", LESION_NAME, FULL_NAME], FileRole.CROP),
        (16, "full mammogram images", ["anonymous"], FileRole.FULL),
        (16, "ROI mask images", [LESION_NAME], FileRole.CROP),
        (0, "ROI mask images", [], FileRole.MASK),
        (16, "", ["anonymous"], FileRole.UNKNOWN),
    ],
)
def test_header_fields_determine_the_role(bits, description, names, role):
    assert role_of(bits, description, *names) == role


def test_one_scale_in_both_axes_is_the_same_shape():
    full = ImageFile(Path("f"), FileRole.FULL, 5386, 3601)
    for rows, columns, alike in [
        (5386, 3601, True),
        (4686, 3133, True),
        (5386, 3550, True),
        (5386, 3200, False),
        (2693, 1800, False),
        (0, 0, False),
    ]:
        assert shaped_alike(ImageFile(Path("m"), FileRole.UNKNOWN, rows, columns), full) is alike


def test_two_valuedness_is_seen_in_dicom_too(tmp_path):
    assert is_two_valued(dicom(tmp_path, MASK, "a.dcm", FileRole.MASK))
    assert not is_two_valued(dicom(tmp_path, CROP, "a.dcm", FileRole.CROP))
