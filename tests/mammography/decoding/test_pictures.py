"""Grey pictures: what is read, what is refused, and with which reason."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from miram.mammography.decoding.headers import image_facts
from miram.mammography.decoding.read import DecodingError, read_frames, read_image

GREY8 = np.arange(256, dtype=np.uint8).reshape(16, 16)
GREY16 = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)


def saved(tmp_path, pixels, name, **options):
    Image.fromarray(pixels).save(tmp_path / name, **options)
    return tmp_path / name


@pytest.mark.parametrize("pixels", [GREY8, GREY16], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_lossless_pictures_come_back_unchanged(tmp_path, pixels, name):
    image = read_image(saved(tmp_path, pixels, name))
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.pixels.dtype == pixels.dtype
    assert image.source_bits == 8 * pixels.dtype.itemsize
    assert (image.max_value, image.uid) == (2**image.source_bits - 1, None)
    assert len(list(read_frames(tmp_path / name))) == 1


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_pixels_outlive_the_file_and_other_pictures_and_cannot_be_written(tmp_path, name):
    # Above 16 MiB Pillow splits the memory of a picture; odd widths may be padded.
    large = np.tile(GREY8, (263, 257))[:4200, :4099]
    path = saved(tmp_path, large, name)
    with Image.open(path) as picture:
        expected = np.array(picture)
    image = read_image(path)
    for shade in range(2):
        read_image(saved(tmp_path, np.full_like(large, shade), name))
    assert (image.pixels == expected).all() and not image.pixels.flags.writeable


def test_a_two_valued_picture_becomes_black_and_white(tmp_path):
    image = read_image(saved(tmp_path, GREY8 > 127, "mask.png"))
    np.testing.assert_array_equal(image.pixels, np.where(GREY8 > 127, 255, 0))


def test_white_is_zero_tiffs_are_turned(tmp_path):
    for pixels in (GREY8, GREY16):
        path = tmp_path / "white.tif"
        Image.fromarray(pixels).save(path, tiffinfo={262: 0})
        with Image.open(path) as picture:
            assert picture.tag_v2[262] == 0
            stored = picture.tag_v2[273][0]
        raw = np.frombuffer(path.read_bytes(), pixels.dtype, pixels.size, stored)
        top = np.iinfo(pixels.dtype).max
        np.testing.assert_array_equal(read_image(path).pixels.ravel(), top - raw)


def test_color_pages_and_depths_are_refused(tmp_path, failure):
    assert failure(saved(tmp_path, np.dstack([GREY8] * 3), "rgb.jpg")) == "color"
    Image.fromarray(GREY8).convert("P").save(tmp_path / "palette.png")
    assert failure(tmp_path / "palette.png") == "color"
    first = Image.fromarray(GREY8)
    first.save(tmp_path / "pages.tif", save_all=True, append_images=[first])
    assert failure(tmp_path / "pages.tif") == "multi_frame"
    with pytest.raises(DecodingError, match="2 pages; one image is expected"):
        image_facts(tmp_path / "pages.tif")


LEVELS = np.arange(256, dtype=np.uint16).reshape(16, 16) * 128  # up to 32,640


def header_of_pgm(kind, white):
    return f"{kind}\n16 16\n{white}\n".encode()


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("big.tif", lambda path: tifffile.imwrite(path, LEVELS, bigtiff=True)),
        (
            "big_endian.tif",
            lambda path: tifffile.imwrite(path, LEVELS, bigtiff=True, byteorder=">"),
        ),
        ("signed.tif", lambda path: tifffile.imwrite(path, LEVELS.astype(np.int16))),
        ("four_bytes.tif", lambda path: tifffile.imwrite(path, LEVELS.astype(np.uint32))),
        ("whole.tif", lambda path: tifffile.imwrite(path, LEVELS.astype(np.float32))),
        ("double.tif", lambda path: tifffile.imwrite(path, LEVELS.astype(np.float64))),
        ("parts.tif", lambda path: tifffile.imwrite(path, (LEVELS / 65_535).astype(np.float32))),
        (
            "packed.tif",  # which tifffile alone cannot unpack
            lambda path: Image.fromarray((LEVELS / 65_535).astype(np.float32)).save(
                path, compression="tiff_lzw"
            ),
        ),
        (
            "a.pgm",
            lambda path: path.write_bytes(
                header_of_pgm("P5", 65_535) + LEVELS.astype(">u2").tobytes()
            ),
        ),
        (
            "text.pgm",
            lambda path: path.write_bytes(
                header_of_pgm("P2", 65_535) + " ".join(map(str, LEVELS.ravel())).encode()
            ),
        ),
        (
            "windows.pgm",
            lambda path: path.write_bytes(
                b"P5\r\n16 16\r\n65535\n" + LEVELS.astype(">u2").tobytes()
            ),
        ),
        ("a.jp2", lambda path: Image.fromarray(LEVELS).save(path)),
        ("a.j2k", lambda path: Image.fromarray(LEVELS).save(path)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_pictures_of_16_bits_give_their_levels(tmp_path, name, save):
    save(tmp_path / name)
    image = read_image(tmp_path / name)
    np.testing.assert_array_equal(image.pixels, LEVELS)
    assert (image.pixels.dtype, image.max_value) == (np.uint16, 65_535)
    facts = image_facts(tmp_path / name)
    assert facts[:3] == (16, 16, 16)


def test_signed_levels_begin_at_black_and_keep_their_order(tmp_path):
    for kind, shift in ((np.int16, 20_000), (np.int8, 100)):
        signed = (LEVELS // (1 if kind == np.int16 else 256)).astype(np.int64) - shift
        tifffile.imwrite(tmp_path / "a.tif", signed.astype(kind))
        image = read_image(tmp_path / "a.tif")
        np.testing.assert_array_equal(image.pixels, signed + shift)
        assert image.transforms == ("signed_to_unsigned",)


def test_white_is_zero_of_floating_point_is_turned(tmp_path):
    levels = LEVELS / LEVELS.max()
    tifffile.imwrite(tmp_path / "a.tif", levels.astype(np.float32), photometric="miniswhite")
    image = read_image(tmp_path / "a.tif")
    assert (image.pixels[0, 0], image.pixels[-1, -1]) == (65_535, 0)


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        (LEVELS.astype(np.float32) + 0.5, "from 0.5 to 32640.5: bring them to"),
        (np.full((16, 16), np.nan, np.float32), "from nan to nan"),
        (np.full((16, 16), np.inf, np.float32), "from inf to inf"),
        (LEVELS.astype(np.int32) * 3, "from 0 to 97920: more than 16 bits"),
    ],
)
def test_levels_that_do_not_fit_are_refused_with_the_levels(tmp_path, levels, words):
    tifffile.imwrite(tmp_path / "a.tif", levels)
    with pytest.raises(DecodingError, match=words) as caught:
        read_image(tmp_path / "a.tif")
    assert caught.value.code == "unsupported_depth"


@pytest.mark.parametrize("options", [{"bigtiff": True, "byteorder": ">"}, {}])
def test_several_pages_and_colors_of_any_tiff_are_refused(tmp_path, options, failure):
    tifffile.imwrite(
        tmp_path / "a.tif", np.stack([LEVELS] * 3), photometric="minisblack", **options
    )
    assert failure(tmp_path / "a.tif") == "multi_frame"
    tifffile.imwrite(tmp_path / "a.tif", np.stack([LEVELS] * 3, -1), photometric="rgb", **options)
    assert failure(tmp_path / "a.tif") == "color"
    tifffile.imwrite(tmp_path / "a.tif", LEVELS, **options)
    assert failure(tmp_path / "a.tif", max_pixels=100) == "too_large"


def test_large_and_broken_pictures_are_refused(tmp_path, failure):
    path = saved(tmp_path, np.tile(GREY8, (20, 20)), "a.jpg")
    assert failure(path, max_pixels=1000) == "too_large"
    path.write_bytes(path.read_bytes()[:-3000])
    assert failure(path) == "truncated"
    path.write_bytes(b"\xff\xd8\xff" + bytes(100))
    assert failure(path) == "unreadable"


def test_a_picture_is_known_by_its_content_not_its_name(tmp_path):
    path = saved(tmp_path, GREY8, "a.png").rename(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_image(path).pixels, GREY8)
