"""From raw files to the lesion table and the audit."""

from miram.pipelines.ingest.pipeline import create_pipeline

__all__ = ["create_pipeline"]
