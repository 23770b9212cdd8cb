"""Write synthetic mammograms where there are no real ones."""

from miram.pipelines.phantom.pipeline import create_pipeline

__all__ = ["create_pipeline"]
