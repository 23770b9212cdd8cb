"""From encoders to metrics with intervals, one namespace per method."""

from miram.pipelines.probe.pipeline import create_pipeline

__all__ = ["create_pipeline"]
