"""The steps from stored values to pixels, on small DICOM files written here."""

import io
import struct

import numpy as np
import pydicom
import pytest
from dicom_files import dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from openjpeg.utils import encode_array
from PIL import Image
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
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


@pytest.fixture
def saved(tmp_path):
    def save(dataset, name="file.dcm"):
        path = tmp_path / name
        dataset.save_as(path, enforce_file_format=True)
        return path

    return save


def lut(entries, first, bits):
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first, bits]
    item.add_new("LUTData", "OW", np.asarray(entries, dtype="<u2").tobytes())
    return item


RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
FULL_RANGE = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def code_of(path, **config):
    with pytest.raises(DecodingError) as caught:
        list(read_frames(path, DecodingConfig(**config)))
    return caught.value.code


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


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_follow_the_standard(saved, function):
    center, width = 1500.0, 800.0
    dataset = dicom(RAMP, 12, WindowCenter=center, WindowWidth=width, VOILUTFunction=function)
    image = read_image(saved(dataset))
    x = RAMP.astype(float)  # DICOM PS3.3 C.11.2.1.2.1, C.11.2.1.3.1, C.11.2.1.3.2
    expected = {
        "LINEAR": ((x - (center - 0.5)) / (width - 1) + 0.5).clip(0, 1),
        "LINEAR_EXACT": ((x - center) / width + 0.5).clip(0, 1),
        "SIGMOID": 1 / (1 + np.exp(-4 * (x - center) / width)),
    }[function]
    assert image.transforms == (f"window:{function}",)
    assert (image.max_value, image.source_bits) == (65535, 12)
    assert np.abs(image.pixels - 65535 * expected).max() <= 0.5 + 1e-6


def test_the_index_chooses_among_windows_and_a_missing_one_is_refused(saved):
    path = saved(dicom(RAMP, 12, WindowCenter=[1000, 3000], WindowWidth=[101, 101]))
    for index, center in enumerate((1000, 3000)):
        pixels = read_image(path, DecodingConfig(voi_index=index)).pixels
        assert pixels.flat[center - 100] == 0 and pixels.flat[center + 100] == 65535
    assert code_of(path, voi_index=2) == code_of(path, voi="lut") == "no_such_voi"


def test_a_lut_beside_windows_is_preferred_but_the_window_can_be_had(saved):
    entries = np.sqrt(np.arange(4096) * 4095).astype(int)
    dataset = dicom(RAMP, 12, WindowCenter=2048, WindowWidth=4096)
    dataset.VOILUTSequence = [lut(entries, 0, 12), lut(entries[::-1], 0, 12)]
    path = saved(dataset)
    image = read_image(path)
    assert (image.transforms, image.max_value) == (("voi_lut",), 4095)
    np.testing.assert_array_equal(image.pixels.ravel(), entries)
    second = read_image(path, DecodingConfig(voi="lut", voi_index=1))
    np.testing.assert_array_equal(second.pixels.ravel(), entries[::-1])
    assert read_image(path, DecodingConfig(voi="window")).transforms == ("window:LINEAR",)
    np.testing.assert_array_equal(read_image(path, DecodingConfig(voi="none")).pixels, RAMP)


def test_an_eight_bit_table_serves_a_twelve_bit_image(saved):
    dataset = dicom(RAMP, 12)
    dataset.VOILUTSequence = [lut(np.arange(4096) // 16, 0, 8)]
    image = read_image(saved(dataset))
    assert image.pixels.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels, RAMP // 16)


def test_values_outside_a_table_take_its_ends(saved):
    dataset = dicom(RAMP, 12)
    dataset.VOILUTSequence = [lut(np.arange(100, 200), 1000, 12)]
    pixels = read_image(saved(dataset)).pixels.ravel()
    assert set(pixels[:1001]) == {100} and set(pixels[1099:]) == {199}
    np.testing.assert_array_equal(pixels[1000:1100], np.arange(100, 200))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_modality_table_comes_before_the_window(saved, syntax):
    table = lut(np.arange(4096)[::-1], 0, 12)
    dataset = dicom(RAMP, 12, WindowCenter=2048, WindowWidth=4096, VOILUTFunction="LINEAR_EXACT")
    dataset.ModalityLUTSequence = [table]
    dataset.file_meta.TransferSyntaxUID = syntax
    image = read_image(saved(dataset))
    assert image.transforms == ("modality_lut", "window:LINEAR_EXACT")
    assert image.pixels.flat[0] == round(65535 * 4095 / 4096) and image.pixels.flat[-1] == 0


def test_a_rescale_moves_the_window_but_alone_keeps_the_stored_values(saved):
    values = dict(RescaleSlope=2, RescaleIntercept=-1000)
    alone = read_image(saved(dicom(RAMP, 12, **values)))
    assert (alone.transforms, alone.max_value) == (("rescale",), 4095)
    np.testing.assert_array_equal(alone.pixels, RAMP)
    window = dict(WindowCenter=0, WindowWidth=1000, VOILUTFunction="LINEAR_EXACT")
    both = read_image(saved(dicom(RAMP, 12, **values, **window)))
    assert both.transforms == ("rescale", "window:LINEAR_EXACT")
    assert both.pixels.flat[500] == 32768 and both.pixels.flat[250] == 0


def test_a_falling_rescale_turns_the_image_and_monochrome1_turns_it_back(saved):
    values = dict(RescaleSlope=-1, RescaleIntercept=4095)
    falling = read_image(saved(dicom(RAMP, 12, **values)))
    np.testing.assert_array_equal(falling.pixels, 4095 - RAMP)
    both = dicom(RAMP, 12, PhotometricInterpretation="MONOCHROME1", **values)
    np.testing.assert_array_equal(read_image(saved(both)).pixels, RAMP)


def test_signed_values_keep_their_order(saved):
    signed = np.arange(-2048, 2048, dtype=np.int16).reshape(64, 64)
    image = read_image(saved(dicom(signed, 12)))
    np.testing.assert_array_equal(image.pixels, RAMP)
    assert (image.transforms, image.max_value) == (("signed_to_unsigned",), 4095)


def test_bits_outside_the_value_are_ignored(saved):
    overlay = RAMP | np.uint16(0x8000)
    np.testing.assert_array_equal(read_image(saved(dicom(overlay, 12))).pixels, RAMP)
    shifted = dicom(RAMP << 4, 12)
    shifted.HighBit = 15
    np.testing.assert_array_equal(read_image(saved(shifted)).pixels, RAMP)


def test_eight_bit_masks_stay_eight_bits(saved):
    mask = np.zeros((32, 32), np.uint8)
    mask[4:9, 5:11] = 255
    image = read_image(saved(dicom(mask, 8)))
    assert (image.pixels.dtype, image.max_value, image.source_bits) == (np.uint8, 255, 8)
    np.testing.assert_array_equal(image.pixels, mask)


@settings(deadline=None, max_examples=60)
@given(
    bits=st.integers(1, 16),
    signed=st.booleans(),
    inverted=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_without_tables_pixels_are_the_stored_values_up_to_offset_and_inversion(
    tmp_path_factory, bits, signed, inverted, seed
):
    lowest = -(2 ** (bits - 1)) if signed else 0
    kind = ("i" if signed else "u") + ("1" if bits <= 8 else "2")
    values = np.random.default_rng(seed).integers(lowest, lowest + 2**bits, (7, 5)).astype(kind)
    photometric = "MONOCHROME1" if inverted else "MONOCHROME2"
    path = tmp_path_factory.mktemp("bits") / "x.dcm"
    dicom(values.reshape(7, 5), bits, PhotometricInterpretation=photometric).save_as(
        path, enforce_file_format=True
    )
    image = read_image(path)
    expected = values.astype(int) - lowest
    expected = 2**bits - 1 - expected if inverted else expected
    assert (image.max_value, image.source_bits) == (2**bits - 1, bits)
    np.testing.assert_array_equal(image.pixels, expected)


def test_frames_of_tomosynthesis_use_their_own_windows(saved):
    frames = np.stack([RAMP, RAMP, RAMP])
    dataset = dicom(frames, 12)
    shared, groups = Dataset(), []
    transformation = Dataset()
    transformation.RescaleSlope, transformation.RescaleIntercept = 1, 100
    shared.PixelValueTransformationSequence = [transformation]
    for center in (1000, 2000, 3000):
        voi, group = Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction = center, 100, "LINEAR_EXACT"
        group.FrameVOILUTSequence = [voi]
        groups.append(group)
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = groups
    for image, center in zip(read_frames(saved(dataset)), (1000, 2000, 3000), strict=True):
        assert image.transforms == ("rescale", "window:LINEAR_EXACT")
        assert image.pixels.flat[center - 100] == 32768


def test_contradictory_tables_and_windows_are_refused(saved):
    short = dicom(RAMP, 12)
    short.VOILUTSequence = [lut(np.arange(10), 0, 12)]
    short.VOILUTSequence[0].LUTDescriptor = [4096, 0, 12]
    assert code_of(saved(short)) == "bad_lookup_table"
    window = saved(dicom(RAMP, 12, WindowCenter=1, WindowWidth=0))
    assert code_of(window, voi="window") == "bad_lookup_table"
    flat = dicom(RAMP, 12, RescaleSlope=0, RescaleIntercept=1)
    assert code_of(saved(flat)) == "bad_lookup_table"


def with_texts(path, **texts):
    """Write text into elements that hold numbers, as anonymizers do."""
    content = path.read_bytes()
    for keyword, text in texts.items():
        tag = int(tag_for_keyword(keyword))
        start = content.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"DS") + 6
        (length,) = struct.unpack("<H", content[start : start + 2])
        value = text.encode() + b" " * (len(text) % 2)
        rest = content[start + 2 + length :]
        content = content[:start] + struct.pack("<H", len(value)) + value + rest
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("center", "width", "taken"),
    [
        ("2047,5", "4096", (2047.5, 4096)),
        ("2047,5", "4096,0", (2047.5, 4096)),
        ("1000\\ANON", "0\\2", None),
        ("\\2000", "4000\\4000", (2000, 4000)),
        ("1000\\2000,5", "0\\400", (2000.5, 400)),
        ("1000\\2000", "0.5\\400", (2000, 400)),
        ("NaN", "4096", None),
        ("inf", "4096", None),
        ("ANONYMIZED", "4096", None),
        ("2048", "-1", None),
    ],
)
def test_an_odd_window_is_read_as_meant_or_left_for_the_next_or_the_full_range(
    saved, center, width, taken
):
    plain = dicom(RAMP, 12, WindowCenter=1, WindowWidth=1)
    path = with_texts(saved(plain), WindowCenter=center, WindowWidth=width)
    image = read_image(path)
    assert [code for code, _ in image.remarks] == ["odd_window"]
    assert f"window {center} / {width}: " in image.remarks[0][1]
    if taken:
        sound = dicom(RAMP, 12, WindowCenter=taken[0], WindowWidth=taken[1])
        expected = read_image(saved(sound, "sound.dcm"))
        assert not expected.remarks and image.transforms == expected.transforms
        np.testing.assert_array_equal(image.pixels, expected.pixels)
    else:
        np.testing.assert_array_equal(image.pixels, RAMP)
        assert code_of(path, voi="window") == "bad_lookup_table"


def test_an_unknown_function_leaves_the_full_range(saved):
    path = saved(dicom(RAMP, 12, WindowCenter=9, WindowWidth=9, VOILUTFunction="CUBIC"))
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, RAMP)
    assert "no VOI LUT function CUBIC" in image.remarks[0][1]


def test_a_rescale_with_a_decimal_comma_is_read(saved):
    values = dict(RescaleSlope=1, RescaleIntercept=0, WindowCenter=2048, WindowWidth=4096)
    path = with_texts(saved(dicom(RAMP, 12, **values)), RescaleIntercept="100,5")
    expected = dicom(RAMP, 12, **{**values, "RescaleIntercept": 100.5})
    np.testing.assert_array_equal(
        read_image(path).pixels, read_image(saved(expected, "sound.dcm")).pixels
    )
    assert code_of(with_texts(path, RescaleSlope="ANON")) == "bad_lookup_table"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("photometric", "value", "limit"),
    [("MONOCHROME1", 0, None), ("MONOCHROME2", 4095, None), ("MONOCHROME2", 4000, 4095)],
)
def test_white_padding_becomes_black_and_is_told(saved, syntax, photometric, value, limit):
    pixels = np.full((20, 20), 2000, np.uint16)
    pixels[:5] = value
    dataset = dicom(pixels, 12, PhotometricInterpretation=photometric, PixelPaddingValue=value)
    dataset.PixelPaddingRangeLimit = limit
    if limit is None:
        del dataset.PixelPaddingRangeLimit
    dataset.file_meta.TransferSyntaxUID = syntax
    image = read_image(saved(dataset))
    assert not image.pixels[:5].any() and (image.pixels[5:] > 1000).all()
    detail = "25.0% of the pixels are padding and were made black"
    assert image.remarks == (("padding", detail),)


def test_signed_padding_and_padding_of_more_bits_than_a_value_become_black(saved):
    signed = np.full((4, 4), -100, np.int16)
    signed[0] = 2047
    image = read_image(saved(dicom(signed, 12, PixelPaddingValue=2047)))
    assert not image.pixels[0].any() and (image.pixels[1:] == 1948).all()
    wide = np.full((4, 4), 100, np.uint16)
    wide[0] = 65_535
    image = read_image(saved(dicom(wide, 12, PixelPaddingValue=65_535)))
    assert not image.pixels[0].any() and (image.pixels[1:] == 100).all()
    assert [code for code, _ in image.remarks] == ["padding"]


def test_black_padding_and_white_without_it_stay_as_they_are(saved):
    for values in ({"PixelPaddingValue": 0}, {}):
        image = read_image(saved(dicom(RAMP, 12, **values)))
        np.testing.assert_array_equal(image.pixels, RAMP)
        assert not image.remarks and not image.transforms


def test_pixels_above_bits_stored_are_told(saved):
    pixels = np.full((10, 10), 4095, np.uint16)
    pixels[0, 0] = 5000
    (remark,) = read_image(saved(dicom(pixels, 12))).remarks
    assert remark[0] == "above_bits_stored" and remark[1].startswith("1.00% of the pixels, up to 5")
    assert not read_image(saved(dicom(np.full((4, 4), -1, np.int16), 12))).remarks


def test_the_meaning_of_grey_levels_can_be_told(saved, tmp_path):
    path = saved(dicom(RAMP, 12))
    np.testing.assert_array_equal(read_image(path, photometric="MONOCHROME1").pixels, 4095 - RAMP)
    inverted = saved(dicom(RAMP, 12, PhotometricInterpretation="MONOCHROME1"))
    for told in ("MONOCHROME1", None):
        image = read_image(inverted, photometric=told)
        np.testing.assert_array_equal(image.pixels, 4095 - RAMP)
    Image.fromarray(FULL_RANGE).save(tmp_path / "a.png")
    picture = read_image(tmp_path / "a.png", photometric="MONOCHROME1")
    np.testing.assert_array_equal(picture.pixels, 65_535 - FULL_RANGE)


def test_other_kinds_and_depths_and_foreign_files_are_refused(saved, tmp_path):
    no_pixels = dicom(RAMP, 12)
    del no_pixels.PixelData
    assert code_of(saved(no_pixels)) == "no_pixel_data"
    assert code_of(saved(dicom(RAMP.astype(np.uint32), 32))) == "unsupported_depth"
    assert code_of(saved(dicom(RAMP, 17))) == "incomplete_header"
    assert code_of(saved(dicom(RAMP, 12, PhotometricInterpretation="PALETTE COLOR"))) == "color"
    assert code_of(tmp_path / "none.dcm") == "not_found"
    (tmp_path / "empty.dcm").touch()
    assert code_of(tmp_path / "empty.dcm") == "empty"
    (tmp_path / "text.dcm").write_text("a letter about a mammogram" * 50)
    assert code_of(tmp_path / "text.dcm") == "not_dicom"
    assert code_of(tmp_path) == "unreadable"


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


def test_large_claims_are_refused_before_decoding(saved, tmp_path):
    claim = dicom(RAMP, 12)
    claim.Rows = claim.Columns = 60000
    assert code_of(saved(claim)) == "too_large"
    path = saved(dicom(np.stack([RAMP] * 3), 12))
    assert code_of(path, max_frames=2) == "too_large"
    assert code_of(path, max_bytes=1000) == "too_large"
    assert code_of(path, max_pixels=4095) == "too_large"
    assert len(list(read_frames(path, DecodingConfig(max_pixels=4096, max_frames=3)))) == 3


def test_a_deflated_bomb_is_refused_without_inflating_it(saved):
    dataset = dicom(np.zeros((64, 64), np.uint16), 12)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.add_new("PixelPaddingValue", "OB", bytes(3_000_000))
    path = saved(dataset)
    assert path.stat().st_size < 10_000
    assert code_of(path, max_bytes=2_000_000) == "too_large"
    assert read_image(path, DecodingConfig(max_bytes=4_000_000)).pixels.shape == (64, 64)
    # The meta information may be of any length; 1,024 bytes were looked at.
    dataset.file_meta.ImplementationVersionName = "miram"
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = bytes(2000)
    assert code_of(saved(dataset), max_bytes=2_000_000) == "too_large"


def test_a_codestream_larger_than_its_header_is_refused(saved):
    dataset = dicom(np.zeros((256, 256), np.uint16), 16)
    dataset.compress(JPEGLSLossless)
    assert read_image(saved(dataset)).pixels.shape == (256, 256)
    dataset.Rows = 16
    assert code_of(saved(dataset)) == "too_large"


def test_a_codestream_in_boxes_or_of_many_components_is_refused(saved):
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
        assert code_of(saved(dataset)) == "too_large"


def test_a_second_frame_that_the_header_does_not_count_is_refused(saved):
    dataset = dicom(RAMP, 12)
    dataset.PixelData *= 2
    assert code_of(saved(dataset)) == "multi_frame"


@given(st.binary(max_size=64))
def test_any_bytes_have_a_codestream_size_or_none(data):
    for start in (b"", b"\xff\x4f\xff\x51", b"\xff\xd8\xff"):
        size = codestream_size(start + data)
        assert size is None or len(size) == 3
