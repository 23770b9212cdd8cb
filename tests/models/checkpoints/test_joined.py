import pytest
import torch
from tiny import ENCODER

from miram.errors import MiramError
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.checkpoints.joined import (
    WHOLE,
    join_folds,
    join_seeds,
    single_encoder,
    split_folds,
    split_seeds,
)

HEADER = {"timm": ENCODER.timm_arguments, "data_digest": "abc"}


def encoders(count=11):
    return {
        f"fold{fold}": EncoderCheckpoint.of(ENCODER.build(fold), HEADER) for fold in range(count)
    }


def test_one_encoder_for_all_stays_as_it_is():
    whole = encoders(1)["fold0"]
    assert join_folds({WHOLE: whole}) is whole
    assert split_folds(whole) == {WHOLE: whole}
    assert single_encoder(whole) is whole


def test_encoders_of_several_folds_are_not_taken_for_one():
    with pytest.raises(MiramError, match="2 encoders, one per fold"):
        single_encoder(join_folds(encoders(2)))


def test_encoders_of_different_origin_are_not_joined():
    other = EncoderCheckpoint.of(ENCODER.build(0), {**HEADER, "data_digest": "other"})
    with pytest.raises(ValueError, match="same header"):
        join_folds({**encoders(1), "fold1": other})


def of_seed(seed):
    header = {**HEADER, "training": {"seed": seed}}
    return EncoderCheckpoint.of(ENCODER.build(seed), header)


def folds_of_seed(seed):
    header = of_seed(seed).metadata
    folds = {f"fold{n}": EncoderCheckpoint.of(ENCODER.build(seed + n), header) for n in range(2)}
    return join_folds(folds)


def test_encoders_of_all_seeds_and_folds_come_back_from_one_file(tmp_path):
    path = tmp_path / "encoder.safetensors"
    by_seed = {seed: folds_of_seed(seed) for seed in (7, 3)}
    join_seeds(by_seed).save(path)
    found = split_seeds(EncoderCheckpoint.load(path))
    assert list(found) == [7, 3]
    images = torch.rand(1, 1, 16, 16)
    for seed, expected in by_seed.items():
        assert found[seed].metadata == expected.metadata
        for fold, encoder in split_folds(found[seed]).items():
            twin = split_folds(expected)[fold].build()
            assert torch.equal(encoder.build()(images), twin(images))


def test_a_single_training_stays_as_it_is_and_knows_its_seed():
    only = of_seed(5)
    assert join_seeds({5: only}) is only
    assert split_seeds(only) == {5: only}


def test_where_one_encoder_is_wanted_that_of_the_first_seed_serves():
    joined = join_seeds({2: of_seed(2), 1: of_seed(1)})
    images = torch.rand(1, 1, 16, 16)
    assert torch.equal(single_encoder(joined).build()(images), of_seed(2).build()(images))
    assert single_encoder(joined).metadata["training"] == {"seed": 2}


def test_what_one_seed_alone_has_in_its_header_stays_its_own():
    first, second = of_seed(0), of_seed(1)
    first.metadata["initialization"] = {"file": "start.bin"}
    found = split_seeds(join_seeds({0: first, 1: second}))
    assert found[0].metadata == first.metadata
    assert found[1].metadata == second.metadata


def test_folds_of_several_seeds_are_not_taken_apart_at_once():
    with pytest.raises(ValueError, match="split_seeds first"):
        split_folds(join_seeds({0: of_seed(0), 1: of_seed(1)}))


def test_several_trainings_are_not_built_as_one():
    with pytest.raises(MiramError, match="holds 2 seeds: take one by first_seed"):
        join_seeds({0: of_seed(0), 1: of_seed(1)}).build()
    with pytest.raises(MiramError, match="holds 2 folds: take one by split_folds"):
        join_folds(encoders(2)).build()
