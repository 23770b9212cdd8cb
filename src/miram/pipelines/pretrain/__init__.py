"""From crops to encoders, one namespace per method."""

from miram.pipelines.pretrain.pipeline import create_pipeline

__all__ = ["create_pipeline"]
