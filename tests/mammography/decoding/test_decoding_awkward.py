"""Every awkward DICOM file becomes an image or a reason, as the index of the files says."""

import ast
import csv
import pickle
import re

import numpy as np
import pydicom
import pytest
from project_paths import SHARED_DATA
from pydicom.encaps import get_frame

from miram.mammography.decoding.guards import codestream_size
from miram.mammography.decoding.read import (
    DecodingConfig,
    DecodingError,
    DecodingFailure,
    read_frames,
    read_header,
    read_image,
)

AWKWARD = SHARED_DATA / "dicom_awkward"
pytestmark = pytest.mark.skipif(
    not AWKWARD.is_dir(), reason=f"the awkward DICOM files are not at {AWKWARD}"
)
INDEX = (
    {row["file"]: row for row in csv.DictReader((AWKWARD / "INDEX.csv").open())}
    if AWKWARD.is_dir()
    else {}
)
REASONS = {
    "ExplVR_BigEnd.dcm": "color",
    "JPEG-lossy.dcm": "unsupported_transfer_syntax",
    "MG1_JPLY.dcm": "unsupported_transfer_syntax",
    "MR_truncated.dcm": "truncated",
    "SC_rgb_16bit.dcm": "color",
    "color-px.dcm": "color",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "truncated",
    "liver.dcm": "segmentation",
    "meta_missing_tsyntax.dcm": "not_dicom",
    "no_meta.dcm": "not_dicom",
    "reportsi.dcm": "no_pixel_data",
}
READABLE = sorted(set(INDEX) - set(REASONS))
# Signed values are shifted up so that the least possible one is 0.
SHIFTED = {"JPEG-LL.dcm", "MR_small_bigendian.dcm", "MR_small_padded.dcm", "explicit_VR-UN.dcm"}


def indexed(name):
    shape, dtype, low, high = re.match(
        r"(\(.*?\)) (\S+) (-?\d+)\.\.(-?\d+)", INDEX[name]["decode_pydicom3"]
    ).groups()
    return ast.literal_eval(shape), dtype, int(low), int(high)


def untransformed(name):
    config = DecodingConfig(voi="none")
    return list(read_frames(AWKWARD / name, config))


def test_the_index_lists_every_file():
    assert set(INDEX) == {path.name for path in AWKWARD.glob("*.dcm")}
    assert len(INDEX) == 28


@pytest.mark.parametrize("name", sorted(REASONS))
def test_what_cannot_be_an_image_gives_its_reason(name):
    with pytest.raises(DecodingError) as caught:
        list(read_frames(AWKWARD / name))
    assert caught.value.code == REASONS[name]
    assert name in str(caught.value)
    assert caught.value.detail


@pytest.mark.parametrize("name", READABLE)
def test_readable_files_have_the_indexed_shape_and_range(name):
    shape, _, low, high = indexed(name)
    frames = untransformed(name)
    shapes = {frame.pixels.shape for frame in frames}
    assert shapes == {shape[-2:]}
    assert len(frames) == (shape[0] if len(shape) == 3 else 1)
    pixels = np.stack([frame.pixels for frame in frames])
    bits = int(INDEX[name]["bits_stored"])
    assert {frame.source_bits for frame in frames} == {bits}
    if name == "mlut_18.dcm":  # its table spreads 12 bits over 16
        assert (pixels.min(), pixels.max(), frames[0].max_value) == (0, 65535, 65535)
        return
    shift = 2 ** (bits - 1) if name in SHIFTED else 0
    low, high = low + shift, high + shift
    if INDEX[name]["photometric"] == "MONOCHROME1":
        low, high = 2**bits - 1 - high, 2**bits - 1 - low
    assert (pixels.min(), pixels.max()) == (low, high)
    assert {frame.max_value for frame in frames} == {2**bits - 1}
    assert pixels.dtype == (np.uint8 if bits <= 8 else np.uint16)


@pytest.mark.parametrize("name", READABLE)
def test_default_levels_stay_between_black_and_white_and_read_only(name):
    for frame in read_frames(AWKWARD / name):
        assert frame.pixels.ndim == 2
        assert frame.pixels.max() <= frame.max_value <= np.iinfo(frame.pixels.dtype).max
        assert not frame.pixels.flags.writeable
        assert frame.pixels.dtype.isnative


def test_four_encodings_of_one_image_give_the_same_pixels():
    names = ["RG3_J2KR.dcm", "RG3_JLSL.dcm", "RG3_JPLL.dcm", "RG3_RLE.dcm"]
    first, *others = [read_image(AWKWARD / name) for name in names]
    assert first.transforms == ("window:LINEAR", "invert")
    for other in others:
        np.testing.assert_array_equal(first.pixels, other.pixels)


def test_monochrome1_is_inverted_from_the_bits_not_from_the_maximum():
    path = AWKWARD / "RG3_RLE.dcm"
    raw = pydicom.dcmread(path).pixel_array
    np.testing.assert_array_equal(untransformed(path.name)[0].pixels, 1023 - raw)


def test_byte_order_does_not_change_the_pixels():
    big, little = (untransformed(f"MR_small_{kind}.dcm")[0] for kind in ("bigendian", "padded"))
    np.testing.assert_array_equal(big.pixels, little.pixels)


@pytest.mark.parametrize("name", ["MG1_J2KI.dcm", "MG1_JPLY.dcm", "RG3_JLSL.dcm", "RG3_JPLL.dcm"])
def test_the_size_of_a_codestream_is_read_without_decoding(name):
    dataset = pydicom.dcmread(AWKWARD / name)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    assert codestream_size(frame) == (dataset.Rows, dataset.Columns, 1)


@pytest.mark.parametrize(
    ("name", "sequence", "first", "transform"),
    [
        ("vlut_04.dcm", "VOILUTSequence", 0, "voi_lut"),
        ("mlut_18.dcm", "ModalityLUTSequence", -2048, "modality_lut"),
    ],
)
def test_a_table_gives_its_entries(name, sequence, first, transform):
    dataset = pydicom.dcmread(AWKWARD / name)
    entries = np.array(dataset[sequence].value[0].LUTData)
    image = read_image(AWKWARD / name)
    assert image.transforms == (transform,)
    np.testing.assert_array_equal(image.pixels, entries[dataset.pixel_array - first])


def test_a_film_mammogram_keeps_its_identity():
    image = read_image(AWKWARD / "MG1_J2KI.dcm")
    assert read_header(AWKWARD / "MG1_J2KI.dcm").view == "MLO"
    assert image.uid == str(pydicom.dcmread(AWKWARD / "MG1_J2KI.dcm").SOPInstanceUID)


def test_multi_frame_files_are_refused_as_one_image_unless_a_frame_is_chosen():
    path = AWKWARD / "emri_small_RLE.dcm"
    with pytest.raises(DecodingError) as caught:
        read_image(path)
    assert caught.value.code == DecodingFailure.MULTI_FRAME
    frames = list(read_frames(path))
    assert [frame.frame for frame in frames] == list(range(10))
    for choice, number in (("first", 0), ("middle", 5)):
        chosen = read_image(path, DecodingConfig(frames=choice))
        np.testing.assert_array_equal(chosen.pixels, frames[number].pixels)


@pytest.mark.parametrize("name", sorted(INDEX))
def test_the_header_scan_agrees_with_the_index(name):
    row = INDEX[name]
    if not row["modality"] and name != "emri_small_jpeg_2k_lossless_too_short.dcm":
        with pytest.raises(DecodingError) as caught:
            read_header(AWKWARD / name)
        assert caught.value.code == DecodingFailure.NOT_DICOM
        return
    header = read_header(AWKWARD / name)
    if row["modality"]:
        assert header.modality == row["modality"]
        assert header.frames == int(row["frames"])
        assert header.bits_allocated == int(row["bits_allocated"] or 0)
        assert header.photometric == row["photometric"]


@pytest.mark.parametrize(
    "name", ["MG1_J2KI.dcm", "RG3_JLSL.dcm", "RG3_JPLL.dcm", "RG3_RLE.dcm", "image_dfl.dcm"]
)
@pytest.mark.parametrize("share", [0.0, 0.0002, 0.01, 0.6, 0.999])
def test_a_download_broken_off_anywhere_gives_a_reason_or_all_pixels(tmp_path, name, share):
    whole = (AWKWARD / name).read_bytes()
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(whole[: int(len(whole) * share)])
    try:
        pixels = read_image(cut).pixels
    except DecodingError as error:
        assert error.code in set(DecodingFailure)
    else:  # nothing but padding behind the pixels was lost
        assert share > 0.99 and name == "image_dfl.dcm"
        np.testing.assert_array_equal(pixels, read_image(AWKWARD / name).pixels)


def test_an_error_survives_the_way_back_from_a_worker():
    with pytest.raises(DecodingError) as caught:
        read_image(AWKWARD / "reportsi.dcm")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.code, copy.path, str(copy)) == (
        caught.value.code,
        caught.value.path,
        str(caught.value),
    )
