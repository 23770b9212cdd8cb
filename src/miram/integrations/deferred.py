"""Types of nodes that are costly to import: configurations of models, and what holds weights.

Kedro reads the annotations of every node when it lists pipelines. A class that needs torch
would make each such command wait for it. A configuration has a stand-in here, which imports the
real class when there are values to validate; type checkers see the real one.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel


def deferred(module: str, name: str) -> Any:
    """Make a stand-in, whose `model_validate` gives an instance of the class in the module."""

    class Deferred(BaseModel):
        @classmethod
        def model_validate(cls, obj: Any, **options: Any) -> Any:
            return getattr(import_module(module), name).model_validate(obj, **options)

    Deferred.__name__ = Deferred.__qualname__ = name
    return Deferred


if TYPE_CHECKING:
    from miram.evaluation.config import AssessmentConfig
    from miram.evaluation.features.handcrafted import HandcraftedConfig
    from miram.evaluation.features.pooling import FeatureConfig
    from miram.finetuning.config import FinetuningConfig
    from miram.models.attention_benchmark import AttentionBenchmarkConfig
    from miram.models.checkpoints.files import EncoderCheckpoint, PretrainedCheckpoint
    from miram.models.encoder import EncoderConfig
    from miram.models.methods.config import MethodConfig
    from miram.models.methods.supervised import SupervisedConfig
    from miram.serving.embed import EmbeddingConfig
    from miram.serving.predictor import Predictor
    from miram.serving.registry.decision import PromotionConfig
    from miram.training.config import TrainingConfig
else:
    AssessmentConfig = deferred("miram.evaluation.config", "AssessmentConfig")
    HandcraftedConfig = deferred("miram.evaluation.features.handcrafted", "HandcraftedConfig")
    FeatureConfig = deferred("miram.evaluation.features.pooling", "FeatureConfig")
    FinetuningConfig = deferred("miram.finetuning.config", "FinetuningConfig")
    EncoderConfig = deferred("miram.models.encoder", "EncoderConfig")
    MethodConfig = deferred("miram.models.methods.kinds", "METHOD_KINDS")
    SupervisedConfig = deferred("miram.models.methods.supervised", "SupervisedConfig")
    AttentionBenchmarkConfig = deferred(
        "miram.models.attention_benchmark", "AttentionBenchmarkConfig"
    )
    EmbeddingConfig = deferred("miram.serving.embed", "EmbeddingConfig")
    PromotionConfig = deferred("miram.serving.registry.decision", "PromotionConfig")
    TrainingConfig = deferred("miram.training.config", "TrainingConfig")
    EncoderCheckpoint = PretrainedCheckpoint = Predictor = Any  # of datasets, never validated
