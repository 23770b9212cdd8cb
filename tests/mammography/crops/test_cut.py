"""Cutting one mammogram: lesions by mask or box, background patches, and their records."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from dicom_files import write_dicom
from PIL import Image, ImageFilter
from pydantic import ValidationError

from miram.errors import MiramError
from miram.mammography.crops.cut import CropConfig, ImageTask, LesionTask, cut_image
from miram.mammography.crops.geometry import Box

PLAIN = CropConfig(image_size=64, context=1.0)
LESION = Box(30, 200, 110, 260)  # 80 x 60 pixels


def breast(side="left") -> np.ndarray:
    """A 16-bit film, 600 x 400, with a bright breast at the chest wall."""
    rows, columns = np.ogrid[:600, :400]
    inside = np.hypot(rows - 300, columns) < 250
    texture = np.random.default_rng(1).integers(10_000, 30_000, inside.shape)
    pixels = np.where(inside, texture, 0).astype(np.uint16)
    return pixels if side == "left" else pixels[:, ::-1].copy()


def save(path, pixels) -> str:
    Image.fromarray(pixels).save(path)
    return path.name


def mask_of(box, shape=(600, 400), value=255) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[box.y0 : box.y1, box.x0 : box.x1] = value
    return mask


def task(*lesions) -> ImageTask:
    return ImageTask("image", "image.png", "P_1", tuple(lesions), "train")


@pytest.fixture
def film(tmp_path):
    save(tmp_path / "image.png", breast())
    save(tmp_path / "mask.png", mask_of(LESION))
    return tmp_path


def codes(cut) -> list[tuple[str, str]]:
    return [(row["code"], row["action"]) for row in cut.problems]


def test_a_crop_is_the_square_around_the_lesion_in_true_pixels(film):
    config = CropConfig(image_size=80, context=1.0, normalization={"method": "bits"})
    cut = cut_image(task(LesionTask("a", ("mask.png",))), film, config)
    row = cut.rows[0]
    square = np.s_[190:270, 30:110]
    assert (cut.crops[0] == breast()[square]).all()
    assert [row[f"box_{name}"] for name in ("x0", "y0", "x1", "y1")] == [30, 200, 110, 260]
    assert [row[f"crop_{name}"] for name in ("x0", "y0", "x1", "y1")] == [30, 190, 110, 270]
    assert (row["scale"], row["upsampled"], row["outside_share"]) == (1.0, False, 0.0)
    assert (row["source_bits"], row["kind"], row["official_split"]) == (16, "lesion", "train")
    assert row["sha256"] == hashlib.sha256(cut.crops[0].tobytes()).hexdigest()
    assert not cut.problems


def test_a_mask_cell_says_how_much_of_it_the_lesion_covers(film):
    config = CropConfig(image_size=80, context=1.0)
    cells = cut_image(task(LesionTask("a", ("mask.png",))), film, config).masks[0]
    assert cells.shape == (10, 10)
    expected = np.zeros((80, 10))
    expected[10:70] = 255  # the box is 60 high in a square of 80
    assert (cells == np.rint(expected.reshape(10, 8, 10).mean(axis=1))).all()


def test_a_small_lesion_is_enlarged_and_the_record_says_so(film):
    config = CropConfig(image_size=128, context=1.0)
    cut = cut_image(task(LesionTask("a", ("mask.png",))), film, config)
    assert cut.rows[0]["upsampled"] and cut.rows[0]["scale"] == 80 / 128
    assert codes(cut) == [("small_lesion", "upsampled")]
    assert cut.problems[0]["detail"] == "80 px enlarged to 128 px"


@pytest.mark.parametrize(
    ("padding", "x0", "outside"), [("shift", 0, 0.0), ("zeros", -60, 0.3), ("reflect", -60, 0.3)]
)
def test_the_record_says_what_lies_beyond_the_edge(film, padding, x0, outside):
    config = CropConfig(image_size=64, context=2.5, padding=padding)
    box = Box(0, 260, 80, 340)  # 80 x 80 at the edge; the square is 200
    cut = cut_image(task(LesionTask("a", (), box)), film, config)
    assert cut.rows[0]["crop_x0"] == x0
    assert cut.rows[0]["outside_share"] == pytest.approx(outside)
    beyond = cut.crops[0][:, :18]
    assert (beyond == 0).all() == (padding == "zeros")


def test_a_box_cuts_the_same_as_a_mask_of_its_shape(film):
    by_mask = cut_image(task(LesionTask("a", ("mask.png",))), film, PLAIN)
    by_box = cut_image(task(LesionTask("a", (), LESION)), film, PLAIN)
    assert (by_mask.crops == by_box.crops).all() and (by_mask.masks == by_box.masks).all()
    assert by_mask.rows == by_box.rows


def test_a_box_outside_the_image_is_left_out(film):
    cut = cut_image(task(LesionTask("a", (), Box(900, 900, 950, 950))), film, PLAIN)
    assert codes(cut) == [("mask_empty", "left out")] and not cut.rows


@pytest.mark.parametrize("scale", [1 / 1.149, 0.5, 1.3])
def test_a_mask_of_another_size_is_resized(film, scale):
    size = (round(400 * scale), round(600 * scale))
    mask = Image.fromarray(mask_of(LESION)).resize(size, Image.Resampling.NEAREST)
    mask.save(film / "mask.png")
    row = cut_image(task(LesionTask("a", ("mask.png",))), film, PLAIN).rows[0]
    found = [row[f"box_{name}"] for name in ("x0", "y0", "x1", "y1")]
    assert np.abs(np.subtract(found, [30, 200, 110, 260])).max() <= 2


@pytest.mark.parametrize(("edge", "inside"), [(100, 255), (0, 1)])
def test_grey_edges_do_not_widen_the_box_and_ones_are_marked(film, edge, inside):
    wider = mask_of(Box(27, 197, 113, 263), value=edge)
    save(film / "mask.png", np.maximum(wider, mask_of(LESION, value=inside)))
    row = cut_image(task(LesionTask("a", ("mask.png",))), film, PLAIN).rows[0]
    assert (row["box_x0"], row["box_x1"]) == (30, 110)


def test_several_masks_count_together(film):
    save(film / "second.png", mask_of(Box(150, 300, 200, 340)))
    row = cut_image(task(LesionTask("a", ("mask.png", "second.png"))), film, PLAIN).rows[0]
    assert [row[f"box_{name}"] for name in ("x0", "y0", "x1", "y1")] == [30, 200, 200, 340]


def test_an_image_with_the_breast_on_the_right_is_mirrored_with_its_mask(film):
    # Two parts, the smaller one to the right: the square is no mirror image of itself.
    both = np.maximum(mask_of(Box(30, 200, 70, 260)), mask_of(Box(100, 222, 108, 230)))
    save(film / "mask.png", both)
    straight = cut_image(task(LesionTask("a", ("mask.png",))), film, PLAIN)
    save(film / "image.png", breast("right"))
    save(film / "mask.png", both[:, ::-1].copy())
    config = PLAIN.model_copy(update={"flip_to_left": True})
    mirrored = cut_image(task(LesionTask("a", ("mask.png",))), film, config)
    assert mirrored.rows[0]["flipped"] and not straight.rows[0]["flipped"]
    assert (mirrored.crops == straight.crops).all()
    assert (mirrored.masks == straight.masks).all()
    assert (mirrored.masks[0] != mirrored.masks[0][:, ::-1]).any()


def test_an_image_that_cannot_be_read_gives_one_audit_row_per_lesion(film):
    (film / "image.png").write_bytes(b"\x89PNG nothing")
    lesions = (LesionTask("a", ("mask.png",)), LesionTask("b", (), LESION))
    cut = cut_image(task(*lesions), film, PLAIN)
    assert [row["lesion_id"] for row in cut.problems] == ["a", "b"]
    assert {row["action"] for row in cut.problems} == {"left out"} and not len(cut.crops)
    assert str(film) not in cut.problems[0]["detail"]


def test_a_mask_that_is_missing_or_empty_leaves_out_its_lesion_alone(film):
    save(film / "empty.png", np.zeros((600, 400), np.uint8))
    lesions = [LesionTask(name, (f"{name}.png",)) for name in ("absent", "empty", "mask")]
    cut = cut_image(task(*lesions), film, PLAIN)
    assert [row["crop_id"] for row in cut.rows] == ["mask"]
    assert codes(cut) == [("mask_not_found", "left out"), ("mask_empty", "left out")]


def background_squares(cut) -> list[Box]:
    names = ("x0", "y0", "x1", "y1")
    rows = [row for row in cut.rows if row["kind"] == "background"]
    return [Box(*(row[f"crop_{name}"] for name in names)) for row in rows]


def test_backgrounds_are_breast_away_from_the_lesions(film):
    config = CropConfig(image_size=64, context=1.25, backgrounds_per_image=6)
    cut = cut_image(task(LesionTask("a", ("mask.png",))), film, config)
    squares = background_squares(cut)
    assert len(squares) == 6 and not codes(cut)
    for square in squares:
        assert not square.overlaps(LESION)
        assert (breast()[square.y0 : square.y1, square.x0 : square.x1] > 0).mean() > 0.7
    assert {square.width for square in squares} == {100}
    assert not cut.masks[1:].any()
    assert [row["crop_id"] for row in cut.rows[1:3]] == ["image_background_1", "image_background_2"]


def test_an_image_without_lesions_gives_backgrounds_alone(film):
    config = CropConfig(image_size=64, context=1.25, backgrounds_per_image=4)
    cut = cut_image(task(), film, config)
    assert [row["kind"] for row in cut.rows] == ["background"] * 4
    assert {square.width for square in background_squares(cut)} == {int(36 * 1.25)}


@pytest.mark.parametrize("there", [[], ["mask"]])
def test_no_background_is_cut_where_one_of_the_lesions_could_not_be_found(film, there):
    config = CropConfig(image_size=64, context=1.25, backgrounds_per_image=4)
    lesions = [LesionTask(name, (f"{name}.png",)) for name in ("absent", *there)]
    cut = cut_image(task(*lesions), film, config)
    assert [row["crop_id"] for row in cut.rows] == there
    assert codes(cut) == [("mask_not_found", "left out")]


@pytest.mark.parametrize("lesions", [(), (LesionTask("a", ("mask.png",)),)])
def test_no_background_is_cut_where_another_lesion_may_lie_and_the_audit_says_so(film, lesions):
    doubtful = replace(task(*lesions), no_backgrounds="a lesion is somewhere")
    config = CropConfig(image_size=64, context=1.25, backgrounds_per_image=4)
    cut = cut_image(doubtful, film, config)
    assert [row["kind"] for row in cut.rows] == ["lesion"] * len(lesions)
    assert codes(cut) == [("few_backgrounds", "kept")]
    assert cut.problems[0]["detail"] == "none is cut: a lesion is somewhere"
    assert not codes(
        cut_image(doubtful, film, config.model_copy(update={"backgrounds_per_image": 0}))
    )


@pytest.mark.parametrize(("share", "reported"), [(0.59, False), (0.61, True)])
def test_a_mask_of_most_of_the_image_is_reported(film, share, reported):
    save(film / "inverted.png", mask_of(Box(0, 0, 400, round(600 * share))))
    cut = cut_image(task(LesionTask("a", ("inverted.png",))), film, PLAIN)
    assert (("mask_covers_image", "kept") in codes(cut)) == reported and len(cut.rows) == 1


def test_a_box_of_the_whole_image_is_a_label_of_it(film):
    cut = cut_image(task(LesionTask("a", (), Box(0, 0, 400, 600))), film, PLAIN)
    assert not codes(cut) and cut.rows[0]["box_x1"] == 400


def test_a_crop_of_one_grey_level_is_reported(film):
    save(film / "dark.png", mask_of(Box(300, 100, 380, 180)))  # beside the breast
    cut = cut_image(task(LesionTask("a", ("dark.png",))), film, PLAIN)
    assert codes(cut) == [("flat_crop", "kept"), ("outside_breast", "kept")]
    assert {problem["lesion_id"] for problem in cut.problems} == {"a"}


@pytest.mark.parametrize(("x0", "reported"), [(100, []), (220, ["outside_breast"])])
def test_a_box_of_a_mirrored_copy_is_reported(film, x0, reported):
    cut = cut_image(task(LesionTask("a", (), Box(x0, 260, x0 + 80, 340))), film, PLAIN)
    assert [row["code"] for row in cut.problems] == reported and len(cut.rows) == 1


def test_a_picture_with_white_air_is_reported_and_right_when_declared(film):
    lesions = task(LesionTask("a", ("mask.png",)))
    expected = cut_image(lesions, film, PLAIN)
    save(film / "image.png", 65_535 - breast())
    assert codes(cut_image(lesions, film, PLAIN)) == [("white_air", "kept")]
    declared = cut_image(replace(lesions, photometric="MONOCHROME1"), film, PLAIN)
    assert (declared.crops == expected.crops).all() and not codes(declared)


def test_what_is_odd_about_a_file_is_in_the_audit(film):
    pixels = breast() >> 4
    pixels[550:] = 4095
    write_dicom(film / "padded.dcm", pixels, bits=12, PixelPaddingValue=4095)
    image = replace(task(LesionTask("a", ("mask.png",))), image_path="padded.dcm")
    padded = cut_image(image, film, PLAIN)
    assert codes(padded) == [("padding", "kept")]
    pixels[550:] = 0
    write_dicom(film / "padded.dcm", pixels, bits=12)
    assert (cut_image(image, film, PLAIN).crops == padded.crops).all()


@pytest.mark.parametrize(
    ("white", "levels"), [(255, (100, 200)), (255, (20, 40)), (65_535, (1, 65_535))]
)
def test_all_regions_of_a_mask_with_several_levels_are_marked_and_told(film, white, levels):
    kind = np.uint8 if white == 255 else np.uint16
    parts = [
        mask_of(box, value=1).astype(kind) * kind(level)
        for box, level in zip((LESION, Box(150, 300, 200, 340)), levels, strict=True)
    ]
    save(film / "mask.png", np.maximum(*parts))
    cut = cut_image(task(LesionTask("a", ("mask.png",))), film, PLAIN)
    assert [cut.rows[0][f"box_{name}"] for name in ("x0", "y0", "x1", "y1")] == [30, 200, 200, 340]
    assert codes(cut) == [("mask_levels", "kept")]
    assert ", ".join(map(str, levels)) in cut.problems[0]["detail"]


def test_a_smooth_edge_and_a_grey_background_are_no_regions(film):
    edge = Image.fromarray(mask_of(LESION)).filter(ImageFilter.GaussianBlur(6))
    save(film / "mask.png", np.maximum(np.asarray(edge), 40))
    cut = cut_image(task(LesionTask("a", ("mask.png",))), film, PLAIN)
    assert cut.rows[0]["box_x0"] == pytest.approx(30, abs=1) and not codes(cut)


def test_too_little_breast_for_the_backgrounds_is_written_down(film):
    config = CropConfig(
        image_size=64, context=3.4, backgrounds_per_image=50, background_coverage=1.0
    )
    cut = cut_image(task(LesionTask("a", ("mask.png",))), film, config)
    found = len(background_squares(cut))
    assert found < 50 and cut.problems[-1]["detail"].startswith(f"{found} of 50 patches")


def test_a_file_that_is_a_crop_already_can_be_cut(shared_data):
    folder = shared_data / "cbis_ddsm" / "lesions"
    name = sorted(path.name for path in (folder / "crops").glob("*.png"))[0]
    lesion = LesionTask("a", (f"masks/{name}",))
    given = ImageTask("a", f"crops/{name}", "P_1", (lesion,))
    config = CropConfig(image_size=64, context=1.25, backgrounds_per_image=1)
    cut = cut_image(given, folder, config)
    with Image.open(folder / "crops" / name) as picture:
        pixels = np.asarray(picture)
    assert (cut.rows[0]["grey_low"], cut.rows[0]["grey_high"]) == (
        pytest.approx(pixels.min(), abs=2),
        pytest.approx(pixels.max(), abs=2),
    )
    assert cut.crops[0].std() > 1000 and cut.masks[0].any()
    assert codes(cut)[-1] == ("few_backgrounds", "kept")


@pytest.mark.parametrize(
    "values", [{"image_size": 100}, {"context": 0.9}, {"image_size": 8}, {"imagesize": 64}]
)
def test_impossible_parameters_are_refused(values):
    with pytest.raises(ValidationError):
        CropConfig(**{"image_size": 64, "context": 1.0, **values})


def test_stores_keep_the_parameter_names_that_their_digests_were_computed_from():
    stored = CropConfig(image_size=64, context=1.25).stored()
    assert list(stored)[:2] == ["side", "context"] and stored["background_side"] == 0.06
    assert CropConfig.from_stored(stored) == CropConfig(image_size=64, context=1.25)


@pytest.mark.parametrize(("old", "new"), CropConfig.renamed.items())
def test_the_former_name_of_a_parameter_is_refused_with_the_new_one(old, new):
    with pytest.raises(MiramError, match=f"no setting {old}: it is now {new}"):
        CropConfig.model_validate({"image_size": 64, "context": 1.25, old: 32})


def test_files_that_go_under_pseudonyms_are_read_and_noted_under_them(film):
    names = {"file-1": "image.png", "file-2": "mask.png", "file-3": "Doe_1951.png"}
    plain = cut_image(task(LesionTask("a", ("mask.png",))), film, PLAIN)
    hidden = replace(task(LesionTask("a", ("file-2",))), image_path="file-1")
    assert np.array_equal(cut_image(hidden, film, PLAIN, names).crops, plain.crops)
    (film / "Doe_1951.png").write_bytes(b"Doe, 1951")
    (row,) = cut_image(replace(hidden, image_path="file-3"), film, PLAIN, names).problems
    assert (row["file"], row["code"]) == ("file-3", "image_not_dicom")
    assert "Doe" not in row["detail"]
