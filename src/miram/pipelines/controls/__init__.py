"""Permuted labels and blank pixels, one namespace per method."""

from miram.pipelines.controls.pipeline import create_pipeline

__all__ = ["create_pipeline"]
