import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from miram.training.data.augmentation import DRAWS, AugmentationConfig, augment, augment_coverage
from miram.training.data.batches import InputSpec, Samples, draw_batch, make_batch
from miram.training.data.sampling import sample_uniforms

CONFIG = AugmentationConfig(rotation=30, brightness=0.1, contrast=0.2, blur=0.5, solarize=0.2)


def samples(count=6, side=16):
    random = np.random.default_rng(0)
    crops = random.integers(0, 65_536, (count, side, side), dtype=np.uint16)
    lesion = random.integers(0, 256, (count, side // 4, side // 4), dtype=np.uint8)
    labels = random.integers(0, 2, count)
    tensors = (torch.from_numpy(part) for part in (labels, lesion))
    return Samples(torch.from_numpy(crops), np.arange(count), *tensors, torch.device("cpu"))


def batch(spec, indices=(4, 1, 2), epoch=3, side=8, seed=5, source=None):
    source = source or samples()
    drawn = draw_batch(source, np.array(indices), epoch, spec, seed)
    return make_batch(source, drawn, side, spec, CONFIG)


def test_crops_that_stay_in_a_file_give_the_same_batch(tmp_path):
    kept = samples()
    np.save(tmp_path / "crops.npy", np.concatenate([np.zeros((2, 16, 16), np.uint16), kept.crops]))
    waiting = np.load(tmp_path / "crops.npy", mmap_mode="r")
    source = dataclasses.replace(kept, crops=waiting, rows=np.arange(2, 8))
    assert torch.equal(batch(InputSpec(), source=source)["images"], batch(InputSpec())["images"])


def test_micro_batches_of_a_step_give_the_images_of_the_step():
    source, spec = samples(), InputSpec(noise_width=2)
    whole = draw_batch(source, np.array([4, 1, 2, 0, 5]), 3, spec, 5)
    parts = [make_batch(source, part, 8, spec, CONFIG) for part in whole.micro_batches(2)]
    expected = make_batch(source, whole, 8, spec, CONFIG)
    assert [len(part["images"]) for part in parts] == [2, 2, 1]
    for name, value in expected.items():
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), value)


def test_a_model_gets_what_it_declares_and_nothing_else():
    class Model(nn.Module):
        views, noise_width, needs_labels = 2, 3, True

    assert InputSpec.of(Model()) == InputSpec(views=2, noise_width=3, needs_labels=True)
    assert InputSpec.of(nn.Module()) == InputSpec()
    assert set(batch(InputSpec())) == {"images"}
    found = batch(InputSpec.of(Model()))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "images": (3, 2, 1, 8, 8),
        "noise": (3, 3),
        "labels": (3,),
    }


@pytest.mark.parametrize("views", [1, 2, 3])
def test_a_view_depends_on_seed_epoch_sample_and_view_alone(views):
    spec = InputSpec(views=views, noise_width=4)
    together, alone = batch(spec), batch(spec, indices=(1,))
    images = together["images"].reshape(3, views, 8, 8)
    torch.testing.assert_close(alone["images"].reshape(1, views, 8, 8), images[1:2])
    assert torch.equal(together["noise"][1:2], alone["noise"])
    first = batch(InputSpec())["images"].squeeze(1)
    assert torch.equal(images[:, 0], first)
    for other in range(1, views):
        assert ((images[:, 0] - images[:, other]).abs().amax(dim=(1, 2)) > 0.05).all()
    for change in ({"seed": 6}, {"epoch": 4}):
        assert not torch.allclose(batch(spec, **change)["images"], together["images"])


def test_labels_and_lesions_are_those_of_the_samples():
    spec = InputSpec(needs_labels=True, needs_lesion=True)
    found = batch(spec)
    assert torch.equal(found["labels"], samples().labels[[4, 1, 2]])
    numbers = torch.from_numpy(sample_uniforms(5, 3, np.array([4, 1, 2]), DRAWS))
    expected = augment_coverage(samples().lesion[[4, 1, 2]], numbers, CONFIG)
    assert torch.equal(found["lesion"], expected)


def test_a_lesion_moves_with_its_crop():
    """A bright square and its mask, cut and turned: the mask lies on the bright pixels."""
    crops = torch.zeros(8, 32, 32, dtype=torch.int32)
    crops[:, 8:24, 8:20] = 65_535
    mask = torch.zeros(8, 32, 32, dtype=torch.uint8)
    mask[:, 8:24, 8:20] = 255
    moving = AugmentationConfig(min_area=0.4, rotation=40, vertical_flip=0.5)
    numbers = torch.from_numpy(sample_uniforms(0, 0, np.arange(8), DRAWS))
    images = augment(crops.to(torch.uint16), numbers, moving)
    found = augment_coverage(mask, numbers, moving)
    assert found.dtype == torch.uint8
    grey = images.squeeze(1)
    # At edges the bicubic image swings a little where the bilinear mask does not.
    torch.testing.assert_close(found / 255, grey, atol=0.15, rtol=0)
    assert (found / 255 - grey).abs().mean() < 0.01
