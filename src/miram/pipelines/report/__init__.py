"""From all methods to one leaderboard and one page."""

from miram.pipelines.report.pipeline import create_pipeline

__all__ = ["create_pipeline"]
