"""From encoders to figures with intervals, one namespace per method."""

from miram.pipelines.probe.pipeline import create_pipeline

__all__ = ["create_pipeline"]
