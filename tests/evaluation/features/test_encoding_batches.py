"""Batches are as large as memory allows, and no larger."""

import weakref

import pytest
import torch

from miram.errors import MiramError
from miram.evaluation.features.crop_encoder import batch_that_fits, encode_in_batches
from miram.models.encoder import EncoderConfig


def encoder_and_row(side):
    config = EncoderConfig(
        name="vit_tiny_patch16_224", image_size=side, patch_size=8, overrides={"depth": 1}
    )
    return config.build(0).eval(), (torch.zeros(1, 1, side, side),)


class SmallDevice:
    """Encodes as many rows at once as its memory holds, and keeps count."""

    def __init__(self, rows, error=torch.OutOfMemoryError):
        self.rows, self.error, self.asked = rows, error, []

    def __call__(self, rows):
        size = rows.stop - rows.start
        self.asked.append(size)
        if size > self.rows:
            raise self.error("out of memory")
        return torch.arange(rows.start, rows.stop)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_batches_are_halved_until_memory_suffices_and_stay_small(error):
    device = SmallDevice(3, error)
    found = torch.cat(encode_in_batches(device, 21, batch_size=8))
    assert found.tolist() == list(range(21))
    assert device.asked[:3] == [8, 4, 2]
    assert max(device.asked[2:]) == 2
    with pytest.raises(MiramError, match="does not suffice to encode one crop"):
        encode_in_batches(SmallDevice(rows=0), 5, batch_size=8)


def test_an_error_that_is_not_of_memory_is_not_taken_for_one():
    def encode(rows):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        encode_in_batches(encode, 5, batch_size=4)


def test_less_memory_and_larger_images_make_smaller_batches():
    encoder, row = encoder_and_row(32)
    larger, larger_row = encoder_and_row(64)
    free = 10_000_000
    fits = batch_that_fits(encoder, row, free, at_most=10_000)
    assert batch_that_fits(encoder, row, free // 4, at_most=10_000) == pytest.approx(
        fits / 4, abs=1
    )
    # Four times the patches, besides the CLS token.
    assert batch_that_fits(larger, larger_row, free, at_most=10_000) == pytest.approx(
        fits * 17 / 65, abs=1
    )


def test_a_batch_is_at_most_what_is_asked_and_at_least_one():
    encoder, row = encoder_and_row(32)
    assert batch_that_fits(encoder, row, 10**12, at_most=64) == 64
    assert batch_that_fits(encoder, row, 0, at_most=64) == 1


def test_a_trial_that_memory_refuses_leaves_one_row_at_a_time():
    class TooLarge(torch.nn.Module):
        def forward(self, _):
            raise torch.OutOfMemoryError("out of memory")

    assert batch_that_fits(TooLarge(), (torch.zeros(1),), 10**12, at_most=64) == 1


def test_what_a_failed_batch_held_is_free_before_the_next():
    held = []

    def encode(rows):
        if rows.stop - rows.start > 1:
            tensor = torch.zeros(8)
            held.append(weakref.ref(tensor))
            raise torch.OutOfMemoryError("out of memory")
        assert all(reference() is None for reference in held)
        return torch.zeros(1)

    assert len(encode_in_batches(encode, 3, batch_size=4)) == 3
