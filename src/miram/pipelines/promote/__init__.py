"""From an evaluated method to a version in the registry, as champion or as challenger."""

from miram.pipelines.promote.pipeline import create_pipeline

__all__ = ["create_pipeline"]
