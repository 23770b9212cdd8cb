"""The MAE of conf/base, and its training for one epoch, for all benchmarks of training."""

from torch import nn

from miram.models.encoder import EncoderConfig
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.training.config import TrainingConfig
from miram.training.data.augmentation import AugmentationConfig

BATCH = 32
AUGMENTATION = AugmentationConfig(min_area=0.4, vertical_flip=0.5)
_ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224",
    image_size=64,
    patch_size=8,
    overrides={"embed_dim": 96, "num_heads": 3, "depth": 4},
)
_LOW = {"scale": 1, "attention": {"kind": "softmax"}, "depth": 2, "heads": 4}


def small_mae() -> nn.Module:
    """Takes images of 64 pixels."""
    method = {"mask_ratio": 0.6, "decoder_dim": 64, "decoders": [_LOW]}
    return MaskedAutoencoderConfig.model_validate(method).build(_ENCODER, 0)


def small_training(crop_cache: str = "auto") -> TrainingConfig:
    """One epoch as in conf/base."""
    return TrainingConfig.model_validate(
        {
            "epochs": 1,
            "batch_size": BATCH,
            "precision": "fp32",
            "device": "cpu",
            "log_every": 8,
            "crop_cache": crop_cache,
            "optimizer": {"warmup_epochs": 0},
            "augmentation": AUGMENTATION,
        }
    )
