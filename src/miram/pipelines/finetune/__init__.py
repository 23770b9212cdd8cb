"""From encoders to fine-tuned classifiers and their metrics, one namespace per method."""

from miram.pipelines.finetune.pipeline import create_pipeline

__all__ = ["create_pipeline"]
