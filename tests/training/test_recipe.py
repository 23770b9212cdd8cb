import pytest

from miram.errors import MiramError
from miram.models.methods.kinds import RandomConfig
from miram.models.methods.moco import MocoV3Config
from miram.models.methods.supervised import SupervisedConfig
from miram.training.config import TrainingConfig, recipe_of
from miram.training.data.augmentation import AugmentationConfig
from miram.training.optimizer import OptimizerConfig

SHARED = TrainingConfig(
    epochs=7,
    batch_size=8,
    optimizer=OptimizerConfig(base_lr=1e-3, weight_decay=0.02),
    augmentation=AugmentationConfig(min_area=0.4),
)


def test_own_settings_go_over_the_shared_ones_and_the_rest_stays():
    found = recipe_of(MocoV3Config(augmentation={"vertical_flip": 0.5}), SHARED)
    assert found.optimizer == OptimizerConfig(base_lr=1e-3, weight_decay=0.1, beta2=0.999)
    assert found.augmentation.min_area == 0.4
    assert found.augmentation.vertical_flip == 0.5
    assert found.augmentation.blur == 0.55
    assert found.epochs == 7
    assert recipe_of(SupervisedConfig(epochs=30), SHARED).epochs == 30
    assert recipe_of(RandomConfig(), SHARED) == SHARED


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": {"weight_dekay": 0.1}}, r"method\.optimizer.*did you mean weight_decay"),
        ({"augmentation": {"blur": 2}}, r"method\.augmentation: blur"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(MiramError, match=message):
        recipe_of(SupervisedConfig(**settings), SHARED)
