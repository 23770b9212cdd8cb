"""From mammograms to the crop store and the splits."""

from miram.pipelines.rois.pipeline import create_pipeline

__all__ = ["create_pipeline"]
