import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from miram.errors import MiramError
from miram.evaluation.features.extract import extract_features, feature_table
from miram.evaluation.features.pooling import FeatureConfig
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.checkpoints.joined import join_folds, join_seeds
from miram.models.encoder import EncoderConfig
from miram.models.images import plain_views, to_unit
from miram.models.methods.backbone import TimmBackboneConfig
from miram.models.pixels import HALF

ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224", image_size=32, patch_size=8, overrides={"depth": 3}
)
WIDTH = 192


def checkpoint(seed=0, config=ENCODER):
    return EncoderCheckpoint.of(config.build(seed), {"timm": config.timm_arguments})


def crops(count=5, side=64):
    random = np.random.default_rng(0)
    return random.integers(0, 65_536, (count, side, side), dtype=np.uint16)


def masks(count=5, side=8):
    """A lesion of its own place and size in each crop."""
    found = np.zeros((count, side, side), np.uint8)
    for index in range(count):
        found[index, index : index + 3, 1 : 3 + index] = 255
    found[0, 0, 1] = 40
    return found


def features(pooling="mean", images=None, lesions=None, **options):
    config = FeatureConfig(pooling=pooling, **options)
    images = crops() if images is None else images
    return extract_features(checkpoint(), images, masks() if lesions is None else lesions, config)


@torch.inference_mode()
def tokens():
    return (
        checkpoint()
        .build()
        .forward_features(plain_views(torch.from_numpy(crops()), 32, checkpoint().pixels))
    )


def test_the_default_is_the_mean_over_the_patches():
    expected = tokens()[:, 1:].mean(dim=1)
    np.testing.assert_allclose(features(), expected, atol=1e-5)
    assert features().dtype == np.float32


def test_cls_is_the_first_token():
    np.testing.assert_allclose(features("cls"), tokens()[:, 0], atol=1e-5)


def test_lesion_is_the_mean_under_the_mask_weighted_by_coverage():
    patches = tokens()[:, 1:].unflatten(1, (4, 4)).numpy()
    share = masks().reshape(5, 4, 2, 4, 2).mean(axis=(2, 4)) / 255
    expected = [
        np.average(patch.reshape(16, -1), axis=0, weights=weight.ravel())
        for patch, weight in zip(patches, share, strict=True)
    ]
    np.testing.assert_allclose(features("lesion"), expected, atol=1e-5)


def test_without_a_mask_the_lesion_is_the_whole_crop():
    nothing = np.zeros_like(masks())
    np.testing.assert_allclose(features("lesion", lesions=nothing), features(), atol=1e-5)


def test_rich_is_mean_deviation_maximum_and_center():
    grid = tokens()[:, 1:].unflatten(1, (4, 4))
    patches = grid.flatten(1, 2)
    center = grid[:, 1:3, 1:3].mean(dim=(1, 2))
    expected = [patches.mean(1), patches.std(1, correction=0), patches.amax(1), center]
    np.testing.assert_allclose(features("rich"), torch.cat(expected, dim=1), atol=1e-5)


def test_lesion_std_is_the_weighted_deviation_under_the_mask():
    patches = tokens()[:, 1:].numpy()
    weights = masks().reshape(5, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(5, 16)
    for found, patch, weight in zip(features("lesion_std"), patches, weights, strict=True):
        mean = np.average(patch, axis=0, weights=weight)
        expected = np.sqrt(np.average((patch - mean) ** 2, axis=0, weights=weight))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_grey_is_mean_and_deviation_of_the_crop_as_the_store_holds_it():
    levels = crops() / 65_535
    expected = np.column_stack([levels.mean(axis=(1, 2)), levels.std(axis=(1, 2))])
    np.testing.assert_allclose(features("mean+grey")[:, -2:], expected, atol=1e-6)


def test_center_crops_are_encoded_as_smaller_crops_would_be():
    inner = np.ascontiguousarray(crops()[:, 8:56, 8:56])
    lesions = np.ascontiguousarray(masks()[:, 1:7, 1:7])
    found = features("mean+lesion", center_crops=(1.0, 0.75))
    expected = [features("mean+lesion"), features("mean+lesion", inner, lesions)]
    np.testing.assert_allclose(found, np.hstack(expected), atol=1e-5)


def test_parts_stand_side_by_side_in_the_order_given():
    found = features("mean+lesion+cls")
    expected = np.hstack([features(part) for part in ("mean", "lesion", "cls")])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(features("both"), features("cls+mean"))
    assert FeatureConfig(pooling=["lesion", "cls"]).pooling == ("lesion", "cls")


@pytest.mark.parametrize("pooling", ["mean+cls", "lesion", "rich"])
def test_averaged_over_symmetries_features_do_not_change_when_crop_and_mask_turn(pooling):
    expected = features(pooling, symmetries=8)
    for turn in (
        lambda x: x[:, ::-1],
        lambda x: x[:, :, ::-1],
        lambda x: x.transpose(0, 2, 1),
        lambda x: np.rot90(x, 3, axes=(1, 2)),
    ):
        images, lesions = (np.ascontiguousarray(turn(part)) for part in (crops(), masks()))
        turned = features(pooling, images, lesions, symmetries=8)
        np.testing.assert_allclose(turned, expected, atol=1e-4)
        plain = features(pooling, images, lesions)
        assert np.abs(plain - features(pooling)).max() > 1e-3


def test_symmetries_are_averaged():
    images, lesions = crops(), masks()
    found = []
    for turns in range(4):
        for mirrored in (False, True):
            turned = [np.rot90(part, turns, axes=(1, 2)) for part in (images, lesions)]
            turned = [part[:, :, ::-1] if mirrored else part for part in turned]
            found.append(features("lesion", *map(np.ascontiguousarray, turned)))
    np.testing.assert_allclose(features("lesion", symmetries=8), np.mean(found, axis=0), atol=1e-4)


def test_layers_differ_and_the_last_is_the_default():
    np.testing.assert_allclose(features(layers=(3,)), features(), atol=1e-6)
    assert np.abs(features(layers=(1,)) - features()).max() > 0.01


def test_layers_stand_side_by_side():
    expected = np.hstack([features(layers=(1,)), features(layers=(3,))])
    np.testing.assert_allclose(features(layers="1+3"), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("old", "hint"), [({"layer": 2}, "it is now layers"), ({"symmetries": True}, "8 for all")]
)
def test_former_settings_are_refused_with_the_new_ones(old, hint):
    with pytest.raises(MiramError, match=hint):
        FeatureConfig.model_validate(old)


def test_features_do_not_depend_on_the_batch():
    np.testing.assert_allclose(features(batch_size=2), features(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side"), [("resnet10t", 64), ("swin_tiny_patch4_window7_224", 64)]
)
def test_a_frozen_timm_model_is_a_checkpoint_like_any_other(name, side, tmp_path):
    config = TimmBackboneConfig(name=name, image_size=side)
    model = config.build_encoder(0)
    path = tmp_path / "encoder.safetensors"
    header = {"timm": config.timm_arguments, "image_size": side}
    EncoderCheckpoint.of(model, header).save(path)
    found = extract_features(
        EncoderCheckpoint.load(path), crops(), masks(), FeatureConfig(pooling="mean+lesion+cls")
    )
    pooled = model(plain_views(torch.from_numpy(crops()), side, HALF)).detach()
    np.testing.assert_allclose(found[:, : pooled.shape[1]], pooled, atol=1e-4)
    assert found.shape == (5, 2 * pooled.shape[1])  # a lesion part, and no CLS token


def test_pixels_are_scaled_as_the_header_says():
    other = EncoderCheckpoint.of(
        ENCODER.build(0), {"timm": ENCODER.timm_arguments, "pixel_mean": 0.4, "pixel_std": 0.25}
    )
    found = extract_features(other, crops(), masks(), FeatureConfig())
    grey = torch.nn.functional.avg_pool2d(to_unit(torch.from_numpy(crops())), 2)
    expected = other.build().forward_features((grey - 0.4) / 0.25)[:, 1:].mean(dim=1)
    np.testing.assert_allclose(found, expected.detach(), atol=1e-5)


def test_small_crops_are_enlarged_to_the_encoders_side():
    assert features(images=crops(side=16), lesions=masks()[:, ::4, ::4]).shape == (5, WIDTH)


def test_a_table_has_a_row_per_lesion():
    names = pd.Series([f"lesion{i}" for i in range(5)], index=range(10, 15))
    found = feature_table(checkpoint(), names, crops(), masks(), FeatureConfig())
    assert found.columns.tolist() == ["lesion_id", "seed", *(f"f{i}" for i in range(WIDTH))]
    assert found["lesion_id"].tolist() == names.tolist()
    np.testing.assert_array_equal(found.iloc[:, 2:], features())


def test_with_an_encoder_per_fold_a_table_has_a_row_per_fold_and_lesion():
    encoders = {f"fold{fold}": checkpoint(fold) for fold in range(2)}
    names = pd.Series([f"lesion{i}" for i in range(5)])
    joined = join_folds(encoders)
    found = feature_table(joined, names, crops(), masks(), FeatureConfig())
    assert found.columns[:3].tolist() == ["lesion_id", "seed", "fold"]
    for fold, encoder in encoders.items():
        values = found[found["fold"] == fold].iloc[:, 3:]
        expected = extract_features(encoder, crops(), masks(), FeatureConfig())
        np.testing.assert_array_equal(values, expected)
    with pytest.raises(MiramError, match="one per fold"):
        extract_features(joined, crops(), masks(), FeatureConfig())


def test_a_method_of_several_seeds_has_a_row_per_seed_and_lesion():
    names = pd.Series([f"lesion{i}" for i in range(5)])
    trained = {seed: checkpoint(seed) for seed in (3, 1)}
    found = feature_table(join_seeds(trained), names, crops(), masks(), FeatureConfig())
    assert found["seed"].tolist() == [3] * 5 + [1] * 5
    for seed, encoder in trained.items():
        values = found[found["seed"] == seed].iloc[:, 2:]
        expected = extract_features(encoder, crops(), masks(), FeatureConfig())
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("pooling", ["corner", "cls+cls", (), "both+cls", "grey", None, 3, [1]])
def test_impossible_pooling_is_refused(pooling):
    with pytest.raises(ValidationError):
        FeatureConfig(pooling=pooling)
