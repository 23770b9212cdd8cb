"""From crops to hand-crafted features and their metrics, one namespace per baseline."""

from miram.pipelines.baselines.pipeline import create_pipeline

__all__ = ["create_pipeline"]
