"""Files of any name and encoding are read; what is damaged or too large gives its reason."""

import io

import numpy as np
import pydicom
import pytest
from dicom_files import dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from openjpeg.utils import encode_array
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
)

from miram.mammography.decoding.guards import codestream_size
from miram.mammography.decoding.read import DecodingConfig, DecodingError, read_frames, read_image

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
FULL_RANGE = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def test_a_cbis_file_gives_its_stored_values_untouched(saved):
    dataset = dicom(FULL_RANGE)
    image = read_image(saved(dataset))
    assert image.pixels.dtype == np.uint16
    np.testing.assert_array_equal(image.pixels, FULL_RANGE)
    assert (image.max_value, image.source_bits, image.transforms) == (65535, 16, ())
    assert image.uid == dataset.SOPInstanceUID


def test_the_name_of_the_file_does_not_matter(saved):
    for name in ("image", "image.jpg", "1.2.840.1"):
        np.testing.assert_array_equal(read_image(saved(dicom(FULL_RANGE), name)).pixels, FULL_RANGE)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_file_without_meta_information_is_read(tmp_path, syntax):
    dataset = dicom(FULL_RANGE)
    path = tmp_path / "headless"
    del dataset.file_meta
    pydicom.dcmwrite(
        path, dataset, implicit_vr=syntax.is_implicit_VR, little_endian=True, force_encoding=True
    )
    assert path.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(read_image(path).pixels, FULL_RANGE)


def test_the_meaning_of_grey_levels_can_be_told(saved, tmp_path):
    path = saved(dicom(RAMP, 12))
    np.testing.assert_array_equal(read_image(path, photometric="MONOCHROME1").pixels, 4095 - RAMP)
    inverted = saved(dicom(RAMP, 12, PhotometricInterpretation="MONOCHROME1"))
    for reported in ("MONOCHROME1", None):
        image = read_image(inverted, photometric=reported)
        np.testing.assert_array_equal(image.pixels, 4095 - RAMP)
    Image.fromarray(FULL_RANGE).save(tmp_path / "a.png")
    picture = read_image(tmp_path / "a.png", photometric="MONOCHROME1")
    np.testing.assert_array_equal(picture.pixels, 65_535 - FULL_RANGE)


def test_other_kinds_and_depths_and_foreign_files_are_refused(saved, tmp_path, failure):
    no_pixels = dicom(RAMP, 12)
    del no_pixels.PixelData
    assert failure(saved(no_pixels)) == "no_pixel_data"
    assert failure(saved(dicom(RAMP.astype(np.uint32), 32))) == "unsupported_depth"
    assert failure(saved(dicom(RAMP, 17))) == "incomplete_header"
    assert failure(saved(dicom(RAMP, 12, PhotometricInterpretation="PALETTE COLOR"))) == "color"
    assert failure(tmp_path / "none.dcm") == "not_found"
    (tmp_path / "empty.dcm").touch()
    assert failure(tmp_path / "empty.dcm") == "empty"
    (tmp_path / "text.dcm").write_text("a letter about a mammogram" * 50)
    assert failure(tmp_path / "text.dcm") == "not_dicom"
    assert failure(tmp_path) == "unreadable"


@settings(deadline=None, max_examples=150)
@given(data=st.binary(max_size=600), marked=st.booleans())
def test_no_bytes_crash_the_reader(tmp_path_factory, data, marked):
    path = tmp_path_factory.mktemp("noise") / "x.dcm"
    path.write_bytes(bytes(128) + b"DICM" + data if marked else data)
    with pytest.raises(DecodingError):
        read_image(path)


@settings(deadline=None, max_examples=60)
@given(position=st.integers(0, 700), value=st.integers(0, 255))
def test_one_wrong_byte_gives_an_image_or_a_reason(tmp_path_factory, position, value):
    path = tmp_path_factory.mktemp("flip") / "x.dcm"
    dicom(RAMP, 12, WindowCenter=2048, WindowWidth=4096).save_as(path, enforce_file_format=True)
    data = bytearray(path.read_bytes())
    data[position] = value
    path.write_bytes(data)
    try:
        image = read_image(path)
    except DecodingError as error:
        assert error.code
    else:
        assert image.pixels.ndim == 2


def test_large_claims_are_refused_before_decoding(saved, tmp_path, failure):
    claim = dicom(RAMP, 12)
    claim.Rows = claim.Columns = 60000
    assert failure(saved(claim)) == "too_large"
    path = saved(dicom(np.stack([RAMP] * 3), 12))
    assert failure(path, max_frames=2) == "too_large"
    assert failure(path, max_bytes=1000) == "too_large"
    assert failure(path, max_pixels=4095) == "too_large"
    assert len(list(read_frames(path, DecodingConfig(max_pixels=4096, max_frames=3)))) == 3


def test_a_deflated_bomb_is_refused_without_inflating_it(saved, failure):
    dataset = dicom(np.zeros((64, 64), np.uint16), 12)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.add_new("PixelPaddingValue", "OB", bytes(3_000_000))
    path = saved(dataset)
    assert path.stat().st_size < 10_000
    assert failure(path, max_bytes=2_000_000) == "too_large"
    assert read_image(path, DecodingConfig(max_bytes=4_000_000)).pixels.shape == (64, 64)
    # The meta information may be of any length; 1,024 bytes were looked at.
    dataset.file_meta.ImplementationVersionName = "miram"
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = bytes(2000)
    assert failure(saved(dataset), max_bytes=2_000_000) == "too_large"


def test_a_codestream_larger_than_its_header_is_refused(saved, failure):
    dataset = dicom(np.zeros((256, 256), np.uint16), 16)
    dataset.compress(JPEGLSLossless)
    assert read_image(saved(dataset)).pixels.shape == (256, 256)
    dataset.Rows = 16
    assert failure(saved(dataset)) == "too_large"


def test_a_codestream_in_boxes_or_of_many_components_is_refused(saved, failure):
    pixels = np.zeros((256, 256), np.uint16)
    bare = encode_array(pixels)
    boxed = encode_array(pixels, codec_format=1)
    colored = encode_array(np.zeros((256, 256, 3), np.uint8))
    gray = io.BytesIO()
    Image.new("RGB", (256, 256)).save(gray, "JPEG")
    assert codestream_size(bare) == codestream_size(boxed) == (256, 256, 1)
    assert codestream_size(colored) == codestream_size(gray.getvalue()) == (256, 256, 3)
    for frame in (boxed, colored):
        dataset = dicom(np.zeros((128, 256), np.uint16), 16)
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        assert failure(saved(dataset)) == "too_large"


def test_a_second_frame_that_the_header_does_not_count_is_refused(saved, failure):
    dataset = dicom(RAMP, 12)
    dataset.PixelData *= 2
    assert failure(saved(dataset)) == "multi_frame"


@given(st.binary(max_size=64))
def test_any_bytes_have_a_codestream_size_or_none(data):
    for start in (b"", b"\xff\x4f\xff\x51", b"\xff\xd8\xff"):
        size = codestream_size(start + data)
        assert size is None or len(size) == 3
