"""From encoders to the files of other programs, one namespace per method."""

from miram.pipelines.export.pipeline import create_pipeline

__all__ = ["create_pipeline"]
