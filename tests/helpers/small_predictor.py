"""A predictor without a study: an untrained encoder and a probe on drawn labels."""

import numpy as np
import pandas as pd

from miram.evaluation.config import AssessmentConfig
from miram.evaluation.features.pooling import FeatureConfig
from miram.mammography.crops.cut import CropConfig
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.encoder import EncoderConfig
from miram.serving.predictor import Predictor, fit_served_probe

ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224", image_size=32, patch_size=8, overrides={"depth": 2}
)
CROPS = CropConfig(image_size=64, context=1.25, backgrounds_per_image=4)


def make_checkpoint(seed=0, config=ENCODER):
    return EncoderCheckpoint.of(config.build(seed), {"timm": config.timm_arguments})


def make_lesions(count=60, patients=20, seed=0):
    """Lesions with labels, and features that tell a little of them."""
    random = np.random.default_rng(seed)
    lesions = pd.DataFrame(
        {
            "lesion_id": [f"lesion{n}" for n in range(count)],
            "patient_id": [f"patient{n % patients}" for n in range(count)],
            "pathology": random.choice(["BENIGN", "MALIGNANT"], count),
            "abnormality_type": random.choice(["mass", "calcification"], count),
        }
    )
    return lesions


def make_splits(lesions, strategy="official"):
    number = lesions["patient_id"].str.removeprefix("patient").astype(int)
    if strategy == "official":
        split = np.where(number < 12, "train", np.where(number < 15, "val", "test"))
    else:
        split = "fold" + (number % 4).astype(str)
    return lesions[["lesion_id", "patient_id"]].assign(
        strategy=strategy, leakage="drop", split=split, pretrain=True
    )


def make_features(lesions, width=192, seed=0):
    random = np.random.default_rng(seed)
    values = random.normal(size=(len(lesions), width))
    values[:, 0] += lesions["pathology"].eq("MALIGNANT")
    values[:, 1] += lesions["abnormality_type"].eq("mass")
    table = pd.DataFrame(values.astype(np.float32), columns=[f"f{k}" for k in range(width)])
    table.insert(0, "lesion_id", lesions["lesion_id"])
    return table


def make_probe(task="pathology", width=192):
    lesions = make_lesions()
    config = AssessmentConfig()
    return fit_served_probe(
        make_features(lesions, width), lesions, make_splits(lesions), task, config
    )


def make_predictor(pooling="mean", crops=CROPS, **options):
    features = FeatureConfig(pooling=pooling, **options)
    width = 192 * len(features.pooling)
    about = {"method": "mae", "data_digest": "0123"}
    return Predictor(make_checkpoint(), features, crops, make_probe(width=width), about)
