"""From stored values to grey levels: windows, tables, rescale and padding."""

import struct

import numpy as np
import pytest
from dicom_files import dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from miram.mammography.decoding.read import DecodingConfig, read_frames, read_image
from miram.mammography.decoding.voi_lut import WordFormat, frame_attributes, grey_table

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def lut(entries, first, bits):
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first, bits]
    item.add_new("LUTData", "OW", np.asarray(entries, dtype="<u2").tobytes())
    return item


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


def test_the_index_chooses_among_windows_and_a_missing_one_is_refused(saved, failure):
    path = saved(dicom(RAMP, 12, WindowCenter=[1000, 3000], WindowWidth=[101, 101]))
    for index, center in enumerate((1000, 3000)):
        pixels = read_image(path, DecodingConfig(voi_index=index)).pixels
        assert pixels.flat[center - 100] == 0 and pixels.flat[center + 100] == 65535
    assert failure(path, voi_index=2) == failure(path, voi="lut") == "no_such_voi"


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


def test_bits_outside_the_value_are_ignored(saved):
    overlay = RAMP | np.uint16(0x8000)
    np.testing.assert_array_equal(read_image(saved(dicom(overlay, 12))).pixels, RAMP)
    shifted = dicom(RAMP << 4, 12)
    shifted.HighBit = 15
    np.testing.assert_array_equal(read_image(saved(shifted)).pixels, RAMP)


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
    dataset = dicom(values, bits, PhotometricInterpretation=photometric)
    dataset.save_as(path, enforce_file_format=True)
    image = read_image(path)
    assert image.pixels.dtype == f"u{kind[1]}"
    assert image.transforms == ("signed_to_unsigned",) * signed + ("invert",) * inverted
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


def with_short_lut(**values):
    """A table of 10 entries that declares 4,096."""
    short = dicom(RAMP, 12, **values)
    short.VOILUTSequence = [lut(np.arange(10), 0, 12)]
    short.VOILUTSequence[0].LUTDescriptor = [4096, 0, 12]
    return short


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2000, "WindowWidth": 400}])
def test_a_broken_table_leaves_the_image_to_the_window_or_the_full_range(saved, window):
    image = read_image(saved(with_short_lut(**window)))
    expected = read_image(saved(dicom(RAMP, 12, **window), "sound.dcm"))
    np.testing.assert_array_equal(image.pixels, expected.pixels)
    assert (image.transforms, image.max_value) == (expected.transforms, expected.max_value)
    detail = "VOI LUT: a LUT of 10 entries that declares 4096; it is not used"
    assert image.remarks == (("odd_window", detail),) and not expected.remarks


def test_a_table_that_breaks_off_within_an_entry_is_not_used(saved):
    dataset = with_short_lut()
    dataset.VOILUTSequence[0].LUTData = bytes(4097)
    image = read_image(saved(dataset))
    np.testing.assert_array_equal(image.pixels, RAMP)
    assert [code for code, _ in image.remarks] == ["odd_window"]


def test_attributes_stay_as_they_are():
    attributes, words = frame_attributes(with_short_lut(), 0), WordFormat(16, 12, signed=False)
    first, second = (grey_table(attributes, words, inverted=False).remarks for _ in range(2))
    assert first == second != ()


@pytest.mark.parametrize("keyword", ["WindowCenter", "WindowWidth"])
def test_half_a_window_leaves_the_full_range_and_is_named(saved, keyword):
    image = read_image(saved(dicom(RAMP, 12, **{keyword: 400})))
    np.testing.assert_array_equal(image.pixels, RAMP)
    detail = f"{keyword} without the other; the full range is taken"
    assert image.remarks == (("odd_window", detail),)


def test_contradictory_tables_and_windows_are_refused(saved, failure):
    assert failure(saved(with_short_lut()), voi="lut") == "bad_lookup_table"
    window = saved(dicom(RAMP, 12, WindowCenter=1, WindowWidth=0))
    assert failure(window, voi="window") == "bad_lookup_table"
    flat = dicom(RAMP, 12, RescaleSlope=0, RescaleIntercept=1)
    assert failure(saved(flat)) == "bad_lookup_table"


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
    saved, center, width, taken, failure
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
        assert failure(path, voi="window") == "bad_lookup_table"


def test_an_unknown_function_leaves_the_full_range(saved):
    path = saved(dicom(RAMP, 12, WindowCenter=9, WindowWidth=9, VOILUTFunction="CUBIC"))
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, RAMP)
    assert "no VOI LUT function CUBIC" in image.remarks[0][1]


def test_a_rescale_with_a_decimal_comma_is_read(saved, failure):
    values = dict(RescaleSlope=1, RescaleIntercept=0, WindowCenter=2048, WindowWidth=4096)
    path = with_texts(saved(dicom(RAMP, 12, **values)), RescaleIntercept="100,5")
    expected = dicom(RAMP, 12, **{**values, "RescaleIntercept": 100.5})
    np.testing.assert_array_equal(
        read_image(path).pixels, read_image(saved(expected, "sound.dcm")).pixels
    )
    assert failure(with_texts(path, RescaleSlope="ANON")) == "bad_lookup_table"


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
