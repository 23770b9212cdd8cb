"""What a GPU would stumble over, found without one.

Fake tensors, which have a device and a shape but no numbers, go forward as on a GPU: code that
mixes devices raises there as here. They tell nothing of the backward pass, of speed or of memory.
"""

import dataclasses

import numpy as np
import pytest
import torch
from project_paths import STUDIED
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from miram.evaluation.features.pooling import FeatureConfig, encode_parts
from miram.integrations.parameters import load_parameters
from miram.models.encoder import EncoderConfig
from miram.models.methods.kinds import METHOD_KINDS, build_on_meta_device
from miram.training.config import TrainingConfig, recipe_of
from miram.training.data.augmentation import AugmentationConfig
from miram.training.data.batches import HostBatch, InputSpec, Samples, draw_batch, make_batch
from miram.training.optimizer import make_optimizer

GPU = torch.device("cuda")
BATCH, CELLS = 4, 8
TRAINED = [name for name in STUDIED if name != "random"]
ALL_PARTS = AugmentationConfig(rotation=10, brightness=0.1, contrast=0.1, blur=0.5, solarize=0.1)

# What PyTorch computes on a GPU with uint16, of which it says that support is limited.
ON_UINT16 = {"_to_copy", "detach", "lift_fresh", "slice", "unsqueeze", "view"}


@pytest.fixture(scope="module")
def parameters():
    return load_parameters("test")


def on_fake_gpu(model):
    """The model there, and the mode in which there are fake tensors."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        model.to_empty(device=GPU)
    return mode


def build(name, parameters):
    """A method without numbers, the side of its images, and its recipe."""
    encoder = EncoderConfig.model_validate(parameters["encoder"])
    method = METHOD_KINDS.model_validate(parameters[name]["method"])
    model = build_on_meta_device(method, encoder)
    training = TrainingConfig.model_validate(parameters["training"])
    return model, method.crop_size(encoder), recipe_of(method, training)


def samples(side, device):
    return Samples(
        torch.zeros(2 * BATCH, side, side, dtype=torch.uint16, device=device),
        np.arange(2 * BATCH),
        torch.zeros(2 * BATCH, dtype=torch.int64, device=device),
        torch.zeros(2 * BATCH, CELLS, CELLS, dtype=torch.uint8, device=device),
        device,
    )


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_of_a_method_mixes_no_devices(name, parameters):
    model, side, recipe = build(name, parameters)
    spec = InputSpec.of(model.train())
    # The blur reads its widths on the host.
    plain = recipe.augmentation.model_copy(update={"blur": 0.0})
    with on_fake_gpu(model):
        drawn = HostBatch(torch.arange(BATCH), torch.zeros(BATCH, spec.uniforms), None)
        kept = samples(parameters["rois"]["image_size"], GPU)
        arguments = make_batch(kept, drawn, side, spec, plain)
        output = model(**arguments)
        found = [*arguments.values(), output.loss, *output.losses.values()]
        assert {value.device.type for value in found} == {"cuda"}
        optimizer = make_optimizer(model, recipe.optimizer, BATCH)
        for weight in model.parameters():
            weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
        optimizer.found_inf = torch.zeros((), device=GPU)
        optimizer.step()


@pytest.mark.parametrize("pooling", ["mean", "cls", "rich", "lesion_std"])
def test_features_of_an_encoder_mix_no_devices(pooling, parameters):
    encoder = build("mae", parameters)[0].encoder.eval()
    side = encoder.patch_embed.img_size[0]
    with on_fake_gpu(encoder):
        images = torch.zeros(BATCH, 1, side, side, device=GPU)
        coverage = torch.zeros(BATCH, CELLS, CELLS, dtype=torch.uint8, device=GPU)
        features = encode_parts(encoder, images, coverage, FeatureConfig(pooling=pooling))
    assert features.device.type == "cuda"


class Uint16(TorchDispatchMode):
    """Remembers the operations that uint16 goes into or comes out of."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        if any(tensor.dtype == torch.uint16 for tensor in tensors):
            self.seen.add(func.overloadpacket.__name__)
        return result


def test_crops_only_meet_operations_that_a_gpu_has_for_uint16():
    kept = samples(16, torch.device("cpu"))
    on_host = dataclasses.replace(kept, crops=kept.crops.numpy())
    spec = InputSpec(views=2, noise_width=2)
    with Uint16() as mode:
        for source in (kept, on_host):
            drawn = draw_batch(source, np.array([4, 1, 2]), 0, spec, 0).micro_batches(2)[0]
            make_batch(source, drawn, 8, spec, ALL_PARTS)
    assert mode.seen <= ON_UINT16
    assert {"view", "_to_copy"} <= mode.seen
