import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from tiny import ENCODER

from miram.evaluation.features.pooling import encode_images
from miram.models.methods.backbone import TimmBackboneConfig
from miram.models.methods.supervised import SupervisedConfig, class_weights


def images(count=4):
    return torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_weights_of_classes_are_scikit_learns_balanced_ones():
    labels = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights(labels, 3), expected, rtol=1e-6)


def test_weights_of_labels_are_absent_over_present_and_finite_where_none_is():
    labels = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(class_weights(labels, 3), [1 / 3, 3, 4])
    assert torch.isfinite(class_weights(np.array([0, 0, 1]), 3)).all()


def test_classes_weigh_alike_in_the_loss():
    labels = torch.tensor([0, 0, 0, 1])
    model = SupervisedConfig().build_classifier(
        ENCODER, 0, class_weights(labels.numpy(), 2), several=False
    )
    found = model(images(), labels)
    single = -torch.log_softmax(found.logits, dim=1)[torch.arange(4), labels]
    expected = (single[:3].mean() + single[3]) / 2
    torch.testing.assert_close(found.loss, expected)


def test_several_labels_are_evaluated_one_by_one():
    labels = torch.tensor([[1, 0], [1, 1], [0, 0], [1, 0]])
    weights = class_weights(labels.numpy(), 2)
    model = SupervisedConfig().build_classifier(ENCODER, 0, weights, several=True)
    found = model(images(), labels)
    shares, hot = torch.sigmoid(found.logits), labels.float()
    expected = -(weights * hot * shares.log() + (1 - hot) * (1 - shares).log()).mean()
    torch.testing.assert_close(found.loss, expected)


@pytest.mark.parametrize("pooling", ["patches", "cls"])
def test_every_weight_but_the_fixed_positions_learns(pooling):
    model = SupervisedConfig(pooling=pooling).build_classifier(
        ENCODER, 0, torch.ones(2), several=False
    )
    model(images(), torch.tensor([0, 1, 0, 1])).loss.backward()
    without = {name for name, value in model.named_parameters() if value.grad is None}
    assert without == {"encoder.pos_embed"}


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "lcnet_035", "resnet10t"])
def test_any_model_of_timm_learns_with_the_width_it_gives(name):
    backbone = TimmBackboneConfig(name=name, image_size=32)
    model = SupervisedConfig(backbone=backbone).build_classifier(
        ENCODER, 0, torch.ones(3), several=False
    )
    pictures = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    found = model(pictures, torch.tensor([0, 2]))
    found.loss.backward()
    assert found.logits.shape == (2, 3) and model.head.weight.grad.any()
    [encoded] = encode_images(model.encoder.eval(), pictures)
    torch.testing.assert_close(model.eval().logits(pictures), model.head(encoded.pooled))


def test_the_encoder_begins_as_the_random_one():
    model = SupervisedConfig().build_classifier(ENCODER, 3, torch.ones(2), several=False)
    fresh = ENCODER.build(3).state_dict()
    assert all(
        torch.equal(value, fresh[name]) for name, value in model.encoder.state_dict().items()
    )
